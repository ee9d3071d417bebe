"""Curves of a session: what became of density, light, precision and time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.broadcast.status import Activation, finite

from .bins import LAST_FRAME
from .on_time import OnTimeSample
from .series import SCALES, SERIES, OfRows, OnTime, PerFrame, Series, StatusSeries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

PIECE = 8192  # rows: bounds how long a reader of points waits
ALL_COUNT = 1 << 22  # rows, of which all count in medians; then every second, ...
_COLUMNS = {
    "photons": ("photons",),
    "background": ("background",),
    "precision": ("x_sigma_nm", "y_sigma_nm"),
}


class Traces:
    """Curves over the frame number, in bounded memory however long a session is.

    Of rows per frame they show the mean and the quantiles 10 and 90 % over frames,
    frames without any included; of photons, background and lateral uncertainty (the
    larger of x and y) the median and the same quantiles (of all of the first four
    million rows, of every second of as many more, and so on); of the on-time what
    `OnTimeSample` says; of everything else, which the engine or the window reports,
    the mean, the lowest and the highest. A curve has at most 512 points, which stand
    for twice as many frames each whenever there is no room for another.

    The bins of what is in rows do not depend on the pieces in which rows come, as
    long as they are in the order of their frames. Safe to use from several threads.

    Attributes
    ----------
    series : dict[str, Series]
        By name, in the order of `SERIES`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held briefly; readers may wait for it
        self._writing = threading.Lock()  # held through a call that adds
        self._per_frame = PerFrame("localizations", self._lock)
        self._medians = {name: OfRows(name, self._lock) for name in _COLUMNS}
        self._on_time = OnTime("on_time", self._lock)
        of_rows = {"localizations": self._per_frame, "on_time": self._on_time}
        self._status_series = {
            name: StatusSeries(name, self._lock)
            for name in SERIES
            if name not in of_rows and name not in _COLUMNS
        }
        known: dict[str, Series] = {**of_rows, **self._medians, **self._status_series}
        self.series = {name: known[name] for name in SERIES}
        self._sample = OnTimeSample()
        self._settled = -1
        self._rows = 0

    @property
    def revision(self) -> int:
        """Grows whenever a curve changes."""
        return sum(series.revision for series in self.series.values())

    @property
    def newest_frame(self) -> int:
        """The newest frame of which rows came, or which is known to be without; -1."""
        return self._per_frame.newest_frame

    def clear(self) -> None:
        """Forget everything: another session begins."""
        with self._writing, self._lock:
            for series in self.series.values():
                series.clear()
            self._sample = OnTimeSample()
            self._settled = -1
            self._rows = 0

    def add_rows(self, rows: Localizations) -> None:
        """Add rows, in the order of their frames and in pieces of any size.

        Rows that are late, frames of others having come before, count in the
        medians and in the mean of rows per frame, and not in the rest.
        """
        with self._writing:
            start = 0
            while start < len(rows):
                step = 1  # of the rows that medians rest on
                while step * ALL_COUNT <= self._rows:
                    step *= 2
                room = step * ALL_COUNT - self._rows
                piece = rows[start : start + min(PIECE, room)]
                self._add_piece(piece, piece[-self._rows % step :: step])
                self._rows += len(piece)
                start += len(piece)

    def _add_piece(self, rows: Localizations, counted: Localizations) -> None:
        frames = rows["frame"].astype(np.int64)
        usable = (frames >= 0) & (frames < LAST_FRAME)
        if not usable.all():
            rows, frames = rows[usable], frames[usable]
        if not len(rows):
            return
        newest = np.maximum.accumulate(frames)
        in_time = (frames == newest) & (frames >= self._per_frame.newest_frame)
        if in_time.all():
            punctual, late = rows, frames[:0]
        else:
            punctual, late = rows[in_time], frames[~in_time]
        runs = self._sample.add(punctual)
        medians = [self._cells(name, counted) for name in _COLUMNS]
        with self._lock:
            self._per_frame.put(frames[in_time], late)
            for series, where, cells in medians:
                series.put(where, cells)
            self._on_time.put(*runs)

    def _cells(
        self, name: str, rows: Localizations
    ) -> tuple[OfRows, NDArray[np.int64], NDArray[np.int64]]:
        """Sort a quantity of rows into the cells of its histogram."""
        frames, columns = rows["frame"].astype(np.int64), _COLUMNS[name]
        values = rows[columns[0]]
        for other in columns[1:]:
            values = np.maximum(values, rows[other])
        known = np.isfinite(values) & (frames >= 0) & (frames < LAST_FRAME)
        if name == "precision":
            known &= values > 0  # 0 where a table says nothing of it
        if not known.all():
            frames, values = frames[known], values[known]
        return self._medians[name], frames, SCALES[name].cell(values)

    def add_status(self, status: Mapping[str, Any]) -> None:
        """Add what an engine says, at the frame that it says it is at.

        Without a frame number nothing is added; what is odd is left out.
        """
        frame = finite(status.get("frames"))
        if frame is None or not 0 <= frame < LAST_FRAME:
            return
        at = int(frame)
        latency, slow = (
            finite(status.get(name)) for name in ("latency_ms", "latency_p99_ms")
        )
        lost = status.get("lost")
        losses = None
        if isinstance(lost, dict):
            losses = sum(filter(None, map(finite, lost.values())))
        values = {
            "density": finite(status.get("density_per_um2")),
            "losses": losses,
            "fps": finite(status.get("fps")),
        }
        laser = Activation.read(status)
        if laser is not None:
            values["density_target"] = laser.target_per_um2
            values["laser_power"] = laser.power
        with self._writing, self._lock:
            if laser is not None and laser.unit:
                self.series["laser_power"].unit = laser.unit
            for name, value in values.items():
                self._add_value(name, at, value)
            self._add_value("latency", at, latency, slow)
            self._end_frames(at, losses, finite(status.get("localized")))

    def add_screen_latency(self, ms: float) -> None:
        """Add a time from published to on screen, at the newest frame."""
        if finite(ms) is not None and self.newest_frame >= 0:
            with self._writing, self._lock:
                self._add_value("screen_latency", self.newest_frame, ms)

    def _add_value(
        self, name: str, frame: int, value: float | None, high: float | None = None
    ) -> None:
        if value is not None:
            self._status_series[name].add(frame, value, high)

    def _end_frames(
        self, frames: int, losses: float | None, localized: float | None
    ) -> None:
        """Mark frames without rows as complete, where no later row shows it for long.

        Frames are done in their order, so all but those on their way are done. Their
        rows may come a little after a status: the status before this one counts.
        """
        if localized is None:
            return
        self._per_frame.end(self._settled)
        done = int(min(localized + (losses or 0.0), frames))
        self._settled = max(self._settled, done - 1)
