"""What a window watches: a running session or a finished one, behind one face."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..stream.preview import Preview
    from .document import Document
    from .live import Figures, State
    from .traces import Traces


class Watched(Protocol):
    """A session, followed in the background; every attribute may change any time.

    Attributes
    ----------
    document : Document or None
        The rows and what is drawn from them. None until the field is known; a new
        object means another session, whose view begins anew.
    figures : Figures
        Numbers of the status line.
    traces : Traces
        Curves over the session.
    preview : Preview or None
        The newest raw frame with its rows; None where nobody sends any.
    end_status : str
        How it ended (``ok``, ``aborted``, ...); empty while it lasts.
    complete : bool
        It has ended, and every row of it is in the document.
    failure : Exception or None
        What ended the following itself.
    """

    @property
    def document(self) -> Document | None: ...

    @property
    def figures(self) -> Figures: ...

    @property
    def traces(self) -> Traces: ...

    @property
    def preview(self) -> Preview | None: ...

    @property
    def end_status(self) -> str: ...

    @property
    def complete(self) -> bool: ...

    @property
    def failure(self) -> Exception | None: ...

    def state(self) -> State:
        """Say where the session stands now."""
        ...

    def close(self) -> None:
        """Stop following, let go of files and sockets. Idempotent."""
        ...
