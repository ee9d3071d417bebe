"""What is drawn of all rows: each selected one once, whatever is done meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.errors import LivelocError, SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import Reconstruction
from liveloc.viewer.data import document
from liveloc.viewer.data import row_store as rows
from liveloc.viewer.data.compact import compacted
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.selection import Selection

FIELD = {"shape": "[9, 13]", "pixel_size_nm": "100", "roi_origin": "[4, 2]"}
LEFT, TOP = 350.0, 150.0
SELECTIONS = [
    Selection(),
    Selection(photons=(400.0, 1500.0), probability=(0.5, None)),
    Selection(frame=(10, 60), lateral_sigma_nm=(None, 20.0)),
    Selection(z_nm=(-100.0, 300.0)),
]
DRIFTS = [
    None,
    Drift(np.array([0, 50]), np.array([0.0, 333.3]), np.array([0.1, -120.7])),
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces of few rows: the same code, in no time."""
    monkeypatch.setattr(rows, "BLOCK", 64)
    monkeypatch.setattr(rows, "RUN", 16)
    monkeypatch.setattr(document, "PIECE", 24)


def table(seed: int, count: int) -> Localizations:
    random = np.random.default_rng(seed)
    made = empty(count)
    made["frame"] = random.integers(0, 100, count)
    made["x_nm"] = LEFT + random.uniform(-200, 1500, count)
    made["y_nm"] = TOP + random.uniform(-200, 1100, count)
    made["x_nm"][random.random(count) < 0.05] = np.nan
    made["z_nm"] = random.normal(0, 300, count)
    made["z_nm"][random.random(count) < 0.1] = np.nan
    made["photons"] = random.lognormal(7, 1, count)
    made["probability"] = random.random(count)
    made["x_sigma_nm"], made["y_sigma_nm"] = random.uniform(5, 40, (2, count))
    return made


def one_shot(
    whole: Localizations, selection: Selection, drift: Drift | None
) -> Reconstruction:
    """The same picture by the plainest way there is."""
    kept = compacted(whole)
    shown = kept.chosen(selection.mask(kept.column, len(whole))).whole()
    if drift is not None:
        dx, dy = drift.at(shown["frame"])
        shown["x_nm"] = shown["x_nm"].astype(np.float64) - dx
        shown["y_nm"] = shown["y_nm"].astype(np.float64) - dy
    image = Reconstruction.from_metadata(FIELD)
    image.add(shown)
    return image


def same(one: Reconstruction, other: Reconstruction) -> bool:
    return (
        np.array_equal(one.counts, other.counts)
        and one.mean_depth_nm().tobytes() == other.mean_depth_nm().tobytes()
        and (one.counted, one.outside, one.not_finite)
        == (other.counted, other.outside, other.not_finite)
    )


def finish(made: Document) -> None:
    while made.work(0.0):
        pass


steps = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 90)),
    st.tuples(st.just("work"), st.integers(1, 4)),
    st.tuples(st.just("select"), st.integers(0, len(SELECTIONS) - 1)),
    st.tuples(st.just("correct"), st.integers(0, 1)),
    st.tuples(st.just("clear"), st.just(0)),
)


@given(steps=st.lists(steps, max_size=14), spooled=st.booleans())
def test_every_row_is_drawn_once_whatever_is_done_in_between(
    steps: list[tuple[str, int]], spooled: bool
) -> None:
    made = Document(FIELD, spool=spooled)
    whole, revision = empty(0), made.revision
    for number, (what, value) in enumerate(steps):
        if what == "add":
            more = table(number, value)
            made.add(more)
            whole = np.concatenate([whole, more])
        elif what == "work":
            for _ in range(value):
                made.work(0.0)
        elif what == "select":
            made.select(SELECTIONS[value])
        elif what == "correct":
            made.correct(DRIFTS[value])
        else:
            made.clear()
            whole = empty(0)
        assert 0.0 <= made.pending <= 1.0
        assert made.revision >= revision
        revision = made.revision
    finish(made)
    assert made.pending == 0.0
    expected = one_shot(whole, made.selection, made.drift)
    assert same(made.image, expected)
    assert len(made.store) == len(whole)
    for level in range(made.image.tiles.levels):
        assert made.image.tiles.counts(level).sum() == made.image.counted
    saved = np.concatenate([empty(0), *made.selected_rows()])
    again = Reconstruction.from_metadata(FIELD)
    again.add(saved)
    assert np.array_equal(again.counts, expected.counts)
    made.close()


def test_threads_that_add_work_and_select_lose_no_row() -> None:
    made = Document(FIELD)
    whole, stop = table(1, 2500), threading.Event()

    def add() -> None:
        for begin in range(0, len(whole), 50):
            made.add(whole[begin : begin + 50])

    def work() -> None:
        while not stop.is_set():
            made.work(0.001)

    adding = threading.Thread(target=add)
    working = [threading.Thread(target=work) for _ in range(2)]
    for thread in (adding, *working):
        thread.start()
    turn = 0
    while adding.is_alive():
        turn += 1
        made.select(SELECTIONS[turn % len(SELECTIONS)])
        made.correct(DRIFTS[turn % 2])
    while made.pending:  # nobody but the workers brings it to its end
        stop.wait(0.001)
    stop.set()
    for thread in working:
        thread.join()
    assert same(made.image, one_shot(whole, made.selection, made.drift))
    assert np.concatenate(list(made.store.whole_rows())).tobytes() == whole.tobytes()
    made.close()


def test_selecting_returns_before_the_work_and_says_how_much_is_left() -> None:
    made = Document(FIELD)
    made.add(table(2, 160))
    before = made.image
    made.select(SELECTIONS[1])
    assert made.image is not before
    assert (made.pending, made.image.counted) == (1.0, 0)
    assert made.work(0.0)
    assert made.pending == pytest.approx(0.9)
    made.add(table(3, 40))  # drawn at once, and does not count as pending
    assert made.pending == pytest.approx(0.9)
    finish(made)
    assert made.pending == 0.0
    assert not made.work(1.0)
    made.close()


def test_nothing_changes_while_nothing_happens() -> None:
    made = Document(FIELD)
    made.add(table(2, 100))
    revision = made.revision
    assert not made.work(0.01)
    assert made.revision == revision
    made.close()


def test_shown_gives_the_selected_rows_where_the_drift_leaves_them() -> None:
    made = Document(FIELD)
    whole = table(4, 50)
    made.select(SELECTIONS[1])
    made.correct(DRIFTS[1])
    run, x, y = made.shown(compacted(whole))
    mask = SELECTIONS[1].mask(compacted(whole).column, 50)
    dx, dy = DRIFTS[1].at(whole["frame"][mask])  # type: ignore[union-attr]
    assert len(run) == np.count_nonzero(mask) > 0
    assert x.dtype == y.dtype == np.float64
    np.testing.assert_allclose(x, whole["x_nm"][mask] - dx, atol=1e-4)
    np.testing.assert_allclose(y, whole["y_nm"][mask] - dy, atol=1e-4)
    made.close()


def test_saved_rows_are_whole_in_order_and_of_the_selection_it_began_with() -> None:
    made = Document(FIELD)
    whole = table(5, 150)
    made.add(whole)
    made.select(SELECTIONS[2])
    pieces = made.selected_rows()
    first = next(pieces)
    made.select(Selection())
    saved = np.concatenate([first, *pieces])
    kept = whole[SELECTIONS[2].mask(compacted(whole).column, 150)]
    assert saved.tobytes() == kept.tobytes()
    made.close()


def test_saving_while_the_session_begins_anew_does_not_save_half_a_table() -> None:
    made = Document(FIELD)
    made.add(table(5, 150))
    pieces = made.selected_rows()
    next(pieces)
    made.clear()
    with pytest.raises(LivelocError, match=r"began anew\. Save again"):
        next(pieces)
    made.close()


def test_histograms_are_of_all_rows_and_forgotten_with_them() -> None:
    made = Document(FIELD)
    made.select(SELECTIONS[1])
    made.add(table(6, 120))
    assert made.columns.histogram("photons")[1].sum() == 120
    made.clear()
    assert made.columns.histogram("photons")[1].sum() == 0
    made.close()


def test_a_document_around_a_table_holds_its_rows() -> None:
    whole = table(7, 90)
    made = Document.around(whole, pixel_size_nm=50.0, spool=False)
    finite = np.isfinite(whole["x_nm"])
    assert made.image.counted == np.count_nonzero(finite)
    assert made.rect[0] <= np.nanmin(whole["x_nm"]) < made.rect[0] + 50.0
    assert made.image.super_pixel_nm == 50.0 / 2
    assert Document.around(empty(0), spool=False).image.counted == 0


def test_a_row_far_off_does_not_make_the_field_as_large() -> None:
    whole = table(8, 200)
    whole["x_nm"][3] = 3e30
    whole["y_nm"][5] = -1e9
    made = Document.around(whole, pixel_size_nm=100.0, spool=False)
    assert max(made.shape) < 100
    assert made.image.outside == 2 - np.count_nonzero(np.isnan(whole["x_nm"][[3, 5]]))


@pytest.mark.parametrize("size", [{}, {"super_pixel_nm": 10.0}])
def test_the_field_is_that_of_the_metadata(size: dict[str, Any]) -> None:
    made = Document(FIELD, spool=False, **size)
    assert made.rect == (LEFT, LEFT + 1300.0, TOP, TOP + 900.0)
    assert (made.shape, made.roi_origin, made.pixel_size_nm) == ((9, 13), (4, 2), 100.0)
    assert made.image.super_pixel_nm == size.get("super_pixel_nm", 20.0)
    with pytest.raises(SettingsError, match="pixel_size_nm is 'x'"):
        Document({**FIELD, "pixel_size_nm": "x"})
