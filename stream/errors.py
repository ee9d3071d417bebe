"""Everything that can go wrong in a stream, as one tree.

::

    LivelocError                      one clear line for the user, exit code 2
    ├── SettingsError (ValueError)    a setting, a file or a device named wrongly
    ├── StreamError
    │   ├── MessageError (ValueError) a message that breaks the protocol
    │   └── OverflowStop (BufferError) policy ``stop``: no room for a frame
    ├── SourceError (OSError)         the camera or the movie failed
    │   └── SourceAborted             it was stopped on purpose, before its end
    └── RecordingError (OSError)      the disk refused a frame

`SourceFinished` is none of them: an acquisition that a rule ended has succeeded.
"""

from __future__ import annotations

import errno

_REMEDIES = {
    errno.ENOENT: "Check the path.",
    errno.EACCES: "Check its permissions, or choose another place.",
    errno.EPERM: "Check its permissions, or choose another place.",
    errno.EROFS: "Choose a place that can be written to.",
    errno.ENOSPC: "Make room, or choose another disk.",
    errno.EDQUOT: "Make room, or choose another disk.",
    errno.EEXIST: "Choose another name.",
    errno.ENOTDIR: "A part of the path is a file: check the path.",
    errno.EISDIR: "Name a file, not a folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Its links lead in a circle: check the path.",
    errno.EIO: "Check the disk.",
}
_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


def refused_by_system(error: OSError) -> str | None:
    """Return one line for what the system refused; None for what may be a bug.

    Parameters
    ----------
    error : OSError
        Taken for the user's concern if it names a file, or is of a disk that is full,
        read-only or broken.
    """
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None or (error.filename is None and error.errno not in _OF_A_DISK):
        return None
    named = [
        str(name) for name in (error.filename, error.filename2) if name is not None
    ]
    where = f"{' and '.join(named)}: " if named else ""
    return f"{where}{(error.strerror or 'refused').lower()}. {remedy}"


class LivelocError(Exception):
    """Root of all errors meant for the user."""


class SettingsError(LivelocError, ValueError):
    """A setting, a file or a device that does not exist or does not fit."""


class StreamError(LivelocError):
    """A frame stream cannot go on."""


class MessageError(StreamError, ValueError):
    """A message that breaks the protocol.

    Parameters
    ----------
    reason : str
        Short name under which the message is counted (``rejected.<reason>``).
    detail : str
        What was seen, what was needed.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class OverflowStop(StreamError, BufferError):
    """Policy ``stop``: a frame found no room and none may be lost."""


class SourceError(LivelocError, OSError):
    """A camera or a movie that cannot deliver frames."""


class SourceAborted(SourceError):
    """The acquisition was stopped before its end; its frames so far are good."""


class SourceFinished(Exception):
    """Ends `FrameSource.frames` early, with the reason: as planned, and no error."""


class RecordingError(LivelocError, OSError):
    """The disk refused a frame; everything acknowledged before is on it."""
