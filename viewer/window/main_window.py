"""The live window: the image as a texture, zoom and pan, one status line.

The window only shows; what it shows is in `live.LiveSession`. It asks its source
for news 20 times a second and redraws when something changed: at most 10 times a
second, and so rarely that it takes no more than about a third of one core.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QMainWindow, QVBoxLayout, QWidget
from vispy import app as vispy_app
from vispy import scene
from vispy.color import Colormap
from vispy.visuals.transforms import STTransform

from ...stream.errors import SettingsError
from ..render import (
    Look,
    automatic_limit,
    colour_table,
    depth_layers,
    picture,
    smoothed,
)
from .overlay import Overlay
from .statusbar import StatusLine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from PySide6.QtGui import QCloseEvent, QKeyEvent

    from ...stream.broadcast import Update
    from ..live import LiveSession

POLL_MS = 50
REDRAW_S = 0.1  # at least this long from redraw to redraw
LONGEST_PAUSE_S = 3.0
BUSY_SHARE = 0.3  # of one core, at most, where the graphics are software
STATE_S = 0.25  # from status line to status line
NOTICE_S = 2.5
LOST_S = 30.0  # of silence: a session that nobody ended is over all the same
BACKGROUND = "#0b0d11"
STYLE = f"""
QMainWindow, QWidget {{ background: {BACKGROUND}; color: #e8eaee; }}
QFrame#status {{ background: #15181e; border-top: 1px solid #262b34; }}
QFrame#status QLabel {{ background: transparent; font-size: 14px; }}
QToolTip {{ background: #262b34; color: #e8eaee; border: none; padding: 4px; }}
"""


class Source(Protocol):
    """Where news come from: a subscriber, or a test."""

    def poll(self, timeout_s: float) -> Sequence[Update]:
        """Give what came since the last call, in order."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the engine was last heard."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class LiveWindow(QMainWindow):
    """Shows one `LiveSession` as it grows.

    Parameters
    ----------
    session : LiveSession
        Filled by this window from `source`.
    source : Source
        Owned by the window from here on: closed with it.
    title, address : str
        Of the window; where the engine is expected.
    save_folder : Path
        Where key S puts pictures.

    Attributes
    ----------
    failure : Exception or None
        What ended the window, when it was not the user.
    """

    def __init__(
        self,
        session: LiveSession,
        source: Source,
        *,
        title: str = "liveloc",
        address: str = "",
        save_folder: Path = Path(),
        look: Look | None = None,
    ) -> None:
        super().__init__()
        self.session = session
        self.failure: Exception | None = None
        self._source = source
        self._address = address
        self._save_folder = save_folder
        self._look = look or Look()
        self._held_limit: float | None = None  # while automatic contrast is off
        self._shown_limit = 1.0
        self._drawn: tuple[Any, ...] = ()
        self._drawn_at_s = self._stated_at_s = -10.0  # monotonic
        self._spent_s = 0.0  # processor time when that redraw began
        self._notice_until_s = 0.0
        self._photograph: Path | None = None
        self._close_after_s: float | None = None
        self._unchanged_since_s = time.monotonic()
        self._closed = False
        self._build(title)
        self._show_state(time.monotonic())
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._tick)
        self._timer.start(POLL_MS)

    # What the user can do

    def reset_view(self) -> None:
        """Show the whole field."""
        image = self.session.reconstruction
        if image is not None:
            left, right, top, bottom = image.extent_nm
            self._view.camera.set_range((left, right), (top, bottom), margin=0.01)

    def toggle_contrast(self) -> None:
        """Hold the present contrast, or let it follow the image again."""
        automatic = self._held_limit is not None
        self._held_limit = None if automatic else self._shown_limit
        self.notify(f"Contrast {'automatic' if automatic else 'held'}")

    def toggle_colour(self) -> None:
        """Change between z and intensity as colour."""
        image = self.session.reconstruction
        if image is None or not image.has_depth:
            self.notify("No z in this table: colour is intensity")
            return
        to_depth = self._look.colour == "intensity"
        self._look = replace(self._look, colour="auto" if to_depth else "intensity")
        self.notify("Colour is z" if to_depth else "Colour is intensity")

    def save_picture(self) -> Path | None:
        """Save the whole field as PNG with scale bar; None if that failed."""
        image = self.session.reconstruction
        if image is None:
            self.notify("Nothing to save yet")
            return None
        name = f"liveloc-{datetime.now().astimezone():%Y%m%d-%H%M%S}.png"
        path = (self._save_folder / name).resolve()
        try:
            image.save_png(path, replace(self._look, limit=self._held_limit))
        except OSError as error:
            self.notify(f"Not saved: {error}")
            return None
        self.notify(f"Saved {path}")
        return path

    def photograph_at_close(self, path: Path) -> None:
        """Save the window as the user saw it last, when it closes."""
        self._photograph = path

    def close_after_end(self, seconds: float) -> None:
        """Close once a session has ended and nothing changed for `seconds`."""
        self._close_after_s = seconds

    def notify(self, text: str) -> None:
        """Show a line for a moment."""
        self._overlay.notice = text
        self._notice_until_s = time.monotonic() + NOTICE_S
        self._overlay.update()

    # What Qt calls

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """R, A, C, S; anything else is Qt's."""
        actions: dict[int, Callable[[], object]] = {
            Qt.Key.Key_R: self.reset_view,
            Qt.Key.Key_A: self.toggle_contrast,
            Qt.Key.Key_C: self.toggle_colour,
            Qt.Key.Key_S: self.save_picture,
        }
        action = actions.get(event.key())
        if action is None:
            super().keyPressEvent(event)
        else:
            action()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Let go of the connection and the graphics context."""
        super().closeEvent(event)
        if self._closed:
            return
        self._closed = True
        self._timer.stop()
        self._source.close()
        if self._photograph is not None and not self._save_photograph():
            self.failure = self.failure or SettingsError(
                f"screenshot: {self._photograph} cannot be written. Does its folder "
                "exist, does it end in .png?"
            )
        self._canvas.close()

    def _save_photograph(self) -> bool:
        """Save what the window shows, with the last news in it."""
        if self._wanted() != self._drawn:
            self._redraw(self._wanted())
        return bool(self.grab().save(str(self._photograph)))

    # How it works

    def _build(self, title: str) -> None:
        """Put canvas, overlay and status line together."""
        self.setWindowTitle(title)
        self.setStyleSheet(STYLE)
        vispy_app.use_app("pyside6")
        self._canvas = scene.SceneCanvas(keys=None, show=False, bgcolor=BACKGROUND)
        self._view = self._canvas.central_widget.add_view()
        self._view.camera = scene.PanZoomCamera(aspect=1)
        self._view.camera.flip = (False, True, False)  # rows count downwards
        blank = np.zeros((2, 2), np.float32)
        self._density = self._image(blank, clim=(0.0, 1.0))
        self._coloured = self._image(np.zeros((2, 2, 3), np.uint8), clim=(0, 255))
        self._canvas.events.draw.connect(self._follow_view)
        self._canvas.events.resize.connect(self._cover_canvas)

        self._status = StatusLine()
        middle = QWidget()
        layout = QVBoxLayout(middle)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self._canvas.native, 1)
        layout.addWidget(self._status)
        self.setCentralWidget(middle)
        self._overlay = Overlay(middle)
        self._overlay.depth_map = self._look.depth_map
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._canvas.native.setFocusProxy(self)
        self.resize(960, 1000)
        self.setMinimumSize(480, 400)

    def _image(self, data: Any, clim: tuple[float, float]) -> Any:
        image = scene.visuals.Image(
            data,
            parent=self._view.scene,
            texture_format="auto",
            interpolation="linear",
            clim=clim,
        )
        image.visible = False
        return image

    def _tick(self) -> None:
        """Take news, redraw if due. A fault here is a bug: it ends the window."""
        try:
            now = time.monotonic()
            for update in self._source.poll(0.0):
                self.session.apply(update)
            wanted = self._wanted()
            if wanted != self._drawn and self._may_redraw(now):
                self._redraw(wanted)
            if now - self._stated_at_s >= STATE_S:
                self._stated_at_s = now
                self._show_state(now)
            self._close_if_over(now)
        except Exception as error:
            self.failure = error
            self._timer.stop()
            self.close()

    def _close_if_over(self, now: float) -> None:
        """Close, where that is wished, when the end has been on screen for a while."""
        shown = self.session.complete and self._wanted() == self._drawn
        lost = self.session.sessions and self._source.silent_s > LOST_S
        if not (shown or lost):
            self._unchanged_since_s = now
        elif self._close_after_s is not None:
            if now - self._unchanged_since_s >= self._close_after_s:
                self.close()

    def _wanted(self) -> tuple[Any, ...]:
        """Everything that a redraw depends on."""
        look = replace(self._look, limit=self._held_limit)
        return (*self.session.revision, self._binning(), look)

    def _may_redraw(self, now: float) -> bool:
        """Leave the processor to camera and engine.

        What this process used since the last redraw, painting included, counts.
        """
        spent = time.process_time() - self._spent_s
        pause = max(REDRAW_S, min(spent / BUSY_SHARE, LONGEST_PAUSE_S))
        return now - self._drawn_at_s >= pause

    def _redraw(self, wanted: tuple[Any, ...]) -> None:
        """Upload the image at the scale of the view."""
        self._drawn_at_s, self._spent_s = time.monotonic(), time.process_time()
        image = self.session.reconstruction
        new_field = not self._drawn or wanted[0] != self._drawn[0]
        if image is not None:
            binning, look = wanted[-2:]
            self._upload(binning, look)
            if new_field:
                self.reset_view()
            self._canvas.update()
        self._drawn = wanted

    def _upload(self, binning: int, look: Look) -> None:
        image = self.session.reconstruction
        if image is None:
            return
        layers = image.layers(binning)
        # The smoothing is meant in super-pixels, whatever the scale of the view.
        look = replace(look, smooth=look.smooth / binning)
        if look.limit is not None:
            look = replace(look, limit=look.limit * binning**2)
        if depth_layers(layers, look) is None:
            density = smoothed(layers.counts, look.smooth)
            limit = look.limit or automatic_limit(
                density, layers.counts, look.percentile
            )
            self._density.set_data(np.ascontiguousarray(density))
            self._density.clim = (0.0, limit)
            self._density.gamma = look.gamma
            self._density.cmap = _vispy_map(look.intensity_map)
            shown, hidden, depths = self._density, self._coloured, None
        else:
            made = picture(layers, look)
            limit, depths = made.limit, made.depth_range_nm
            self._coloured.set_data(made.rgb)
            shown, hidden = self._coloured, self._density
        left, _, top, _ = image.extent_nm
        shown.transform = STTransform(
            scale=(layers.pixel_nm, layers.pixel_nm), translate=(left, top)
        )
        shown.visible, hidden.visible = True, False
        self._shown_limit = limit / binning**2
        self._overlay.depth_range_nm = depths

    def _binning(self) -> int:
        """How many super-pixels a screen pixel covers, as a power of two.

        Added up before they are drawn, so that zooming out never skips any.
        """
        image = self.session.reconstruction
        if image is None:
            return 1
        nm_per_pixel = self._nm_per_pixel() / self.devicePixelRatioF()
        covered = nm_per_pixel / image.super_pixel_nm
        return 1 << min(10, max(0, int(np.floor(np.log2(max(covered, 1.0))))))

    def _nm_per_pixel(self) -> float:
        """Edge of a logical screen pixel in the sample."""
        transform = self._view.scene.transform
        ends = transform.imap([[0.0, 0.0], [100.0, 0.0]])
        return float(abs(ends[1][0] - ends[0][0])) / 100.0

    def _follow_view(self, event: Any = None) -> None:
        """Let the scale bar follow zoom and pan."""
        scale = self._nm_per_pixel() if self.session.reconstruction else 0.0
        if abs(scale - self._overlay.nm_per_pixel) > 1e-6 * scale:
            self._overlay.nm_per_pixel = scale
            self._overlay.update()

    def _cover_canvas(self, event: Any = None) -> None:
        """Keep the overlay on the canvas."""
        self._overlay.setGeometry(self._canvas.native.geometry())

    def _show_state(self, now: float) -> None:
        state = self.session.state(self._source.silent_s)
        self._status.show_figures(state, self.session.figures, self.session.end_status)
        heading = message = ""
        if self.session.reconstruction is None:
            heading = "Waiting for the engine"
            message = self._address
        elif not self.session.reconstruction.counted and state == "live":
            heading, message = "Connected", "waiting for the first localizations"
        overlay = self._overlay
        notice = overlay.notice if now < self._notice_until_s else ""
        if (heading, message, notice) != (
            overlay.heading,
            overlay.message,
            overlay.notice,
        ):
            overlay.heading, overlay.message, overlay.notice = heading, message, notice
            overlay.update()


def _vispy_map(name: str) -> Any:
    table = colour_table(name)
    return Colormap(table[:: len(table) // 256].astype(np.float32) / 255.0)
