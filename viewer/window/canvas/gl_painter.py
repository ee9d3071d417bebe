"""Paints scenes with OpenGL, into an image that Qt puts on the screen.

The context has no window: what is drawn is read back and painted like any picture.
With software OpenGL that costs a third of a QOpenGLWidget, which is composed with the
window's other contents by software a second time; with a graphics card the way back
takes a millisecond or two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtGui import QImage, QOffscreenSurface, QOpenGLContext
from PySide6.QtOpenGL import (
    QOpenGLFramebufferObject,
    QOpenGLFramebufferObjectFormat,
)
from vispy import gloo
from vispy.gloo import gl
from vispy.gloo.context import FakeCanvas, forget_canvas, set_current_canvas

from liveloc.stream.errors import SettingsError

from ...views.scene import BACKGROUND, TILE, Colours, Scene, common, tile_range
from .tile_texture import TileTexture

if TYPE_CHECKING:
    from ...data.document import Document
    from ...image.viewport import Rect, Viewport
    from ...views.render_thread import RenderedView

_RGBA8 = 0x8058  # OpenGL's name; software draws it a third faster than RGB8
_UNKNOWN_DEPTH = 1e18  # nm: rows without a z are grey

_VERTEX = """
attribute vec2 a_place;    // on the screen, 0 to 1 from the upper left corner
attribute vec2 a_texture;
varying vec2 v_texture;
void main() {
    v_texture = a_texture;
    gl_Position = vec4(a_place * 2.0 - 1.0, 0.0, 1.0);
}
"""
_FRAGMENT = """
varying vec2 v_texture;
uniform sampler2D u_sums;  // of tiles: localizations, sum of their z in nm
uniform sampler2D u_counts;  // the same of a view, each in a texture of its own
uniform sampler2D u_depths;
uniform sampler2D u_table;
uniform float u_scale;
uniform float u_gamma;
uniform vec2 u_depth;      // lower end in nm, 1 / range
uniform vec2 u_quarter;    // of a screen pixel, in the texture

void main() {
    vec2 sums = %(sums)s;
    float bright = pow(clamp(sums.x * u_scale, 0.0, 1.0), u_gamma);
    %(colour)s
}
"""
_ONE = "texture2D(u_sums, v_texture).rg"
_VIEW = "vec2(texture2D(u_counts, v_texture).r, texture2D(u_depths, v_texture).r)"
_VIEW_COUNTS = "vec2(texture2D(u_counts, v_texture).r, 0.0)"
# Pixels of the texture smaller than the screen's, down to 0.71 of it: two places, each
# between four of the texture's pixels, so that none is missed.
_TWO = """0.5 * (texture2D(u_sums, v_texture + u_quarter).rg
        + texture2D(u_sums, v_texture - u_quarter).rg)"""
_INTENSITY = "gl_FragColor = vec4(texture2D(u_table, vec2(bright, 0.5)).rgb, 1.0);"
_DEPTH = """float depth = sums.y / max(sums.x, 1e-12);
    vec3 hue = texture2D(u_table, vec2((depth - u_depth.x) * u_depth.y, 0.5)).rgb;
    if (depth > 1e9) hue = vec3(0.78);
    gl_FragColor = vec4(hue * bright, 1.0);"""


class NoGraphicsError(SettingsError):
    """OpenGL cannot be used here."""


class GlPainter:
    """Paints scenes; one per canvas, used by the thread of the window only.

    Raises
    ------
    NoGraphicsError
        No context, or one that cannot do what is needed.

    Attributes
    ----------
    renderer : str
        What OpenGL calls itself; ``llvmpipe`` in it means software.
    """

    def __init__(self) -> None:
        self._context = QOpenGLContext()
        self._surface = QOffscreenSurface()
        if not self._context.create():
            raise NoGraphicsError("OpenGL: there is no driver. Install one.")
        self._surface.setFormat(self._context.format())
        self._surface.create()
        self._canvas = FakeCanvas()
        self._programs: dict[tuple[bool, str], Any] = {}
        self._target: Any = None
        self._tiles = TileTexture()
        self._view: dict[str, Any] = {}  # textures
        self._view_key: tuple[Any, ...] = ()
        self._tables: dict[tuple[str, bool], Any] = {}
        try:
            self._begin()
            self.renderer = str(gl.glGetParameter(gl.GL_RENDERER))
            self._prove()
        except RuntimeError as error:
            raise NoGraphicsError(f"OpenGL: {error}") from error

    @property
    def uploads(self) -> int:
        """Tiles uploaded so far."""
        return self._tiles.uploads

    def paint(self, scene: Scene) -> QImage:
        """Return the scene as an image of the viewport's shape.

        Raises
        ------
        NoGraphicsError
            The context was lost.
        """
        self._begin()
        height, width = scene.viewport.shape
        self._aim(width, height)
        gloo.set_viewport(0, 0, width, height)
        gloo.set_state(blend=False, depth_test=False, cull_face=False)
        gloo.clear(color=tuple(part / 255 for part in BACKGROUND))
        if scene.document is not None and not scene.covered:
            self._draw_tiles(scene, scene.document)
        if scene.view is not None:
            self._draw_view(scene, scene.view)
        self._canvas.flush()
        image: QImage = self._target.toImage(False)
        return image

    def close(self) -> None:
        """Release what is held on the graphics card. Idempotent."""
        if self._context.makeCurrent(self._surface):
            self._target = None
            self._context.doneCurrent()
        forget_canvas(self._canvas)

    def _prove(self) -> None:
        """Draw what is known: not every driver has textures of floats."""
        self._aim(4, 4)
        gloo.set_viewport(0, 0, 4, 4)
        three_of_four = np.full((2, 2, 2), 3.0, np.float32)
        program = self._program(Colours(table_name="gray", gamma=1.0), _ONE)
        program["u_sums"] = gloo.Texture2D(
            three_of_four, format="rg", internalformat="rg32f", interpolation="linear"
        )
        program["a_place"] = program["a_texture"] = _corners((0.0, 1.0, 0.0, 1.0))
        program["u_scale"], program["u_gamma"] = 0.25, 1.0
        program.draw("triangle_strip")
        self._canvas.flush()
        red = self._target.toImage(False).pixelColor(1, 1).red()
        if abs(red - 191) > 3:
            raise NoGraphicsError(
                f"OpenGL: {self.renderer} draws {red} for 191. A newer driver may help."
            )

    def _begin(self) -> None:
        if not self._context.makeCurrent(self._surface):
            raise NoGraphicsError("OpenGL: the context was lost.")
        set_current_canvas(self._canvas)
        self._canvas.flush()  # binds the default target: ours follows

    def _aim(self, width: int, height: int) -> None:
        """Draw into an image of this size from here on."""
        target = self._target
        if target is None or (target.width(), target.height()) != (width, height):
            layout = QOpenGLFramebufferObjectFormat()
            layout.setInternalTextureFormat(_RGBA8)
            self._target = QOpenGLFramebufferObject(width, height, layout)
            if not self._target.isValid():
                raise NoGraphicsError(f"OpenGL: no target of {width} x {height}.")
        if not self._target.bind():
            raise NoGraphicsError("OpenGL: the target cannot be bound.")

    def _draw_tiles(self, scene: Scene, document: Document) -> None:
        wanted = tile_range(document, scene.viewport)
        if wanted is None:
            return
        before = self._tiles.shape
        self._tiles.bring(document, wanted)
        height, width = self._tiles.shape
        if before != (height, width):
            self._canvas.flush()
            if gl.glGetError():
                raise NoGraphicsError(
                    f"OpenGL: no room for a texture of {width} x {height} pixels."
                )
        left, right, top, bottom = shown = common(document.rect, scene.viewport.rect)
        if left >= right or top >= bottom:
            return
        # Texture coordinates grow over the rim; whole turns are taken off here, where
        # numbers are exact, not in the shader.
        first = wanted.columns[0] * TILE // width * width
        above = wanted.rows[0] * TILE // height * height

        def column(x_nm: float) -> float:
            return ((x_nm - document.rect[0]) / wanted.texel_nm - first) / width

        def row(y_nm: float) -> float:
            return ((y_nm - document.rect[2]) / wanted.texel_nm - above) / height

        inside = column(left), column(right), row(top), row(bottom)
        small = wanted.texel_nm < 0.98 * scene.viewport.pixel_nm
        quarter = 0.25 * scene.viewport.pixel_nm / wanted.texel_nm
        program = self._program(scene.colours, _TWO if small else _ONE)
        program["u_sums"] = self._tiles.texture
        if small:
            program["u_quarter"] = (quarter / width, quarter / height)
        limit = scene.colours.limit * 4.0**wanted.level
        self._draw(program, scene, shown, inside, limit)

    def _draw_view(self, scene: Scene, view: RenderedView) -> None:
        depth = scene.colours.depth_range_nm is not None
        self._upload_view(view, depth=depth)
        there = view.viewport.rect
        shown = common(there, scene.viewport.rect)
        if scene.document is not None:
            shown = common(shown, scene.document.rect)
        left, right, top, bottom = shown
        if left >= right or top >= bottom or scene.document is None:
            return
        across, down = there[1] - there[0], there[3] - there[2]
        inside = (
            (left - there[0]) / across,
            (right - there[0]) / across,
            (top - there[2]) / down,
            (bottom - there[2]) / down,
        )
        super_um2 = (scene.document.image.super_pixel_nm / 1e3) ** 2
        limit = scene.colours.limit / super_um2 / view.per_um2 * max(view.share, 1e-3)
        program = self._program(scene.colours, _VIEW if depth else _VIEW_COUNTS)
        program["u_counts"] = self._view["u_counts"]
        if depth:
            program["u_depths"] = self._view["u_depths"]
        self._draw(program, scene, shown, inside, limit)

    def _upload_view(self, view: RenderedView, *, depth: bool) -> None:
        key = (view.layers, view.revision, view.share, depth)
        if self._view_key and self._view_key[0] is key[0] and self._view_key == key:
            return
        planes = {"u_counts": view.layers.counts}
        if depth:
            planes["u_depths"] = _depth_sum(view)
        for name, plane in planes.items():
            texture = self._view.get(name)
            if texture is None or texture.shape[:2] != plane.shape:
                if texture is not None:
                    texture.delete()
                texture = self._view[name] = gloo.Texture2D(
                    shape=(*plane.shape, 1),
                    format="red",
                    internalformat="r32f",
                    interpolation="linear",
                    wrapping="clamp_to_edge",
                )
            texture.set_data(np.ascontiguousarray(plane, np.float32)[..., None])
        self._view_key = key

    def _draw(
        self, program: Any, scene: Scene, shown: Rect, inside: Rect, limit: float
    ) -> None:
        """Draw the rectangle `shown` with what is `inside` of the texture."""
        program["a_place"] = _corners(_on_screen(shown, scene.viewport))
        program["a_texture"] = _corners(inside)
        program["u_scale"] = 1.0 / max(limit, 1e-30)
        program["u_gamma"] = scene.colours.gamma
        if scene.colours.depth_range_nm is not None:
            low, high = scene.colours.depth_range_nm
            program["u_depth"] = (low, 1.0 / max(high - low, 1e-6))
        program.draw("triangle_strip")

    def _program(self, colours: Colours, sums: str) -> Any:
        """Return the program that reads `sums` and colours them."""
        depth = colours.depth_range_nm is not None
        if (depth, sums) not in self._programs:
            parts = {"sums": sums, "colour": _DEPTH if depth else _INTENSITY}
            self._programs[depth, sums] = gloo.Program(_VERTEX, _FRAGMENT % parts)
        program = self._programs[depth, sums]
        if (colours.table_name, depth) not in self._tables:
            self._tables[colours.table_name, depth] = gloo.Texture2D(
                colours.table[None], interpolation="nearest", wrapping="clamp_to_edge"
            )
        program["u_table"] = self._tables[colours.table_name, depth]
        return program


def _depth_sum(view: RenderedView) -> Any:
    """Return sums of z as if every row had one; what has none is far above all."""
    layers = view.layers
    if layers.depth_sum_nm is None or layers.depth_counts is None:
        return np.zeros_like(layers.counts)
    if layers.depth_counts is layers.counts:
        return layers.depth_sum_nm
    known = layers.depth_counts > 1e-6
    share = np.where(known, layers.counts / np.where(known, layers.depth_counts, 1), 0)
    return np.where(known, layers.depth_sum_nm * share, _UNKNOWN_DEPTH * layers.counts)


def _on_screen(rect: Rect, viewport: Viewport) -> Rect:
    """Return a rectangle of the sample in parts of the screen."""
    height, width = viewport.shape
    across, down = width * viewport.pixel_nm, height * viewport.pixel_nm
    left, top = viewport.left_nm, viewport.top_nm
    return (
        (rect[0] - left) / across,
        (rect[1] - left) / across,
        (rect[2] - top) / down,
        (rect[3] - top) / down,
    )


def _corners(rect: Rect) -> Any:
    left, right, top, bottom = rect
    return np.array(
        [(left, top), (right, top), (left, bottom), (right, bottom)], np.float32
    )
