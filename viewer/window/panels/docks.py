"""The panels around the image, each in a dock of its own."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QRect, QSize, Qt
from PySide6.QtWidgets import QDockWidget, QMainWindow, QTabWidget, QWidget

from .filter import FilterPanel
from .picture import PicturePanel
from .plots import PlotsPanel
from .raw_frame import RawFramePanel
from .region import RegionPanel

if TYPE_CHECKING:
    from liveloc.stream.preview import Preview

    from ...data.document import Document
    from ...sessions.recorded_frames import RecordedFrames
    from ...sessions.session import SessionView
    from ...views.controller import Controller

PREVIEW_S, PLOTS_S, COLUMNS_S = 0.2, 2.0, 2.0  # from refresh to refresh
SIDE_WIDTH, PLOTS_HEIGHT = 300, 232
TABBED = ("picture", "filter", "region")
TITLES = {
    "picture": "Picture",
    "filter": "Filter",
    "region": "Region",
    "camera": "Camera",
    "plots": "Plots",
}


class Docks(QObject):
    """Makes the panels and keeps what they show up to date, seldom enough.

    Attributes
    ----------
    picture, filter, region, camera, plots
        The panels.
    dock : dict[str, QDockWidget]
        Where they are, by the names in `TITLES`.
    """

    def __init__(self, window: QMainWindow) -> None:
        super().__init__(window)
        self._window = window
        self.picture, self.filter = PicturePanel(), FilterPanel()
        self.region, self.camera = RegionPanel(), RawFramePanel()
        self.plots = PlotsPanel()
        panels: dict[str, QWidget] = {
            "picture": self.picture,
            "filter": self.filter,
            "region": self.region,
            "camera": self.camera,
            "plots": self.plots,
        }
        self.dock = {name: self._dock(name, panel) for name, panel in panels.items()}
        self._refreshed_s = dict.fromkeys(panels, -10.0)
        self._preview_seq: int | None = -1
        self._recorded: RecordedFrames | None = None
        self._had_all = False  # of the session's rows, when the frame was shown
        self._document: Document | None = None
        self.camera.asked.connect(lambda _: self._show_recorded())
        self._traces_revision = self._columns_rows = -1
        self._arrange()

    def toggle(self, name: str) -> None:
        """Show a panel, in front of those it shares its place with, or hide it."""
        dock = self.dock[name]
        hidden_behind = dock.isVisible() and dock.visibleRegion().isEmpty()
        if dock.isVisible() and not hidden_behind:
            dock.hide()
            return
        dock.show()
        dock.raise_()

    def show(self, name: str) -> None:
        """Show a panel in front."""
        self.dock[name].show()
        self.dock[name].raise_()

    def refresh(self, session: SessionView, controller: Controller) -> None:
        """Bring the visible panels up to date."""
        document = session.document
        if document is None:
            return
        if self._due("camera", PREVIEW_S):
            self._take_recorded(session, document)
            preview = session.preview
            seq = preview.seq if preview is not None else None
            if seq != self._preview_seq and self._recorded is None:
                self._preview_seq = seq
                self._show_frame(preview, document)
        if self._due("plots", PLOTS_S):
            traces = session.traces
            if traces.revision != self._traces_revision:
                self._traces_revision = traces.revision
                self.plots.show_traces(traces)
        if self._due("filter", COLUMNS_S):
            shown, rows = document.image.counted, len(document.store)
            self.filter.show_counts(shown, rows)
            if rows != self._columns_rows:
                self._columns_rows = rows
                self.filter.show_columns(document.columns)
        if self._due("picture", PREVIEW_S):
            self.picture.show_limits(controller.limit, controller.depth_range_nm)

    def _take_recorded(self, session: SessionView, document: Document) -> None:
        """Offer the recorded frames, and show the chosen one again with all rows."""
        if session.recorded is not self._recorded:
            self._recorded, self._document = session.recorded, document
            recorded = self._recorded
            self.camera.offer(recorded.numbers if recorded is not None else None)
            self._had_all = False
        if self._recorded is not None and not self._had_all:
            self._had_all = bool(session.end_status)
            self._show_recorded()

    def _show_recorded(self) -> None:
        """Show the recorded frame that the user chose."""
        if self._recorded is not None and self._document is not None:
            frame = self._recorded.at(self.camera.chosen, self._document)
            self._show_frame(frame, self._document)

    def _show_frame(self, preview: Preview | None, document: Document) -> None:
        self.camera.show_preview(preview, document.pixel_size_nm, document.roi_origin)

    def forget(self) -> None:
        """Another session: everything is new."""
        self._recorded = self._document = None
        self.camera.offer(None)
        self._preview_seq, self._traces_revision, self._columns_rows = -1, -1, -1
        self.region.show_statistics(None)

    def _due(self, name: str, interval_s: float) -> bool:
        """Return whether a panel is seen and was not refreshed of late."""
        now = time.monotonic()
        if now - self._refreshed_s[name] < interval_s:
            return False
        if self.dock[name].visibleRegion().isEmpty():
            return False
        self._refreshed_s[name] = now
        return True

    def _dock(self, name: str, panel: QWidget) -> QDockWidget:
        dock = QDockWidget(TITLES[name], self._window)
        dock.setObjectName(name)  # by which the layout is remembered
        dock.setWidget(panel)
        if name in TABBED:
            dock.setTitleBarWidget(QWidget())  # the tab says it already
        return dock

    def _arrange(self) -> None:
        window, dock = self._window, self.dock
        sides = Qt.DockWidgetArea
        window.setCorner(Qt.Corner.BottomRightCorner, sides.RightDockWidgetArea)
        window.setTabPosition(sides.AllDockWidgetAreas, QTabWidget.TabPosition.North)
        for name in ("camera", *TABBED):
            window.addDockWidget(sides.RightDockWidgetArea, dock[name])
        for before, after in pairwise(TABBED):
            window.tabifyDockWidget(dock[before], dock[after])
        window.setStyleSheet("QTabBar { qproperty-drawBase: 0; }")  # no white line
        window.addDockWidget(sides.BottomDockWidgetArea, dock["plots"])
        dock["picture"].raise_()
        across, down = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        window.resizeDocks([dock["camera"], dock["picture"]], [SIDE_WIDTH] * 2, across)
        window.resizeDocks([dock["camera"], dock["picture"]], [270, 480], down)
        window.resizeDocks([dock["plots"]], [PLOTS_HEIGHT], down)


def fitting_size(available: QRect) -> QSize:
    """Return a size for the window on a screen: large, but not all of it."""
    return QSize(min(1360, available.width()), min(900, available.height()))
