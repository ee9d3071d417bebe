"""A raw frame, the newest or a chosen one, with rings around what was found in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QPainter, QPen
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from ..widgets.style import ACCENT, BACKGROUND, grouped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PySide6.QtGui import QMouseEvent, QPaintEvent, QWheelEvent

    from liveloc.stream.preview import Preview

DARKEST, BRIGHTEST = 1.0, 99.7  # percentiles of the counts: black and white
SAMPLED = 1 << 16  # pixels, on which these rest
RING_PX = 2.6  # radius, camera pixels
LEAST_RING = 5.0  # the same on the screen
MOST_RINGS = 2000
LARGEST_ZOOM = 64.0


class RawFramePanel(QWidget):
    """Shows a `Preview`, and in a line below what it is.

    The wheel zooms about the mouse, a drag moves, a double click shows all again.

    Attributes
    ----------
    asked : Signal(int)
        Number of the recorded frame that the user wants to see.
    """

    asked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("role", "panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.view = FrameView()
        self._caption = QLabel()
        self._caption.setProperty("role", "dim")
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 8, 8, 6)
        column.setSpacing(4)
        column.addWidget(self.view, 1)
        column.addWidget(self._make_chooser())
        column.addWidget(self._caption)
        self.show_preview(None, 100.0, (0, 0))

    @property
    def chosen(self) -> int:
        """Number of the recorded frame to show."""
        return self.number.value()

    def offer(self, numbers: tuple[int, int] | None) -> None:
        """Let the user choose among recorded frames.

        Parameters
        ----------
        numbers : (first, last), optional
            Of the recording; None where there is none to choose from.
        """
        self._chooser.setVisible(numbers is not None)
        if numbers is not None:
            for control in (self.number, self._slider):
                control.blockSignals(True)
                control.setRange(*numbers)
                control.setValue(numbers[0])
                control.blockSignals(False)

    def _make_chooser(self) -> QWidget:
        self._chooser = QWidget()
        self._slider = QSlider(Qt.Orientation.Horizontal)
        self._slider.setAccessibleName("Recorded frame")
        self.number = QSpinBox()
        self.number.setAccessibleName("Number of the recorded frame")
        self._slider.valueChanged.connect(self.number.setValue)
        self.number.valueChanged.connect(self._slider.setValue)
        self.number.valueChanged.connect(self.asked)
        row = QHBoxLayout(self._chooser)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._slider, 1)
        row.addWidget(self.number)
        self._chooser.hide()
        return self._chooser

    def show_preview(
        self,
        preview: Preview | None,
        pixel_size_nm: float,
        roi_origin: Sequence[int],
    ) -> None:
        """Show a frame; None where there is none.

        Parameters
        ----------
        preview : Preview or None
            Asked again with the same object, nothing is done.
        pixel_size_nm : float
            Of the camera.
        roi_origin : (int, int)
            Column and row of the frame's first pixel on the chip.
        """
        if preview is None:
            self.view.clear()
            self._caption.setText("No camera image was sent or recorded")
            return
        if not self.view.show_frame(preview, pixel_size_nm, roi_origin):
            return
        found = len(preview.localizations)
        parts = [f"Frame {grouped(preview.seq)}", f"{grouped(found)} found"]
        if found > MOST_RINGS:
            parts[1] += f", {grouped(MOST_RINGS)} marked"
        low, high = self.view.limits
        parts.append(f"{grouped(low)} to {grouped(high)} counts")
        if preview.binning > 1:
            parts.append(f"{preview.binning}x{preview.binning} binned")
        self._caption.setText(" \u00b7 ".join(parts))
        self.view.setAccessibleDescription(self._caption.text())


class FrameView(QWidget):
    """The frame itself, enlarged pixel by pixel.

    Attributes
    ----------
    limits : tuple[int, int]
        Counts shown black and white.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 100)
        self.setAccessibleName("Raw frame")
        self.setToolTip("Wheel: zoom. Drag: move. Double click: show all")
        self.limits = (0, 1)
        self._preview: Preview | None = None
        self._image = QImage()
        self._places: NDArray[np.float64] = np.zeros((0, 2))
        self._binning = 1
        self._zoom = 1.0
        self._middle = (0.5, 0.5)  # of the view, as parts of the frame
        self._grip: QPointF | None = None

    def clear(self) -> None:
        """Show nothing."""
        if self._preview is not None:
            self._preview, self._image = None, QImage()
            self.update()

    def show_frame(
        self, preview: Preview, pixel_size_nm: float, roi_origin: Sequence[int]
    ) -> bool:
        """Show a frame; False if it is the one that is shown."""
        if preview is self._preview:
            return False
        self._preview, self._binning = preview, preview.binning
        self.limits = contrast(preview.pixels)
        grey = to_grey(preview.pixels, self.limits)
        height, width = grey.shape
        self._image = QImage(
            grey.data, width, height, width, QImage.Format.Format_Grayscale8
        ).copy()  # the array goes
        every = -(-len(preview.localizations) // MOST_RINGS) or 1
        rows = preview.localizations[::every]
        self._places = frame_places(rows, pixel_size_nm, roi_origin)
        self.update()
        return True

    def sizeHint(self) -> QSize:
        """Return the preferred size (called by Qt)."""
        return QSize(260, 260)

    def target(self) -> QRectF:
        """Return the rectangle of the whole frame on the widget, or beyond it."""
        width, height = self._image.width(), self._image.height()
        if not width or not height:
            return QRectF()
        scale = min(self.width() / width, self.height() / height) * self._zoom
        across, down = self._middle
        return QRectF(
            self.width() / 2 - across * width * scale,
            self.height() / 2 - down * height * scale,
            width * scale,
            height * scale,
        )

    def on_widget(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where on the widget positions are.

        Parameters
        ----------
        places : NDArray[np.float64], shape (n, 2)
            (column, row) in camera pixels of the frame, whole at pixel centres.
        """
        box = self.target()
        scale = box.width() / max(1, self._image.width()) / self._binning
        # The frame begins half a camera pixel before the centre of its first one.
        return (places + 0.5) * scale + [box.left(), box.top()]

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw frame and rings (called by Qt)."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(BACKGROUND))
        if not self._image.isNull():
            painter.drawImage(self.target(), self._image)  # no smoothing: pixels
            self._paint_rings(painter)
        painter.end()

    def _paint_rings(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(QColor(ACCENT), 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        scale = self.target().width() / self._image.width() / self._binning
        radius = max(LEAST_RING, RING_PX * scale)
        places = self.on_widget(self._places)
        ends = np.array([self.width(), self.height()])
        seen = ((places > -radius) & (places < ends + radius)).all(axis=1)
        for x, y in places[seen].tolist():
            painter.drawEllipse(QPointF(x, y), radius, radius)

    # The mouse

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom about the mouse (called by Qt)."""
        if self._image.isNull():
            return
        factor = 1.2 ** (event.angleDelta().y() / 120.0)
        self.zoom(factor, event.position())
        event.accept()

    def zoom(self, factor: float, about: QPointF) -> None:
        """Enlarge; what is at `about` stays there."""
        before = self.target()
        across = (about.x() - before.left()) / before.width()
        down = (about.y() - before.top()) / before.height()
        self._zoom = min(max(self._zoom * factor, 1.0), LARGEST_ZOOM)
        after = self.target()
        self._shift(
            (after.left() + across * after.width() - about.x()) / after.width(),
            (after.top() + down * after.height() - about.y()) / after.height(),
        )

    def _shift(self, across: float, down: float) -> None:
        """Move the view by parts of the frame, and stay on the frame."""
        room = 0.5 - 0.5 / self._zoom
        middle = (self._middle[0] + across, self._middle[1] + down)
        x, y = (min(max(place, 0.5 - room), 0.5 + room) for place in middle)
        self._middle = (x, y)
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to move (called by Qt)."""
        self._grip = event.position()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Move (called by Qt)."""
        box = self.target()
        if self._grip is not None and not box.isEmpty():
            moved = event.position() - self._grip
            self._grip = event.position()
            self._shift(-moved.x() / box.width(), -moved.y() / box.height())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Stay there (called by Qt)."""
        self._grip = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Show the whole frame again (called by Qt)."""
        self._zoom, self._middle = 1.0, (0.5, 0.5)
        self.update()


def frame_places(
    rows: NDArray[Any], pixel_size_nm: float, roi_origin: Sequence[int]
) -> NDArray[np.float64]:
    """Return (column, row) of localizations in camera pixels of their frame.

    Parameters
    ----------
    rows : Localizations
        Positions in nm on the whole chip, 0 at the centre of its first pixel.
    roi_origin : (int, int)
        Column and row of the frame's first pixel on the chip.

    Returns
    -------
    NDArray[np.float64], shape (n, 2)
        Whole at the centres of pixels; those that are not finite are left out.
    """
    xy = np.column_stack([rows["x_nm"], rows["y_nm"]]).astype(np.float64)
    xy = xy[np.isfinite(xy).all(axis=1)]
    places: NDArray[np.float64] = xy / pixel_size_nm - np.asarray(roi_origin)
    return places


def contrast(pixels: NDArray[np.uint16]) -> tuple[int, int]:
    """Choose the counts that are black and white, of at most `SAMPLED` pixels."""
    step = max(1, round((pixels.size / SAMPLED) ** 0.5))
    low, high = np.percentile(pixels[::step, ::step], (DARKEST, BRIGHTEST))
    return int(low), max(int(np.ceil(high)), int(low) + 1)


def to_grey(pixels: NDArray[np.uint16], limits: tuple[int, int]) -> NDArray[np.uint8]:
    """Return 0 to 255 for counts between the limits; rows without gaps between."""
    low, high = limits
    scaled = (pixels.astype(np.float32) - low) * np.float32(255.0 / (high - low))
    grey: NDArray[np.uint8] = np.clip(scaled, 0.0, 255.0).astype(np.uint8)
    return np.ascontiguousarray(grey)
