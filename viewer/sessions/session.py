"""What a window watches: a running session or a finished one, behind one face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from liveloc.stream.broadcast.status import EngineStatus
    from liveloc.stream.preview import Preview

    from ..curves.traces import Traces
    from ..data.document import Document
    from .live import State
    from .recorded_frames import RecordedFrames


class SessionView(Protocol):
    """A session, followed in the background; what it says may change any time."""

    @property
    def document(self) -> Document | None:
        """Its rows and what is drawn from them; None until the field is known.

        A new object means another session, whose view begins anew.
        """
        ...

    @property
    def figures(self) -> EngineStatus:
        """The numbers of the status line."""
        ...

    @property
    def traces(self) -> Traces:
        """Curves over the session."""
        ...

    @property
    def preview(self) -> Preview | None:
        """The newest raw frame with its rows; None where there is none."""
        ...

    @property
    def recorded(self) -> RecordedFrames | None:
        """Its raw frames; None while it runs, or where none were recorded."""
        ...

    @property
    def end_status(self) -> str:
        """How it ended (``ok``, ``aborted``, ...); empty while it lasts."""
        ...

    @property
    def complete(self) -> bool:
        """Whether it has ended and every row of it is in the document."""
        ...

    @property
    def failure(self) -> Exception | None:
        """What ended the following itself."""
        ...

    @property
    def newest_published_ns(self) -> int:
        """When the rows that came last were published; 0 where unknown.

        The first of them, on the monotonic clock of this machine.
        """
        ...

    def state(self) -> State:
        """Return the present state of the session."""
        ...

    def close(self) -> None:
        """Stop following, close files and sockets. Idempotent."""
        ...
