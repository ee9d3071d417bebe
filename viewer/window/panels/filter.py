"""Which rows are shown: a slider for each quantity of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ...data.selection import EVERYTHING, Selection
from ..widgets.range_slider import RangeSlider
from ..widgets.style import DASH, grouped
from ..widgets.throttle import Throttle

if TYPE_CHECKING:
    from ...data.column_histograms import ColumnHistograms
    from ...data.selection import Range

# Quantity: name, unit, logarithmic, whole numbers only.
QUANTITIES = {
    "probability": ("Probability", "", False, False),
    "lateral_sigma_nm": ("Lateral sigma", "nm", True, False),
    "z_sigma_nm": ("z sigma", "nm", True, False),
    "z_nm": ("z", "nm", False, False),
    "photons": ("Photons", "", True, False),
    "background": ("Background", "/px", True, False),
    "frame": ("Frame", "", False, True),
}


class FilterPanel(QWidget):
    """Sliders for those quantities in which the rows differ.

    Attributes
    ----------
    changed : Signal(object)
        The new `Selection`: ten times a second at most while a slider moves, and
        once when it is released.
    sliders : dict[str, RangeSlider]
        By the quantity's name in `Selection`.
    """

    changed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._selection = Selection()
        self._emitted = Selection()
        self._throttle = Throttle(self._emit, self)
        self.sliders = {name: self._slider(name) for name in QUANTITIES}
        self._count = QLabel()
        self._reset = QPushButton("Reset all")
        self._reset.setProperty("role", "link")
        self._reset.clicked.connect(self.reset)
        self._build()
        self.show_counts(0, 0)
        self._refresh()

    @property
    def selection(self) -> Selection:
        """What the sliders select."""
        return self._selection

    def set_selection(self, selection: Selection) -> None:
        """Show a selection; nothing is emitted."""
        self._throttle.forget()
        self._selection = self._emitted = selection
        for name, slider in self.sliders.items():
            slider.set_range(getattr(selection, name))
        self._refresh()

    def show_columns(self, columns: ColumnHistograms) -> None:
        """Show the histograms of all rows.

        Copies of 2,000 numbers: call it with the document's lock held, once or twice
        a second.
        """
        for name, slider in self.sliders.items():
            edges, counts = columns.histogram(name)
            slider.set_histogram(edges, counts)
            differ = np.count_nonzero(counts) > 1
            slider.setVisible(bool(differ) or name in self._selection.active)
        z = self.sliders["z_nm"].isVisibleTo(self)
        if not z and "z_sigma_nm" not in self._selection.active:
            self.sliders["z_sigma_nm"].setVisible(False)
        self._empty.setVisible(not columns.rows)

    def show_counts(self, shown: int, rows: int) -> None:
        """Show how many of the rows are displayed."""
        if shown >= rows:
            text = f"{grouped(rows)} localizations, all shown"
        else:
            share = 100.0 * shown / rows
            text = f"{grouped(shown)} of {grouped(rows)} shown ({share:.3g} %)"
        if not rows:
            text = f"{DASH} localizations"
        if self._count.text() != text:
            self._count.setText(text)

    def reset(self) -> None:
        """Select everything."""
        if self._selection.active:
            for slider in self.sliders.values():
                slider.set_range(EVERYTHING)
            self._selection = Selection()
            self._refresh()
            self._throttle.now()

    def _slider(self, name: str) -> RangeSlider:
        title, unit, logarithmic, whole = QUANTITIES[name]
        slider = RangeSlider(title, unit, logarithmic=logarithmic, whole=whole)
        slider.setVisible(False)
        slider.changed.connect(lambda ends: self._take(name, ends, last=False))
        slider.released.connect(lambda ends: self._take(name, ends, last=True))
        return slider

    def _build(self) -> None:
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(6, 8, 6, 8)
        column.setSpacing(8)
        self._empty = QLabel("No localizations yet")
        self._empty.setProperty("role", "dim")
        self._empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.addWidget(self._empty)
        for slider in self.sliders.values():
            column.addWidget(slider)
        column.addStretch(1)
        scroll = QScrollArea()
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inside)
        foot = QHBoxLayout()
        foot.setContentsMargins(14, 0, 10, 8)
        self._count.setProperty("role", "dim")
        foot.addWidget(self._count, 1)
        foot.addWidget(self._reset)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(scroll, 1)
        whole.addLayout(foot)

    def _take(self, name: str, ends: Range, *, last: bool) -> None:
        self._selection = replace(self._selection, **{name: ends})
        self._refresh()
        if last:
            self._throttle.now()
        else:
            self._throttle.soon()

    def _refresh(self) -> None:
        self._reset.setEnabled(bool(self._selection.active))

    def _emit(self) -> None:
        if self._selection != self._emitted:
            self._emitted = self._selection
            self.changed.emit(self._selection)
