"""The window's panels, painted without a display and used by mouse and keys."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.stream.broadcast.status import EngineStatus
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.preview import Preview
from liveloc.viewer.curves.traces import Traces
from liveloc.viewer.data.column_histograms import ColumnHistograms
from liveloc.viewer.data.region import RegionStatistics
from liveloc.viewer.data.selection import Selection
from liveloc.viewer.image.colouring import DisplaySettings, colour_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

ACCENT = (0x6F, 0xB1, 0xFF)


@pytest.fixture(scope="module", autouse=True)
def application() -> Iterator[Any]:
    """An application that needs no display."""
    from PySide6.QtWidgets import QApplication

    from liveloc.viewer.window.widgets.style import dress

    there_is = QApplication.instance()
    made = there_is or QApplication(["", "-platform", "offscreen"])
    dress(made)
    yield made
    made.processEvents()
    if there_is is None:  # else it belongs to the tests of the whole window
        made.shutdown()


@pytest.fixture
def shown(application: Any) -> Iterator[Callable[..., Any]]:
    """Give a function that shows a widget; it goes after the test."""
    made = []

    def show(widget: Any, width: int = 300, height: int = 500) -> Any:
        made.append(widget)
        widget.resize(width, height)
        widget.show()
        application.processEvents()
        return widget

    yield show
    for widget in made:
        widget.close()
        widget.deleteLater()
    application.processEvents()


def wait(application: Any, until: Callable[[], bool], limit_s: float = 45.0) -> None:
    deadline = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < deadline
        application.processEvents()
        time.sleep(0.002)


def picture(widget: Any) -> NDArray[np.uint8]:
    """Give what a widget looks like, (height, width, 3)."""
    from PySide6.QtGui import QImage

    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    lines = np.frombuffer(image.constBits(), np.uint8).copy()  # the image goes
    lines = lines.reshape(image.height(), image.bytesPerLine())
    return lines[:, : image.width() * 3].reshape(image.height(), image.width(), 3)


def like(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.abs(pixels.astype(int) - colour).max(axis=2) < 30


def said(signal: Any) -> list[Any]:
    """Collect what a signal emits."""
    heard: list[Any] = []
    signal.connect(lambda *values: heard.append(values[0] if values else None))
    return heard


def table(rows: int = 20_000, *, depth: bool = True) -> Localizations:
    random = np.random.default_rng(1)
    made = empty(rows)
    made["frame"] = np.sort(random.integers(0, 5000, rows))
    made["photons"] = random.lognormal(7, 0.6, rows)
    made["background"] = random.gamma(20, 1, rows)
    made["x_sigma_nm"] = made["y_sigma_nm"] = random.gamma(9, 1.2, rows)
    made["probability"] = random.uniform(0.4, 1, rows)
    if depth:
        made["z_nm"] = random.normal(0, 200, rows)
        made["z_sigma_nm"] = random.gamma(9, 3, rows)
    return made


def histograms(rows: Localizations) -> ColumnHistograms:
    made = ColumnHistograms()
    made.add(rows)
    return made


# The range slider


@pytest.fixture
def slider(shown: Callable[..., Any]) -> Any:
    """Values from 0 to 100, track 284 pixels long."""
    from liveloc.viewer.window.widgets.range_slider import RangeSlider

    made = shown(RangeSlider("Photons", "nm"), 300, 66)
    made.set_histogram(np.linspace(0, 100, 101), np.full(100, 7))
    return made


def drag(handle: Any, by: int) -> None:
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    middle = QPoint(handle.width() // 2, handle.height() // 2)
    QTest.mousePress(handle, Qt.MouseButton.LeftButton, pos=middle)
    before = handle.x()
    for part in (0.5, 1.0):
        there = QPoint(round(before + by * part) - handle.x(), 0)
        QTest.mouseMove(handle, middle + there)
    QTest.mouseRelease(handle, Qt.MouseButton.LeftButton, pos=middle)


def test_a_handle_is_dragged_to_a_value_and_its_end_is_open(slider: Any) -> None:
    moving, done = said(slider.changed), said(slider.released)
    drag(slider.low, 71)  # a quarter of the track
    low, high = slider.range
    assert low == pytest.approx(25, abs=0.5)
    assert high is None
    assert done == [(low, None)]
    assert moving[-1] == (low, None)
    drag(slider.low, -200)
    assert slider.range == (None, None)
    assert done[-1] == (None, None)


def test_a_click_on_a_handle_moves_nothing(slider: Any) -> None:
    slider.set_range((33.3333, None))
    heard = said(slider.changed)
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    for handle in (slider.low, slider.high):
        QTest.mouseClick(handle, Qt.MouseButton.LeftButton, pos=QPoint(3, 3))
    assert heard == []
    assert slider.range == (33.3333, None)


def test_a_press_on_the_bars_brings_the_nearer_handle(slider: Any) -> None:
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    QTest.mouseClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(8 + 57, 40))
    QTest.mouseClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(8 + 213, 40))
    assert slider.range == pytest.approx((20, 75), abs=0.5)


def test_handles_do_not_pass_each_other(slider: Any) -> None:
    slider.set_range((None, 40.0))
    drag(slider.low, 200)
    assert slider.range == (40.0, 40.0)
    slider.set_range((60.0, None))
    drag(slider.high, -270)
    assert slider.range == (60.0, 60.0)


def test_keys_move_the_handle_that_has_the_focus(slider: Any) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    done = said(slider.released)
    for _ in range(3):
        QTest.keyClick(slider.low, Qt.Key.Key_Right)
    QTest.keyClick(slider.low, Qt.Key.Key_PageUp)
    assert slider.range[0] == pytest.approx(13, abs=0.2)
    QTest.keyClick(slider.high, Qt.Key.Key_Left)
    assert slider.range[1] == pytest.approx(99, abs=0.2)
    assert len(done) == 5
    QTest.keyClick(slider.low, Qt.Key.Key_Home)
    QTest.keyClick(slider.high, Qt.Key.Key_End)
    assert slider.range == (None, None)


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("12.5", 12.5),
        ("12,5", 12.5),
        ("1 e1", 10.0),
        ("", None),
        ("95", 80.0),  # the other end is there
        ("many", 30.0),
        ("inf", 30.0),
    ],
)
def test_a_number_is_typed_after_a_double_click(
    slider: Any, typed: str, taken: float | None
) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QLineEdit

    slider.set_range((30.0, 80.0))
    place = slider._labels()[0].center().toPoint()
    QTest.mouseDClick(slider, Qt.MouseButton.LeftButton, pos=place)
    (editor,) = slider.findChildren(QLineEdit)
    assert editor.text() == "30"
    editor.setText(typed)
    QTest.keyClick(editor, Qt.Key.Key_Return)
    assert slider.range == (taken, 80.0)


def test_escape_leaves_a_number_as_it_was(slider: Any) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QLineEdit

    QTest.keyClick(slider.high, Qt.Key.Key_Return)
    (editor,) = slider.findChildren(QLineEdit)
    editor.setText("50")
    QTest.keyClick(editor, Qt.Key.Key_Escape)
    assert slider.range == (None, None)


def test_a_double_click_on_the_bars_opens_both_ends(slider: Any) -> None:
    from PySide6.QtCore import QPoint, Qt
    from PySide6.QtTest import QTest

    slider.set_range((30.0, 80.0))
    done = said(slider.released)
    QTest.mouseDClick(slider, Qt.MouseButton.LeftButton, pos=QPoint(150, 40))
    assert done[-1] == (None, None)


def test_the_selected_bars_are_lit_and_no_others(slider: Any) -> None:
    slider.set_range((25.0, 75.0))
    lit = like(picture(slider), ACCENT)[20:50]  # the bars
    columns = np.flatnonzero(lit.any(axis=0))
    assert columns[0] == pytest.approx(8 + 71, abs=3)
    assert columns[-1] == pytest.approx(8 + 213, abs=3)
    assert lit[-1, columns[0] : columns[-1]].mean() > 0.5


def test_the_track_shows_nearly_all_values_and_reaches_the_range(slider: Any) -> None:
    counts = np.zeros(100, int)
    counts[20:40] = 10_000
    counts[95] = 3  # one in ten thousand
    slider.set_histogram(np.linspace(0, 100, 101), counts)
    assert slider.value_at(0.0) == pytest.approx(20, abs=2)
    assert slider.value_at(1.0) == pytest.approx(40, abs=2)
    slider.set_range((5.0, None))
    slider.set_histogram(np.linspace(0, 100, 101), counts)
    assert slider.value_at(0.0) <= 5
    slider.set_histogram(np.linspace(0, 100, 101), np.zeros(100, int))
    assert slider.value_at(1.0) == 100


@settings(max_examples=50, deadline=None)
@given(share=st.floats(0, 1), logarithmic=st.booleans())
def test_a_value_comes_back_to_its_place(share: float, logarithmic: bool) -> None:
    from liveloc.viewer.window.widgets.range_slider import RangeSlider

    slider = RangeSlider("x", logarithmic=logarithmic)
    edges = np.geomspace(1, 1e5, 257) if logarithmic else np.linspace(-600, 900, 257)
    slider.set_histogram(edges, np.ones(256, int))
    assert slider.share_of(slider.value_at(share)) == pytest.approx(share, abs=0.005)


# The filter panel


@pytest.fixture
def filter_panel(shown: Callable[..., Any]) -> Any:
    from liveloc.viewer.window.panels.filter import FilterPanel

    panel = shown(FilterPanel(), 300, 560)
    panel.show_columns(histograms(table()))
    return panel


def test_only_quantities_in_which_rows_differ_have_a_slider(
    filter_panel: Any,
) -> None:
    assert all(slider.isVisible() for slider in filter_panel.sliders.values())
    filter_panel.show_columns(histograms(table(depth=False)))
    hidden = [n for n, s in filter_panel.sliders.items() if not s.isVisible()]
    assert hidden == ["z_sigma_nm", "z_nm"]
    filter_panel.set_selection(Selection(z_nm=(0.0, None)))
    filter_panel.show_columns(histograms(table(depth=False)))
    assert filter_panel.sliders["z_nm"].isVisible()


def test_a_drag_tells_the_selection_seldom_and_its_end_at_once(
    filter_panel: Any,
) -> None:
    heard = said(filter_panel.changed)
    slider = filter_panel.sliders["photons"]
    slider.take(slider.low, slider.low.x_middle)
    for x in range(10, 110):
        slider.drag(float(x))
    assert len(heard) == 1  # no time has passed for the window
    slider.let_go()
    assert len(heard) == 2
    assert heard[-1] == Selection(photons=slider.range)
    assert filter_panel.selection == heard[-1]


def test_a_drag_that_rests_is_told_after_a_while(
    filter_panel: Any, application: Any
) -> None:
    heard = said(filter_panel.changed)
    slider = filter_panel.sliders["frame"]
    slider.take(slider.high, slider.high.x_middle)
    started = time.monotonic()
    slider.drag(200.0)
    slider.drag(150.0)
    wait(application, lambda: len(heard) == 2)
    assert time.monotonic() - started > 0.08
    assert heard[-1].frame == slider.range
    slider.let_go()
    assert len(heard) == 2


def test_reset_all_selects_everything_once(filter_panel: Any) -> None:
    from PySide6.QtWidgets import QPushButton

    heard = said(filter_panel.changed)
    (reset,) = [
        b for b in filter_panel.findChildren(QPushButton) if b.text() == "Reset all"
    ]
    assert not reset.isEnabled()
    filter_panel.set_selection(Selection(photons=(500.0, None), frame=(10, 90)))
    assert heard == []
    assert filter_panel.sliders["frame"].range == (10, 90)
    reset.click()
    assert heard == [Selection()]
    assert not reset.isEnabled()


def test_the_filter_says_how_many_rows_are_shown(filter_panel: Any) -> None:
    filter_panel.show_counts(123_456, 200_000)
    texts = filter_panel._count.text().replace("\u2009", " ")
    assert texts == "123 456 of 200 000 shown (61.7 %)"
    filter_panel.show_counts(200, 200)
    assert filter_panel._count.text() == "200 localizations, all shown"


# The picture panel


@pytest.fixture
def picture_panel(shown: Callable[..., Any]) -> Any:
    from liveloc.viewer.window.panels.picture import PicturePanel

    return shown(PicturePanel(), 300, 460)


def choose(box: Any, key: str) -> None:
    """Choose an entry as a user does."""
    place = box.findData(key)
    assert place >= 0
    box.setCurrentIndex(place)
    box.activated.emit(place)


def test_every_choice_becomes_a_look(picture_panel: Any) -> None:
    heard = said(picture_panel.changed)
    choose(picture_panel.mode, "density")
    choose(picture_panel.colour, "intensity")
    choose(picture_panel.intensity_map, "viridis")
    assert heard[-1] == DisplaySettings(
        mode="density",
        width_nm=100.0,
        colour="intensity",
        intensity_map="viridis",
    )
    picture_panel.set_look(DisplaySettings())
    choose(picture_panel.depth_map, "hawaii")
    assert heard[-1] == DisplaySettings(depth_map="hawaii")
    assert len(heard) == 4


def test_every_colour_map_of_the_lists_exists() -> None:
    from liveloc.viewer.window.panels.picture import DEPTH_MAPS, INTENSITY_MAPS

    for name in (*INTENSITY_MAPS, *DEPTH_MAPS):
        assert colour_table(name).shape == (1024, 3)
    assert DisplaySettings().intensity_map in INTENSITY_MAPS
    assert DisplaySettings().depth_map in DEPTH_MAPS


def test_sliders_change_the_look_seldom_while_they_move(picture_panel: Any) -> None:
    heard = said(picture_panel.changed)
    track = picture_panel.gamma._slider
    track.setSliderDown(True)
    for step in range(20, 120):
        track.setValue(step)
    assert len(heard) == 1
    track.setSliderDown(False)
    assert len(heard) == 2
    assert heard[-1] == DisplaySettings(gamma=picture_panel.gamma.value)
    assert 0.1 < picture_panel.gamma.value < 2


def test_a_held_limit_is_what_the_picture_used(picture_panel: Any) -> None:
    heard = said(picture_panel.changed)
    picture_panel.show_limits(3.21, None)
    assert picture_panel.percentile.isVisible()
    picture_panel.automatic.click()
    assert heard == [DisplaySettings(limit=3.21)]
    assert picture_panel.limit.isVisible()
    assert not picture_panel.percentile.isVisible()
    picture_panel.show_limits(9.0, None)
    assert picture_panel.limit.value == 3.21
    picture_panel.automatic.click()
    assert heard[-1] == DisplaySettings()


def test_a_held_z_range_is_typed_and_an_empty_one_refused(picture_panel: Any) -> None:
    heard = said(picture_panel.changed)
    picture_panel.show_limits(1.0, (-350.0, 450.0))
    assert (picture_panel.lowest.value(), picture_panel.highest.value()) == (-350, 450)
    assert not picture_panel.lowest.isEnabled()
    picture_panel.automatic_z.click()
    assert heard[-1] == DisplaySettings(depth_range_nm=(-350.0, 450.0))
    picture_panel.highest.setValue(400)
    picture_panel._throttle.now()
    assert heard[-1] == DisplaySettings(depth_range_nm=(-350.0, 400.0))
    picture_panel.lowest.setValue(500)
    assert picture_panel.look == heard[-1]


def test_a_look_is_shown_silently_also_with_a_map_from_elsewhere(
    picture_panel: Any,
) -> None:
    heard = said(picture_panel.changed)
    look = DisplaySettings(
        mode="fixed", width_nm=22.0, colour="intensity", intensity_map="crameri:oslo"
    )
    picture_panel.set_look(look)
    assert heard == []
    assert picture_panel.intensity_map.currentText() == "oslo"
    assert picture_panel.width_nm.isVisible()
    assert picture_panel.width_nm.value == 22.0
    assert not picture_panel.depth_map.isVisible()
    choose(picture_panel.mode, "sigma")
    assert not picture_panel.width_nm.isVisible()
    assert heard == [replace(look, mode="sigma")]
    picture_panel.back.click()
    assert heard[-1] == DisplaySettings()
    assert not picture_panel.back.isEnabled()


def test_a_slider_goes_back_to_the_usual_value_at_a_double_click(
    picture_panel: Any,
) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    picture_panel.set_look(DisplaySettings(gamma=1.5))
    heard = said(picture_panel.changed)
    QTest.mouseDClick(picture_panel.gamma._slider, Qt.MouseButton.LeftButton)
    assert heard[-1] == DisplaySettings()


# The plots


def curves() -> Traces:
    traces = Traces()
    rows = table()
    traces.add_rows(rows)
    for frame in range(0, 5000, 50):
        laser = {"power": 3.0, "unit": "mW", "target_per_um2": 0.5}
        status = {"frames": frame, "density_per_um2": 0.4, "laser": laser}
        traces.add_status(status)
    return traces


def drawn(panel: Any) -> set[str]:
    return {name for name, plot in panel.plots.items() if plot.isVisible()}


def test_plots_appear_with_their_first_point(
    shown: Callable[..., Any], application: Any
) -> None:
    from liveloc.viewer.window.panels.plots import PlotsPanel

    panel = shown(PlotsPanel(), 1000, 220)
    panel.show_traces(Traces())
    wait(application, lambda: not panel._timer.isActive())
    assert drawn(panel) == set()
    panel.show_traces(curves())
    expected = {
        "density",
        "laser_power",
        "localizations",
        "photons",
        "background",
        "precision",
        "on_time",
    }
    wait(application, lambda: drawn(panel) == expected)
    plot = panel.plots["density"]
    assert plot.accessibleName() == "Density"
    assert plot.accessibleDescription().replace("\u2009", " ") == "0.4 of 0.5 /µm²"
    pixels = picture(plot)
    assert like(pixels, ACCENT).sum() > 100  # its curve
    assert pixels.shape[1] >= 160


def test_a_plot_is_drawn_anew_a_few_times_a_second_at_most(
    shown: Callable[..., Any], application: Any
) -> None:
    from liveloc.viewer.window.panels.plots import PlotsPanel

    panel, traces, times = shown(PlotsPanel(), 1000, 220), Traces(), []
    plot = panel.plots["density"]
    show = plot.show_series
    plot.show_series = lambda *series: (times.append(time.monotonic()), show(*series))
    until = time.monotonic() + 0.8
    frame = 0
    while time.monotonic() < until:
        frame += 1
        traces.add_status({"frames": frame, "density_per_um2": 0.1})
        panel.show_traces(traces)
        application.processEvents()
        time.sleep(0.005)
    assert 1 < len(times) <= 4
    assert np.diff(times).min() >= 0.25
    wait(application, lambda: not panel._timer.isActive())
    assert plot._curve[0][-1] == frame
    count = len(times)
    panel.show_traces(traces)
    assert not panel._timer.isActive()
    assert len(times) == count


def test_the_mouse_shows_the_value_of_one_frame_in_all_plots(
    shown: Callable[..., Any], application: Any
) -> None:
    from PySide6.QtCore import QPoint
    from PySide6.QtTest import QTest

    from liveloc.viewer.window.panels.plots import PlotsPanel

    panel, traces = shown(PlotsPanel(), 700, 300), Traces()
    for frame in range(101):
        traces.add_status({"frames": frame, "density_per_um2": frame / 100, "lost": {}})
    panel.show_traces(traces)
    wait(application, lambda: not panel._stale() and len(drawn(panel)) == 2)
    application.processEvents()
    plot, other = panel.plots["density"], panel.plots["losses"]
    assert other._top == 1.0  # nothing was lost: 0 on a scale that means something
    box = plot._box()
    QTest.mouseMove(plot, QPoint(round(box.left() + box.width() / 4), 50))
    application.processEvents()
    assert float(plot._figures()[0]) == pytest.approx(0.25, abs=0.03)
    assert other._frame == pytest.approx(25, abs=2)
    before = picture(other)
    panel._point(math.nan)
    assert plot._figures()[0] == "1"
    assert (picture(other) != before).any()


@given(low=st.floats(0, 1e6), span=st.floats(1e-3, 1e7), most=st.integers(2, 8))
def test_ticks_are_few_and_round(low: float, span: float, most: int) -> None:
    from liveloc.viewer.window.widgets.plot import round_ticks, tick_text

    ticks = round_ticks(low, low + span, most)
    assert len(ticks) <= most + 1
    assert all(low - span * 1e-6 <= tick <= low + span * 1.000001 for tick in ticks)
    if len(ticks) > 1:
        step = ticks[1] - ticks[0]
        leading = step / 10 ** math.floor(math.log10(step) + 1e-6)
        assert min(abs(leading - good) for good in (1, 2, 5, 10)) < 1e-3
    assert tick_text(20_000) == "20k"
    assert tick_text(2_500_000) == "2.5M"
    assert tick_text(0.5) == "0.5"


# The raw frame


def preview(
    column: float,
    row: float,
    *,
    origin: tuple[int, int],
    binning: int = 1,
    pixel_nm: float = 110.0,
) -> Preview:
    """A frame of 24 x 32 pixels as sent, one of them bright, one localization.

    `column` and `row` of the localization are camera pixels on the frame.
    """
    pixels = np.full((24, 32), 100, np.uint16)
    pixels[12, 20] = 60_000
    rows = empty(1)
    rows["x_nm"] = (column + origin[0]) * pixel_nm
    rows["y_nm"] = (row + origin[1]) * pixel_nm
    return Preview(seq=1234, pixels=pixels, binning=binning, localizations=rows)


def centre(light: NDArray[Any]) -> tuple[float, float]:
    """Give the centre of mass, pixel edges counting from 0."""
    rows, columns = np.indices(light.shape) + 0.5
    total = light.sum()
    assert total > 10
    return float((light * columns).sum() / total), float((light * rows).sum() / total)


def blue(pixels: NDArray[np.uint8]) -> NDArray[Any]:
    """Give the rings; the frame itself is grey."""
    return pixels[..., 2].astype(float) - pixels[..., 0]


@pytest.mark.parametrize("origin", [(0, 0), (17, 240)])
@pytest.mark.parametrize("binning", [1, 2])
def test_the_ring_is_around_the_pixel_where_the_emitter_is(
    shown: Callable[..., Any], binning: int, origin: tuple[int, int]
) -> None:
    """Seen on the screen: the middle of the bright pixel is the middle of the ring."""
    from liveloc.viewer.window.panels.raw_frame import FrameView

    view = shown(FrameView(), 640, 480)  # 20 screen pixels each
    # Camera pixels 40 and 41 make up pixel 20 of a frame binned twice.
    column, row = (20.0, 12.0) if binning == 1 else (40.5, 24.5)
    made = preview(column, row, origin=origin, binning=binning)
    assert view.show_frame(made, 110.0, origin)
    pixels = picture(view)
    bright = centre(pixels.min(axis=2) > 200)
    ring = centre(blue(pixels))
    assert bright == pytest.approx((20.5 * 20, 12.5 * 20), abs=0.01)
    assert ring == pytest.approx(bright, abs=0.1)
    assert not view.show_frame(made, 110.0, origin)


@pytest.mark.parametrize("binning", [1, 2])
def test_rings_are_at_fractions_of_a_pixel_also_when_zoomed(
    shown: Callable[..., Any], binning: int
) -> None:
    from PySide6.QtCore import QPointF

    from liveloc.viewer.window.panels.raw_frame import FrameView

    view = shown(FrameView(), 640, 480)
    column, row, scale = 14.3 * binning, 9.85 * binning, 20 / binning
    view.show_frame(preview(column, row, origin=(3, 5), binning=binning), 110.0, (3, 5))
    expected = ((column + 0.5) * scale, (row + 0.5) * scale)
    assert centre(blue(picture(view))) == pytest.approx(expected, abs=0.1)
    view.zoom(1.5, QPointF(*expected))
    assert centre(blue(picture(view))) == pytest.approx(expected, abs=0.1)
    view.zoom(0.01, QPointF(600.0, 20.0))
    assert centre(blue(picture(view))) == pytest.approx(expected, abs=0.1)


def test_the_frame_panel_says_what_it_shows(shown: Callable[..., Any]) -> None:
    from liveloc.viewer.window.panels.raw_frame import RawFramePanel

    panel = shown(RawFramePanel(), 300, 300)
    assert "No camera image" in panel._caption.text()
    panel.show_preview(preview(3, 4, origin=(0, 0), binning=2), 110.0, (0, 0))
    text = panel._caption.text().replace("\u2009", " ")
    assert text.startswith("Frame 1 234 \u00b7 1 found \u00b7 100 to ")
    assert text.endswith("2x2 binned")
    panel.show_preview(None, 110.0, (0, 0))
    assert panel.view._image.isNull()


def test_a_crowded_frame_marks_some_and_a_frame_with_nan_the_rest(
    shown: Callable[..., Any],
) -> None:
    from liveloc.viewer.window.panels.raw_frame import MOST_RINGS, RawFramePanel

    panel = shown(RawFramePanel(), 300, 300)
    rows = empty(100_000)
    rows["x_nm"] = np.nan
    rows["x_nm"][::2] = np.linspace(0, 3000, 50_000)
    flat = np.full((24, 32), 7, np.uint16)  # no contrast at all
    made = Preview(seq=0, pixels=flat, binning=1, localizations=rows)
    panel.show_preview(made, 110.0, (0, 0))
    assert 0 < len(panel.view._places) <= MOST_RINGS
    text = panel._caption.text().replace("\u2009", " ")
    assert "100 000 found, 2 000 marked" in text
    assert "7 to 8 counts" in text
    picture(panel)


# The region


def test_the_region_lists_its_figures_and_asks_for_exports(
    shown: Callable[..., Any],
) -> None:
    from liveloc.viewer.window.panels.region import RegionPanel

    panel = shown(RegionPanel(), 300, 320)
    wishes, clears = said(panel.export_requested), said(panel.clear_requested)
    assert not panel._table.isEnabled()
    statistics = RegionStatistics(
        rows=1_234_567,
        sampled=500_000,
        area_um2=12.34,
        per_um2=100_046.0,
        per_frame=31.2,
        photons=1180.0,
        background=19.4,
        lateral_sigma_nm=8.7,
        z_nm=(math.nan, math.nan),
        precision_nm=9.3,
    )
    panel.show_statistics(statistics)
    text = panel.text().replace("\u2009", " ")
    for line in (
        "Rectangle",
        "Localizations\t1 234 567",
        "Density\t100 046 /µm²",
        "Predicted precision\t8.7 nm",
        "z, 5 to 95 %\t\u2013",
    ):
        assert line in text.split("\n")
    assert "500 000" in panel._note.text().replace("\u2009", " ")
    panel._table.click()
    panel._picture.click()
    panel._clear.click()
    assert wishes == ["table", "picture"]
    assert len(clears) == 1
    panel.show_statistics(statistics, whole_field=True)
    assert panel.text().startswith("Whole field")
    assert not panel._clear.isEnabled()
    assert panel._table.isEnabled()


def test_numbers_are_written_short() -> None:
    from liveloc.viewer.window.widgets.style import figure, grouped

    assert grouped(1_234_567) == "1\u2009234\u2009567"
    assert figure(0.4812) == "0.481"
    assert figure(99.96) == "100"
    assert figure(1180.4) == "1\u2009180"
    assert figure(-350) == "\u2212350"
    assert figure(2.5e6) == "2.5\u2009M"


def test_what_a_silent_engine_sent_last_is_not_shown_as_new(
    shown: Callable[..., Any],
) -> None:
    from liveloc.viewer.window.panels.statusbar import StatusLine

    line = shown(StatusLine(), 900, 40)
    figures = EngineStatus(
        frames=374,
        fps=162.0,
        latency_ms=550.0,
        density_per_um2=0.22,
        laser={"power": 5.0, "unit": "mW"},
    )
    line.show_figures("live", figures, "ok")
    assert all(text in line.text() for text in ("162 fps", "550 ms", "mW laser"))
    line.show_figures("silent", figures, "ok")
    assert "374 frames" in line.text()
    for name in ("fps", "latency", "laser"):
        assert f"\u2013 {name}" in line.text()
