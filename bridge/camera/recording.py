"""Recording a camera with no engine there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liveloc.stream.errors import (
    RecordingError,
    SourceAborted,
    SourceEnded,
    SourceError,
)
from liveloc.stream.frames import EndStatus, StreamEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from liveloc.stream.frames import FrameSource
    from liveloc.stream.recording.recorder import FrameRecorder


def record(
    source: FrameSource,
    recorder: FrameRecorder,
    progress: Callable[[int], None] | None = None,
) -> StreamEnd:
    """Write every frame of `source` to `recorder` and close it.

    Parameters
    ----------
    source : FrameSource
        Read to its end; the caller closes it.
    recorder : FrameRecorder
        Closed with the END that is returned.
    progress : Callable[[int], None], optional
        Told the number of exposures so far, after each frame.

    Returns
    -------
    StreamEnd
        ``ok``; ``aborted`` by Ctrl-C or before all expected frames came; ``failed``
        when the camera or the disk failed. `sent` counts the frames handed to the
        recorder.
    """
    status: EndStatus = "ok"
    reason, last_seq, kept, missing = "", -1, 0, 0
    try:
        for frame in source.frames():
            recorder.append(frame)
            last_seq, kept = frame.header.seq, kept + 1
            missing = frame.header.missing_total
            if progress is not None:
                progress(last_seq + 1)
    except KeyboardInterrupt:
        status, reason = "aborted", "stopped by the user"
    except SourceEnded as error:
        reason = str(error)
    except SourceAborted as error:
        status, reason = "aborted", str(error)
    except (SourceError, RecordingError) as error:
        status, reason = "failed", str(error)
    else:
        planned = source.start.expected_frames
        seen = last_seq + 1 + max(0, source.missing - missing)
        if seen < planned:
            status = "aborted"
            reason = f"stopped after {seen} of {planned} exposures"
    last_seq += max(0, source.missing - missing)  # lost after the last frame
    end = StreamEnd(
        stream_id=source.start.stream_id,
        last_seq=last_seq,
        sent=kept,
        dropped=0,
        missing=source.missing,
        status=status,
        reason=reason,
    )
    recorder.close(end)
    return end
