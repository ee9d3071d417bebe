"""Curves over frame numbers in bounded memory: bins that double when they are full.

Every bin adds up what can be added: counts, sums, histograms. So the bins are the
same whatever pieces the values came in, and whenever the bins were doubled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

POINTS = 512  # of a curve, at most
PER_DECADE = 48  # cells of a histogram: 4.9 % wide
LAST_FRAME = 1 << 53  # beyond it is no frame number

Curve = tuple[
    "NDArray[np.float64]",
    "NDArray[np.float64]",
    "NDArray[np.float64]",
    "NDArray[np.float64]",
]  # frame number, low, middle, high


class FrameBins:
    """`POINTS` bins of `width` frames each, from frame 0 on.

    Parameters
    ----------
    columns : int
        Numbers that a bin holds.
    dtype : dtype
        Of these.
    merge : ufunc
        Makes one bin of two.
    blank : float
        What an untouched bin holds; merging it changes nothing.

    Attributes
    ----------
    values : NDArray, shape (POINTS, columns)
        What the bins hold.
    width : int
        Frames that a bin covers, a power of two.
    """

    def __init__(
        self, columns: int, dtype: Any, merge: np.ufunc = np.add, blank: float = 0
    ) -> None:
        self.values: NDArray[Any] = np.full((POINTS, columns), blank, dtype)
        self.width = 1
        self._merge = merge
        self._blank = blank

    def cover(self, frame: int) -> None:
        """Double the bins until `frame` lies in one of them."""
        while frame // self.width >= POINTS:
            half = self._merge(self.values[0::2], self.values[1::2])
            self.values[: POINTS // 2] = half
            self.values[POINTS // 2 :] = self._blank
            self.width *= 2

    def add(self, frames: NDArray[np.int64], columns: Any, amount: float) -> None:
        """Merge an amount into a column of the bin of each of these frames.

        The frames are from 0 to `LAST_FRAME`; the column is one for all or one each.
        """
        if not len(frames):
            return
        self.cover(int(frames.max()))
        place = frames // self.width * self.values.shape[1] + columns
        # Of the bins' own type, else the ufunc takes a way fifty times as slow.
        self._merge.at(self.values.reshape(-1), place, self.values.dtype.type(amount))

    def centres(self) -> NDArray[np.float64]:
        """Return the middle of each bin as a frame number."""
        centres: NDArray[np.float64] = np.arange(0.5, POINTS) * self.width - 0.5
        return centres


class Scale:
    """The cells of a logarithmic histogram, and quantiles of what is in them.

    Parameters
    ----------
    low, high : float
        What lies beyond is counted in the first and last cell.
    offset : float
        Added to a value before its logarithm is taken: 1 for counts from 0 on.
    """

    def __init__(self, low: float, high: float, offset: float = 0.0) -> None:
        self._first = PER_DECADE * math.log10(low + offset)
        self._offset = offset
        last = PER_DECADE * math.log10(high + offset)
        self.cells = math.ceil(last - self._first - 1e-9)

    def cell(self, values: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return each value's cell."""
        with np.errstate(divide="ignore", invalid="ignore"):
            place = np.log10(values + self._offset) * PER_DECADE - self._first
        cells: NDArray[np.int64] = np.clip(place, 0, self.cells - 1).astype(np.int64)
        return cells

    def quantiles(
        self, counts: NDArray[np.integer], shares: Sequence[float]
    ) -> list[NDArray[np.float64]]:
        """Return the values below which these shares of each histogram lie.

        Parameters
        ----------
        counts : NDArray, shape (n, cells)
            Histograms, none of them empty.
        shares : sequence of float
            Each above 0 and at most 1.

        Returns
        -------
        list[NDArray], shape (n,)
            For each share; to about half the width of a cell, 2.5 %.
        """
        flat = np.cumsum(counts, dtype=np.int64)  # rises through all histograms
        ends = flat[self.cells - 1 :: self.cells]
        starts = np.concatenate([[0], ends[:-1]])
        first = np.arange(len(counts)) * self.cells
        found = []
        for share in shares:
            wanted = starts + share * (ends - starts)
            place = np.minimum(np.searchsorted(flat, wanted), first + self.cells - 1)
            inside = counts.reshape(-1)[place].astype(np.float64)
            part = 1.0 - (flat[place] - wanted) / np.maximum(inside, 1.0)
            logarithm = (self._first + place - first + part) / PER_DECADE
            found.append(np.maximum(10.0**logarithm - self._offset, 0.0))
        return found
