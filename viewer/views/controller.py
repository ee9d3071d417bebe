"""What the window shows and does, without a window."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..data.selection import Selection
from ..image.colouring import DisplaySettings
from ..image.viewport import Viewport
from .contrast import depth_range, steadied, tile_limit, view_limit
from .render_thread import RenderThread, needs_view
from .scene import Colours, Scene, common
from .view_layers import coarsened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..data.document import Document
    from ..data.drift_curve import Drift
    from ..image.layers import Mode
    from ..image.viewport import Rect
    from ..sessions.session import SessionView
    from .render_thread import RenderedView

CONTRAST_S = 0.25  # from one choice of the limit to the next
FETCH_S = 0.03  # a view that takes longer is painted as it was
COARSE_S = 2.0  # from look to look whether the rows' precision has changed
FINER = 0.45  # of a screen pixel: a view with smaller ones is from another zoom
MODES: dict[Mode, str] = {
    "sigma": "Gaussians of the predicted precision",
    "fixed": "Gaussians of one width",
    "histogram": "Histogram",
    "density": "Local density",
}


class Controller:
    """Follows what is session and makes scenes of it.

    Used by one thread; the drawing of views goes on in another.

    Parameters
    ----------
    session : SessionView
        What is shown.
    look : DisplaySettings
        How, to begin with.
    selection : Selection
        Of which rows.
    on_ready : callable
        Called in any thread when a view is ready.

    Attributes
    ----------
    document : Document or None
        That is followed now.
    look : DisplaySettings
        As the user chose it; `limit` None is automatic contrast.
    limit : float
        That was shown last, localizations per super-pixel.
    depth_range_nm : tuple[float, float] or None
        That was shown last; None while colour is intensity.
    region : Rect or None
        Chosen by the user.
    """

    def __init__(
        self,
        session: SessionView,
        *,
        look: DisplaySettings | None = None,
        selection: Selection | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.session = session
        self.look = look or DisplaySettings()
        self.selection = selection or Selection()
        self.document: Document | None = None
        self.limit = 1.0
        self.depth_range_nm: tuple[float, float] | None = None
        self.region: Rect | None = None
        self._on_ready = on_ready
        self._renderer: RenderThread | None = None
        self._asked: tuple[Viewport, DisplaySettings] | None = None
        self._asked_s = -10.0
        self._fetched_revision = -1
        self._fetching: tuple[RenderedView | None, float] | None = None
        self._chosen_at_s = -10.0
        self._chosen_for: tuple[Any, ...] = ()
        self._stale = False  # the contrast is from an earlier picture
        self._hidden_drift: Drift | None = None

    def follow(self) -> bool:
        """Take the session document; True when it is another one than before."""
        document = self.session.document
        if document is self.document:
            return False
        self._stop_drawing()
        self.document, self.region = document, None
        self._chosen_for, self._hidden_drift = (), None
        self._fetched_revision, self._fetching = -1, None
        if document is None:
            return True
        if document.selection != self.selection:
            document.select(self.selection)
        self._renderer = RenderThread(document, self._on_ready)
        return True

    def close(self) -> None:
        """Stop drawing; what is session stays open. Idempotent."""
        self._stop_drawing()

    @property
    def view(self) -> RenderedView | None:
        """The newest drawing of what is in view."""
        return self._renderer.latest if self._renderer is not None else None

    @property
    def fault(self) -> Exception | None:
        """Why the view asked for cannot be drawn."""
        return self._renderer.failure if self._renderer is not None else None

    def ask(self, viewport: Viewport) -> None:
        """Let what is in view be drawn."""
        if self._renderer is None or self.document is None:
            return
        # Contrast and colours are not drawn: moving their sliders asks for nothing.
        drawn = DisplaySettings(mode=self.look.mode, width_nm=self.look.width_nm)
        drawn = replace(drawn, smooth=self.look.smooth, colour=self.look.colour)
        now = time.monotonic()
        if (viewport, drawn) != self._asked or self._is_coarse(viewport, now):
            self._asked, self._asked_s = (viewport, drawn), now
            self._renderer.request(viewport, drawn)

    @property
    def stale(self) -> bool:
        """Whether rows came since the view was last fetched."""
        if self.document is None or self.view is None:
            return False
        return self.document.revision != self._fetched_revision

    def ready(self, changed: bool) -> bool:
        """Return whether to paint now; a stale view is fetched first.

        Parameters
        ----------
        changed : bool
            There is something to paint, with or without a newer view.
        """
        now = time.monotonic()
        if self._fetching is not None:
            before, since_s = self._fetching
            if self.view is before and now - since_s < FETCH_S:
                return False
            self._fetching = None
        elif self.stale and self.document is not None and self._renderer is not None:
            self._fetched_revision = self.document.revision
            self._fetching = (self.view, now)
            self._renderer.fetch()
            return False
        return changed

    def _is_coarse(self, viewport: Viewport, now: float) -> bool:
        """Return whether rows that came made finer (or coarser) pixels worth it."""
        document, view = self.document, self.view
        if document is None or now - self._asked_s < COARSE_S:
            return False
        self._asked_s = now
        if view is None:
            return needs_view(self.look, viewport, document)
        with document.lock:
            return view.viewport != coarsened(viewport, self.look, document)

    def scene(self, viewport: Viewport) -> Scene:
        """Make the scene of this moment."""
        document, view = self.document, self.view
        if view is not None and view.viewport.pixel_nm < FINER * viewport.pixel_nm:
            view = None
        if document is None:
            return Scene(viewport=viewport)
        bare = Scene(viewport=viewport, document=document, view=view)
        self._choose_contrast(bare)
        return replace(bare, colours=self.colours)

    @property
    def colours(self) -> Colours:
        """From sums to colours, as they were chosen last."""
        limit, document = self.limit, self.document
        if document is not None and self.look.limit is not None:
            limit *= max(1.0 - document.pending, 0.02)  # while it catches up
        return Colours(
            table_name=(
                self.look.intensity_map
                if self.depth_range_nm is None
                else self.look.depth_map
            ),
            gamma=self.look.gamma,
            limit=limit,
            depth_range_nm=self.depth_range_nm,
        )

    def wanted(self, viewport: Viewport) -> tuple[Any, ...]:
        """Return what a picture depends on: equal ones make equal pictures."""
        document, view = self.document, self.view
        if document is None:
            return (viewport,)
        covered = Scene(viewport=viewport, document=document, view=view).covered
        revision = None if covered else document.revision
        drawn = (id(view), view.revision) if view is not None else ()
        return (id(document), viewport, revision, *drawn, self.look)

    @property
    def contrast_due(self) -> bool:
        """Whether the newest picture was painted with the contrast of an older one."""
        return self._stale and time.monotonic() - self._chosen_at_s >= CONTRAST_S

    def settled(self, viewport: Viewport) -> bool:
        """Whether nothing is being drawn for this view or caught up with."""
        document, view = self.document, self.view
        if document is None or document.pending or self._stale:
            return False
        with document.lock:
            if not needs_view(self.look, viewport, document):
                return view is None
            wanted = coarsened(viewport, self.look, document)
        if self.fault is not None:
            return True
        if view is None or self._renderer is None or not self._renderer.current:
            return False
        drawn = (view.viewport, view.mode, view.share)
        return drawn == (wanted, self.look.mode, 1.0)

    def shown_revision(self, scene: Scene) -> int:
        """Return up to which revision the rows of the document are in a scene."""
        if scene.document is None:
            return -1
        if scene.covered and self._renderer is not None:
            return self._renderer.drawn_revision
        return scene.document.revision

    # What the user can change: each returns a line about it for the user

    def toggle_contrast(self) -> str:
        """Hold the present contrast, or let it follow the image again."""
        automatic = self.look.limit is not None
        self.look = replace(self.look, limit=None if automatic else self.limit)
        self._chosen_for = ()
        return f"Contrast {'automatic' if automatic else 'held'}"

    def toggle_colour(self) -> str:
        """Change between z and intensity as colour."""
        if self.document is None or not self.document.image.has_depth:
            return "No z in this table: colour is intensity"
        to_depth = self.look.colour == "intensity"
        self.look = replace(self.look, colour="auto" if to_depth else "intensity")
        return "Colour is z" if to_depth else "Colour is intensity"

    def next_mode(self) -> str:
        """Draw rows in the next of the ways there are."""
        modes = list(MODES)
        mode = modes[(modes.index(self.look.mode) + 1) % len(modes)]
        self.look = self.look.in_mode(mode)
        return MODES[mode]

    def set_look(self, look: DisplaySettings) -> None:
        """Take what a panel says."""
        if look.limit is not None:
            self.limit = look.limit
        self.look = look
        self._chosen_for = ()

    def select(self, selection: Selection) -> None:
        """Show other rows; also of sessions to come."""
        self.selection = selection
        if self.document is not None and self.document.selection != selection:
            self.document.select(selection)

    def drop_drift(self) -> str | None:
        """Switch a correction off, or on again; None where one has to be estimated."""
        document = self.document
        if document is None:
            return "Nothing to correct yet"
        if document.drift is not None:
            self._hidden_drift = document.drift
            document.correct(None)
            return "Drift correction off"
        if self._hidden_drift is not None and self.session.complete:
            document.correct(self._hidden_drift)
            return "Drift correction on"
        return None

    def shown_look(self) -> DisplaySettings:
        """Return the look with every automatic value filled in, as files need it."""
        return replace(self.look, limit=self.limit, depth_range_nm=self.depth_range_nm)

    # Files: each returns a function that writes one, in any thread, by its name's end

    def picture_job(self, viewport: Viewport) -> Callable[[Path], None] | None:
        """Save the region, else what is in view, as it is coloured now."""
        document, look = self.document, self.shown_look()
        if document is None or not len(document.store):
            return None
        rect = self.region or common(viewport.rect, document.rect)
        part = (
            Viewport.covering(rect, viewport.pixel_nm) if self._is_part(rect) else None
        )

        def save(path: Path) -> None:
            from .document_sheet import save_picture

            save_picture(path, document, look, part)

        return save

    def table_job(self) -> Callable[[Path], object] | None:
        """Save the rows as shown, of the region if there is one."""
        document, region = self.document, self.region
        if document is None or not len(document.store):
            return None

        def save(path: Path) -> object:
            from ..data.export_table import save_table

            return save_table(document, path, region)

        return save

    def view_job(
        self, viewport: Viewport, source: Path
    ) -> Callable[[Path], None] | None:
        """Save what `liveloc render` needs to make this picture again."""
        document, look = self.document, self.shown_look()
        if document is None or not len(document.store):
            return None

        def save(path: Path) -> None:
            from ..view_file import View

            pixel_nm = document.pixel_size_nm
            view = View.of(document, look, viewport, source, pixel_size_nm=pixel_nm)
            view.save(path)

        return save

    def _is_part(self, rect: Rect) -> bool:
        """Return whether a rectangle leaves something of the field out."""
        if self.document is None:
            return False
        inner = common(rect, self.document.rect)
        return any(
            abs(a - b) > 1e-6 for a, b in zip(inner, self.document.rect, strict=True)
        )

    def _stop_drawing(self) -> None:
        if self._renderer is not None:
            self._renderer.close()
        self._renderer, self._asked = None, None

    def _choose_contrast(self, scene: Scene) -> None:
        """Choose limit and range of z anew, if they are automatic and it is time."""
        document = scene.document
        if document is None:
            return
        look, now = self.look, time.monotonic()
        kind = (id(document), scene.viewport, scene.covered, look)
        self._stale = kind == self._chosen_for and now - self._chosen_at_s < CONTRAST_S
        if self._stale:
            return
        self._chosen_for, self._chosen_at_s = kind, now
        self.depth_range_nm = None
        if look.colour != "intensity":
            self.depth_range_nm = look.depth_range_nm or depth_range(document)
            if not document.image.has_depth:
                self.depth_range_nm = None
        if look.limit is not None:
            self.limit = look.limit
        elif scene.covered and scene.view is not None:
            super_nm = document.image.super_pixel_nm
            wanted = view_limit(scene.view, super_nm, look.percentile)
            self.limit = steadied(self.limit, wanted)
        else:
            wanted = tile_limit(document, scene.viewport, look.percentile)
            self.limit = steadied(self.limit, wanted)
