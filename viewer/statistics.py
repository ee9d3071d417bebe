"""What the rows are like: histograms of their quantities, statistics of a region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream.localizations import Localizations
    from .document import Document
    from .viewport import Rect

ROWS_SAMPLED = 500_000  # of a region with more, medians are those of so many
BINS = 256
# Quantities by the names of the selection; lowest and highest value of the bins.
LOGARITHMIC = {
    "photons": (1.0, 1e7),
    "background": (1e-2, 1e6),
    "lateral_sigma_nm": (0.1, 1e4),
    "z_sigma_nm": (0.1, 1e5),
}


class _Bins:
    """Counts in `BINS` bins; values beyond the ends are in the bins there."""

    def __init__(self, low: float, high: float, *, logarithmic: bool) -> None:
        self.low, self.high = low, high
        self.logarithmic = logarithmic
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: NDArray[np.float32]) -> None:
        if self.logarithmic:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log(values)
        low, high = self._ends()
        values = values[np.isfinite(values)]
        place = (values - np.float32(low)) * np.float32(BINS / (high - low))
        place = np.clip(place, 0, BINS - 1).astype(np.int16)
        self.counts += np.bincount(place, minlength=BINS)

    def _ends(self) -> tuple[float, float]:
        if self.logarithmic:
            return float(np.log(self.low)), float(np.log(self.high))
        return self.low, self.high

    def edges(self) -> NDArray[np.float64]:
        if self.logarithmic:
            return np.geomspace(self.low, self.high, BINS + 1)
        return np.linspace(self.low, self.high, BINS + 1)


class _GrowingBins(_Bins):
    """Bins of a width that doubles until every value has one."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(low, high, logarithmic=False)

    def add(self, values: NDArray[np.float32]) -> None:
        values = values[np.isfinite(values)]
        if not values.size:
            return
        while values.min() < self.low:
            self._double(down=True)
        while values.max() >= self.high:
            self._double(down=False)
        super().add(values)

    def _double(self, *, down: bool) -> None:
        span = self.high - self.low
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        empty = np.zeros_like(pairs)
        if down:
            self.low -= span
            self.counts = np.concatenate([empty, pairs])
        else:
            self.high += span
            self.counts = np.concatenate([pairs, empty])


class ColumnHistograms:
    """Histograms of every quantity that rows are selected by, kept up as rows come.

    256 bins each, for ever. Not for two threads at once.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget every row."""
        self.rows = 0
        self._bins: dict[str, _Bins] = {
            name: _Bins(*ends, logarithmic=True) for name, ends in LOGARITHMIC.items()
        }
        self._bins["probability"] = _Bins(0.0, 1.0, logarithmic=False)
        self._bins["z_nm"] = _GrowingBins(-64.0, 64.0)
        self._bins["frame"] = _GrowingBins(0.0, float(BINS))

    def add(self, rows: Localizations) -> None:
        """Count rows."""
        self.rows += len(rows)
        for name, bins in self._bins.items():
            bins.add(_quantity(rows, name))

    def histogram(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Give (edges, counts) of a quantity by its name in a `Selection`.

        Values beyond the outer edges are in the outer bins; rows without a value
        are in none. Copies.
        """
        bins = self._bins[name]
        return bins.edges(), bins.counts.copy()

    def percentile(self, name: str, percent: float) -> float:
        """Give a percentile to the width of a bin; NaN without any value."""
        edges, counts = self.histogram(name)
        total = int(counts.sum())
        if not total:
            return float("nan")
        below = np.concatenate([[0], np.cumsum(counts)])
        return float(np.interp(total * percent / 100.0, below, edges))


def _quantity(rows: Localizations, name: str) -> NDArray[np.float32]:
    if name == "lateral_sigma_nm":
        return np.asarray(np.maximum(rows["x_sigma_nm"], rows["y_sigma_nm"]))
    return np.asarray(rows[name])


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStatistics:
    """The rows in a rectangle, as shown (selection and drift applied).

    Medians are of rows that have the value; NaN where none has.

    Attributes
    ----------
    rows : int
        How many there are.
    sampled : int
        On how many of them medians and percentiles rest.
    area_um2, per_um2 : float
        The rectangle, and rows per area of it.
    per_frame : float
        Rows per frame, from the first frame of the document to the last.
    photons, background, lateral_sigma_nm : float
        Medians.
    z_nm : tuple[float, float]
        5th and 95th percentile.
    precision_nm : float
        Lateral localization precision from neighbours in consecutive frames.
    """

    rows: int
    sampled: int
    area_um2: float
    per_um2: float
    per_frame: float
    photons: float
    background: float
    lateral_sigma_nm: float
    z_nm: tuple[float, float]
    precision_nm: float


def region_statistics(
    document: Document, rect: Rect, *, limit: int = ROWS_SAMPLED
) -> RegionStatistics:
    """Describe the rows in a rectangle.

    Parameters
    ----------
    document : Document
        Locked for moments only.
    rect : Rect
        Edges in nm; the right and the lower one do not belong to it.
    limit : int
        Of more rows, medians are those of so many.
    """
    raise NotImplementedError
