"""Paints scenes without OpenGL: the same picture, made by NumPy and Qt, slower."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QRectF
from PySide6.QtGui import QColor, QImage, QPainter

from ...image.colouring import brightness, depth_coloured, mean_depth
from ...image.layers import Layers
from ...views.scene import BACKGROUND, TILE, Colours, Scene, tile_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...data.document import Document
    from ...image.viewport import Rect, Viewport
    from ...views.render_thread import RenderedView
    from ...views.scene import TileRange


class RasterPainter:
    """Paints scenes with the processor alone; the face of `GlPainter`."""

    renderer = "Qt raster, without OpenGL"

    def paint(self, scene: Scene) -> QImage:
        """Return the scene as an image of the viewport's shape."""
        height, width = scene.viewport.shape
        image = QImage(width, height, QImage.Format.Format_RGB32)
        image.fill(QColor(*BACKGROUND))
        if scene.document is None:
            return image
        painter = QPainter(image)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.setClipRect(_on_screen(scene.document.rect, scene.viewport))
        try:
            if not scene.covered:
                self._paint_tiles(painter, scene, scene.document)
            if scene.view is not None:
                _paint_view(painter, scene, scene.document, scene.view)
        finally:
            painter.end()
        return image

    def close(self) -> None:
        """Hold nothing. Idempotent."""

    def _paint_tiles(self, painter: QPainter, scene: Scene, document: Document) -> None:
        wanted = tile_range(document, scene.viewport)
        if wanted is None:
            return
        layers, rect = _visible(document, wanted, scene.viewport)
        limit = scene.colours.limit * 4.0**wanted.level
        _paint(painter, scene, layers, rect, limit)


def _visible(
    document: Document, wanted: TileRange, viewport: Viewport
) -> tuple[Layers, Rect]:
    """Put the tiles together, without what cannot be seen."""
    texel_nm, tiles = wanted.texel_nm, document.image.tiles
    shape = [TILE * (last - first) for first, last in (wanted.rows, wanted.columns)]
    sums = np.empty((*shape, 2), np.float32)
    with document.lock:
        for row, column in wanted:
            y, x = (row - wanted.rows[0]) * TILE, (column - wanted.columns[0]) * TILE
            part = tiles.tile(wanted.level, row, column)
            sums[y : y + TILE, x : x + TILE] = part
    left = document.rect[0] + wanted.columns[0] * TILE * texel_nm
    top = document.rect[2] + wanted.rows[0] * TILE * texel_nm
    seen = viewport.rect
    first_x, last_x = _within(seen[0] - left, seen[1] - left, texel_nm, shape[1])
    first_y, last_y = _within(seen[2] - top, seen[3] - top, texel_nm, shape[0])
    sums = sums[first_y:last_y, first_x:last_x]
    layers = Layers(sums[..., 0], sums[..., 1], sums[..., 0], texel_nm)
    return layers, (
        left + first_x * texel_nm,
        left + last_x * texel_nm,
        top + first_y * texel_nm,
        top + last_y * texel_nm,
    )


def _within(low_nm: float, high_nm: float, texel_nm: float, size: int) -> Any:
    first = int(low_nm // texel_nm) - 1
    last = int(high_nm // texel_nm) + 2
    first = min(max(first, 0), size - 1)
    return first, min(max(last, first + 1), size)


def _paint_view(
    painter: QPainter, scene: Scene, document: Document, view: RenderedView
) -> None:
    limit_per_um2 = scene.colours.limit * 1e6 / document.image.super_pixel_nm**2
    limit = limit_per_um2 / view.per_um2 * max(view.share, 1e-3)
    _paint(painter, scene, view.layers, view.viewport.rect, limit)


def _paint(
    painter: QPainter, scene: Scene, layers: Layers, rect: Rect, limit: float
) -> None:
    rgb = np.ascontiguousarray(coloured(layers, limit, scene.colours))
    height, width = rgb.shape[:2]
    image = QImage(rgb.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    target = _on_screen(rect, scene.viewport)
    painter.drawImage(target, image, QRectF(0, 0, width, height))


def coloured(layers: Layers, limit: float, colours: Colours) -> NDArray[np.uint8]:
    """Colour sums as the shader does, shape (height, width, 3)."""
    bright = brightness(layers.counts, max(limit, 1e-30), colours.gamma)
    if colours.depth_range_nm is None:
        places = (bright * (len(colours.table) - 1) + 0.5).astype(np.intp)
        return colours.table[places]
    if layers.depth_sum_nm is None or layers.depth_counts is None:
        depth = np.zeros_like(bright)
    else:
        depth = mean_depth(layers.depth_sum_nm, layers.depth_counts)
    return depth_coloured(bright, depth, colours.depth_range_nm, colours.table_name)


def _on_screen(rect: Rect, viewport: Viewport) -> QRectF:
    left, right, top, bottom = rect
    scale = 1.0 / viewport.pixel_nm
    return QRectF(
        (left - viewport.left_nm) * scale,
        (top - viewport.top_nm) * scale,
        (right - left) * scale,
        (bottom - top) * scale,
    )
