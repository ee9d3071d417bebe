"""The window itself, on a real (or virtual) display, fed through real sockets."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from liveloc.stream.broadcast import LocalizationPublisher, LocalizationSubscriber
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import Look, display_available
from liveloc.viewer.live import LiveSession
from liveloc.viewer.run import run_viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from liveloc.viewer.window.main_window import LiveWindow

SHAPE = (16, 12)
ORIGIN = (4, 7)
PIXEL_NM = 100.0
FIELD = {
    "shape": str(list(SHAPE)),
    "roi_origin": str(list(ORIGIN)),
    "pixel_size_nm": str(PIXEL_NM),
}
# (row, column) on the full chip, no symmetry that could hide a flip
EMITTERS = [(8, 5), (8, 14), (11, 9), (15, 6), (21, 5), (21, 13)]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="about X displays")


@pytest.fixture(scope="module")
def display() -> Iterator[None]:
    """A display: the one there is, or an Xvfb of our own."""
    server = None
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        if shutil.which("Xvfb") is None:
            pytest.skip("no DISPLAY, and Xvfb is not installed")
        reading, writing = os.pipe()
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1100x24"],
            pass_fds=(writing,),
            stderr=subprocess.DEVNULL,
        )
        os.close(writing)
        with os.fdopen(reading) as pipe:
            os.environ["DISPLAY"] = f":{pipe.readline().strip()}"
    works, reason = display_available()
    if works:
        yield
    if server is not None:
        server.terminate()
        server.wait(10)
        del os.environ["DISPLAY"]
    if not works:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def application(display: None) -> Iterator[Any]:
    from PySide6.QtWidgets import QApplication

    application = QApplication.instance() or QApplication([])
    yield application
    application.processEvents()
    application.shutdown()  # while the display is still there


def emitters(rows_each: int = 50, depth: float = 0.0) -> Localizations:
    made = empty(len(EMITTERS) * rows_each)
    places = np.repeat(np.array(EMITTERS, float), rows_each, axis=0)
    made["y_nm"], made["x_nm"] = places[:, 0] * PIXEL_NM, places[:, 1] * PIXEL_NM
    made["z_nm"] = depth * (made["x_nm"] - 900.0)
    return made


class Engine:
    """Publishes one table from the test's own thread."""

    def __init__(self, rows: Localizations) -> None:
        self.rows = rows
        self.fetched = threading.Event()
        self.publisher = LocalizationPublisher("tcp://127.0.0.1:0", rows=self._rows)
        self.publisher.begin(bytes(16), FIELD)

    def _rows(self, first: int, count: int) -> Localizations:
        self.fetched.set()
        return self.rows[first : first + count]

    def report(self, ended: str = "", **more: Any) -> None:
        self.publisher.status(
            {
                **more,
                "frames": 320,
                "localized": 310,
                "lost": {"bridge_shed": 10},
                "fps": 99.7,
                "localizations": len(self.rows),
                "latency_ms": 21.0,
                "ended": ended,
            }
        )


def wait(
    application: Any, until: Callable[[], bool], *engines: Engine, limit_s: float = 10.0
) -> None:
    deadline = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < deadline
        for engine in engines:
            engine.publisher.serve(0.0)
        application.processEvents()
        time.sleep(0.005)


def settled(window: LiveWindow) -> Callable[[], bool]:
    """Say when the window shows all there is, and the screen, too."""
    since = [time.monotonic()]

    def check() -> bool:
        if window._wanted() != window._drawn or not window.session.rows:
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > 0.2

    return check


def on_screen(window: LiveWindow) -> NDArray[np.uint8]:
    """Give what the graphics card shows on the canvas, (height, width, 3)."""
    image = window._canvas.native.grabFramebuffer().convertToFormat(_rgb())
    lines = np.frombuffer(image.constBits(), np.uint8).copy()  # the image goes
    lines = lines.reshape(image.height(), image.bytesPerLine())
    return lines[:, : image.width() * 3].reshape(image.height(), image.width(), 3)


def _rgb() -> Any:
    from PySide6.QtGui import QImage

    return QImage.Format.Format_RGB888


def field_on_screen(pixels: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Find the field's edges by its colour: left, right, top, bottom in pixels."""
    inside = (pixels != np.array([0x0B, 0x0D, 0x11], np.uint8)).any(axis=2)
    columns = np.flatnonzero(inside.mean(axis=0) > 0.5)
    rows = np.flatnonzero(inside.mean(axis=1) > 0.5)
    return columns[0], columns[-1] + 1, rows[0], rows[-1] + 1


def centroid(
    pixels: NDArray[np.uint8], x: float, y: float, reach: float
) -> tuple[float, float]:
    """Give the centre of the light around (x, y), pixel edges counting from 0."""
    light = pixels.sum(axis=2).astype(float)
    left, top = max(0, round(x - reach)), max(0, round(y - reach))
    part = light[top : round(y + reach), left : round(x + reach)]
    part = np.where(part > 150, part, 0.0)
    assert part.sum() > 0, f"no light at {x:.0f}, {y:.0f}"
    rows, columns = np.indices(part.shape) + 0.5
    total = part.sum()
    return left + (part * columns).sum() / total, top + (part * rows).sum() / total


@pytest.fixture
def live(application: Any, tmp_path: Path) -> Iterator[tuple[LiveWindow, Engine]]:
    from liveloc.viewer.window.main_window import LiveWindow

    engine = Engine(emitters())
    window = LiveWindow(
        LiveSession(),
        LocalizationSubscriber(engine.publisher.endpoint),
        address=engine.publisher.endpoint,
        save_folder=tmp_path,
        look=Look(smooth=0.5),
    )
    window.show()
    yield window, engine
    window.close()
    engine.publisher.close()
    window.deleteLater()
    application.processEvents()


@pytest.mark.display
def test_emitters_show_on_their_camera_pixels_and_stay_there_when_zoomed(
    live: tuple[LiveWindow, Engine], application: Any
) -> None:
    window, engine = live
    for start in range(0, len(engine.rows), 37):  # in odd pieces, while it draws
        engine.publisher.publish(engine.rows[start : start + 37])
        wait(application, lambda: True, engine)
    wait(application, settled(window), engine)
    pixels = on_screen(window)
    left, right, top, bottom = field_on_screen(pixels)
    scale = (right - left) / SHAPE[1]  # screen pixels per camera pixel
    assert (bottom - top) / SHAPE[0] == pytest.approx(scale, rel=0.01)
    for row, column in EMITTERS:
        # The field begins half a camera pixel before the centre of its first one.
        x = left + (column - ORIGIN[0] + 0.5) * scale
        y = top + (row - ORIGIN[1] + 0.5) * scale
        assert centroid(pixels, x, y, scale / 2) == pytest.approx((x, y), abs=1.0)
    dark = pixels[
        round(top + 3) : round(top + scale / 2), round(left + 3) : round(right - 3)
    ]
    assert dark.sum(axis=2).max() < 30

    row, column = EMITTERS[2]
    x, y = column * PIXEL_NM, row * PIXEL_NM
    before = centroid(
        pixels,
        left + (column - ORIGIN[0] + 0.5) * scale,
        top + (row - ORIGIN[1] + 0.5) * scale,
        scale / 2,
    )
    nm_before = window._overlay.nm_per_pixel
    window._view.camera.zoom(0.25, (x, y))
    wait(application, settled(window), engine)
    after = centroid(on_screen(window), *before, scale)
    assert after == pytest.approx(before, abs=2.0)
    assert window._overlay.nm_per_pixel == pytest.approx(nm_before / 4, rel=0.01)
    window.reset_view()
    wait(application, settled(window), engine)
    assert np.abs(on_screen(window).astype(int) - pixels).max() <= 2


@pytest.mark.display
def test_the_status_line_and_the_states(
    live: tuple[LiveWindow, Engine], application: Any
) -> None:
    window, engine = live
    application.processEvents()
    assert window._overlay.heading == "Waiting for the engine"
    engine.publisher.publish(engine.rows)
    engine.report()
    wait(application, lambda: "320" in window._status.text(), engine)
    text = window._status.text()
    assert "Live" in text
    for part in ("320 frames", "100 fps", "300 localizations", "10 lost", "21 ms"):
        assert part in text
    wait(application, settled(window), engine)
    assert window._overlay.heading == ""
    engine.report("ok")
    wait(application, lambda: "Ended" in window._status.text(), engine)


@pytest.mark.display
def test_the_status_line_shows_density_and_laser_where_there_is_one(
    live: tuple[LiveWindow, Engine], application: Any
) -> None:
    from PySide6.QtWidgets import QLabel

    window, engine = live
    density = window._status.findChild(QLabel, "density")
    power = window._status.findChild(QLabel, "laser")
    engine.report(density_per_um2=0.48, laser=None)
    wait(application, lambda: "320" in window._status.text(), engine)
    assert not density.isVisible()
    assert not power.isVisible()
    laser = {
        "power": 12.34,
        "unit": "mW",
        "target_per_um2": 0.5,
        "reason": "rises 1000 %/s at most",
        "frame_to_laser_p99_ms": 77.4,
        "late": 3,
    }
    engine.report(density_per_um2=0.48, laser=laser)
    wait(application, power.isVisible, engine)
    assert "0.48 of 0.5 /µm² · 12.3 mW laser" in window._status.text()
    for part in ("rises 1000 %/s at most", "within 77 ms", "3 later than 100 ms"):
        assert part in power.toolTip()
        assert part in density.toolTip()
    hostile = {"power": 7, "unit": "<b>", "reason": "<img src='x'>", "late": -1}
    engine.report(density_per_um2=[], laser=hostile)
    wait(application, lambda: not density.isVisible(), engine)
    assert "7.00 &lt;b&gt; laser" in window._status.text()
    assert "&lt;img" in power.toolTip()
    engine.report(laser=None)
    wait(application, lambda: not power.isVisible(), engine)
    assert power.toolTip() == ""


@pytest.mark.display
def test_keys_hold_contrast_change_colour_and_save(
    live: tuple[LiveWindow, Engine], application: Any, tmp_path: Path
) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    window, engine = live
    engine.rows = emitters(depth=0.5)
    QTest.keyClick(window, Qt.Key.Key_S)
    assert window._overlay.notice == "Nothing to save yet"
    engine.publisher.publish(engine.rows[:-50])
    wait(application, settled(window), engine)
    assert window._overlay.depth_range_nm is not None
    colours = on_screen(window)
    QTest.keyClick(window, Qt.Key.Key_C)
    wait(application, settled(window), engine)
    assert window._overlay.depth_range_nm is None
    assert np.abs(on_screen(window).astype(int) - colours).max() > 50

    QTest.keyClick(window, Qt.Key.Key_A)
    limit = window._shown_limit
    engine.rows = np.concatenate([engine.rows[:-50]] * 3)
    engine.publisher.publish(engine.rows[len(engine.rows) // 3 :])
    wait(application, settled(window), engine)
    assert window._shown_limit == limit
    QTest.keyClick(window, Qt.Key.Key_A)
    wait(application, settled(window), engine)
    assert window._shown_limit == pytest.approx(3 * limit)

    QTest.keyClick(window, Qt.Key.Key_S)
    (saved,) = tmp_path.glob("liveloc-*.png")
    assert window._overlay.notice == f"Saved {saved}"
    window._save_folder = saved / "not a folder"
    QTest.keyClick(window, Qt.Key.Key_S)
    assert window._overlay.notice.startswith("Not saved: ")


@pytest.mark.display
def test_drawing_is_rare_however_often_news_come(
    live: tuple[LiveWindow, Engine], application: Any
) -> None:
    window, engine = live
    drawn = []
    redraw = window._redraw
    window._redraw = lambda wanted: (drawn.append(time.monotonic()), redraw(wanted))
    for start in range(0, len(engine.rows), 3):  # for a second
        engine.publisher.publish(engine.rows[start : start + 3])
        soon = time.monotonic() + 0.01
        wait(application, lambda soon=soon: time.monotonic() > soon, engine)
    wait(application, settled(window), engine)
    assert window.session.rows == len(engine.rows)
    assert 1 < len(drawn) < 20
    assert np.diff(drawn).min() > 0.095
    drawn.clear()
    rest = time.monotonic() + 0.5
    wait(application, lambda: time.monotonic() > rest, engine)
    assert drawn == []


@pytest.mark.display
def test_a_large_field_is_added_up_before_it_is_shown_small(
    application: Any,
) -> None:
    """Zoomed out, no super-pixel is skipped: every emitter is still to be seen."""
    from liveloc.viewer.window.main_window import LiveWindow

    random = np.random.default_rng(3)
    rows = empty(60)
    rows["x_nm"], rows["y_nm"] = random.uniform(5000, 95000, (2, 60))
    engine = Engine(rows)
    engine.publisher.begin(
        bytes(16), {**FIELD, "shape": "[1000, 1000]", "roi_origin": "[0, 0]"}
    )
    engine.publisher.publish(rows)
    subscriber = LocalizationSubscriber(engine.publisher.endpoint)
    window = LiveWindow(LiveSession(), subscriber)
    window.show()
    try:
        wait(application, settled(window), engine)
        assert window._binning() == 4
        pixels = on_screen(window)
        left, right, top, bottom = field_on_screen(pixels)
        for row in rows:
            x = left + (row["x_nm"] / PIXEL_NM + 0.5) / 1000 * (right - left)
            y = top + (row["y_nm"] / PIXEL_NM + 0.5) / 1000 * (bottom - top)
            near = pixels[int(y) - 1 : int(y) + 3, int(x) - 1 : int(x) + 3]
            assert near.sum(axis=2).max() > 60
    finally:
        window.close()
        engine.publisher.close()
        window.deleteLater()


PROGRAM = """
import sys
from pathlib import Path
from liveloc.viewer.run import run_viewer
sys.exit(run_viewer(
    sys.argv[1],
    screenshot=Path(sys.argv[2]),
    exit_after_end=sys.argv[3] == "end",
))
"""


def viewer_process(endpoint: str, picture: Path, way: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, endpoint, str(picture), way],
        stderr=subprocess.PIPE,
        text=True,
    )


def keep_serving(
    engine: Engine, until: threading.Event, ended: str
) -> threading.Thread:
    def serve() -> None:
        while not until.is_set():
            engine.report(ended)
            engine.publisher.serve(0.05)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.display
@pytest.mark.parametrize("way", ["end", "interrupt"])
def test_the_program_ends_cleanly_and_leaves_its_picture(
    display: None, tmp_path: Path, way: str
) -> None:
    if way == "interrupt" and sys.platform == "win32":
        pytest.skip("a Ctrl-C would reach the tests, too")
    engine, done = Engine(emitters(depth=0.3)), threading.Event()
    engine.publisher.publish(engine.rows)
    picture = tmp_path / "window.png"
    thread = keep_serving(engine, done, "ok" if way == "end" else "")
    viewer = viewer_process(engine.publisher.endpoint, picture, way)
    try:
        if way == "interrupt":
            assert engine.fetched.wait(20)  # it runs
            time.sleep(0.5)
            viewer.send_signal(signal.SIGINT)
        _, complaint = viewer.communicate(timeout=30)
    finally:
        viewer.kill()
        viewer.wait()
        done.set()
        thread.join()
        engine.publisher.close()
    assert viewer.returncode == 0, complaint
    assert "Traceback" not in complaint
    assert picture.stat().st_size > 5000


@linux_only
def test_without_a_display_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    works, reason = display_available()
    assert not works
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in reason
    assert "--headless" in reason
    with pytest.raises(SettingsError, match="viewer: no display"):
        run_viewer("tcp://127.0.0.1:5556")


@linux_only
def test_a_dead_display_is_found_out_without_dying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":9871")
    monkeypatch.setenv("QT_QPA_PLATFORM", "xcb")
    works, reason = display_available()
    assert not works
    assert reason.startswith("display :9871: ")
    assert "\n" not in reason
