"""Records a stream in its own thread, before anything else may slow it down."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RecordingError
from .segments import SEGMENT_BYTES, SegmentWriter

if TYPE_CHECKING:
    from ..frames import Frame, StreamEnd, StreamStart

SYNC_INTERVAL_S = 1.0
SYNC_BYTES = 256 << 20
QUEUE_BYTES = 256 << 20
WARN_FREE_BYTES = 2 << 30
WARN_LEFT_S = 60.0
STOP_FREE_BYTES = 256 << 20
CLOSE_S = 60.0

_log = logging.getLogger(__name__)


class FrameRecorder:
    """A bounded queue, and a thread that empties it into a `SegmentWriter`.

    When the disk does not keep up, `append` waits up to `wait_s`. When it still
    has no room, or the disk fails or is nearly full, the recording ends: what
    was written is whole, every later `append` raises. Killing the process loses
    the frames in the queue and none of those counted by `written`.

    Parameters
    ----------
    folder : str or Path
        Must not hold a recording.
    start : StreamStart
    queue_bytes : int
        Pixels that may wait for the disk.
    wait_s : float
        How long `append` may wait for room.
    warn_free_bytes, stop_free_bytes : int
        Free space below which `warning` says so, and the recording ends.

    Raises
    ------
    SettingsError
        The folder holds a recording.
    RecordingError
        The disk refused it, or has no room to begin with.
    """

    def __init__(
        self,
        folder: str | Path,
        start: StreamStart,
        *,
        queue_bytes: int = QUEUE_BYTES,
        wait_s: float = 5.0,
        warn_free_bytes: int = WARN_FREE_BYTES,
        stop_free_bytes: int = STOP_FREE_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder, self._queue_bytes, self._wait_s = (
            Path(folder),
            queue_bytes,
            wait_s,
        )
        self._warn_free, self._stop_free = warn_free_bytes, stop_free_bytes
        self._frame_bytes = start.frame_nbytes
        self._writer = SegmentWriter(folder, start, segment_bytes=segment_bytes)
        self._queue: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._error: RecordingError | None = None
        self._reported = False
        self._warning = ""
        self._checked_at, self._checked_frames = time.monotonic(), 0
        self._unsynced = 0
        try:
            self._check_disk()
        except RecordingError:
            self._writer.close()
            raise
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Frames handed to the operating system."""
        return self._writer.frames

    @property
    def queued(self) -> int:
        """Frames that wait for the disk."""
        return len(self._queue)

    @property
    def warning(self) -> str:
        """What the operator should know of the disk now; empty if all is well."""
        return str(self._error) if self._error else self._warning

    def append(self, frame: Frame) -> None:
        """Queue a frame; it must not be written to any more.

        Raises
        ------
        RecordingError
            The recording has ended; `frame` and all later ones are not in it.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_room, self._wait_s):
                self._fail(
                    RecordingError(
                        f"{self._folder}: the disk did not take a frame within "
                        f"{self._wait_s:g} s while {len(self._queue)} frames wait. The "
                        "recording ends; use a faster disk or fewer pixels."
                    )
                )
            if self._error is not None:
                self._reported = True
                raise self._error
            if self._closing:
                raise RecordingError(f"{self._folder}: the recording was closed")
            self._queue.append(frame)
            self._changed.notify_all()

    def _has_room(self) -> bool:
        full = (len(self._queue) + 1) * self._frame_bytes > self._queue_bytes
        return not (full and self._queue) or self._error is not None

    def close(self, end: StreamEnd | None = None) -> None:
        """Write what waits, then END, and stop the thread. Idempotent.

        Parameters
        ----------
        end : StreamEnd, optional
            Without it the recording reads like one that was interrupted.

        Raises
        ------
        RecordingError
            The disk failed and no `append` has reported it yet, or END could not be
            written.
        """
        with self._changed:
            first, self._closing = not self._closing, True
            self._changed.notify_all()
        if not first:
            return
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            raise RecordingError(
                f"{self._folder}: the disk hangs since {CLOSE_S:g} s with "
                f"{len(self._queue)} frames to write. {self.written} frames are whole."
            )
        if self._error is not None and end is not None:
            end = replace(end, status="failed", reason=str(self._error))
        self._writer.close(end)
        if self._error is not None and not self._reported:
            self._reported = True
            raise self._error

    def __enter__(self) -> FrameRecorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fail(self, error: RecordingError) -> None:
        if self._error is None:
            self._error = error
            _log.error("%s", error)

    def _run(self) -> None:
        """Write until closed and empty, or the disk fails."""
        try:
            while self._write_next():
                self._keep_house()
        except RecordingError as error:
            failed = error
        except OSError as error:
            failed = RecordingError(f"{self._folder}: the disk failed: {error}")
        else:
            return
        with self._changed:
            self._fail(failed)
            self._queue.clear()
            self._changed.notify_all()

    def _write_next(self) -> bool:
        """Write one frame if there is one within a second; False when done."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._queue or self._closing, SYNC_INTERVAL_S
            )
            if not self._queue:
                return not self._closing
            frame = self._queue[0]  # stays in the queue, and counted, until written
        self._writer.append(frame)
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()
        self._unsynced += self._frame_bytes
        return True

    def _keep_house(self) -> None:
        """Bring frames to the disk and look at its room, about once a second."""
        waited = time.monotonic() - self._checked_at >= SYNC_INTERVAL_S
        if self._unsynced and (waited or self._unsynced >= SYNC_BYTES):
            self._writer.sync()
            self._unsynced = 0
        if waited:
            self._check_disk()

    def _check_disk(self) -> None:
        """Warn of a disk that fills up; raise when it is full."""
        free = shutil.disk_usage(self._folder).free
        now, frames = time.monotonic(), self.written
        rate = (frames - self._checked_frames) * self._frame_bytes
        rate_s = rate / max(now - self._checked_at, 1e-3)
        self._checked_at, self._checked_frames = now, frames
        if free < self._stop_free:
            raise RecordingError(
                f"{self._folder}: {free >> 20} MiB are free, "
                f"{self._stop_free >> 20} MiB are kept free. The recording "
                f"ends after {frames} frames, all whole; make room on the disk or "
                "record elsewhere."
            )
        before, self._warning = self._warning, ""
        if free < self._warn_free:
            self._warning = f"{self._folder}: only {free >> 20} MiB are free"
        elif rate_s and free / rate_s < WARN_LEFT_S:
            self._warning = f"{self._folder}: full in {free / rate_s:.0f} s"
        if self._warning and not before:
            _log.warning("%s", self._warning)
