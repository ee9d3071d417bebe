"""The window itself, on a real (or virtual) display, fed through real sockets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.broadcast.subscriber import Reset, Rows, Status
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import DisplaySettings, display_available
from liveloc.viewer.data.selection import Selection
from liveloc.viewer.run import run_viewer
from liveloc.viewer.sessions.live import LiveSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from liveloc.viewer.window.main_window import ViewerWindow

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
        self.sent = 0
        self.publisher = LocalizationPublisher("tcp://127.0.0.1:0", rows=self._rows)
        self.publisher.begin(bytes(16), FIELD)

    def _rows(self, first: int, count: int) -> Localizations:
        self.fetched.set()
        return self.rows[first : first + count]

    def publish(self, rows: Localizations) -> None:
        self.sent += len(rows)
        self.publisher.publish(rows)

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
    application: Any, until: Callable[[], bool], *engines: Engine, limit_s: float = 45.0
) -> None:
    deadline = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < deadline
        for engine in engines:
            engine.publisher.serve(0.0)
        application.processEvents()
        time.sleep(0.003)


def settled(window: ViewerWindow, rows: int) -> Callable[[], bool]:
    """Say when the window has shown so many rows, and all else, for a while."""
    since = [time.monotonic()]

    def check() -> bool:
        document = window.controller.document
        there = document is not None and len(document.store) >= rows
        if not (there and window.up_to_date):
            since[0] = time.monotonic()
        return time.monotonic() - since[0] > 0.15

    return check


def on_screen(window: ViewerWindow) -> NDArray[np.uint8]:
    """Give what the window shows on the canvas, (height, width, 3)."""
    from PySide6.QtGui import QImage

    image = window.canvas.grab().toImage()
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).copy()  # the image goes
    lines = lines.reshape(image.height(), image.bytesPerLine())
    return lines[:, : image.width() * 3].reshape(image.height(), image.width(), 3)


def centroid(
    pixels: NDArray[np.uint8], x: float, y: float, reach: float
) -> tuple[float, float]:
    """Give the centre of the light around (x, y), pixel edges counting from 0."""
    light = pixels.sum(axis=2).astype(float)
    left, top = max(0, round(x - reach)), max(0, round(y - reach))
    part = light[top : round(y + reach), left : round(x + reach)]
    assert part.sum() > 0, f"no light at {x:.0f}, {y:.0f}"
    rows, columns = np.indices(part.shape) + 0.5
    total = part.sum()
    return left + (part * columns).sum() / total, top + (part * rows).sum() / total


def press(window: ViewerWindow, key: str) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    QTest.keyClick(window, getattr(Qt.Key, f"Key_{key}"))


def notice(window: ViewerWindow) -> str:
    return window.canvas.overlay.notice


@pytest.fixture
def opened(application: Any, tmp_path: Path) -> Iterator[Any]:
    """Open windows that are closed at the end, whatever happens."""
    from liveloc.viewer.window.main_window import ViewerWindow

    windows = []

    def make(session: Any, **options: Any) -> ViewerWindow:
        window = ViewerWindow(session, save_folder=tmp_path / "saved", **options)
        windows.append(window)
        window.show()
        application.processEvents()
        return window

    yield make
    for window in windows:
        window.close()
        window.deleteLater()
    application.processEvents()


@pytest.fixture
def live(opened: Any) -> Iterator[tuple[ViewerWindow, Engine]]:
    engine = Engine(emitters())
    session = LiveSession.connect(engine.publisher.endpoint)
    window = opened(session, address=engine.publisher.endpoint, look=DisplaySettings())
    yield window, engine
    window.close()
    engine.publisher.close()
    assert window.failure is None
    assert window.faults == 0


def told(rows: Localizations, **field: str) -> LiveSession:
    """Give a session that was told by hand."""
    session = LiveSession()
    session.apply(Reset(bytes(16), FIELD | field))
    session.apply(Rows(rows, 0))
    return session


@pytest.mark.display
def test_emitters_show_on_their_camera_pixels_and_stay_there_when_zoomed(
    live: tuple[ViewerWindow, Engine], application: Any
) -> None:
    window, engine = live
    for start in range(0, len(engine.rows), 37):  # in odd pieces, while it draws
        engine.publisher.publish(engine.rows[start : start + 37])
        wait(application, lambda: True, engine)
    wait(application, settled(window, len(engine.rows)), engine)
    window.controller.toggle_contrast()  # held: pictures can be compared
    wait(application, settled(window, 0), engine)
    camera = window.canvas.camera
    assert camera.field == (350.0, 1550.0, 650.0, 2250.0)
    pixels = on_screen(window)
    for row, column in EMITTERS:
        x, y = camera.to_screen(column * PIXEL_NM, row * PIXEL_NM)
        reach = 0.4 * PIXEL_NM / camera.nm_per_pixel
        assert centroid(pixels, x, y, reach) == pytest.approx((x, y), abs=0.5)

    row, column = EMITTERS[2]
    place = camera.to_screen(column * PIXEL_NM, row * PIXEL_NM)
    nm_before = camera.nm_per_pixel
    camera.zoom(4.0, *place)
    window.canvas.moved.emit()
    wait(application, settled(window, 0), engine)
    assert window.controller.view is not None
    assert camera.nm_per_pixel == pytest.approx(nm_before / 4)
    after = centroid(on_screen(window), *place, 60.0)
    assert after == pytest.approx(place, abs=0.5)
    press(window, "R")
    wait(application, settled(window, 0), engine)
    assert np.abs(on_screen(window).astype(int) - pixels).mean() < 1.0


@pytest.mark.display
def test_the_status_line_and_the_states(
    live: tuple[ViewerWindow, Engine], application: Any
) -> None:
    window, engine = live
    overlay = window.canvas.overlay
    assert overlay.heading == "Waiting for the engine"
    engine.publisher.publish(engine.rows)
    engine.report()
    wait(application, lambda: "320" in window._status.text(), engine)
    text = window._status.text()
    assert "Live" in text
    for part in ("320 frames", "100 fps", "300 localizations", "10 lost", "21 ms"):
        assert part in text
    wait(application, settled(window, 300), engine)
    assert overlay.heading == ""
    engine.report("ok")
    wait(application, lambda: "Ended" in window._status.text(), engine)


@pytest.mark.display
def test_an_alarm_is_shown_and_counted(
    live: tuple[ViewerWindow, Engine], application: Any
) -> None:
    from PySide6.QtWidgets import QLabel

    window, engine = live
    count = window._status.findChild(QLabel, "alarms")
    engine.report()
    wait(application, lambda: "320" in window._status.text(), engine)
    assert not count.isVisible()
    engine.report(alarms=["frames arrive and are <not> localized"])
    wait(application, lambda: "1 alarm" in window._status.text(), engine)
    assert count.isVisible()
    note = "Alarm: frames arrive and are <not> localized"
    wait(application, lambda: window.canvas.overlay.note == note, engine)
    assert "&lt;not&gt;" in count.toolTip()


@pytest.mark.display
def test_the_status_line_shows_density_and_laser_where_there_is_one(
    live: tuple[ViewerWindow, Engine], application: Any
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
def test_keys_hold_contrast_and_change_colour_and_mode(
    opened: Any, application: Any
) -> None:
    session = told(emitters(depth=0.5))
    window = opened(session, look=DisplaySettings())
    controller = window.controller
    wait(application, settled(window, 300))
    assert controller.depth_range_nm is not None
    assert window.canvas.overlay.bar_title == "z"
    colours = on_screen(window)
    press(window, "C")
    wait(application, settled(window, 300))
    assert controller.depth_range_nm is None
    assert np.abs(on_screen(window).astype(int) - colours).max() > 50

    press(window, "A")
    assert notice(window) == "Contrast held"
    limit = controller.limit
    session.apply(Rows(np.concatenate([emitters(depth=0.5)] * 2), 300))
    wait(application, settled(window, 900))
    assert controller.limit == limit
    press(window, "A")
    wait(application, lambda: controller.limit > 2 * limit)

    for mode in ("fixed", "histogram", "density", "sigma"):
        press(window, "M")
        assert controller.look.mode == mode
        wait(application, settled(window, 900))
        assert on_screen(window).max() > 200
    press(window, "Question")
    assert window._help.isVisible()
    press(window, "Escape")
    assert not window._help.isVisible()


@pytest.mark.display
def test_panels_go_and_come_back_by_key_and_are_remembered(
    opened: Any, application: Any
) -> None:
    names = {"P": "plots", "I": "camera", "F": "filter", "T": "region"}
    window = opened(told(emitters()), look=DisplaySettings())
    for key, name in names.items():
        dock = window.docks.dock[name]
        if dock.visibleRegion().isEmpty():  # behind another tab
            press(window, key)
            application.processEvents()
        assert not dock.visibleRegion().isEmpty()
        press(window, key)
        assert not dock.isVisible()
    press(window, "I")
    window.controller.set_look(DisplaySettings(mode="density", width_nm=33.0))
    window.close()
    again = opened(told(emitters()))
    hidden = {n for n, dock in again.docks.dock.items() if dock.isHidden()}
    assert hidden == {"plots", "filter", "region"}
    assert again.controller.look == DisplaySettings(mode="density", width_nm=33.0)


@pytest.mark.display
def test_damaged_settings_are_said_and_the_window_opens(
    opened: Any, own_settings: Path
) -> None:
    own_settings.mkdir()
    (own_settings / "viewer.yaml").write_text("look: {mode: [")
    window = opened(told(emitters()))
    assert "settings are as new" in notice(window)


@pytest.mark.display
def test_filter_region_and_exports_while_rows_stream_in(
    live: tuple[ViewerWindow, Engine], application: Any, tmp_path: Path
) -> None:
    from liveloc.stream.tables.opening import read_table

    window, engine = live
    press(window, "S")
    assert notice(window) == "Nothing to save yet"
    rows = emitters(200, depth=0.5)
    rows["probability"] = np.where(np.arange(len(rows)) % 2, 0.9, 0.1)
    engine.rows = rows

    def stream(count: int) -> None:
        for _ in range(count):
            first = engine.sent
            engine.publish(rows[first : first + 20])
            wait(application, lambda: True, engine)

    stream(20)
    wait(application, settled(window, 400), engine)
    window.docks.filter.changed.emit(Selection(probability=(0.5, None)))
    window.canvas.region_drawn.emit((850.0, 1550.0, 1050.0, 2250.0))
    stream(20)
    document = window.controller.document
    assert document is not None
    wait(application, lambda: len(document.store) > 500, engine)  # some in the region
    press(window, "E")
    stream(10)
    wait(application, lambda: notice(window).startswith("Saved "), engine)
    press(window, "S")
    stream(10)
    wait(application, settled(window, 1200), engine)
    wait(application, lambda: notice(window).endswith(".png"), engine)
    chosen = rows[rows["probability"] >= 0.5]
    assert document.image.counted == len(chosen)
    (table,) = (tmp_path / "saved").glob("*.arrow")
    saved = read_table(table)[0]
    assert 0 < len(saved) < len(chosen)
    assert saved["probability"].min() >= 0.5
    assert saved["x_nm"].min() >= 850.0
    assert saved["y_nm"].min() >= 1050.0
    (picture,) = (tmp_path / "saved").glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    press(window, "Escape")
    assert window.controller.region is None


@pytest.mark.display
def test_a_folder_that_is_none_is_said(opened: Any, application: Any) -> None:
    window = opened(told(emitters()))
    folder = window._tasks.folder
    folder.write_text("a file")
    wait(application, settled(window, 300))
    press(window, "S")
    wait(application, lambda: notice(window).startswith("Not saved: "))


@pytest.mark.display
def test_drift_is_estimated_beside_the_window_and_taken_off(
    opened: Any, application: Any
) -> None:
    random = np.random.default_rng(4)
    count = 30_000
    rows = empty(count)
    spots = random.uniform((400, 700), (1500, 2200), (60, 2))
    x, y = spots[random.integers(0, 60, count)].T
    rows["frame"] = np.arange(count) // 10
    drift = 80.0 * rows["frame"] / rows["frame"].max()
    rows["x_nm"] = x + drift + random.normal(0, 8, count)
    rows["y_nm"] = y + random.normal(0, 8, count)
    rows["x_sigma_nm"] = rows["y_sigma_nm"] = 8.0
    window = opened(told(rows))
    wait(application, settled(window, count))
    press(window, "D")
    assert notice(window) == "Estimating drift ..."
    wait(application, lambda: notice(window).startswith("Drift corrected"), limit_s=20)
    document = window.controller.document
    assert document is not None
    assert document.drift is not None
    taken = document.drift.at(np.array([0, rows["frame"].max()]))[0]
    assert taken[1] - taken[0] == pytest.approx(80, abs=15)
    press(window, "D")
    assert document.drift is None


@pytest.mark.display
def test_news_are_redrawn_soon_but_not_for_every_message(
    live: tuple[ViewerWindow, Engine], application: Any
) -> None:
    from liveloc.viewer.views.pacing import SHORTEST_S

    window, engine = live
    began = time.monotonic()
    for start in range(0, len(engine.rows), 3):  # for a second
        engine.publish(engine.rows[start : start + 3])
        soon = time.monotonic() + 0.01
        wait(application, lambda soon=soon: time.monotonic() > soon, engine)
    wait(application, settled(window, len(engine.rows)), engine)
    spaced = (time.monotonic() - began) / SHORTEST_S
    assert 3 < window.pace.redraws <= spaced + 5  # the first looks are hurried
    measured = window.report()["published_to_screen_ms"]
    assert 0 < measured["p50"] < 1e3 * (time.monotonic() - began)
    before = window.pace.redraws
    rest = time.monotonic() + 0.5
    wait(application, lambda: time.monotonic() > rest, engine)
    assert window.pace.redraws == before


@pytest.mark.display
def test_another_session_with_another_pixel_begins_anew(
    opened: Any, application: Any
) -> None:
    session = told(emitters(depth=0.5))
    window = opened(session)
    wait(application, settled(window, 300))
    window.set_region((400.0, 500.0, 700.0, 800.0))
    window.canvas.camera.zoom(5.0)
    other = FIELD | {"pixel_size_nm": "65.0", "shape": "[40, 30]"}
    session.apply(Reset(b"2" * 16, other))
    rows = emitters()
    rows["z_nm"] = np.nan
    rows["x_nm"][:5] = np.nan
    session.apply(Rows(rows, 0))
    wait(application, settled(window, 300))
    assert window.controller.region is None
    assert window.canvas.camera.whole
    assert window.canvas.camera.field == pytest.approx((227.5, 2177.5, 422.5, 3022.5))
    assert window.failure is None


@pytest.mark.display
@pytest.mark.parametrize("way", ["opengl", "raster"])
def test_zero_rows_and_a_crowd_in_one_frame(
    opened: Any, application: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    if way == "raster":
        monkeypatch.setenv("LIVELOC_VIEWER_CANVAS", "raster")
    session = told(empty(0))
    window = opened(session)
    if way == "raster":
        assert "No OpenGL" in notice(window)
    wait(application, settled(window, 0))
    crowd = emitters(100_000 // len(EMITTERS))
    crowd["x_sigma_nm"] = np.nan
    session.apply(Rows(crowd, 0))
    wait(application, settled(window, len(crowd)))
    assert on_screen(window).max() > 200
    assert window.failure is None


@pytest.mark.display
def test_a_fault_is_said_and_counted_and_the_window_goes_on(
    opened: Any, application: Any
) -> None:
    session = told(emitters())
    window = opened(session)
    wait(application, settled(window, 300))
    scene, calls = window.controller.scene, []

    def broken(viewport: Any) -> Any:
        calls.append(1)
        if len(calls) <= 3:
            raise ZeroDivisionError("on purpose")
        return scene(viewport)

    window.controller.scene = broken
    session.apply(Rows(emitters(), 300))
    wait(application, lambda: len(calls) > 3)
    wait(application, settled(window, 600))
    assert window.faults == 3
    assert isinstance(window.failure, ZeroDivisionError)
    assert notice(window) == "Internal error: ZeroDivisionError: on purpose"


@pytest.mark.display
def test_what_cannot_be_followed_is_said_in_the_window(
    opened: Any, application: Any
) -> None:
    session = LiveSession()
    session.failure = SettingsError("metadata: shape is missing.")
    window = opened(session)
    overlay = window.canvas.overlay
    wait(application, lambda: overlay.heading == "Cannot be shown")
    assert overlay.message == "metadata: shape is missing."


PROGRAM = """
import sys
from pathlib import Path
from liveloc.viewer.sessions.live import LiveSession
from liveloc.viewer.run import run_viewer
from liveloc.viewer.window.main_window import ViewerWindow
show = ViewerWindow.show
ViewerWindow.show = lambda window: (show(window), print("shown", flush=True))
sys.exit(run_viewer(
    LiveSession.connect(sys.argv[1]),
    address=sys.argv[1],
    screenshot=Path(sys.argv[2]),
    report=Path(sys.argv[2]).with_suffix(".json"),
    exit_after_end=sys.argv[3] == "end",
))
"""


def viewer_process(endpoint: str, picture: Path, way: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, endpoint, str(picture), way],
        stdout=subprocess.PIPE,
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
            assert viewer.stdout is not None
            assert viewer.stdout.readline() == "shown\n"
            assert engine.fetched.wait(20)
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
    report = json.loads(picture.with_suffix(".json").read_text())
    assert set(report) >= {"published_to_screen_ms", "renderer", "redraws", "redraw_ms"}
    assert report["redraws"] > 0
    assert report["faults"] == 0


@linux_only
def test_without_a_display_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    works, reason = display_available()
    assert not works
    assert "neither DISPLAY nor WAYLAND_DISPLAY is set" in reason
    assert "--headless" in reason
    session = LiveSession()
    with pytest.raises(SettingsError, match="viewer: no display"):
        run_viewer(session)


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


@pytest.mark.display
def test_the_density_of_now_becomes_the_target_of_a_running_session(
    opened: Any, application: Any, tmp_path: Path
) -> None:
    from liveloc.stream.session.settings import SessionSettings
    from liveloc.stream.session.target_file import PRESENT, read_target

    folder = tmp_path / "session"
    folder.mkdir()
    SessionSettings().changed(control__law="ratio").save(folder)
    session = told(emitters())
    window = opened(session, source=folder)
    press(window, "N")
    assert notice(window) == "Requested: hold the current density"
    asked = read_target(folder)
    assert asked is not None
    assert (asked.per_um2, asked.origin) == (PRESENT, "viewer")
    session.apply(Status({"ended": "ok"}))
    press(window, "N")
    assert notice(window) == "Only available while the session is running"
    session.close()


@pytest.mark.display
def test_the_dialog_saves_what_the_name_ends_in(
    opened: Any, application: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile
    from PySide6.QtWidgets import QFileDialog

    from liveloc.stream.tables.opening import read_table

    session = told(emitters(depth=0.5))
    window = opened(session)
    wait(application, lambda: window.up_to_date)
    answers = iter(
        [
            (str(tmp_path / "a.ome.tif"), "OME-TIFF (*.ome.tif)"),
            (str(tmp_path / "b"), "ThunderSTORM (*.csv)"),
            ("", ""),
        ]
    )
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: next(answers))
    request = window.docks.region.export_requested
    for kind, written in (("picture", "a.ome.tif"), ("table", "b.csv")):
        request.emit(kind)
        wait(application, lambda name=written: notice(window).endswith(name))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as file:
        assert file.is_ome
    assert len(read_table(tmp_path / "b.csv", PIXEL_NM)[0]) == len(emitters())
    request.emit("view")  # closed without a name
    assert notice(window).endswith("b.csv")
    session.close()
