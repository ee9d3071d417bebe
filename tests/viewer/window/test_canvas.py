"""What the canvas shows lies where it is, in every way it is painted."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import DisplaySettings
from liveloc.viewer.data.document import Document
from liveloc.viewer.views.render_thread import RenderedView, render_whole

pytestmark = pytest.mark.display

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from liveloc.viewer.views.scene import Scene
    from liveloc.viewer.window.canvas.canvas import Canvas

PIXEL_NM = 100.0
PICTURES = Path(__file__).parent / "pictures"
WAYS = ("opengl", "raster")


def document_of(
    rows: Localizations, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> Document:
    metadata = {
        "shape": str(list(shape)),
        "roi_origin": str(list(origin)),
        "pixel_size_nm": str(PIXEL_NM),
    }
    document = Document(metadata, spool=False)
    document.add(rows)
    return document


def rows_at(x_nm: Any, y_nm: Any, z_nm: Any = 0.0, sigma_nm: float = 12.0) -> Any:
    made = empty(len(x_nm))
    made["x_nm"], made["y_nm"], made["z_nm"] = x_nm, y_nm, z_nm
    made["x_sigma_nm"] = made["y_sigma_nm"] = sigma_nm
    return made


@pytest.fixture(params=WAYS)
def canvas(
    request: Any, application: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Canvas]:
    from liveloc.viewer.window.canvas.canvas import Canvas

    if request.param == "raster":
        monkeypatch.setenv("LIVELOC_VIEWER_CANVAS", "raster")
    made = Canvas()
    if request.param == "opengl" and made.without_opengl:
        pytest.skip(made.without_opengl)
    made.resize(600, 500)
    made.show()
    application.processEvents()
    yield made
    made.close_painter()
    made.close()
    made.deleteLater()
    application.processEvents()


@pytest.fixture
def opengl(canvas: Canvas) -> Canvas:
    if canvas.without_opengl:
        pytest.skip("about OpenGL")
    return canvas


def pixels_of(image: Any) -> NDArray[np.uint8]:
    from PySide6.QtGui import QImage

    image = image.convertToFormat(QImage.Format.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).copy()  # the image goes
    lines = lines.reshape(image.height(), image.bytesPerLine())
    return lines[:, : image.width() * 3].reshape(image.height(), image.width(), 3)


def scene_of(canvas: Canvas, document: Document, **more: Any) -> Scene:
    from liveloc.viewer.views.scene import Colours, Scene

    look = Colours(table_name="gray", gamma=1.0, limit=more.pop("limit", 20.0))
    return Scene(viewport=canvas.viewport, document=document, colours=look, **more)


def painted(canvas: Canvas, document: Document, **more: Any) -> NDArray[np.uint8]:
    """Give what the canvas shows, without what lies over the image."""
    canvas.show_scene(scene_of(canvas, document, **more))
    assert canvas._image is not None
    return pixels_of(canvas._image)


def view_of(canvas: Canvas, document: Document, mode: Any = "sigma") -> RenderedView:
    layers = render_whole(document, DisplaySettings(mode=mode), canvas.viewport)
    return RenderedView(canvas.viewport, layers, 1.0, document.revision, mode)


def centroid(
    pixels: NDArray[np.uint8], x: float, y: float, reach: float
) -> tuple[float, float]:
    """Give the centre of the light around (x, y), pixel edges counting from 0."""
    light = pixels[..., 0].astype(float)
    left, top = max(0, round(x - reach)), max(0, round(y - reach))
    part = light[top : round(y + reach), left : round(x + reach)]
    total = part.sum()
    assert total > 0, f"no light at {x:.0f}, {y:.0f}"
    rows, columns = np.indices(part.shape) + 0.5
    return left + (part * columns).sum() / total, top + (part * rows).sum() / total


# (column, row) on the full chip, no symmetry that could hide a flip
EMITTERS = [(5, 8), (14, 8), (9, 11), (6, 15), (5, 21), (13, 21)]


def moves() -> dict[str, Callable[[Any], None]]:
    def panned(camera: Any) -> None:
        camera.zoom(1.77, 210.0, 222.0)
        camera.pan(13.4, -8.7)

    return {
        "whole": lambda camera: camera.show_whole(),
        "zoomed": lambda camera: camera.zoom(3.1, 281.3, 130.8),
        "panned": panned,
        "small": lambda camera: camera.zoom(0.31),
    }


@pytest.mark.parametrize("how", moves())
@pytest.mark.parametrize("layer", ["tiles", "view", "old view"])
def test_emitters_lie_on_their_camera_pixels(
    canvas: Canvas, layer: str, how: str
) -> None:
    column, row = np.repeat(np.array(EMITTERS, float), 60, axis=0).T
    document = document_of(rows_at(column * PIXEL_NM, row * PIXEL_NM), (16, 12), (4, 7))
    camera = canvas.camera
    camera.look_at(document.rect)
    view = view_of(canvas, document) if layer == "old view" else None
    moves()[how](camera)
    if layer == "view":
        view = view_of(canvas, document)
    pixels = painted(canvas, document, view=view, limit=60.0)
    seen = 0
    for column_px, row_px in EMITTERS:
        x, y = camera.to_screen(column_px * PIXEL_NM, row_px * PIXEL_NM)
        reach = 0.4 * PIXEL_NM / camera.nm_per_pixel
        if reach < x < 600 - reach and reach < y < 500 - reach:
            seen += 1
            found = centroid(pixels, x, y, reach)
            assert found == pytest.approx((x, y), abs=0.5)
    assert seen >= 1
    left, right, top, bottom = document.rect
    assert (left, right, top, bottom) == (350.0, 1550.0, 650.0, 2250.0)
    edge = camera.to_screen(left, top)
    background = pixels[np.clip(round(edge[1]) - 3, 0, 499), 0]
    if edge[0] > 2 and edge[1] > 4:  # around the field: half a pixel before centres
        assert background.tolist() == [11, 13, 17]
        inside = pixels[round(edge[1]) + 2, round(edge[0]) + 2]
        assert inside.tolist() == [0, 0, 0]


def test_the_cursor_says_where_an_emitter_is(canvas: Canvas) -> None:
    from PySide6.QtCore import QEvent, QPointF, Qt
    from PySide6.QtGui import QMouseEvent

    from liveloc.viewer.views.scene import value_at

    document = document_of(rows_at([900.0] * 40, [1100.0] * 40), (16, 12), (4, 7))
    camera = canvas.camera
    camera.look_at(document.rect)
    camera.zoom(2.0, 250.0, 200.0)
    heard: list[Any] = []
    canvas.cursor_moved.connect(heard.append)
    place = QPointF(*camera.to_screen(900.0, 1100.0))
    none = Qt.MouseButton.NoButton
    canvas.mouseMoveEvent(
        QMouseEvent(
            QEvent.Type.MouseMove,
            place,
            place,
            none,
            none,
            Qt.KeyboardModifier.NoModifier,
        )
    )
    canvas.leaveEvent(None)
    assert heard[-1] is None
    assert heard[-2] == pytest.approx((900.0, 1100.0), abs=1e-6)
    per_um2 = 40 / 0.02**2
    assert value_at(document, canvas.viewport, 900.0, 1100.0) == pytest.approx(per_um2)
    assert value_at(document, canvas.viewport, 925.0, 1100.0) == 0
    assert np.isnan(value_at(document, canvas.viewport, 349.0, 1100.0))


@pytest.mark.parametrize("zoom", [1.0, 1.19, 1.41, 1.68, 2.0, 5.0])
def test_zooming_out_skips_no_emitter_and_holds_the_level_near_the_screen(
    canvas: Canvas, zoom: float
) -> None:
    from liveloc.viewer.views.scene import tile_range

    random = np.random.default_rng(3)
    x, y = random.uniform(500, 99_000, (2, 80))
    document = document_of(rows_at(x, y), (1000, 1000))
    canvas.camera.look_at(document.rect)
    canvas.camera.zoom(zoom)
    wanted = tile_range(document, canvas.viewport)
    assert wanted is not None
    assert 0.70 < wanted.texel_nm / canvas.viewport.pixel_nm < 1.42
    # One count is full brightness at this level.
    pixels = painted(canvas, document, limit=4.0**-wanted.level)
    for x_nm, y_nm in zip(x, y, strict=True):
        column, row = (int(part) for part in canvas.camera.to_screen(x_nm, y_nm))
        if 3 < column < 596 and 3 < row < 496:
            near = pixels[row - 2 : row + 3, column - 2 : column + 3, 0]
            assert near.max() > 40


def test_panning_leaves_no_seams_and_nothing_old(canvas: Canvas) -> None:
    """A smooth image stays smooth across tiles and the texture's rim."""
    step = np.arange(0, 60_000, 40.0)
    x, y = (part.ravel() for part in np.meshgrid(step, step))
    document = document_of(rows_at(x + 5, y + 5), (600, 600))
    canvas.camera.look_at(document.rect)
    canvas.camera.zoom(3.0)  # 40 nm a pixel: one row in each
    random = np.random.default_rng(1)
    for _ in range(25):
        canvas.camera.pan(*random.uniform(-300, 300, 2))
        pixels = painted(canvas, document, limit=0.5)
    left, top = (max(0, int(p) + 4) for p in canvas.camera.to_screen(0.0, 0.0))
    right, bottom = (int(p) - 4 for p in canvas.camera.to_screen(59_900.0, 59_900.0))
    inside = pixels[top:bottom, left:right, 0].astype(int)
    assert inside.size > 10_000
    assert inside.mean() > 60
    assert inside.min() > 0.5 * inside.mean()


def test_only_what_changed_is_uploaded_and_contrast_uploads_nothing(
    opengl: Canvas,
) -> None:
    random = np.random.default_rng(2)
    x, y = random.uniform(0, 25_000, (2, 20_000))
    document = document_of(rows_at(x, y), (256, 256))
    opengl.camera.look_at(document.rect)
    painted(opengl, document)
    painter: Any = opengl._painter
    before = painter.uploads
    assert before == 9  # 640 pixels of 40 nm a side
    painted(opengl, document, limit=3.0)
    assert painter.uploads == before
    document.add(rows_at([100.0], [100.0]))
    painted(opengl, document)
    assert painter.uploads == before + 1
    opengl.camera.pan(40.0, 30.0)
    painted(opengl, document)
    assert painter.uploads == before + 1


def test_both_ways_of_painting_agree(
    application: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from liveloc.viewer.window.canvas.canvas import Canvas
    from liveloc.viewer.window.canvas.raster_painter import RasterPainter

    document = pattern()
    canvas = Canvas()
    if canvas.without_opengl:
        pytest.skip(canvas.without_opengl)
    canvas.resize(400, 300)
    canvas.camera.resize(400, 300)
    canvas.camera.look_at(document.rect)
    canvas.camera.zoom(1.7, 100.0, 90.0)
    for ends in (None, (-300.0, 300.0)):
        for view in (None, view_of(canvas, document)):
            scene = scene_of(canvas, document, view=view, limit=8.0)
            colours = replace(scene.colours, depth_range_nm=ends, table_name="turbo")
            scene = replace(scene, colours=colours)
            assert canvas._painter is not None
            one = pixels_of(canvas._painter.paint(scene)).astype(int)
            other = pixels_of(RasterPainter().paint(scene)).astype(int)
            assert one.max() > 200
            assert np.abs(one - other).mean() < 5.0
    canvas.close_painter()
    canvas.deleteLater()


def pattern() -> Document:
    """Rings and a line, in colours, off centre."""
    random = np.random.default_rng(7)
    rows = []
    for ring in range(4):
        angle = random.uniform(0, 2 * np.pi, 3000)
        radius = 500.0 + 450.0 * ring
        x = 2500 + radius * np.cos(angle) + random.normal(0, 12, angle.size)
        y = 2300 + radius * np.sin(angle) + random.normal(0, 12, angle.size)
        rows.append(rows_at(x, y, 280 * np.cos(angle + ring)))
    along = random.uniform(300, 5900, 3000)
    rows.append(rows_at(along, along * 0.2 + 4600, along * 0.1 - 300))
    return document_of(np.concatenate(rows), (60, 64))


@pytest.mark.parametrize("colour", ["intensity", "depth"])
@pytest.mark.parametrize("layer", ["tiles", "view"])
def test_pictures_are_as_they_were(canvas: Canvas, layer: str, colour: str) -> None:
    """Compared with stored ones, painted by llvmpipe.

    OpenGL: 2 of 255 off on average, 40 in the worst 1 % of the pixels. Without it
    colours, not sums, are interpolated: 4 and 80.
    """
    from PySide6.QtGui import QImage

    from liveloc.viewer.views.scene import Colours

    document = pattern()
    canvas.resize(320, 300)
    canvas.camera.look_at(document.rect)
    view = view_of(canvas, document) if layer == "view" else None
    colours = Colours(limit=6.0, depth_range_nm=None, table_name="inferno")
    if colour == "depth":
        colours = Colours(limit=6.0, depth_range_nm=(-300, 300), table_name="turbo")
    scene = replace(scene_of(canvas, document, view=view), colours=colours)
    assert canvas._painter is not None
    image = canvas._painter.paint(scene)
    stored = PICTURES / f"canvas_{layer}_{colour}.png"
    if not stored.exists():
        PICTURES.mkdir(exist_ok=True)
        image.save(str(stored))
        pytest.fail(f"{stored} was not there: look at it and keep it")
    known = pixels_of(QImage(str(stored))).astype(int)
    off = np.abs(pixels_of(image).astype(int) - known)
    factor = 2 if canvas.without_opengl else 1
    assert off.mean() < 2.0 * factor
    assert np.percentile(off, 99) < 40 * factor


def test_rows_without_a_depth_are_grey(canvas: Canvas) -> None:
    from liveloc.viewer.views.scene import Colours

    z = np.full(50, np.nan)
    rows = np.concatenate(
        [rows_at([300.0] * 50, [300.0] * 50, z), rows_at([900.0], [900.0], 250.0)]
    )
    document = document_of(rows, (12, 12))
    canvas.camera.look_at(document.rect)
    view = view_of(canvas, document)
    colours = Colours(limit=1.0, depth_range_nm=(-300, 300), table_name="turbo")
    scene = replace(scene_of(canvas, document, view=view), colours=colours)
    assert canvas._painter is not None
    pixels = pixels_of(canvas._painter.paint(scene))
    column, row = (int(part) for part in canvas.camera.to_screen(300.0, 300.0))
    red, green, blue = pixels[row, column].astype(int)
    assert max(abs(red - green), abs(green - blue)) <= 2
    assert red > 150


@pytest.mark.parametrize("mode", ["histogram", "fixed", "density"])
def test_an_empty_document_is_black_in_every_mode(canvas: Canvas, mode: Any) -> None:
    document = document_of(empty(0), (20, 30))
    canvas.camera.look_at(document.rect)
    view = view_of(canvas, document, mode)
    for layer in (None, view):
        pixels = painted(canvas, document, view=layer)
        assert pixels[250, 300].tolist() == [0, 0, 0]


def test_graphics_that_vanish_are_replaced(opengl: Canvas) -> None:
    document = pattern()
    opengl.camera.look_at(document.rect)
    before = painted(opengl, document).astype(int)

    def lost(scene: object) -> None:
        raise RuntimeError("the context was lost")

    painter: Any = opengl._painter
    painter.paint = lost
    after = painted(opengl, document).astype(int)
    painter.close()
    assert opengl.without_opengl == "the context was lost"
    assert "without OpenGL" in opengl.renderer
    assert np.abs(before - after).mean() < 3


def test_the_mouse_zooms_pans_and_draws_a_region(canvas: Canvas) -> None:
    from PySide6.QtCore import QPoint, QPointF, Qt
    from PySide6.QtGui import QWheelEvent
    from PySide6.QtTest import QTest

    document = pattern()
    camera = canvas.camera
    camera.look_at(document.rect)
    place = QPointF(123.0, 321.0)
    under, scale = camera.to_nm(123.0, 321.0), camera.nm_per_pixel
    none = Qt.KeyboardModifier.NoModifier
    wheel = QWheelEvent(
        place,
        place,
        QPoint(),
        QPoint(0, 240),
        Qt.MouseButton.NoButton,
        none,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    canvas.wheelEvent(wheel)
    assert camera.nm_per_pixel == pytest.approx(scale / 1.25**2)
    assert camera.to_nm(123.0, 321.0) == pytest.approx(under)

    left = Qt.MouseButton.LeftButton
    start = camera.to_nm(200, 200)
    QTest.mousePress(canvas, left, none, QPoint(200, 200))
    QTest.mouseMove(canvas, QPoint(230, 180))
    QTest.mouseRelease(canvas, left, none, QPoint(230, 180))
    assert camera.to_nm(230, 180) == pytest.approx(start)

    heard: list[Any] = []
    canvas.region_drawn.connect(heard.append)
    shift = Qt.KeyboardModifier.ShiftModifier
    QTest.mousePress(canvas, left, shift, QPoint(300, 310))
    QTest.mouseMove(canvas, QPoint(180, 200))
    QTest.mouseRelease(canvas, left, shift, QPoint(180, 200))
    x0, y0 = camera.to_nm(180, 200)
    x1, y1 = camera.to_nm(300, 310)
    assert heard == [pytest.approx((x0, x1, y0, y1))]
    QTest.mouseDClick(canvas, left, none, QPoint(50, 50))
    assert camera.nm_per_pixel == pytest.approx(scale)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_hundreds_of_redraws_take_no_memory(opengl: Canvas) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    document = pattern()
    opengl.resize(120, 100)
    opengl.camera.look_at(document.rect)
    row = rows_at([1000.0], [1000.0])
    for turn in range(600):
        if turn == 200:
            before = resident()
        if turn % 4 == 0:
            document.add(row)
        opengl.camera.zoom(1.01 if turn % 200 < 100 else 1 / 1.01)
        painted(opengl, document)
    assert resident() - before < 400 * 3e3  # a texture of the canvas has 48e3
