"""The image on the screen: painted by OpenGL or without, panned, zoomed, measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import QColor, QPainter
from PySide6.QtWidgets import QSizePolicy, QWidget

from ...views.navigation import Camera
from ...views.scene import BACKGROUND
from .overlay import Overlay

if TYPE_CHECKING:
    from PySide6.QtGui import (
        QImage,
        QMouseEvent,
        QPaintEvent,
        QResizeEvent,
        QWheelEvent,
    )

    from ...image.viewport import Rect, Viewport
    from ...views.scene import Scene

CHOICE = "LIVELOC_VIEWER_CANVAS"  # "raster": do not try OpenGL
ZOOM_PER_NOTCH = 1.25
SMALLEST_REGION = 3.0  # logical pixels a side: less was a click


class Painter(Protocol):
    """Makes pictures of scenes."""

    renderer: str

    def paint(self, scene: Scene) -> QImage:
        """Return the scene as an image of the viewport's shape."""
        ...

    def close(self) -> None:
        """Release everything. Idempotent."""
        ...


class Canvas(QWidget):
    """Shows one scene, and lets the user move in it.

    The wheel zooms about the cursor, dragging pans, a double click shows the whole
    field, dragging with shift (or while `choosing`) draws a region.

    Attributes
    ----------
    moved : Signal
        The camera looks elsewhere, or the canvas has another size.
    cursor_moved : Signal(object)
        (x, y) in nm, or None outside the canvas.
    region_drawn : Signal(object)
        `Rect` in nm.
    camera : Camera
        Where the view is.
    overlay : Overlay
        What is drawn over the image.
    without_opengl : str
        Why OpenGL is not used; empty when it is.
    choosing : bool
        The next drag draws a region without shift.
    """

    moved = Signal()
    cursor_moved = Signal(object)
    region_drawn = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.camera = Camera()
        self.overlay = Overlay()
        self.without_opengl = ""
        self.choosing = False
        painter = self._choose()
        self._painter: Painter | None = painter
        self._renderer = painter.renderer
        self._image: QImage | None = None
        self._viewport: Viewport | None = None
        self._dragged_from: QPointF | None = None
        self._region_from: QPointF | None = None
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMouseTracking(True)
        self.setCursor(Qt.CursorShape.CrossCursor)
        self.setMinimumSize(240, 200)
        expanding = QSizePolicy.Policy.Expanding
        self.setSizePolicy(expanding, expanding)

    @property
    def renderer(self) -> str:
        """What paints: the name of the graphics, or what stands in for it."""
        return self._renderer

    @property
    def ratio(self) -> float:
        """Pixels of the screen per logical pixel."""
        return float(self.devicePixelRatioF())

    @property
    def viewport(self) -> Viewport:
        """What the canvas shows, in pixels of the screen."""
        return self.camera.viewport(self.ratio)

    def show_scene(self, scene: Scene) -> None:
        """Paint, and put it on the screen before returning."""
        if self._painter is None:
            return
        try:
            self._image = self._painter.paint(scene)
        except (RuntimeError, ValueError) as error:
            # The graphics may vanish at any time (a driver that restarts, a remote
            # session): the image stays, painted differently.
            if not self._fall_back(str(error)):
                raise
            self._image = self._painter.paint(scene)
        self._image.setDevicePixelRatio(self.ratio)
        self._viewport = scene.viewport
        self.repaint()

    def close_painter(self) -> None:
        """Release the graphics resources. Idempotent."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None

    def _choose(self) -> Painter:
        from .raster_painter import RasterPainter

        if os.environ.get(CHOICE, "").lower() == "raster":
            self.without_opengl = f"{CHOICE} is 'raster'"
            return RasterPainter()
        try:
            from .gl_painter import GlPainter

            return GlPainter()
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            self.without_opengl = str(error)
            return RasterPainter()

    def _fall_back(self, reason: str) -> bool:
        """Go on without OpenGL; False where that was the case already."""
        from .raster_painter import RasterPainter

        if self._painter is None or isinstance(self._painter, RasterPainter):
            return False
        self._painter = RasterPainter()
        self._renderer = self._painter.renderer
        self.without_opengl = reason
        return True

    # What Qt calls

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the newest image where it belongs now, and what lies over it."""
        painter = QPainter(self)
        seen, camera = self._viewport, self.camera
        if self._image is None or seen is None:
            painter.fillRect(self.rect(), QColor(*BACKGROUND))
        elif seen == self.viewport:
            painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
            painter.drawImage(0, 0, self._image)
            painter.setCompositionMode(
                QPainter.CompositionMode.CompositionMode_SourceOver
            )
        else:
            painter.fillRect(self.rect(), QColor(*BACKGROUND))
            left, right, top, bottom = seen.rect
            corner = QPointF(*camera.to_screen(left, top))
            opposite = QPointF(*camera.to_screen(right, bottom))
            painter.drawImage(QRectF(corner, opposite), self._image)
        self.overlay.draw(painter, camera, self.ratio)
        painter.end()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Keep the middle of the view in the middle."""
        self.camera.resize(self.width(), self.height())
        self.moved.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom about the cursor."""
        notches = event.angleDelta().y() / 120.0
        place = event.position()
        if notches:
            self.camera.zoom(ZOOM_PER_NOTCH**notches, place.x(), place.y())
            self._tell(place)
            self.moved.emit()
        event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Begin to pan, or to draw a region."""
        if event.button() not in (
            Qt.MouseButton.LeftButton,
            Qt.MouseButton.RightButton,
        ):
            return
        shift = event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        if event.button() == Qt.MouseButton.LeftButton and (shift or self.choosing):
            self._region_from = event.position()
        else:
            self._dragged_from = event.position()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Pan, draw a region, say where the cursor is."""
        place = event.position()
        if self._dragged_from is not None:
            step = place - self._dragged_from
            self._dragged_from = place
            self.camera.pan(step.x(), step.y())
            self.moved.emit()
        elif self._region_from is not None:
            self.overlay.region = self._spanned(self._region_from, place)
            self.update()
        self._tell(place)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End what the press began."""
        start, self._region_from = self._region_from, None
        self._dragged_from = None
        self.setCursor(Qt.CursorShape.CrossCursor)
        if start is None:
            return
        self.choosing = False
        size = event.position() - start
        if min(abs(size.x()), abs(size.y())) < SMALLEST_REGION:
            return
        self.overlay.region = self._spanned(start, event.position())
        self.region_drawn.emit(self.overlay.region)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Show the whole field."""
        self.camera.show_whole()
        self.moved.emit()

    def leaveEvent(self, event: Any) -> None:
        """Report that the cursor has left."""
        self.cursor_moved.emit(None)

    def _tell(self, place: QPointF) -> None:
        self.cursor_moved.emit(self.camera.to_nm(place.x(), place.y()))

    def _spanned(self, start: QPointF, end: QPointF) -> Rect:
        first = self.camera.to_nm(start.x(), start.y())
        last = self.camera.to_nm(end.x(), end.y())
        return (
            min(first[0], last[0]),
            max(first[0], last[0]),
            min(first[1], last[1]),
            max(first[1], last[1]),
        )
