"""What lies over the image: scale bar, colour bars, the region, messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QFont,
    QImage,
    QLinearGradient,
    QPainter,
    QPainterPath,
    QPen,
)

from ...image.lettering import scale_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...image.viewport import Rect
    from ...views.navigation import Camera

MARGIN = 20.0  # from the canvas' edges, logical pixels
_WHITE = QColor(245, 246, 248)
_DIM = QColor(150, 156, 168)
_SHADE = QColor(0, 0, 0, 190)
_ACCENT = QColor(92, 200, 255)


class Overlay:
    """Draws over the image.

    Attributes
    ----------
    table : NDArray[np.uint8] or None, shape (n, 3)
        Colours of the colour bar; None hides it.
    bar_ends : tuple[str, str]
        Written at its lower and its upper end.
    bar_title : str
        Written beside its middle.
    heading, message : str
        Stand in the middle while there is no image yet; empty otherwise.
    notice : str
        A line at the top, for what a key just did.
    region : Rect or None
        Drawn as a frame, nm.
    note : str
        Written small in the upper left corner, for what is unusual.
    """

    def __init__(self) -> None:
        self.table: NDArray[np.uint8] | None = None
        self.bar_ends = ("", "")
        self.bar_title = ""
        self.heading = ""
        self.message = ""
        self.notice = ""
        self.note = ""
        self.region: Rect | None = None
        self._drawn: QImage | None = None
        self._drawn_for: tuple[object, ...] = ()

    def draw(self, painter: QPainter, camera: Camera, ratio: float = 1.0) -> None:
        """Draw all that is set onto the canvas that `camera` describes.

        Letters are dear: they are drawn again only when something has changed.
        """
        key = (
            camera.rect,
            camera.size,
            ratio,
            id(self.table),
            self.bar_ends,
            self.bar_title,
            self.heading,
            self.message,
            self.notice,
            self.note,
            self.region,
        )
        if key != self._drawn_for or self._drawn is None:
            width, height = camera.size
            shape = max(1, round(width * ratio)), max(1, round(height * ratio))
            image = QImage(*shape, QImage.Format.Format_ARGB32_Premultiplied)
            image.setDevicePixelRatio(ratio)
            image.fill(Qt.GlobalColor.transparent)
            letters = QPainter(image)
            self._draw(letters, camera)
            letters.end()
            self._drawn, self._drawn_for = image, key
        painter.drawImage(0, 0, self._drawn)

    def _draw(self, painter: QPainter, camera: Camera) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        width, height = camera.size
        if self.heading:
            self._draw_message(painter, width, height)
        else:
            if self.region is not None:
                _draw_region(painter, camera, self.region)
            _draw_scale_bar(painter, camera)
            if self.table is not None:
                self._draw_colour_bar(painter, height, self.table)
        if self.note:
            box = QRectF(MARGIN, 12.0, width - 2 * MARGIN, 20.0)
            _write(painter, box, self.note, 12, Qt.AlignmentFlag.AlignLeft)
        if self.notice:
            self._draw_notice(painter, width)

    def _draw_colour_bar(
        self, painter: QPainter, canvas_height: int, table: NDArray[np.uint8]
    ) -> None:
        height = min(150.0, canvas_height * 0.35)
        box = QRectF(MARGIN, canvas_height - MARGIN - height, 11.0, height)
        gradient = QLinearGradient(box.bottomLeft(), box.topLeft())
        for step in range(33):
            red, green, blue = table[step * (len(table) - 1) // 32].tolist()
            gradient.setColorAt(step / 32, QColor(red, green, blue))
        painter.setPen(QPen(_SHADE, 3.0))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(box)
        painter.fillRect(box, gradient)
        low, high = self.bar_ends
        beside = QRectF(box.right() + 8.0, 0.0, 160.0, 18.0)
        for text, y in (
            (high, box.top() + 6),
            (self.bar_title, box.center().y()),
            (low, box.bottom() - 6),
        ):
            beside.moveCenter(QPointF(beside.center().x(), y))
            _write(painter, beside, text, 12, Qt.AlignmentFlag.AlignLeft)

    def _draw_message(self, painter: QPainter, width: int, height: int) -> None:
        middle = QRectF(0.0, height / 2 - 44.0, width, 40.0)
        _write(painter, middle, self.heading, 24)
        middle = QRectF(24.0, height / 2 - 2.0, width - 48.0, 80.0)
        painter.setFont(_font(14))
        painter.setPen(_DIM)
        flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop
        painter.drawText(middle, flags | Qt.TextFlag.TextWordWrap, self.message)

    def _draw_notice(self, painter: QPainter, canvas_width: int) -> None:
        painter.setFont(_font(13))
        metrics = painter.fontMetrics()
        room = canvas_width - 56.0
        text = metrics.elidedText(self.notice, Qt.TextElideMode.ElideMiddle, int(room))
        width = metrics.horizontalAdvance(text) + 32.0
        box = QRectF(0.0, 16.0, width, 30.0)
        box.moveCenter(QPointF(canvas_width / 2, box.center().y()))
        painter.setPen(QPen(QColor(70, 77, 90), 1.0))
        painter.setBrush(QColor(30, 34, 42, 235))
        painter.drawRoundedRect(box, 15.0, 15.0)
        painter.setPen(_WHITE)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, text)


def _draw_scale_bar(painter: QPainter, camera: Camera) -> None:
    width, height = camera.size
    bar = scale_bar(width * camera.nm_per_pixel * 0.8)
    length = bar.length_nm / camera.nm_per_pixel
    right, bottom = width - MARGIN, height - MARGIN
    box = QRectF(right - length, bottom - 5.0, length, 5.0)
    painter.setPen(QPen(_SHADE, 3.0))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(box)
    painter.fillRect(box, _WHITE)
    label = QRectF(0.0, bottom - 32.0, 120.0, 22.0)
    label.moveCenter(QPointF(box.center().x(), label.center().y()))
    label.moveRight(min(label.right(), width - 6.0))
    _write(painter, label, bar.label, 14)


def _draw_region(painter: QPainter, camera: Camera, region: Rect) -> None:
    left, top = camera.to_screen(region[0], region[2])
    right, bottom = camera.to_screen(region[1], region[3])
    box = QRectF(left, top, right - left, bottom - top)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(_SHADE, 3.0))
    painter.drawRect(box)
    painter.setPen(QPen(_ACCENT, 1.4))
    painter.drawRect(box)


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
    """Write white letters with a dark rim, legible on any image."""
    font = _font(size)
    painter.setFont(font)
    metrics = painter.fontMetrics()
    x = box.left()
    if align == Qt.AlignmentFlag.AlignHCenter:
        x = box.center().x() - metrics.horizontalAdvance(text) / 2
    y = box.center().y() + (metrics.ascent() - metrics.descent()) / 2
    path = QPainterPath()
    path.addText(QPointF(x, y), font, text)
    rim = QPen(_SHADE, 3.0)
    rim.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.strokePath(path, rim)
    painter.fillPath(path, _WHITE)
