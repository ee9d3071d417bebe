"""Live plots: what became of density, light, precision and time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ..widgets.plot import Plot

if TYPE_CHECKING:
    from PySide6.QtGui import QResizeEvent

    from ...curves.traces import Traces

REFRESH_S = 0.3  # a plot is drawn anew at most so often
TURN_MS = 20  # from one plot's turn to the next one's: no long stop for the window
PLOT_W, PLOT_H = 160, 88  # a plot is at least so large
# What is drawn where; the target of the density belongs to its plot.
PLOTS = (
    "density",
    "laser_power",
    "localizations",
    "photons",
    "background",
    "precision",
    "on_time",
    "latency",
    "screen_latency",
    "losses",
)
TARGETS = {"density": "density_target"}


class PlotsPanel(QWidget):
    """A grid of plots, one for each curve that has points.

    Attributes
    ----------
    plots : dict[str, Plot]
        By the name of the series.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._traces: Traces | None = None
        self._drawn: dict[str, tuple[object, ...]] = {}
        self._drawn_at_s: dict[str, float] = {}
        self._shape: tuple[int, tuple[str, ...]] = (0, ())
        self.plots = {name: Plot() for name in PLOTS}
        self._build()
        for plot in self.plots.values():
            plot.pointed.connect(self._point)
            plot.hide()
        self._timer = QTimer(self)
        self._timer.setInterval(TURN_MS)
        self._timer.timeout.connect(self._turn)

    def show_traces(self, traces: Traces | None) -> None:
        """Show these curves; call it whenever they may have changed.

        Returns at once; one plot after the other is brought up to date, each at most
        four times a second.
        """
        if traces is not self._traces:
            self._drawn.clear()
        self._traces = traces
        if self._stale() and not self._timer.isActive():
            self._timer.start()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Fit as many plots beside each other as there is room for (called by Qt)."""
        self._arrange()

    def _build(self) -> None:
        self._inside = QWidget()
        self._grid = QGridLayout(self._inside)
        self._grid.setContentsMargins(8, 8, 8, 8)
        self._grid.setSpacing(6)
        for plot in self.plots.values():
            plot.setParent(self._inside)
        self._empty = QLabel("No curves yet")
        self._empty.setProperty("role", "dim")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self._inside)
        self._scroll = scroll
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._empty, 1)
        column.addWidget(scroll, 1)
        scroll.hide()

    def _arrange(self) -> None:
        """Put the plots that have points into as many columns as fit."""
        shown = tuple(name for name in PLOTS if self.plots[name].has_points)
        room = max(1, (self.width() - 16) // (PLOT_W + 6))
        # Rows of equal length, not one full and one nearly empty.
        rows = max(1, -(-len(shown) // room))
        columns = max(1, -(-len(shown) // rows))
        if (columns, shown) == self._shape:
            return
        self._shape = (columns, shown)
        while self._grid.takeAt(0) is not None:
            pass
        for name, plot in self.plots.items():
            plot.setVisible(name in shown)
        for number, name in enumerate(shown):
            self._grid.addWidget(self.plots[name], *divmod(number, columns))
        for column in range(len(PLOTS)):
            self._grid.setColumnStretch(column, int(column < columns))
        self._inside.setMinimumHeight(rows * (PLOT_H + 6) + 10)
        self._empty.setVisible(not shown)
        self._scroll.setVisible(bool(shown))

    def _stale(self) -> list[str]:
        """Name the plots that do not show what there is."""
        return [name for name in PLOTS if self._drawn.get(name) != self._wanted(name)]

    def _wanted(self, name: str) -> tuple[object, ...]:
        """Everything that a plot depends on."""
        if self._traces is None:
            return ()
        series = self._traces.series
        target = series.get(TARGETS.get(name, ""))
        revisions = (series[name].revision, target.revision if target else 0)
        return (*revisions, series[name].unit)

    def _turn(self) -> None:
        """Bring the plot up to date that has waited longest, if it is due."""
        stale = self._stale()
        if not stale or self._traces is None:
            self._timer.stop()
            return
        name = min(stale, key=lambda name: self._drawn_at_s.get(name, 0.0))
        now = time.monotonic()
        if now - self._drawn_at_s.get(name, -1.0) < REFRESH_S:
            return
        self._drawn_at_s[name], self._drawn[name] = now, self._wanted(name)
        plot, had_points = self.plots[name], self.plots[name].has_points
        target = self._traces.series.get(TARGETS.get(name, ""))
        plot.show_series(self._traces.series[name], target)
        if plot.has_points != had_points:
            self._arrange()

    def _point(self, frame: float) -> None:
        """Show the values at one frame in all plots; NaN: nowhere."""
        for plot in self.plots.values():
            plot.point_at(frame)
