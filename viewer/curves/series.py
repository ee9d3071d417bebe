"""The kinds of curves of a session: reported, of rows, rows per frame, on-time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .bins import POINTS, Curve, FrameBins, Scale
from .on_time import mean_on_time

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from numpy.typing import NDArray

BAND = (0.1, 0.9)  # quantiles
ENOUGH = 256  # values that the newest figure of a median rests on
ENOUGH_FOR_POINT = 32  # and what a point of its curve rests on
ENOUGH_FRAMES = 50  # the same for the rows per frame

# Quantity: what it is called, its unit. In the order in which they are shown.
SERIES = {
    "density": ("Density", "/µm²"),
    "density_target": ("Target density", "/µm²"),
    "laser_power": ("Laser power", ""),
    "localizations": ("Localizations per frame", ""),
    "photons": ("Photons", ""),
    "background": ("Background", "/px"),
    "precision": ("Lateral precision", "nm"),
    "on_time": ("On-time", "frames"),
    "latency": ("Latency", "ms"),
    "screen_latency": ("Screen latency", "ms"),
    "losses": ("Frames lost", ""),
    "fps": ("Frame rate", "/s"),
}
SCALES = {
    "localizations": Scale(0.0, 1e6, offset=1.0),
    "photons": Scale(1.0, 1e7),
    "background": Scale(1e-2, 1e5),
    "precision": Scale(1e-1, 1e4),
}


class Series(ABC):
    """One curve: at most 512 points for ever.

    Attributes
    ----------
    name, label : str
        Key in `Traces.series`; what people call it.
    unit : str
        Of the values; empty for numbers, and until the unit of the laser is known.
    revision : int
        Grows whenever the points change.
    """

    def __init__(self, name: str, lock: threading.Lock) -> None:
        self.name = name
        self.label, self.unit = SERIES[name]
        self.revision = 0
        self._lock = lock
        self._newest: float | None = None
        self._made: tuple[int, Curve] | None = None
        self.clear()

    @property
    def newest(self) -> float | None:
        """The value of late; None before the first."""
        self.points()
        return self._newest

    def points(self) -> Curve:
        """Return frame numbers (middles of bins), low, middle and high values.

        What low, middle and high are says `Traces`. The arrays must not be written
        to. Takes about a millisecond after a change and no time else.
        """
        with self._lock:
            if self._made is not None and self._made[0] == self.revision:
                return self._made[1]
            revision, make = self.revision, self._taken()
        newest, curve = make()
        with self._lock:
            self._newest, self._made = newest, (revision, curve)
        return curve

    @abstractmethod
    def clear(self) -> None:
        """Forget everything (with the lock held)."""

    @abstractmethod
    def _taken(self) -> Callable[[], tuple[float | None, Curve]]:
        """Copy what the points are made of (with the lock held)."""


class StatusSeries(Series):
    """Values reported now and then: the lowest, the mean, the highest."""

    def clear(self) -> None:
        """Forget everything (with the lock held)."""
        self._sums = FrameBins(2, np.float64)
        self._low = FrameBins(1, np.float64, np.minimum, np.inf)
        self._high = FrameBins(1, np.float64, np.maximum, -np.inf)
        self._last: float | None = None
        self.revision += 1

    def add(self, frame: int, value: float, high: float | None = None) -> None:
        """Add one value, with the lock held."""
        at = np.array([frame], np.int64)
        self._sums.add(at, 0, value)
        self._sums.add(at, 1, 1.0)
        self._low.add(at, 0, value)
        self._high.add(at, 0, value if high is None else max(value, high))
        self._last = value
        self.revision += 1

    def _taken(self) -> Callable[[], tuple[float | None, Curve]]:
        x, last = self._sums.centres(), self._last
        total, count = self._sums.values.T.copy()
        low, high = self._low.values[:, 0].copy(), self._high.values[:, 0].copy()

        def make() -> tuple[float | None, Curve]:
            some = count > 0
            # A mean of equal numbers may come out a rounding error beside them.
            middle = np.clip(total[some] / count[some], low[some], high[some])
            return last, (x[some], low[some], middle, high[some])

        return make


class OfRows(Series):
    """A quantity of rows: the quantiles 10, 50 and 90 %, to 2.5 %."""

    def clear(self) -> None:
        """Forget everything (with the lock held)."""
        self._bins = FrameBins(SCALES[self.name].cells, np.uint32)
        self.revision += 1

    def put(self, frames: NDArray[np.int64], cells: NDArray[np.int64]) -> None:
        """Count rows, with the lock held."""
        if len(frames):
            self._bins.add(frames, cells, 1)
            self.revision += 1

    def _taken(self) -> Callable[[], tuple[float | None, Curve]]:
        x, counts = self._bins.centres(), self._bins.values.copy()

        def make() -> tuple[float | None, Curve]:
            scale = SCALES[self.name]
            per_bin = counts.sum(axis=1, dtype=np.int64)
            if not per_bin.any():
                return None, (x[:0],) * 4
            late = _newest(per_bin, ENOUGH)
            of_late = counts[late].sum(axis=0, dtype=np.int64)
            newest = float(scale.quantiles(of_late[None], (0.5,))[0][0])
            at, held = _together(x, counts, per_bin, ENOUGH_FOR_POINT)
            low, middle, high = scale.quantiles(held, (BAND[0], 0.5, BAND[1]))
            return newest, (at, low, middle, high)

        return make


class PerFrame(Series):
    """Rows per frame, from the first frame with any to the newest: 10 %, mean, 90 %."""

    def clear(self) -> None:
        """Forget everything (with the lock held)."""
        self._bins = FrameBins(SCALES[self.name].cells, np.uint32)
        self._rows = FrameBins(1, np.int64)
        self.first: int | None = None
        self.newest_frame = -1  # of which rows came, or which came to an end empty
        self._open = 0  # rows of that frame so far
        self.revision += 1

    def put(self, frames: NDArray[np.int64], late: NDArray[np.int64]) -> None:
        """Count rows, with the lock held.

        Parameters
        ----------
        frames : NDArray[np.int64]
            In order, none before the newest frame so far.
        late : NDArray[np.int64]
            Of rows that come after a later frame: they count in the mean only.
        """
        self._rows.add(late, 0, 1)
        if len(frames):
            self._rows.add(frames, 0, 1)
            which, counts = np.unique(frames, return_counts=True)
            if which[0] == self.newest_frame:
                counts[0] += self._open
            elif self._open:
                which = np.concatenate([[self.newest_frame], which])
                counts = np.concatenate([[self._open], counts])
            cells = SCALES[self.name].cell(counts[:-1].astype(np.float64))
            self._bins.add(which[:-1], cells, 1)
            self.first = int(which[0]) if self.first is None else self.first
            self.newest_frame, self._open = int(which[-1]), int(counts[-1])
        self.revision += 1

    def end(self, frame: int) -> None:
        """Mark `frame` and all before it as complete, with the lock held."""
        if self.first is None or frame <= self.newest_frame:
            return
        if self._open:
            cell = SCALES[self.name].cell(np.array([float(self._open)]))
            self._bins.add(np.array([self.newest_frame]), cell, 1)
        self.newest_frame, self._open = frame, 0
        self._bins.cover(frame)
        self._rows.cover(frame)
        self.revision += 1

    def _taken(self) -> Callable[[], tuple[float | None, Curve]]:
        if self.first is None:
            return lambda: (None, (np.zeros(0),) * 4)
        self._rows.cover(self.newest_frame)
        self._bins.cover(self.newest_frame)
        width, x = self._rows.width, self._rows.centres()
        counts, rows = self._bins.values.copy(), self._rows.values[:, 0].copy()
        first, newest, still_open = self.first, self.newest_frame, self._open

        def make() -> tuple[float | None, Curve]:
            scale = SCALES[self.name]
            if still_open:  # a frame usually comes in one piece
                cell = scale.cell(np.array([float(still_open)]))[0]
                counts[newest // width, cell] += 1
            edges = np.arange(POINTS + 1) * width
            within = np.clip(edges, first, newest + 1).astype(np.int64)
            frames = within[1:] - within[:-1]
            some = frames > 0
            filled = counts.sum(axis=1, dtype=np.int64)
            counts[:, 0] += np.maximum(frames - filled, 0).astype(np.uint32)
            low, high = scale.quantiles(counts[some], BAND)
            late = _newest(frames, ENOUGH_FRAMES)
            of_late = float(rows[late].sum() / frames[late].sum())
            mean = rows[some] / frames[some]
            return of_late, (x[some], low, mean, high)

        return make


class OnTime(Series):
    """Mean run of localizations in successive frames, with one standard error."""

    def clear(self) -> None:
        """Forget everything (with the lock held)."""
        self._bins = FrameBins(3, np.int64)
        self.revision += 1

    def put(
        self,
        frames: NDArray[np.int64],
        followed: NDArray[np.bool_],
        by_chance: NDArray[np.bool_],
    ) -> None:
        """Count answers of an `OnTimeSample`, with the lock held."""
        if len(frames):
            self._bins.add(frames, 0, 1)
            self._bins.add(frames[followed], 1, 1)
            self._bins.add(frames[by_chance], 2, 1)
            self.revision += 1

    def _taken(self) -> Callable[[], tuple[float | None, Curve]]:
        x, counts = self._bins.centres(), self._bins.values.copy()

        def make() -> tuple[float | None, Curve]:
            if not counts.any():
                return None, (x[:0],) * 4
            at, held = _together(x, counts, counts[:, 0], ENOUGH)
            low, middle, high = mean_on_time(*held.T.astype(float))
            late = counts[_newest(counts[:, 0], ENOUGH)].sum(axis=0, keepdims=True)
            newest = float(mean_on_time(*late.T.astype(float))[1][0])
            known = np.isfinite(middle)
            curve = (at[known], low[known], middle[known], high[known])
            return (newest if np.isfinite(newest) else None), curve

        return make


def _newest(counts: NDArray[np.int64], enough: int) -> slice:
    """Return the last bins, as many as hold `enough` together."""
    last = int(np.flatnonzero(counts)[-1])
    held = np.cumsum(counts[last::-1])
    return slice(last - min(int(np.searchsorted(held, enough)), last), last + 1)


def _together(
    x: NDArray[np.float64], bins: NDArray[Any], counts: NDArray[np.int64], enough: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Add up neighbouring bins, at least one of them not empty, to about `enough`.

    Returns
    -------
    NDArray[np.float64], shape (n,)
        Where they are on average.
    NDArray, shape (n, columns)
        Their sums.
    """
    some = counts > 0
    x, bins, counts = x[some], bins[some], counts[some]
    group = (np.cumsum(counts) - counts) // enough
    first = np.flatnonzero(np.diff(group, prepend=-1))
    if len(first) == len(group):
        return x, bins
    held = np.add.reduceat(counts, first)
    return np.add.reduceat(x * counts, first) / held, np.add.reduceat(bins, first)
