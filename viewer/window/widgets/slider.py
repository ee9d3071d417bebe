"""A slider for one number, with its name and its value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSlider, QWidget

from .style import THIN, figure

if TYPE_CHECKING:
    from PySide6.QtGui import QMouseEvent

STEPS = 200  # of a slider


class Amount(QWidget):
    """A number between two others, on a linear or a logarithmic slider.

    Parameters
    ----------
    name, unit : str
        For people.
    low, high : float
        Ends; above 0 where logarithmic.
    usual : float
        What a double click goes back to.

    Attributes
    ----------
    changed : Signal(float)
        The new number, when the user changed it.
    released : Signal()
        The slider was released, or moved by a key.
    """

    changed = Signal(float)
    released = Signal()

    def __init__(
        self,
        name: str,
        low: float,
        high: float,
        usual: float,
        unit: str = "",
        *,
        logarithmic: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._unit, self._usual = unit, usual
        self._logarithmic = logarithmic
        self._ends = (self._warped(low), self._warped(high))
        self._value = usual
        self._slider = _Track(self)
        self._slider.setAccessibleName(name)
        self._slider.setToolTip(f"{name}. Double click: {figure(usual)}")
        self._slider.valueChanged.connect(self._moved)
        self._slider.sliderReleased.connect(self.released)
        self._text = QLabel()
        self._text.setMinimumWidth(52)
        self._text.setAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        layout.addWidget(self._slider, 1)
        layout.addWidget(self._text)
        self.set_value(usual)

    @property
    def value(self) -> float:
        """The number."""
        return self._value

    def set_value(self, value: float) -> None:
        """Show a number, exactly, also beyond the ends; nothing is emitted."""
        self._value = value
        low, high = self._ends
        share = (self._warped(value) - low) / (high - low)
        self._slider.blockSignals(True)
        self._slider.setValue(round(min(max(share, 0.0), 1.0) * STEPS))
        self._slider.blockSignals(False)
        self._show()

    def usual(self) -> None:
        """Go back to the usual number."""
        self.set_value(self._usual)
        self.changed.emit(self._value)
        self.released.emit()

    def _warped(self, value: float) -> float:
        return math.log(max(value, 1e-12)) if self._logarithmic else value

    def _moved(self, step: int) -> None:
        low, high = self._ends
        place = low + (high - low) * step / STEPS
        value = math.exp(place) if self._logarithmic else place
        span = value if self._logarithmic else high - low
        self._value = round(value, 2 - math.floor(math.log10(max(span, 1e-9))))
        self._show()
        self.changed.emit(self._value)
        if not self._slider.isSliderDown():
            self.released.emit()

    def _show(self) -> None:
        unit = f"{THIN}{self._unit}" if self._unit else ""
        self._text.setText(f"{figure(self._value)}{unit}")


class _Track(QSlider):
    """Goes back at a double click."""

    def __init__(self, amount: Amount) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self._amount = amount
        self.setRange(0, STEPS)
        self.setPageStep(STEPS // 10)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Go back to the usual number (called by Qt)."""
        self._amount.usual()
