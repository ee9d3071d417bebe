"""The density of emitters, in blocks of frames, for the bridge."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.density import BlockDensity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .localizer import Localized


class DensityBlocks:
    """Joins frames to blocks and measures the density of emitters in each.

    Parameters
    ----------
    stream_id : bytes
        The stream that the frames belong to.
    response : sequence of (expected, true)
        Response of the network, see `bundle.ModelSpec`.
    block_frames : int
        Fewest frames in a block.
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
        """Add frames; return the block that they complete, if any.

        Parameters
        ----------
        localized : Localized
            The next frames.
        t_ns : Callable[[int], int]
            Readout time of a frame on the bridge's clock.
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
        """Return the density of the frames at hand and start the next block."""
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
        """Return the true density and its slope against the expected one."""
        if not self._response:
            return expected, 1.0
        xs, ys = np.transpose([(0.0, 0.0), *self._response])
        i = int(np.clip(np.searchsorted(xs, expected) - 1, 0, len(xs) - 2))
        slope = float((ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]))
        return float(ys[i] + slope * (expected - xs[i])), slope
