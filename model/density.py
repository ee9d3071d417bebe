"""How many emitters are on: expected numbers, block by block.

Expected, not counted: the probabilities of all cells are summed, whether or not they
make a localization, so that nothing is lost to a threshold and what is uncertain counts
as much as it is likely. The network is trained for this sum to be the number of
emitters (see `training.loss`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.density import BlockDensity
from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .emitters import Geometry
    from .localizer import Localized

Region = tuple[float, float, float, float]  # x, y, width, height, pixels of the chip

STATIC_PROBABILITY = 0.2  # a cell is lit above this; and no emitter if it is lit in
STATIC_SHARE = 0.95  # of the recent frames, about
STATIC_FRAMES = 100  # of them, and at least
FIRST_FRAMES = 50  # since the start


class ExpectedEmitters:
    """Sums the probabilities within a region, leaving out what never blinks.

    Fiducial markers and dust do not blink: cells that are lit in nearly every frame,
    and the cells around them, do not count, and their area neither. So emitters that
    stay on for hundreds of frames do not count, either.

    Parameters
    ----------
    geometry : Geometry
        Of the frames.
    region : (x, y, width, height), optional
        Pixels of the full chip; all of the frame if not given.

    Raises
    ------
    SettingsError
        The region does not meet the frame.
    """

    def __init__(self, geometry: Geometry, region: Region | None = None) -> None:
        self._inside = cells_within(geometry, region)
        if not self._inside.any() and region is None:
            raise SettingsError(
                f"frames of {geometry.shape[0]} x {geometry.shape[1]} pixels are too "
                f"small: the network works in cells of {geometry.grid.cell_px} pixels."
            )
        if not self._inside.any():
            raise SettingsError(
                f"control.region {region} lies outside the frame of {geometry.shape} "
                f"pixels at {geometry.roi_origin}. Give (x, y, width, height) in "
                "pixels of the full chip."
            )
        cell_um = geometry.grid.cell_px * geometry.pixel_size_nm / 1000
        self._cell_um2 = cell_um**2
        self._lit = np.zeros(self._inside.shape, np.float32)  # weighted frames
        self._seen = 0.0  # the same of a cell that is always lit
        self._counts = self._inside

    @property
    def area_um2(self) -> float:
        """What counts now: the region without what never blinks."""
        return float(self._counts.sum()) * self._cell_um2

    def of(self, probability: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum the probabilities of frames, in their order.

        Parameters
        ----------
        probability : NDArray[np.float32], shape (n, rows, columns)
            Of the cells, padding included.

        Returns
        -------
        NDArray[np.float64], shape (n, 3)
            Expected emitters, their variance, and the area that counts (um2).
        """
        answers = np.empty((len(probability), 3))
        for i, p in enumerate(probability):
            here = p[self._counts].astype(np.float64)
            answers[i] = here.sum(), (here * (1 - here)).sum(), self.area_um2
            self._look_for_static(p)
        return answers

    def _look_for_static(self, p: NDArray[np.float32]) -> None:
        """Take note of the cells that are lit in nearly every frame."""
        keep = 1 - 1 / STATIC_FRAMES
        self._lit *= np.float32(keep)
        self._lit += p > STATIC_PROBABILITY
        self._seen = self._seen * keep + 1
        known = self._seen >= STATIC_FRAMES * (1 - keep**FIRST_FRAMES)
        static = self._lit > STATIC_SHARE * self._seen
        if known and static.any():
            self._counts = self._inside & ~_with_neighbours(static)
        else:
            self._counts = self._inside


class DensityBlocks:
    """Joins frames to blocks and says how dense they are.

    Parameters
    ----------
    stream_id : bytes
        Whose frames they are.
    response : sequence of (expected, true)
        See `bundle.ModelSpec`.
    block_frames : int
        Least frames in a block.
    """

    def __init__(
        self,
        stream_id: bytes,
        response: Sequence[tuple[float, float]] = (),
        *,
        block_frames: int,
    ) -> None:
        self._stream_id, self._block_frames = stream_id, block_frames
        self._response = response
        self._frames: list[int] = []
        self._parts: list[NDArray[np.float64]] = []
        self._sigmas: list[NDArray[np.float64]] = []
        self._sum = self._count = 0.0

    @property
    def mean_per_um2(self) -> float:
        """Mean density of all frames so far."""
        return self._sum / self._count if self._count else 0.0

    def add(
        self, localized: Localized, t_ns: Callable[[int], int]
    ) -> BlockDensity | None:
        """Add frames; give the block that they complete.

        Parameters
        ----------
        localized : Localized
            The frames.
        t_ns : Callable[[int], int]
            When a frame was read out, on the bridge's clock.
        """
        if len(localized.frames):
            self._frames += localized.frames.tolist()
            self._parts.append(localized.expected)
            table = localized.localizations
            variance = (table["x_sigma_nm"] ** 2 + table["y_sigma_nm"] ** 2) / 2
            self._sigmas.append(np.sqrt(variance))
        if len(self._frames) < self._block_frames:
            return None
        return self._close(t_ns(self._frames[-1]))

    def _close(self, t_ns: int) -> BlockDensity:
        """Say how dense the frames at hand are, and begin anew."""
        expected, variance, area = np.concatenate(self._parts).T
        sigmas = np.concatenate(self._sigmas)
        mean, mean_area = float(expected.sum()), max(float(area.sum()), 1e-9)
        per_um2, slope = self._true(mean / mean_area)
        block = BlockDensity(
            stream_id=self._stream_id,
            first_seq=self._frames[0],
            last_seq=self._frames[-1],
            frames=len(self._frames),
            t_ns=t_ns,
            per_um2=per_um2,
            sigma_per_um2=slope * math.sqrt(variance.sum()) / mean_area,
            area_um2=mean_area / len(self._frames),
            precision_nm=float(np.median(sigmas)) if len(sigmas) else 0.0,
        )
        self._sum += per_um2 * block.frames
        self._count += block.frames
        self._frames, self._parts, self._sigmas = [], [], []
        return block

    def _true(self, expected: float) -> tuple[float, float]:
        """Give the true density, and how steeply it rises with the expected one."""
        if not self._response:
            return expected, 1.0
        xs, ys = np.transpose([(0.0, 0.0), *self._response])
        i = int(np.clip(np.searchsorted(xs, expected) - 1, 0, len(xs) - 2))
        slope = float((ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))
        return float(ys[i] + slope * (expected - xs[i])), slope


def cells_within(geometry: Geometry, region: Region | None) -> NDArray[np.bool_]:
    """Tell which cells have their centre in a region: (rows, columns), padded."""
    height, width = geometry.shape
    cell = geometry.grid.cell_px
    cells = geometry.grid.cells(geometry.shape)
    row, column = (np.arange(n) * cell + (cell - 1) / 2 for n in cells)
    x0, y0 = geometry.roi_origin
    left, top, wide, high = region or (x0, y0, width, height)
    across = (column < width - 0.5) & (column + x0 >= left - 0.5)
    across &= column + x0 < left + wide - 0.5
    down = (row < height - 0.5) & (row + y0 >= top - 0.5)
    down &= row + y0 < top + high - 0.5
    inside: NDArray[np.bool_] = down[:, None] & across
    return inside


def _with_neighbours(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add the eight cells around each."""
    wide = np.pad(cells, 1)
    rows, columns = cells.shape
    parts = [wide[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    joined: NDArray[np.bool_] = np.logical_or.reduce(parts)
    return joined
