"""Views drawn from rows: at once, in the background, and as rows come."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from liveloc.stream.localizations import empty
from liveloc.viewer import DisplaySettings
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.selection import Selection
from liveloc.viewer.image.gaussians import splat
from liveloc.viewer.image.viewport import Viewport
from liveloc.viewer.views.render_thread import (
    POLL_S,
    RenderThread,
    needs_view,
    render_whole,
)

MODES = ("histogram", "fixed", "sigma", "density")
PIXEL_NM = 100.0
METADATA = {"shape": "[40, 50]", "pixel_size_nm": "100", "roi_origin": "[7, 3]"}
WAIT_S = 20.0  # never reached unless something is broken


def table(count, seed=0, *, z=True):
    random = np.random.default_rng(seed)
    rows = empty(count)
    rows["frame"] = np.arange(count) // 10
    rows["x_nm"] = random.uniform(700, 5600, count)
    rows["y_nm"] = random.uniform(300, 4200, count)
    rows["z_nm"] = random.normal(0, 200, count) if z else 0.0
    rows["photons"] = random.lognormal(7, 0.5, count)
    rows["x_sigma_nm"] = random.lognormal(np.log(12), 0.3, count)
    rows["y_sigma_nm"] = random.lognormal(np.log(12), 0.3, count)
    rows["probability"] = random.random(count)
    return rows


@pytest.fixture
def document():
    made = Document(METADATA, spool=False)
    yield made
    made.close()


def view_at(left=1000.3, top=900.7, pixel=5.0, shape=(150, 170)):
    return Viewport(left_nm=left, top_nm=top, pixel_nm=pixel, shape=shape)


class Following:
    """A render thread, and waiting for what it says."""

    def __init__(self, document):
        self.states = []
        self._changed = threading.Condition()
        self.thread = RenderThread(document, self._note)

    def _note(self):
        with self._changed:
            self.states.append(self.thread.latest)
            self._changed.notify_all()

    def until(self, condition):
        end = time.monotonic() + WAIT_S
        with self._changed:
            while not condition(self.thread) and time.monotonic() < end:
                self.thread.fetch()
                self._changed.wait(0.02)
        assert condition(self.thread), (self.thread.latest, self.thread.failure)
        return self.thread.latest

    def finished(self):
        """Wait until everything is drawn; give the view."""
        return self.until(lambda thread: thread.current)


@contextmanager
def following(document):
    made = Following(document)
    try:
        yield made
    finally:
        made.thread.close()


def assert_same(layers, wanted, tolerance=1e-4):
    for name in ("counts", "depth_sum_nm", "depth_counts"):
        one, other = getattr(layers, name), getattr(wanted, name)
        assert (one is None) == (other is None), name
        if one is not None:
            scale = max(np.abs(other).max(), 1e-6)
            np.testing.assert_allclose(one, other, atol=tolerance * scale, err_msg=name)


# In one go


def test_sigma_is_the_gaussian_of_every_row(document):
    rows = table(3000)
    document.add(rows)
    view = view_at()
    layers = render_whole(document, DisplaySettings(mode="sigma"), view)
    sigmas = rows["x_sigma_nm"], rows["y_sigma_nm"]
    counts, depths = splat(
        view, rows["x_nm"], rows["y_nm"], *sigmas, [None, rows["z_nm"]]
    )
    # Kept are rounded sigmas (to 1/4096) and depths (to 0.25 nm).
    np.testing.assert_allclose(layers.counts, counts, atol=1e-3 * counts.max())
    np.testing.assert_allclose(
        layers.depth_sum_nm, depths, atol=2e-3 * np.abs(depths).max()
    )
    assert layers.depth_counts is layers.counts  # every row has a z
    assert layers.pixel_nm == 5.0 and layers.drawn_as == "sigma"


@pytest.mark.parametrize("filtered_rows", [0, 10**9])
@pytest.mark.parametrize("pixel", [3.0, 7.4, 13.0, 20.0])
def test_fixed_is_the_gaussian_of_one_width(
    document, monkeypatch, pixel, filtered_rows
):
    """Of few rows exactly; many become it by a filter, to 3 % of a row's peak."""
    monkeypatch.setattr("liveloc.viewer.views.view_layers.FILTERED_ROWS", filtered_rows)
    rows = table(300)
    document.add(rows)
    view = view_at(pixel=pixel, shape=(61, 83))
    look = DisplaySettings(mode="fixed", width_nm=15.0)
    width = np.full(len(rows), 15.0)
    counts, depths = splat(
        view, rows["x_nm"], rows["y_nm"], width, width, [None, rows["z_nm"]]
    )
    found = render_whole(document, look, view)
    one_peak = min(1.0, pixel**2 / (2 * np.pi * 15.0**2))
    allowed = (0.03 if filtered_rows == 0 else 1e-5) * max(one_peak, counts.max())
    assert np.abs(found.counts - counts).max() < allowed
    assert found.counts.sum() == pytest.approx(counts.sum(), rel=2e-3, abs=1e-3)
    np.testing.assert_allclose(
        found.depth_sum_nm, depths, atol=0.02 * np.abs(depths).max()
    )


@pytest.mark.parametrize("mode", ["fixed", "density"])
def test_rows_are_added_to_what_a_filter_made(document, monkeypatch, mode):
    document.add(table(5000))
    monkeypatch.setattr("liveloc.viewer.views.view_layers.FILTERED_ROWS", 1000)
    look, view = DisplaySettings(mode=mode), view_at()
    with following(document) as followed:
        followed.thread.request(view, look)
        followed.finished()
        document.add(table(500, 1))
        found = followed.finished()
    assert_same(found.layers, render_whole(document, look, view), 0.02)
    assert found.layers.counts.sum() == pytest.approx(
        render_whole(document, look, view).counts.sum(), rel=2e-3
    )


def test_density_is_per_um2(document):
    rows = table(20_000)
    document.add(rows)
    view = view_at(2000.0, 1500.0, 10.0, (100, 120))
    look = DisplaySettings(mode="density", width_nm=60.0)
    layers = render_whole(document, look, view)
    per_um2 = len(rows) / (4.9 * 3.9)
    assert layers.counts.mean() == pytest.approx(per_um2, rel=0.05)
    mean_z = layers.depth_sum_nm / layers.depth_counts
    assert np.abs(mean_z).max() < 200  # the mean of many, not a sum


def test_a_histogram_finer_than_the_tiles_counts_rows(document):
    rows = table(5000)
    document.add(rows)
    view = view_at(pixel=2.7, shape=(100, 100))
    layers = render_whole(document, DisplaySettings(mode="histogram"), view)
    edges = [first + 2.7 * np.arange(101) for first in (view.top_nm, view.left_nm)]
    wanted = np.histogram2d(
        rows["y_nm"].astype(np.float64), rows["x_nm"].astype(np.float64), edges
    )[0]
    assert layers.counts.tolist() == wanted.tolist()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("offset", [(0.0, 0.0), (13.7, -41.9)])
@pytest.mark.parametrize("pixel", [2.3, 5.0, 20.0])
def test_a_row_in_the_middle_of_a_camera_pixel_is_drawn_there(
    document, mode, offset, pixel
):
    """Camera pixel (c, r) covers c - 0.5 to c + 0.5: no half pixel is lost."""
    column, row = 20, 17
    rows = table(1)
    rows["x_nm"], rows["y_nm"] = column * PIXEL_NM, row * PIXEL_NM
    rows["x_sigma_nm"] = rows["y_sigma_nm"] = 14.0
    document.add(rows)
    left = (column - 0.5 - 1) * PIXEL_NM + offset[0]
    top = (row - 0.5 - 1) * PIXEL_NM + offset[1]
    side = int(3 * PIXEL_NM / pixel) + 1
    view = view_at(left, top, pixel, (side, side))
    look = DisplaySettings(mode=mode, width_nm=14.0)
    counts = render_whole(document, look, view).counts.astype(np.float64)
    lines, columns = np.indices(counts.shape) + 0.5
    x_nm = left + pixel * (counts * columns).sum() / counts.sum()
    y_nm = top + pixel * (counts * lines).sum() / counts.sum()
    allowed = pixel / 2 if mode == "histogram" else 0.02 * pixel
    assert x_nm == pytest.approx(column * PIXEL_NM, abs=allowed + 1e-6)
    assert y_nm == pytest.approx(row * PIXEL_NM, abs=allowed + 1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_parts_of_the_field_fit_onto_each_other(document, mode):
    """Rows beyond an edge reach in: two halves are the whole."""
    document.add(table(20_000))
    look = DisplaySettings(mode=mode, width_nm=20.0)
    whole = render_whole(document, look, view_at(1000.0, 1000.0, 5.0, (60, 120)))
    right = render_whole(document, look, view_at(1300.0, 1000.0, 5.0, (60, 60)))
    scale = whole.counts.max()
    np.testing.assert_allclose(right.counts, whole.counts[:, 60:], atol=2e-3 * scale)


def test_selection_and_drift_are_drawn(document):
    rows = table(5000)
    document.add(rows)
    document.select(Selection(probability=(0.5, None)))
    document.correct(Drift(np.array([0]), np.array([400.0]), np.array([-300.0])))
    layers = render_whole(document, DisplaySettings(mode="histogram"), view_at())
    moved = empty(len(rows))
    moved[:] = rows
    moved["x_nm"] -= 400.0
    moved["y_nm"] += 300.0
    chosen = np.rint(rows["probability"] * 254) / 254 >= 0.5
    other = Document(METADATA, spool=False)
    other.add(moved[chosen])
    wanted = render_whole(other, DisplaySettings(mode="histogram"), view_at())
    other.close()
    assert layers.counts.sum() > 50
    assert layers.counts.tolist() == wanted.counts.tolist()


def test_rows_without_z_do_not_colour(document):
    rows = table(2000)
    rows["z_nm"][::2] = np.nan
    rows["z_nm"][1::2] = 100.0
    document.add(rows)
    for mode in MODES:
        layers = render_whole(document, DisplaySettings(mode=mode), view_at())
        lit = layers.depth_counts > 0.05 * layers.depth_counts.max()
        mean_z = layers.depth_sum_nm[lit] / layers.depth_counts[lit]
        np.testing.assert_allclose(mean_z, 100.0, rtol=1e-3)
        assert layers.depth_counts.sum() < 0.7 * layers.counts.sum()


def test_a_table_without_z_has_no_depth(document):
    document.add(table(100, z=False))
    layers = render_whole(document, DisplaySettings(), view_at())
    assert layers.depth_sum_nm is None and layers.depth_counts is None


def test_rows_without_a_sigma_are_as_wide_as_the_look_says(document):
    rows = table(500)
    rows["x_sigma_nm"] = rows["y_sigma_nm"] = np.nan
    document.add(rows)
    view = view_at()
    found = render_whole(document, DisplaySettings(mode="sigma", width_nm=18.0), view)
    width = np.full(len(rows), 18.0)
    (wanted,) = splat(view, rows["x_nm"], rows["y_nm"], width, width)
    np.testing.assert_allclose(found.counts, wanted, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_drawn_of_nothing(document, mode):
    layers = render_whole(document, DisplaySettings(mode=mode), view_at())
    assert not layers.counts.any() and layers.counts.shape == (150, 170)


def test_tiles_suffice_where_the_screen_cannot_show_more(document):
    document.add(table(1000))  # sigma 12 nm, super-pixels of 20 nm
    for mode, coarsest in (("sigma", 26.0), ("histogram", 20.0), ("fixed", 60.0)):
        look = DisplaySettings(mode=mode, width_nm=30.0)
        assert needs_view(look, view_at(pixel=0.9 * coarsest), document), mode
        assert not needs_view(look, view_at(pixel=1.2 * coarsest), document), mode


# In the background


@pytest.mark.parametrize("mode", MODES)
def test_a_finished_view_is_what_is_drawn_in_one_go(document, mode):
    document.add(table(100_000))
    view, look = view_at(), DisplaySettings(mode=mode)
    with following(document) as followed:
        followed.thread.request(view, look)
        found = followed.finished()
    assert found.viewport == view and found.mode == mode
    assert_same(found.layers, render_whole(document, look, view))
    assert found.per_um2 == (1.0 if mode == "density" else 1e6 / 25.0)


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_come_are_added(document, mode):
    document.add(table(5000))
    view, look = view_at(), DisplaySettings(mode=mode)
    with following(document) as followed:
        followed.thread.request(view, look)
        first = followed.finished()
        for seed in range(1, 6):
            document.add(table(300, seed))
        followed.thread.fetch()
        last = followed.finished()
        before = first.layers.counts.sum()
    assert last.layers.counts.sum() > 1.1 * before
    assert first.layers.counts.sum() == before  # what was given is never written
    assert_same(last.layers, render_whole(document, look, view), 1e-3)


def test_new_rows_are_not_drawn_from_the_beginning(document):
    """Else a live view would cost the more, the longer it runs."""
    document.add(table(50_000))
    asked = []
    runs = document.store.runs
    document.store.runs = lambda *args, **kinds: (
        asked.append(kinds.get("first", 0)) or runs(*args, **kinds)
    )
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        followed.finished()
        document.add(table(100, 1))
        followed.finished()
    assert asked == [0, 50_000]


def test_a_changed_selection_is_drawn_anew(document):
    document.add(table(20_000))
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        everything = followed.finished()
        document.select(Selection(probability=(0.7, None)))
        some = followed.finished()
        share = some.layers.counts.sum() / everything.layers.counts.sum()
        assert share == pytest.approx(0.3, abs=0.05)
        document.correct(Drift(np.array([0]), np.array([900.0]), np.array([0.0])))
        moved = followed.finished()
    assert_same(moved.layers, render_whole(document, DisplaySettings(), view_at()))


def test_clearing_the_document_clears_the_view(document):
    document.add(table(5000))
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        followed.finished()
        document.clear()
        document.add(table(200, 7))
        view = followed.finished()
    assert_same(view.layers, render_whole(document, DisplaySettings(), view_at()), 1e-3)


def test_the_document_catches_up_when_nothing_is_to_be_drawn(document):
    rows = table(100_000)
    document.add(rows)
    document.select(Selection(photons=(1000.0, None)))
    assert document.pending > 0
    with following(document) as followed:
        end = time.monotonic() + WAIT_S
        while document.pending and time.monotonic() < end:
            followed.thread.fetch()
            time.sleep(0.005)
    assert document.pending == 0
    chosen = document.image.counted
    assert 0 < chosen < len(rows)


def test_the_newest_request_wins(document):
    document.add(table(100_000))
    views = [view_at(left=1000.0 + 10 * n) for n in range(30)]
    with following(document) as followed:
        for view in views:
            followed.thread.request(view, DisplaySettings())
        assert followed.finished().viewport == views[-1]
        drawn = {id(s.viewport) for s in followed.states if s and s.share == 1.0}
    assert len(drawn) < len(views)


def test_partial_views_come_first_and_say_how_far_they_are(document, monkeypatch):
    monkeypatch.setattr("liveloc.viewer.views.render_thread.PUBLISH_S", 0.0)
    for seed in range(10):
        document.add(table(60_000, seed))
    wide = view_at(600.0, 200.0, 20.0, (210, 260))
    with following(document) as followed:
        followed.thread.request(wide, DisplaySettings())
        followed.finished()
        shares = [state.share for state in followed.states if state]
        sums = [state.layers.counts.sum() for state in followed.states if state]
    assert len(shares) > 4 and shares == sorted(shares)
    part = len(shares) // 2
    # A beginning is a fair sample: divided by its share it is as bright as the whole.
    assert sums[part] / shares[part] == pytest.approx(sums[-1], rel=0.05)


def test_pixels_much_finer_than_the_gaussians_are_not_drawn(document):
    document.add(table(1000))
    fine = view_at(pixel=0.5, shape=(301, 400))
    with following(document) as followed:
        followed.thread.request(fine, DisplaySettings())
        found = followed.finished().viewport
    assert found.pixel_nm == pytest.approx(4.0, abs=0.6)  # a third of 12 nm
    assert (found.left_nm, found.top_nm) == (fine.left_nm, fine.top_nm)
    assert found.rect[1] >= fine.rect[1] and found.rect[3] >= fine.rect[3]


def test_colours_do_not_draw_anew(document):
    document.add(table(1000))
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        first = followed.finished()
        followed.thread.request(
            view_at(), DisplaySettings(gamma=0.3, intensity_map="gray")
        )
        followed.thread.request(view_at(), DisplaySettings(gamma=0.2))
        document.add(table(10, 1))
        followed.until(lambda thread: thread.latest is not first)
        assert len(followed.states) == 2  # the first, and the new rows


def test_where_tiles_suffice_there_is_no_view(document):
    document.add(table(1000))
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        followed.finished()
        followed.thread.request(view_at(pixel=80.0), DisplaySettings())
        followed.until(lambda thread: thread.latest is None)


def test_a_fault_is_kept_and_the_next_request_tries_again(document, monkeypatch):
    document.add(table(1000))
    fault = MemoryError("no room")

    def refuse(*_, **__):
        raise fault

    with following(document) as followed:
        with monkeypatch.context() as broken:
            broken.setattr("liveloc.viewer.views.view_layers.splat", refuse)
            followed.thread.request(view_at(), DisplaySettings())
            followed.until(lambda thread: thread.failure is fault)
        followed.thread.request(view_at(), DisplaySettings())
        followed.finished()
        assert followed.thread.failure is None


def test_idle_it_looks_for_new_rows_now_and_then_and_no_more(document, monkeypatch):
    document.add(table(1000))
    turns = []
    work = document.work
    monkeypatch.setattr(document, "work", lambda s: turns.append(s) or work(s))
    with following(document) as followed:
        followed.thread.request(view_at(), DisplaySettings())
        view = followed.finished()
        before, begun = len(turns), time.monotonic()
        time.sleep(0.2)
        followed.until(lambda _: len(turns) > before)
        looked = len(turns) - before
        assert looked <= (time.monotonic() - begun) / POLL_S + 2
        assert followed.thread.latest is view


def test_close_is_idempotent_and_ends_the_thread(document):
    thread = RenderThread(document, lambda: None)
    thread.request(view_at(), DisplaySettings())
    thread.close()
    thread.close()
    assert not [t for t in threading.enumerate() if t.name == "render"]


def test_the_document_is_free_while_a_view_is_drawn(document, monkeypatch):
    """Whoever feeds it waits for moments, not for the picture."""
    document.add(table(60_000))
    free = []

    def probe():
        free.append(document.lock.acquire(blocking=False))
        if free[-1]:
            document.lock.release()

    def draw(*args, **kinds):
        other = threading.Thread(target=probe)
        other.start()
        other.join()
        return splat(*args, **kinds)

    monkeypatch.setattr("liveloc.viewer.views.view_layers.splat", draw)
    with following(document) as followed:
        followed.thread.request(
            view_at(600.0, 200.0, 20.0, (210, 260)), DisplaySettings()
        )
        followed.finished()
    assert free and all(free)
