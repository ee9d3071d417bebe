"""The visible part of the sample, drawn at the screen's resolution, in the background.

The exact histogram (tiles) is always there; what is made here lies over it where the
screen can show more than it holds: every localization as a Gaussian, or a histogram
with finer pixels.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .view_layers import Drawing, coarsened, width_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..data.document import Document
    from ..image.colouring import DisplaySettings
    from ..image.layers import Layers, Mode
    from ..image.viewport import Viewport

PUBLISH_S = 0.1  # between two states of a view that is not finished
WORK_S = 0.004  # lent to the document at once
POLL_S = 0.02  # how soon new rows are noticed


@dataclass(frozen=True, slots=True)
class RenderedView:
    """What was drawn of a viewport.

    Attributes
    ----------
    viewport : Viewport
        What the layers cover; may have larger pixels than were asked for where
        finer ones would show nothing more.
    layers : Layers
        Localizations per pixel of the viewport; in mode ``density`` per um2.
    share : float
        Of the rows drawn so far, 0 to 1; brightness grows with it.
    revision : int
        The document's when its rows were last asked for.
    mode : Mode
        How a row was drawn.
    """

    viewport: Viewport
    layers: Layers
    share: float
    revision: int
    mode: Mode

    @property
    def per_um2(self) -> float:
        """What one unit of `layers.counts` is in localizations per um2."""
        return 1.0 if self.mode == "density" else 1e6 / self.viewport.pixel_nm**2


def needs_view(look: DisplaySettings, viewport: Viewport, document: Document) -> bool:
    """Return whether the histogram's tiles do not show all that this zoom could.

    They do where pixels of the screen are at least as large as those of the
    histogram and as twice the Gaussians' sigma (in mode ``sigma`` the median).
    """
    if viewport.pixel_nm < document.image.super_pixel_nm * 0.999:
        return True
    return viewport.pixel_nm < 2.0 * width_of(look, document)


def render_whole(
    document: Document, look: DisplaySettings, viewport: Viewport
) -> Layers:
    """Draw a viewport in one go, exactly at its pixels.

    Blocks as long as it takes; the document is locked for moments only.
    """
    with document.lock:
        drawing = Drawing(document, look, viewport)
    while drawing.step():
        pass
    return drawing.layers()


class RenderThread:
    """Draws what was asked for last, and keeps it up to date as rows come.

    A view that is being drawn is shown as it grows. New rows are added to a finished
    one when its next state is fetched: few large steps are cheaper than many small
    ones. When there is nothing to draw the document gets the time, to
    catch up with a changed selection.

    Parameters
    ----------
    document : Document
        What to draw; outlives this.
    on_ready : callable
        Called in the thread when `latest` or `failure` has changed.

    Attributes
    ----------
    latest : RenderedView or None
        The newest state; None where the tiles suffice (see `needs_view`).
    failure : Exception or None
        Why the last request could not be drawn. The next one tries again.
    drawn_revision : int
        `latest` shows every row in view that the document had at this revision.
    """

    def __init__(self, document: Document, on_ready: Callable[[], None]) -> None:
        self.latest: RenderedView | None = None
        self.failure: Exception | None = None
        self.drawn_revision = -1
        self._document = document
        self._on_ready = on_ready
        self._condition = threading.Condition()
        self._asked: tuple[Viewport, DisplaySettings] | None = None
        self._taken: tuple[Viewport, DisplaySettings] | None = None
        self._drawing: Drawing | None = None
        self._published_s = 0.0
        self._fetched = False
        self._nudged = False  # asked for something since the last turn
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="render", daemon=True)
        self._thread.start()

    @property
    def current(self) -> bool:
        """Whether `latest` shows all that was asked for, of all rows there are."""
        if self._asked is not self._taken:
            return False
        drawing = self._drawing
        if drawing is None:
            return self.latest is None
        return drawing.complete and not drawing.fresh

    def request(self, viewport: Viewport, look: DisplaySettings) -> None:
        """Request a view; an earlier request is dropped. Never blocks."""
        with self._condition:
            self._asked, self._nudged = (viewport, look), True
            self._condition.notify()

    def fetch(self) -> None:
        """Request the present state of a finished view. Never blocks."""
        with self._condition:
            self._fetched = self._nudged = True
            self._condition.notify()

    def close(self) -> None:
        """Stop and join. Idempotent."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> RenderThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._closing:
            try:
                busy = self._turn()
            except Exception as fault:  # shown by the window; the thread lives on
                self._drawing, self.failure, busy = None, fault, False
                self._on_ready()
            with self._condition:
                if not (busy or self._closing or self._nudged):
                    self._condition.wait(POLL_S)
                self._nudged = False

    def _turn(self) -> bool:
        """Do one piece of work; False when there is none."""
        if self._asked is not self._taken:
            self._taken = self._asked
            self.failure = None
            self._begin()
        if self.failure is not None:
            return False  # until the next request
        if self._drawing is not None and not self._drawing.valid:
            self._begin()
        drew = self._drawing is not None and self._due and self._drawing.step()
        self._publish()
        if drew and self._drawing is not None and not self._drawing.finished:
            return True
        return self._document.work(WORK_S) or drew

    @property
    def _due(self) -> bool:
        """Whether rows are to be drawn: to the end, then whenever it is fetched."""
        drawing = self._drawing
        if drawing is None:
            return False
        return self._fetched or not (drawing.finished and drawing.caught_up)

    def _begin(self) -> None:
        if self._taken is None:
            return
        viewport, look = self._taken
        with self._document.lock:
            if not needs_view(look, viewport, self._document):
                self._drawing = None
                if self.latest is not None:
                    self.latest = None
                    self._on_ready()
                return
            viewport = coarsened(viewport, look, self._document)
            same = self._drawing is not None and self._drawing.draws(look, viewport)
            if same and self._drawing is not None and self._drawing.valid:
                return
            self._drawing = Drawing(self._document, look, viewport)
        self._published_s = time.monotonic()

    def _publish(self) -> None:
        drawing = self._drawing
        if drawing is None or not drawing.fresh or not drawing.valid:
            if drawing is not None and drawing.valid and drawing.finished:
                self.drawn_revision = drawing.revision  # new rows, none in view
            return
        due = time.monotonic() - self._published_s >= PUBLISH_S
        if drawing.finished:
            caught_up = drawing.caught_up
            fetched = self._fetched and (caught_up or due)
            due = fetched or not drawing.published
            self._fetched = self._fetched and not (fetched and caught_up)
        if not due:
            return
        self.latest = RenderedView(
            drawing.viewport,
            drawing.layers(),
            drawing.share,
            drawing.revision,
            drawing.mode,
        )
        if drawing.finished:
            self.drawn_revision = drawing.revision
        drawing.fresh = False
        drawing.published = drawing.finished
        self._published_s = time.monotonic()
        self._on_ready()
