"""One small plot: a curve with its band, the newest value, few and round ticks."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from .style import (
    ACCENT,
    BACKGROUND,
    BAD,
    DASH,
    DIM,
    EDGE,
    FAINT,
    GOOD,
    LARGE_PX,
    LINE,
    PANEL,
    SMALL_PX,
    TEXT,
    THIN,
    WARN,
    figure,
    font,
    grouped,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from PySide6.QtCore import QEvent
    from PySide6.QtGui import QMouseEvent, QPaintEvent

    from ...curves.bins import Curve
    from ...curves.series import Series

HEAD, LEFT, RIGHT, BOTTOM = 30.0, 38.0, 10.0, 18.0  # around the curve
BAND_ALPHA = 46
BEGINNING = 0.1  # of the newest frame: curves that begin before it are shown from 0
SPIKES = 0.98  # of the band: what is above it may be cut off
COLOURS = {
    "density": ACCENT,
    "laser_power": "#c792ea",
    "photons": "#ffd166",
    "background": "#a3b18a",
    "precision": GOOD,
    "losses": BAD,
    "latency": WARN,
    "screen_latency": WARN,
}
_NOTHING: Curve = (np.zeros(0),) * 4


class Plot(QWidget):
    """Draws one series once per change; the mouse only moves a line over it.

    Attributes
    ----------
    pointed : Signal(float)
        Frame number under the mouse; NaN when it leaves.
    """

    pointed = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._name = self._label = self._unit = ""
        self._curve, self._target = _NOTHING, _NOTHING
        self._newest: float | None = None
        self._aim: float | None = None
        self._frame = math.nan
        self._drawn: QPixmap | None = None
        self._top = 1.0

    @property
    def has_points(self) -> bool:
        """Whether there is anything to show."""
        return len(self._curve[0]) > 0

    def show_series(self, series: Series, target: Series | None = None) -> None:
        """Show a series as it is now, and what it should be."""
        self._name, self._label, self._unit = series.name, series.label, series.unit
        self._curve, self._newest = series.points(), series.newest
        if target is not None:
            self._target, self._aim = target.points(), target.newest
        self._top = self._highest()
        self.setAccessibleName(self._label)
        self.setAccessibleDescription(" ".join(self._figures()))
        self._drawn = None
        self.update()

    def point_at(self, frame: float) -> None:
        """Show the value at a frame; NaN: none."""
        if frame == self._frame or (math.isnan(frame) and math.isnan(self._frame)):
            return
        self._frame = frame
        self.update()

    def sizeHint(self) -> QSize:
        """Return the preferred size (called by Qt)."""
        return QSize(220, 120)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Report the frame under the cursor (called by Qt)."""
        box = self._box()
        low, high = self._frames()
        share = (event.position().x() - box.left()) / box.width()
        inside = 0.0 <= share <= 1.0
        self.pointed.emit(low + share * (high - low) if inside else math.nan)

    def leaveEvent(self, event: QEvent) -> None:
        """Report that the cursor has left (called by Qt)."""
        self.pointed.emit(math.nan)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the plot, or take it as it is, and the line over it (called by Qt)."""
        scale = self.devicePixelRatioF()
        size = self.size() * scale
        if self._drawn is None or self._drawn.size() != size:
            self._drawn = QPixmap(size)
            self._drawn.setDevicePixelRatio(scale)
            self._drawn.fill(QColor(PANEL))
            with _painting(self._drawn) as painter:
                self._paint(painter)
        with _painting(self) as painter:
            painter.drawPixmap(0, 0, self._drawn)
            self._paint_head(painter)
            self._paint_pointer(painter)

    # What is where

    def _box(self) -> QRectF:
        return QRectF(
            LEFT,
            HEAD,
            max(10.0, self.width() - LEFT - RIGHT),
            max(10.0, self.height() - HEAD - BOTTOM),
        )

    def _frames(self) -> tuple[float, float]:
        x = self._curve[0]
        if not len(x):
            return 0.0, 1.0
        low, high = float(x[0]), float(x[-1])
        return (0.0 if low < BEGINNING * high else low), max(high, low + 1.0)

    def _highest(self) -> float:
        """Choose the highest value that is shown; the lowest is always 0."""
        _, _, middle, high = self._curve
        candidates = [0.0]
        if len(middle):
            candidates += [middle.max() * 1.08, np.quantile(high, SPIKES)]
        if len(self._target[0]):
            candidates.append(self._target[3].max() * 1.15)
        return float(max(candidates)) or 1.0

    def _places(
        self, x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return points on the screen, shape (n, 2)."""
        box, (low, high) = self._box(), self._frames()
        across = box.left() + (x - low) / (high - low) * box.width()
        up = box.bottom() - np.minimum(y / self._top, 1.2) * box.height()
        return np.column_stack([across, up])

    # Drawing

    def _paint(self, painter: QPainter) -> None:
        """Draw everything that does not follow the mouse."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(LINE), 1.0))
        painter.setBrush(QColor(BACKGROUND))
        frame = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.drawRoundedRect(frame, 6.0, 6.0)
        if not self.has_points:
            return
        painter.setFont(font(10))
        self._paint_ticks(painter)
        painter.setClipRect(self._box().adjusted(-2.0, -2.0, 2.0, 2.0))
        x, low, middle, high = self._curve
        colour = QColor(COLOURS.get(self._name, ACCENT))
        if len(x) > 1 and (high > low).any():
            painter.drawImage(self._box(), self._band(colour))
        if len(self._target[0]):
            painter.setPen(QPen(QColor(TEXT), 1.2, Qt.PenStyle.DashLine))
            painter.drawPolyline(_polygon(self._target_line()))
        painter.setPen(QPen(colour, 1.5))
        places = self._places(x, middle)
        if len(places) == 1:
            painter.drawEllipse(QPointF(*places[0]), 1.5, 1.5)
        else:
            painter.drawPolyline(_polygon(places))
        painter.setClipping(False)

    def _band(self, colour: QColor) -> QImage:
        """Fill between low and high, pixel by pixel: a polygon takes far longer."""
        box, scale = self._box(), self.devicePixelRatioF()
        width, height = round(box.width() * scale), round(box.height() * scale)
        x, low, _, high = self._curve
        first, last = self._frames()
        frames = first + (np.arange(width) + 0.5) / width * (last - first)
        nothing = {"left": 0.0, "right": 0.0}
        bottom, top = (
            height * (1.0 - np.interp(frames, x, ends, **nothing) / self._top)
            for ends in (low, high)
        )
        rows = np.arange(height)[:, None]
        covered = np.minimum(bottom, rows + 1) - np.maximum(top, rows)
        shade = np.clip(covered, 0.0, 1.0)[..., None] * (BAND_ALPHA / 255.0)
        blue_first = [colour.blue(), colour.green(), colour.red(), 255]
        pixels = (shade * blue_first + 0.5).astype(np.uint8)  # premultiplied
        form = QImage.Format.Format_ARGB32_Premultiplied
        image: QImage = QImage(pixels.data, width, height, form).copy()
        return image  # a copy: the array goes

    def _target_line(self) -> NDArray[np.float64]:
        """Draw the target on to the newest frame."""
        x, _, middle, _ = self._target
        x = np.append(x, max(x[-1], self._frames()[1]))
        return self._places(x, np.append(middle, middle[-1]))

    def _paint_ticks(self, painter: QPainter) -> None:
        box, top = self._box(), self._top
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value in round_ticks(0.0, top, 3 if box.height() > 60 else 2):
            y = box.bottom() - value / top * box.height()
            painter.setPen(QPen(QColor(LINE if value else EDGE), 1.0))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            painter.setPen(QColor(DIM))
            painter.drawText(QRectF(0, y - 7, LEFT - 5, 14), right, tick_text(value))
        low, high = self._frames()
        for value in round_ticks(low, high, max(2, int(box.width() // 50)), whole=True):
            x = box.left() + (value - low) / (high - low) * box.width()
            painter.setPen(QPen(QColor(EDGE), 1.0))
            painter.drawLine(QPointF(x, box.bottom()), QPointF(x, box.bottom() + 3))
            label = QRectF(x - 30, box.bottom() + 3, 60, 13)
            label.moveRight(min(label.right(), self.width() + 18.0))
            painter.setPen(QColor(FAINT))
            painter.drawText(label, Qt.AlignmentFlag.AlignCenter, tick_text(value))

    def _figures(self) -> tuple[str, str]:
        """Return the value to be shown large, and what stands behind it."""
        value = self._newest
        if not math.isnan(self._frame) and self.has_points:
            value = float(self._curve[2][self._nearest()])
        small = self._unit
        if self._aim is not None and math.isnan(self._frame):
            small = f"of {figure(self._aim)}{THIN}{small}"
        return (DASH if value is None else figure(value)), small

    def _nearest(self) -> int:
        return int(np.abs(self._curve[0] - self._frame).argmin())

    def _paint_head(self, painter: QPainter) -> None:
        """Write name and value; while the mouse points, the value there."""
        baseline, right = 21.0, self.width() - RIGHT
        large, small = self._figures()
        lost = self._name == "losses" and large not in ("0", DASH)
        painter.setFont(font(SMALL_PX))
        if small:
            right -= painter.fontMetrics().horizontalAdvance(small)
            painter.setPen(QColor(DIM))
            painter.drawText(QPointF(right, baseline), small)
            right -= 4
        painter.setFont(font(LARGE_PX, bold=True))
        right -= painter.fontMetrics().horizontalAdvance(large)
        painter.setPen(QColor(BAD if lost else TEXT))
        painter.drawText(QPointF(right, baseline), large)
        painter.setFont(font(SMALL_PX))
        painter.setPen(QColor(DIM))
        room = int(right - 18)
        elide = Qt.TextElideMode.ElideRight
        name = painter.fontMetrics().elidedText(self._label, elide, room)
        painter.drawText(QPointF(10.0, baseline), name)

    def _paint_pointer(self, painter: QPainter) -> None:
        """Draw the line at the frame that is pointed at."""
        if math.isnan(self._frame) or not self.has_points:
            return
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        nearest, box = self._nearest(), self._box()
        x, _, middle, _ = self._curve
        ((across, up),) = self._places(x[[nearest]], middle[[nearest]]).tolist()
        painter.setPen(QPen(QColor(FAINT), 1.0))
        painter.drawLine(QPointF(across, box.top()), QPointF(across, box.bottom()))
        painter.setBrush(QColor(TEXT))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.drawEllipse(QPointF(across, max(up, box.top())), 3.0, 3.0)
        painter.setFont(font(10))
        text = f"frame {grouped(round(x[nearest]))}"
        width = painter.fontMetrics().horizontalAdvance(text) + 8
        label = QRectF(across - width / 2, box.bottom() + 3, width, 13)
        label.moveLeft(min(max(label.left(), 2.0), self.width() - width - 2.0))
        painter.setBrush(QColor(BACKGROUND))
        painter.drawRect(label)
        painter.setPen(QColor(TEXT))
        painter.drawText(label, Qt.AlignmentFlag.AlignCenter, text)


def round_ticks(
    low: float, high: float, most: int, *, whole: bool = False
) -> list[float]:
    """Choose multiples of 1, 2 or 5 times a power of ten, `most` + 1 at most."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(f * power for f in (1, 2, 5, 10) if f * power * most >= span * 0.999)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_text(value: float) -> str:
    """Write a round number short."""
    for limit, divisor, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:g}{letter}"
    return f"{value:g}"


def _polygon(places: NDArray[np.float64]) -> QPolygonF:
    return QPolygonF([QPointF(x, y) for x, y in places.tolist()])


@contextlib.contextmanager
def _painting(device: QPixmap | QWidget) -> Iterator[QPainter]:
    """Yield a painter that is always ended."""
    painter = QPainter(device)
    try:
        yield painter
    finally:
        painter.end()
