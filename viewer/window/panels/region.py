"""What the rows in a rectangle are like, and what can be saved of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ..widgets.style import DASH, THIN, figure, grouped

if TYPE_CHECKING:
    from ...data.region import RegionStatistics

UM2 = "\u00b5m\u00b2"
ROWS = (
    "Localizations",
    "Area",
    "Density",
    "Per frame",
    "Photons",
    "Background",
    "Predicted precision",
    "Precision from neighbours",
    "z, 5 to 95 %",
)
HINT = "Shift-drag in the image for the statistics of a rectangle"


class RegionPanel(QWidget):
    """A list of figures and three buttons.

    Attributes
    ----------
    export_requested : Signal(str)
        ``table`` or ``picture``, of what the figures are about.
    clear_requested : Signal()
        The rectangle is to go.
    """

    export_requested = Signal(str)
    clear_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._title = QLabel()
        self._values = {name: QLabel() for name in ROWS}
        self._names = {name: QLabel(name) for name in ROWS}
        self._note = QLabel()
        self._table = QPushButton("Save table\u2026")
        self._picture = QPushButton("Save picture\u2026")
        self._clear = QPushButton("Clear")
        self._table.clicked.connect(lambda: self.export_requested.emit("table"))
        self._picture.clicked.connect(lambda: self.export_requested.emit("picture"))
        self._clear.clicked.connect(lambda: self.clear_requested.emit())
        self._lay_out()
        self.show_statistics(None)

    def show_statistics(
        self, statistics: RegionStatistics | None, *, whole_field: bool = False
    ) -> None:
        """Show figures; None while there are none.

        Parameters
        ----------
        statistics : RegionStatistics or None
            Of the rectangle.
        whole_field : bool
            Whether the figures are of everything, there being no rectangle.
        """
        self._title.setText("Whole field" if whole_field else "Rectangle")
        self._clear.setEnabled(statistics is not None and not whole_field)
        self._table.setEnabled(statistics is not None)
        self._picture.setEnabled(statistics is not None)
        texts = _texts(statistics) if statistics is not None else {}
        for name, label in self._values.items():
            label.setText(texts.get(name, DASH))
        notes = []
        if statistics is not None and statistics.sampled < statistics.rows:
            notes.append(f"Medians from a sample of {grouped(statistics.sampled)}")
        if statistics is None or whole_field:
            notes.append(HINT)
        self._note.setText("\n".join(notes))

    def text(self) -> str:
        """Return the figures as plain words (for tests and the clipboard)."""
        lines = [self._title.text()]
        lines += [f"{name}\t{label.text()}" for name, label in self._values.items()]
        return "\n".join(lines)

    def _lay_out(self) -> None:
        self._title.setStyleSheet("font-weight: 600;")
        self._note.setProperty("role", "dim")
        self._note.setWordWrap(True)
        grid = QGridLayout()
        grid.setVerticalSpacing(5)
        grid.setColumnStretch(1, 1)
        right = Qt.AlignmentFlag.AlignRight
        for place, name in enumerate(ROWS):
            self._names[name].setProperty("role", "dim")
            selectable = Qt.TextInteractionFlag.TextSelectableByMouse
            self._values[name].setTextInteractionFlags(selectable)
            self._values[name].setAccessibleName(name)
            grid.addWidget(self._names[name], place, 0)
            grid.addWidget(self._values[name], place, 1, right)
        buttons = QHBoxLayout()
        buttons.setSpacing(6)
        for button in (self._table, self._picture, self._clear):
            buttons.addWidget(button)
        buttons.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 10)
        column.setSpacing(8)
        column.addWidget(self._title)
        column.addLayout(grid)
        column.addWidget(self._note)
        column.addStretch(1)
        column.addLayout(buttons)


def _texts(statistics: RegionStatistics) -> dict[str, str]:
    """Write the figures with their units; a dash where there is none."""
    low, high = statistics.z_nm
    z = DASH
    if math.isfinite(low) and math.isfinite(high):
        z = f"{figure(low)} to {figure(high)}{THIN}nm"
    return {
        "Localizations": grouped(statistics.rows),
        "Area": _with(statistics.area_um2, UM2),
        "Density": _with(statistics.per_um2, f"/{UM2}"),
        "Per frame": _with(statistics.per_frame),
        "Photons": _with(statistics.photons),
        "Background": _with(statistics.background, "/px"),
        "Predicted precision": _with(statistics.lateral_sigma_nm, "nm"),
        "Precision from neighbours": _with(statistics.precision_nm, "nm"),
        "z, 5 to 95 %": z,
    }


def _with(value: float, unit: str = "") -> str:
    if not math.isfinite(value):
        return DASH
    return f"{figure(value)}{THIN}{unit}" if unit else figure(value)
