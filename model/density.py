"""How many emitters are on in each frame: expected, not counted.

The probabilities of all cells are summed, whether or not they make a localization, so
that nothing is lost to a threshold and what is uncertain counts as far as it is likely.
The network is trained for this sum to be the number of emitters (see `training.loss`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .emitters import Geometry

Region = tuple[float, float, float, float]  # x, y, width, height, pixels of the chip

STATIC_PROBABILITY = 0.2  # a cell is lit above this; and no emitter if it is lit in
STATIC_SHARE = 0.95  # of the recent frames, about
STATIC_FRAMES = 100  # of them, and at least
FIRST_FRAMES = 50  # since the start


class ExpectedEmitters:
    """Sums the probabilities within a region, without anything that never blinks.

    Fiducial markers and dust do not blink: cells that are lit in nearly every frame,
    and their neighbours, are excluded together with their area. So are emitters that
    stay on for hundreds of frames.

    Parameters
    ----------
    geometry : Geometry
        Geometry of the frames.
    region : (x, y, width, height), optional
        In pixels of the full chip; by default the whole frame.

    Raises
    ------
    SettingsError
        The region lies outside the frame.
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
                f"pixels at {geometry.roi_origin}. It is (x, y, width, height) in "
                "pixels of the full chip."
            )
        cell_um = geometry.grid.cell_px * geometry.pixel_size_nm / 1000
        self._cell_um2 = cell_um**2
        self._lit = np.zeros(self._inside.shape, np.float32)  # weighted frames
        self._seen = 0.0  # the same for a cell that is always lit
        self._counts = self._inside

    @property
    def area_um2(self) -> float:
        """Area that counts now: the region without what never blinks, um2."""
        return float(self._counts.sum()) * self._cell_um2

    def of(self, probability: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sum the probabilities of frames, in their order.

        Parameters
        ----------
        probability : NDArray[np.float32], shape (n, rows, columns)
            Probability of each cell, padding included.

        Returns
        -------
        NDArray[np.float64], shape (n, 3)
            Expected emitters, their variance, and the area that counts (um2).
        """
        sums = np.empty((len(probability), 3))
        for i, p in enumerate(probability):
            here = p[self._counts].astype(np.float64)
            sums[i] = here.sum(), (here * (1 - here)).sum(), self.area_um2
            self._find_static(p)
        return sums

    def _find_static(self, p: NDArray[np.float32]) -> None:
        """Exclude the cells that are lit in nearly every frame."""
        keep = 1 - 1 / STATIC_FRAMES
        self._lit *= np.float32(keep)
        self._lit += p > STATIC_PROBABILITY
        self._seen = self._seen * keep + 1
        enough = self._seen >= STATIC_FRAMES * (1 - keep**FIRST_FRAMES)
        static = self._lit > STATIC_SHARE * self._seen
        if enough and static.any():
            self._counts = self._inside & ~_with_neighbours(static)
        else:
            self._counts = self._inside


def cells_within(geometry: Geometry, region: Region | None) -> NDArray[np.bool_]:
    """Return which cells have their centre in a region: (rows, columns), padded."""
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
