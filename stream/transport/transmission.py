"""From a source to the engine and the disk: one acquisition, start to end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from ..errors import (
    RecordingError,
    SourceAborted,
    SourceError,
    SourceFinished,
    StreamError,
)
from ..frames import StreamEnd

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from ..frames import EndStatus, Frame, FrameSource, StreamStart
    from .sender import FrameSender

_PATIENCE_S = 10.0  # for an engine that has to be started again
_ABORT_S = 2.0
_HURRY_S = 1.0  # twice: Ctrl-C has to end within 3 s
_log = logging.getLogger(__name__)


class Recorder(Protocol):
    """Writes frames to disk; `FrameRecorder` is one."""

    def append(self, frame: Frame) -> None:
        """Keep one frame, or raise RecordingError."""
        ...

    def close(self, end: StreamEnd | None = None) -> None:
        """Write how the stream ended. Idempotent."""
        ...


class _NoEngine:
    """Takes the place of the sender where a recording is all: counts the frames."""

    def __init__(self, start: StreamStart) -> None:
        self._stream_id = start.stream_id
        self.last_seq, self.missing_total, self._kept = -1, 0, 0

    def offer(self, frame: Frame) -> None:
        self.last_seq, self.missing_total = frame.header.seq, frame.header.missing_total
        self._kept += 1

    def finish(
        self, status: EndStatus, reason: str, _: float, *, missing: int
    ) -> StreamEnd:
        return StreamEnd(
            stream_id=self._stream_id,
            last_seq=self.last_seq + max(0, missing - self.missing_total),
            sent=self._kept,
            dropped=0,
            missing=missing,
            status=status,
            reason=reason,
        )


def transmit(
    source: FrameSource,
    sender: FrameSender | None = None,
    recorder: Recorder | None = None,
    progress: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    on_disk_failure: Callable[[str], None] | None = None,
) -> StreamEnd:
    """Record and send every frame of `source`, then END.

    A frame is recorded before it can be shed. When the disk fails the recording
    ends and the stream to the engine goes on; its END says ``failed``. The source is
    stopped in any case; the caller closes it and the sender.

    Parameters
    ----------
    source : FrameSource
        Its ``start`` is that of the sender.
    sender : FrameSender, optional
        Not finished yet. Without it the frames are only recorded, and `sent` of the END
        counts those.
    recorder : Recorder, optional
        Closed with the END.
    progress : Callable[[int], None], optional
        Called with the number of exposures so far, after each frame.
    stop : threading.Event, optional
        Set when the user waits for the end: then an engine that makes no progress for
        a second is not waited for.
    on_disk_failure : Callable[[str], None], optional
        Called at once with the reason when the recording ends before the stream.

    Returns
    -------
    StreamEnd
        ``ok``, with a reason if a rule ended it; ``aborted`` by Ctrl-C, by
        `SourceAborted` or before all expected frames came; ``failed`` with the reason
        when the camera, the disk or the stream failed.

    Raises
    ------
    RecordingError
        Only without a sender: the disk refused the end of the recording.
    """
    to = sender or _NoEngine(source.start)
    status, reason = _transmit(source, to, recorder, progress, on_disk_failure)
    timeout_s = _PATIENCE_S if status == "ok" else _ABORT_S
    if stop is not None and stop.is_set():
        timeout_s = _HURRY_S
    end = to.finish(status, reason, timeout_s, missing=source.missing)
    if recorder is not None:
        try:
            recorder.close(end)
        except RecordingError as error:
            if sender is None:
                raise
            _log.error("%s", error)
    return end


def _transmit(
    source: FrameSource,
    sender: FrameSender | _NoEngine,
    recorder: Recorder | None,
    progress: Callable[[int], None] | None,
    on_disk_failure: Callable[[str], None] | None,
) -> tuple[EndStatus, str]:
    """Move every frame; return the status and reason of the END."""
    disk_failure = ""
    try:
        for frame in source.frames():
            if recorder is not None and not disk_failure:
                try:
                    recorder.append(frame)
                except RecordingError as error:
                    if isinstance(sender, _NoEngine):
                        return "failed", str(error)
                    disk_failure = str(error)
                    _log.error("%s", error)
                    if on_disk_failure is not None:
                        on_disk_failure(f"the recording has ended: {error}")
            sender.offer(frame)
            if progress is not None:
                progress(frame.header.seq + 1)
    except KeyboardInterrupt:
        return "aborted", "stopped by the user"
    except SourceFinished as error:
        return "ok", str(error)
    except SourceAborted as error:
        return "aborted", str(error)
    except (SourceError, StreamError) as error:
        return "failed", str(error)
    finally:
        source.stop()
    if disk_failure:
        return "failed", disk_failure
    seen = sender.last_seq + 1 + max(0, source.missing - sender.missing_total)
    if seen < source.start.expected_frames:
        planned = source.start.expected_frames
        return "aborted", f"stopped after {seen} of {planned} exposures"
    return "ok", ""
