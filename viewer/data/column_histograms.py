"""How the quantities of all rows are distributed, for the sliders that select them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .compact import QUANTITIES, Z_ZERO, CompactRows, compacted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

MOST_BINS = 256
# What is smaller is counted with these: a logarithmic scale begins somewhere.
LOWEST = {
    "photons": 1.0,
    "background": 2.0**-6,
    "lateral_sigma_nm": 2.0**-3,
    "z_sigma_nm": 2.0**-2,
}
CODED = (
    "probability",
    "lateral_sigma_nm",
    "z_sigma_nm",
    "z_nm",
    "photons",
    "background",
)
FRAME = "frame"


class ColumnHistograms:
    """Histograms of every quantity that rows are selected by, kept up as rows come.

    Exact: counted are the whole numbers that `CompactRows` keeps. 3 MB for ever. Not
    for two threads at once.

    Attributes
    ----------
    rows : int
        How many were counted.
    first_frame, last_frame : int
        Lowest and highest frame number so far; 0 and -1 without any row.
    has_depth : bool
        Whether any z was not 0 so far.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every row."""
        self.rows = 0
        self.first_frame, self.last_frame = 0, -1
        self._counts = {name: np.zeros(len(_values(name)), np.int64) for name in CODED}
        self.has_depth = False
        self._frame_shift = 0  # a bin of frames is 2**shift wide
        self._frame_counts = np.zeros(MOST_BINS, np.int64)

    def add(self, rows: Localizations, compact: CompactRows | None = None) -> None:
        """Count rows.

        Parameters
        ----------
        rows : Localizations, shape (n,)
            Copied from.
        compact : CompactRows, optional
            The same rows `compacted`, where the caller has them.
        """
        if not len(rows):
            return
        kept = (compacted(rows) if compact is None else compact).kept
        self.rows += len(rows)
        for name, counts in self._counts.items():
            codes = _lateral(kept) if name == "lateral_sigma_nm" else kept[name]
            np.add.at(counts, codes, 1)
        if not self.has_depth:
            z = kept["z_nm"]
            self.has_depth = bool(np.any((z != Z_ZERO) & (z != 0)))
        self._add_frames(kept[FRAME])

    def histogram(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the distribution of a quantity by its name in a `Selection`.

        Returns
        -------
        edges : NDArray[np.float64], shape (bins + 1,)
            Ascending, around the values there are, above 0 for what a logarithmic
            scale suits (`LOWEST`). Bins get wider by factors of 2 as the range
            grows; of a quantity in `LOWEST` the wider, the larger the value.
        counts : NDArray[np.int64], shape (bins,)
            At most 256. Rows without a value are in none; what is smaller than
            `LOWEST` is in the first.
        """
        if name == FRAME:
            used = (max(0, self.last_frame) >> self._frame_shift) + 1
            edges = np.arange(used + 1, dtype=np.float64) * 2**self._frame_shift
            return edges, self._frame_counts[:used].copy()
        counts, first = self._known(name)
        occupied = np.flatnonzero(counts)
        if not occupied.size:  # around 0, or where the scale begins
            occupied = np.array([Z_ZERO - 1 if name == "z_nm" else 0])
        low, high = occupied[0], occupied[-1]
        low, high = int(low) + first, int(high) + first
        shift = 0
        while (high >> shift) - (low >> shift) >= MOST_BINS:
            shift += 1
        starts = np.arange(low >> shift, (high >> shift) + 2) << shift
        places = np.clip(starts - first, 0, len(counts))
        sums = np.concatenate([[0], np.cumsum(counts)])[places]
        return _edges(name, starts), np.diff(sums)

    def percentile(self, name: str, percent: float) -> float:
        """Return a percentile, NaN without any value; not of frames."""
        counts, first = self._known(name)
        below = np.cumsum(counts)
        if not below[-1]:
            return float("nan")
        code = int(np.searchsorted(below, below[-1] * percent / 100.0))
        return float(_values(name)[first + min(code, len(counts) - 1)])

    def _known(self, name: str) -> tuple[NDArray[np.int64], int]:
        """Return the counts of codes from `first` on, smaller ones among the first."""
        first = _first_code(name)
        counts = self._counts[name][first:].copy()
        counts[0] += self._counts[name][1:first].sum()
        return counts, first

    def _add_frames(self, frames: NDArray[np.unsignedinteger[Any]]) -> None:
        low, high = int(frames.min()), int(frames.max())
        self.first_frame = min(low, self.first_frame) if self.last_frame >= 0 else low
        self.last_frame = max(high, self.last_frame)
        while high >> self._frame_shift >= MOST_BINS:
            pairs = self._frame_counts.reshape(-1, 2).sum(axis=1)
            self._frame_counts[...] = 0
            self._frame_counts[: len(pairs)] = pairs
            self._frame_shift += 1
        np.add.at(self._frame_counts, frames >> np.uint32(self._frame_shift), 1)


def _values(name: str) -> NDArray[np.float32]:
    """Return what each code of a quantity stands for."""
    return QUANTITIES["x_sigma_nm" if name == "lateral_sigma_nm" else name].values


def _first_code(name: str) -> int:
    """Return the lowest code that has a bin; 0 says that there is no value."""
    if name not in LOWEST:
        return 1
    return int(np.searchsorted(_values(name)[1:], LOWEST[name])) + 1


def _edges(name: str, codes: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the values halfway between these codes and the ones before them."""
    values = _values(name)[1:].astype(np.float64)
    beyond = [2 * values[0] - values[1]], [2 * values[-1] - values[-2]]
    values = np.concatenate([[np.nan], beyond[0], values, beyond[1]])
    codes = np.clip(codes, _first_code(name), len(values) - 2) + 1
    edges = 0.5 * (values[codes - 1] + values[codes])
    if name == "probability":
        edges = np.clip(edges, 0.0, 1.0)
    return np.asarray(edges, np.float64)


def _lateral(kept: dict[str, NDArray[Any]]) -> NDArray[Any]:
    """Return the code of the larger of two sigmas; none where one is not known."""
    x, y = kept["x_sigma_nm"], kept["y_sigma_nm"]
    return np.asarray(np.maximum(x, y) * (np.minimum(x, y) > 0))
