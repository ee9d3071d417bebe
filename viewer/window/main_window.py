"""The window: an image in the middle, panels around it, one line below.

The window only shows. Other threads follow the session and draw; here changes are
noticed, painted when due, and timed until they are on the screen.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray, QCoreApplication, Qt, QTimer, Signal
from PySide6.QtWidgets import QApplication, QMainWindow

from liveloc.stream.errors import SettingsError

from ..views.controller import Controller
from ..views.pacing import Pace, ScreenLatency
from .canvas.canvas import Canvas
from .canvas.readout import cursor_text, headline, label_bar
from .panels.docks import Docks, fitting_size
from .panels.help_sheet import HelpSheet
from .panels.shortcuts import action_for
from .panels.statusbar import StatusLine
from .preferences import Memory, load, save
from .saving import asked
from .tasks import Tasks
from .widgets.style import SHEET, dress

if TYPE_CHECKING:
    from PySide6.QtGui import QCloseEvent, QKeyEvent

    from ..data.selection import Selection
    from ..image.colouring import DisplaySettings
    from ..image.viewport import Rect
    from ..sessions.session import SessionView

POLL_MS = 16  # between checks for changes: a few microseconds without any
IDLE_S = 0.1  # from look to look at everything else
STATE_S = 0.25  # from status line to status line
NOTICE_S = 3.0
ALARM_S = 15.0  # the text of an alarm; its number stays
LOST_S = 29.0  # without a message: a session without an end is over all the same
TRACE_S = 0.5  # from screen latency to screen latency in the plots
FAULTS = 25  # redraws in a row that fail: then it is no use
STEP = 0.15  # of the canvas: what an arrow key moves
ZOOM = 1.5  # what + and - do


class ViewerWindow(QMainWindow):
    """Shows one `SessionView` as it grows.

    Parameters
    ----------
    session : SessionView
        Closed with the window.
    title, address : str
        Title of the window; address shown while waiting for the engine.
    save_folder : Path
        Where files are saved.
    look, selection
        Initial values; default: the remembered look, every row.
    source : Path, optional
        Folder of the session or table: what a saved view refers to.

    Attributes
    ----------
    failure : Exception or None
        A bug that was met, or what ended the following.
    faults : int
        Turns that failed; the window went on.
    screen_latency : Latency
        From rows published until they are on screen.
    """

    _view_ready = Signal()

    def __init__(
        self,
        session: SessionView,
        *,
        title: str = "liveloc",
        address: str = "",
        save_folder: Path = Path(),
        look: DisplaySettings | None = None,
        selection: Selection | None = None,
        source: Path | None = None,
    ) -> None:
        super().__init__()
        self.session = session
        self.failure: Exception | None = None
        self.faults = 0
        self._address, self._source = address, source
        remembered = load()
        self.controller = Controller(
            session,
            look=look or remembered.look,
            selection=selection,
            on_ready=self._view_ready.emit,
        )
        self.pace, self._latency = Pace(), ScreenLatency()
        self.screen_latency = self._latency.latency
        self._shown: tuple[Any, ...] = ()
        self._faults_in_a_row = 0
        self._seen: tuple[Any, ...] = ()
        self._looked_s = self._stated_s = self._traced_s = -10.0  # monotonic
        self._notice_until_s = 0.0
        self._alarm, self._alarm_until_s = "", 0.0
        self._photograph: Path | None = None
        self._close_after_s: float | None = None
        self._unchanged_since_s = self._heard_s = time.monotonic()
        self._closed = False
        self._tasks = Tasks(self.controller, save_folder, self)
        self._build(title, remembered)
        self._connect()
        self._turn()

    # What the keys do (shortcuts.SHORTCUTS)

    def show_whole(self) -> None:
        """Show the whole field."""
        self.canvas.camera.show_whole()
        self._redraw_soon()

    def zoom_in(self) -> None:
        """Magnify the middle."""
        self._zoom(ZOOM)

    def zoom_out(self) -> None:
        """Show more around the middle."""
        self._zoom(1.0 / ZOOM)

    def move_left(self) -> None:
        """Look farther left."""
        self._pan(1, 0)

    def move_right(self) -> None:
        """Look farther right."""
        self._pan(-1, 0)

    def move_up(self) -> None:
        """Look farther up."""
        self._pan(0, 1)

    def move_down(self) -> None:
        """Look farther down."""
        self._pan(0, -1)

    def toggle_contrast(self) -> None:
        """Hold the present contrast, or let it follow the image again."""
        self._changed_look(self.controller.toggle_contrast())

    def toggle_colour(self) -> None:
        """Change between z and intensity as colour."""
        self._changed_look(self.controller.toggle_colour())

    def next_mode(self) -> None:
        """Draw rows in the next of the ways there are."""
        self._changed_look(self.controller.next_mode())

    def toggle_drift(self) -> None:
        """Correct drift, estimated first if need be, or no longer."""
        self._tasks.toggle_drift()

    def hold_density(self) -> None:
        """Request the present density as the target of the feedback."""
        running = None if self.session.end_status else self._source
        self._tasks.hold_density(running)

    def choose_region(self) -> None:
        """Let the next drag draw a region."""
        self.canvas.choosing = True
        self.notify("Drag to draw a rectangle")

    def save_picture(self) -> None:
        """Save what is in view, or the region, as PNG with scale bar."""
        self._tasks.save("picture", self.controller.picture_job(self.canvas.viewport))

    def export_table(self) -> None:
        """Save the rows as they are shown, of the region or of the whole field."""
        self._tasks.save("table", self.controller.table_job())

    def save_view(self) -> None:
        """Save all that makes this picture, so that it can be made again."""
        if self._source is None:
            self.notify(
                "A view refers to a table: open the saved session to save its view"
            )
            return
        viewport = self.canvas.viewport
        self._tasks.save("view", self.controller.view_job(viewport, self._source))

    def toggle_picture_panel(self) -> None:
        """Show or hide the settings of the picture."""
        self.docks.toggle("picture")

    def toggle_filter_panel(self) -> None:
        """Show or hide the filters."""
        self.docks.toggle("filter")

    def toggle_region_panel(self) -> None:
        """Show or hide the statistics of the region."""
        self.docks.toggle("region")

    def toggle_camera_panel(self) -> None:
        """Show or hide the camera image."""
        self.docks.toggle("camera")

    def toggle_plots_panel(self) -> None:
        """Show or hide the plots."""
        self.docks.toggle("plots")

    def toggle_help(self) -> None:
        """Show or hide the sheet with the keys."""
        self._help.toggle()

    def escape(self) -> None:
        """Close the help sheet; without one, clear the region."""
        self.canvas.choosing = False
        if self._help.isVisible():
            self._help.hide()
        else:
            self.set_region(None)

    # What others do with the window

    def set_region(self, region: Rect | None) -> None:
        """Choose a part of the field for statistics and exports; None: the field."""
        self.controller.region = self.canvas.overlay.region = region
        if region is None:
            self.docks.region.show_statistics(None)
        else:
            self.docks.show("region")
        self.canvas.update()

    def photograph_at_close(self, path: Path) -> None:
        """Save the window as the user saw it last, when it closes."""
        self._photograph = path

    def close_after_end(self, seconds: float) -> None:
        """Close once a session has ended and nothing changed for `seconds`."""
        self._close_after_s = seconds

    def notify(self, text: str) -> None:
        """Show a line for a moment."""
        self.canvas.overlay.notice = text
        self._notice_until_s = time.monotonic() + NOTICE_S
        self.canvas.update()

    def report(self) -> dict[str, Any]:
        """Return the measurements: screen latency, redraws, renderer."""
        return {
            "published_to_screen_ms": self.screen_latency.as_dict(),
            "renderer": self.canvas.renderer,
            "redraws": self.pace.redraws,
            "redraw_ms": self.pace.cost_ms.as_dict(),
            "faults": self.faults,
        }

    @property
    def up_to_date(self) -> bool:
        """Whether the screen shows all there is."""
        viewport = self.canvas.viewport
        shown = self.controller.wanted(viewport) == self._shown
        return shown and self.controller.settled(viewport)

    # What Qt calls

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Do what the table of shortcuts says; anything else is Qt's."""
        action = action_for(event)
        if action is None:
            super().keyPressEvent(event)
        else:
            getattr(self, action)()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Save the layout, release everything."""
        super().closeEvent(event)
        if self._closed:
            return
        self._closed = True
        self._timer.stop()
        self._soon.stop()
        if self._photograph is not None and not self._save_photograph():
            self.failure = self.failure or SettingsError(
                f"screenshot: {self._photograph} cannot be written. Does its folder "
                "exist, and does its name end in .png?"
            )
        geometry, layout = self.saveGeometry().data(), self.saveState().data()
        save(Memory(self.controller.look, bytes(geometry), bytes(layout)))
        self._tasks.close()
        self.controller.close()
        self.session.close()
        self.canvas.close_painter()
        self.failure = self.failure or self.session.failure

    def _save_photograph(self) -> bool:
        """Save what the window shows, brought up to date."""
        self._redraw()
        return bool(self.grab().save(str(self._photograph)))

    # How it is built

    def _build(self, title: str, remembered: Memory) -> None:
        application = QCoreApplication.instance()
        if isinstance(application, QApplication) and application.styleSheet() != SHEET:
            dress(application)
        self.setWindowTitle(title)
        self.canvas = Canvas()
        self._status = StatusLine()
        self.setCentralWidget(self.canvas)
        self.statusBar().addWidget(self._status, 1)
        self.statusBar().setSizeGripEnabled(False)
        self._help = HelpSheet(self.canvas)
        self.docks = Docks(self)
        self.docks.picture.set_look(self.controller.look)
        self.docks.filter.set_selection(self.controller.selection)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(640, 480)
        self.resize(fitting_size(self.screen().availableGeometry()))
        if remembered.geometry:
            self.restoreGeometry(QByteArray(remembered.geometry))
        if remembered.layout:
            self.restoreState(QByteArray(remembered.layout))
        if remembered.problem:
            self.notify(remembered.problem)
        elif self.canvas.without_opengl:
            self.notify(
                f"No OpenGL, so drawing is slower: {self.canvas.without_opengl}"
            )

    def _connect(self) -> None:
        docks, canvas = self.docks, self.canvas
        docks.picture.changed.connect(self._take_look)
        docks.filter.changed.connect(self.controller.select)
        docks.region.clear_requested.connect(lambda: self.set_region(None))
        docks.region.export_requested.connect(self._export_region)
        canvas.moved.connect(self._redraw_soon)
        canvas.region_drawn.connect(self.set_region)
        canvas.cursor_moved.connect(self._show_cursor)
        self._tasks.said.connect(self.notify)
        self._tasks.measured.connect(docks.region.show_statistics)
        queued = Qt.ConnectionType.QueuedConnection
        self._view_ready.connect(self._turn, queued)  # emitted by another thread
        self._soon = QTimer(self)  # redraws when due
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._turn)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._turn)
        self._timer.start(POLL_MS)

    # How it works

    def _turn(self) -> None:
        """Update, and redraw if due. A failure is shown, and tried again."""
        if self._closed:
            return
        try:
            self._update()
            self._faults_in_a_row = 0
        except Exception as error:
            self.faults += 1
            self._faults_in_a_row += 1
            self.failure = self.failure or error
            self.notify(f"Internal error: {type(error).__name__}: {error}")
            if self._faults_in_a_row >= FAULTS:
                self.close()

    def _update(self) -> None:
        now = time.monotonic()
        # The stamp first: the document has its rows, and maybe more.
        published_ns = self.session.newest_published_ns
        known = self.session.document
        seen = (id(known), known and known.revision, id(self.controller.view))
        if seen == self._seen and self._shown and now - self._looked_s < IDLE_S:
            return
        self._seen, self._looked_s = seen, now
        if self.controller.follow():
            self._take_document()
        document = self.controller.document
        if document is not None:
            self._latency.noticed(published_ns, document.revision)
            self.controller.ask(self.canvas.viewport)
        wanted = self.controller.wanted(self.canvas.viewport)
        changed = wanted != self._shown or self.controller.contrast_due
        if changed or self.controller.stale:
            self._seen = ()  # until it is painted: look again
            due_s = self.pace.due_in_s()
            if due_s > 0:
                if not self._soon.isActive():
                    self._soon.start(max(1, round(due_s * 1e3)))
            elif self.controller.ready(changed):
                self._redraw()
        if now - self._stated_s >= STATE_S:
            self._stated_s = now
            self._show_state(now)
            self._tasks.measure_region()
        self.docks.refresh(self.session, self.controller)
        self._close_if_over(now)

    def _take_document(self) -> None:
        """Another session: begin anew, with the same settings."""
        self._latency.forget()
        self.docks.forget()
        self.set_region(None)
        document = self.controller.document
        if document is not None:
            self.canvas.camera.look_at(document.rect)

    def _redraw(self) -> None:
        """Paint what there is now, and time it."""
        self.pace.begin()
        viewport = self.canvas.viewport
        wanted = self.controller.wanted(viewport)
        scene = self.controller.scene(viewport)
        revision = self.controller.shown_revision(scene)
        label_bar(self.canvas.overlay, scene.document, scene.colours)
        self.canvas.show_scene(scene)
        self._shown = wanted
        self.pace.end()
        longest_ms = self._latency.shown(revision)
        now = time.monotonic()
        if longest_ms is not None and now - self._traced_s >= TRACE_S:
            self._traced_s = now
            self.session.traces.add_screen_latency(longest_ms)

    def _redraw_soon(self) -> None:
        """Redraw for the user: at once, but once for all events that wait."""
        self._shown = ()
        self.pace.hurry()
        self._soon.start(0)

    def _zoom(self, factor: float) -> None:
        self.canvas.camera.zoom(factor)
        self._redraw_soon()

    def _pan(self, right: int, down: int) -> None:
        width, height = self.canvas.camera.size
        self.canvas.camera.pan(right * STEP * width, down * STEP * height)
        self._redraw_soon()

    def _take_look(self, look: DisplaySettings) -> None:
        self.controller.set_look(look)
        self._redraw_soon()

    def _changed_look(self, said: str) -> None:
        self.docks.picture.set_look(self.controller.look)
        self.notify(said)
        self._redraw_soon()

    def _export_region(self, kind: str) -> None:
        path = asked(self, self._tasks.folder, kind)
        if path is not None:
            table, viewport = self.controller.table_job(), self.canvas.viewport
            picture = self.controller.picture_job(viewport)
            self._tasks.save(kind, table if kind == "table" else picture, path)

    def _show_cursor(self, place: tuple[float, float] | None) -> None:
        """Show the cursor position and what is there."""
        document, text = self.controller.document, ""
        if place is not None and document is not None:
            text = cursor_text(document, self.canvas.viewport, place)
        self._status.show_cursor(text)

    def _show_state(self, now: float) -> None:
        state = self.session.state()
        self._status.show_figures(state, self.session.figures, self.session.end_status)
        if state != "silent":
            self._heard_s = now
        alarms = self.session.figures.alarms
        if alarms and alarms[-1] != self._alarm:
            self._alarm, self._alarm_until_s = alarms[-1], now + ALARM_S
        lines = headline(state, self.session.failure, self.controller, self._address)
        heading, message, note = lines
        if not note and now < self._alarm_until_s:
            note = f"Alarm: {self._alarm}"
        overlay = self.canvas.overlay
        notice = overlay.notice if now < self._notice_until_s else ""
        new = (heading, message, notice, note)
        if new != (overlay.heading, overlay.message, overlay.notice, overlay.note):
            overlay.heading, overlay.message, overlay.notice, overlay.note = new
            self.canvas.update()

    def _close_if_over(self, now: float) -> None:
        """Close, where that is wished, when the end has been on screen for a while."""
        over = self.session.complete and self.up_to_date
        lost = now - self._heard_s > LOST_S or self.session.failure is not None
        if not (over or lost):
            self._unchanged_since_s = now
        elif self._close_after_s is not None:
            if now - self._unchanged_since_s >= self._close_after_s:
                self.close()
