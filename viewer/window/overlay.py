"""What lies over the image in the window: scale bar, colour bar, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QLinearGradient, QPainter, QPen
from PySide6.QtWidgets import QWidget

from ..lettering import scale_bar
from ..render import depth_table

if TYPE_CHECKING:
    from PySide6.QtGui import QPaintEvent

MARGIN = 22.0  # from the window's edges, logical pixels
_WHITE = QColor(245, 246, 248)
_DIM = QColor(150, 156, 168)
_SHADE = QColor(0, 0, 0, 150)


class Overlay(QWidget):
    """Draws over the canvas and lets the mouse through.

    Attributes
    ----------
    nm_per_pixel : float
        Of the view, logical pixels; 0 hides the scale bar.
    depth_range_nm : tuple[float, float] or None
        Ends of the colour bar; None hides it.
    depth_map : str
        Its colours, as in `Look`.
    heading, message : str
        Stand in the middle while there is no image yet; empty otherwise.
    notice : str
        A line at the top, for what a key just did.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.nm_per_pixel = 0.0
        self.depth_range_nm: tuple[float, float] | None = None
        self.depth_map = "turbo"
        self.heading = ""
        self.message = ""
        self.notice = ""

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw what is set (called by Qt)."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        if self.heading:
            self._draw_message(painter)
        elif self.nm_per_pixel > 0:
            self._draw_scale_bar(painter)
            if self.depth_range_nm is not None:
                self._draw_colour_bar(painter, self.depth_range_nm)
        if self.notice:
            self._draw_notice(painter)
        painter.end()

    def _draw_scale_bar(self, painter: QPainter) -> None:
        bar = scale_bar(self.width() * self.nm_per_pixel * 0.8)
        length = bar.length_nm / self.nm_per_pixel
        right, bottom = self.width() - MARGIN, self.height() - MARGIN
        box = QRectF(right - length, bottom - 5.0, length, 5.0)
        painter.setPen(QPen(_SHADE, 2.0))
        painter.setBrush(_WHITE)
        painter.drawRect(box)
        painter.fillRect(box, _WHITE)
        label = QRectF(right - max(length, 120.0), bottom - 34.0, 120.0, 24.0)
        label.moveCenter(QPointF(box.center().x(), label.center().y()))
        label.moveRight(min(label.right(), self.width() - 6.0))
        _write(painter, label, bar.label, 15)

    def _draw_colour_bar(self, painter: QPainter, ends_nm: tuple[float, float]) -> None:
        height = min(150.0, self.height() * 0.35)
        box = QRectF(MARGIN, self.height() - MARGIN - height, 12.0, height)
        gradient = QLinearGradient(box.bottomLeft(), box.topLeft())
        table = depth_table(self.depth_map)
        for step in range(33):
            red, green, blue = table[step * (len(table) - 1) // 32].tolist()
            gradient.setColorAt(step / 32, QColor(red, green, blue))
        painter.setPen(QPen(_SHADE, 2.0))
        painter.drawRect(box)
        painter.fillRect(box, gradient)
        low, high = (f"{end:+.0f} nm" if end else "0 nm" for end in ends_nm)
        left = Qt.AlignmentFlag.AlignLeft
        beside = QRectF(box.right() + 8.0, 0.0, 120.0, 20.0)
        for text, y in (
            (high, box.top() + 6),
            ("z", box.center().y()),
            (low, box.bottom() - 6),
        ):
            beside.moveCenter(QPointF(beside.center().x(), y))
            _write(painter, beside, text, 13, left)

    def _draw_message(self, painter: QPainter) -> None:
        middle = QRectF(0.0, self.height() / 2 - 44.0, self.width(), 40.0)
        _write(painter, middle, self.heading, 24)
        middle.translate(0.0, 42.0)
        painter.setFont(_font(14))
        painter.setPen(_DIM)
        painter.drawText(middle, Qt.AlignmentFlag.AlignCenter, self.message)

    def _draw_notice(self, painter: QPainter) -> None:
        painter.setFont(_font(13))
        width = painter.fontMetrics().horizontalAdvance(self.notice) + 32.0
        box = QRectF(0.0, 16.0, min(width, self.width() - 8.0), 30.0)
        box.moveCenter(QPointF(self.width() / 2, box.center().y()))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(38, 42, 50, 225))
        painter.drawRoundedRect(box, 15.0, 15.0)
        painter.setPen(_WHITE)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, self.notice)


def _font(size: int) -> QFont:
    font = QFont()
    font.setPixelSize(size)
    return font


def _write(
    painter: QPainter,
    box: QRectF,
    text: str,
    size: int,
    align: Qt.AlignmentFlag = Qt.AlignmentFlag.AlignHCenter,
) -> None:
    """Write white on a dark shadow, legible on any image."""
    painter.setFont(_font(size))
    flags = align | Qt.AlignmentFlag.AlignVCenter
    painter.setPen(_SHADE)
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        painter.drawText(box.translated(dx, dy), flags, text)
    painter.setPen(_WHITE)
    painter.drawText(box, flags, text)
