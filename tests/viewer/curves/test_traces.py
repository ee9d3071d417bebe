"""Curves over a session: exact whatever the pieces, bounded, from any thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.stream.localizations import Flag, Localizations, empty
from liveloc.viewer.curves.bins import POINTS, FrameBins, Scale
from liveloc.viewer.curves.on_time import FULL_SAMPLE, OnTimeSample
from liveloc.viewer.curves.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Sequence

OF_ROWS = ("localizations", "photons", "background", "precision", "on_time")


def table(frames: Sequence[int], seed: int = 0) -> Localizations:
    random = np.random.default_rng(seed)
    rows = empty(len(frames))
    rows["frame"] = frames
    rows["x_nm"], rows["y_nm"] = random.uniform(0, 1000, (2, len(rows)))
    rows["photons"] = random.lognormal(7, 0.5, len(rows))
    rows["background"] = random.gamma(5, 4, len(rows))
    rows["x_sigma_nm"] = random.gamma(9, 1.2, len(rows))
    rows["y_sigma_nm"] = random.gamma(9, 1.2, len(rows))
    return rows


def blinking(runs: int, mean: float, every: int = 1, seed: int = 1) -> Localizations:
    """Emitters somewhere in 20 um that stay on for `mean` frames on average."""
    random = np.random.default_rng(seed)
    lengths = random.geometric(1 / mean, runs)
    which = np.repeat(np.arange(runs), lengths)
    rows = empty(len(which))
    start = random.integers(0, max(1, runs // 20), runs) * every
    rows["frame"] = start[which] + np.concatenate([np.arange(n) for n in lengths])
    x, y = random.uniform(0, 20_000, (2, runs))
    rows["x_nm"] = x[which] + random.normal(0, 10, len(rows))
    rows["y_nm"] = y[which] + random.normal(0, 10, len(rows))
    rows["x_sigma_nm"] = rows["y_sigma_nm"] = 10
    return np.sort(rows, order="frame", kind="stable")


def same(left: Traces, right: Traces) -> None:
    for name in OF_ROWS:
        for mine, theirs in zip(
            left.series[name].points(), right.series[name].points(), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        assert left.series[name].newest == right.series[name].newest


def test_rows_per_frame_count_the_frames_without_any() -> None:
    traces = Traces()
    traces.add_rows(table([0, 0, 0, 2, 5, 5]))
    x, low, mean, high = traces.series["localizations"].points()
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    assert mean.tolist() == [3, 0, 1, 0, 0, 2]
    assert low == pytest.approx(mean, abs=0.2)
    assert high == pytest.approx(mean, abs=0.2)
    assert traces.series["localizations"].newest == 1.0
    assert traces.newest_frame == 5


def test_a_session_that_begins_late_has_no_empty_frames_before() -> None:
    traces = Traces()
    traces.add_rows(table([100, 101, 101]))
    x, _, mean, _ = traces.series["localizations"].points()
    assert x.tolist() == [100, 101]
    assert mean.tolist() == [1, 2]


def test_medians_and_bands_agree_with_the_rows() -> None:
    rows = table(np.repeat(np.arange(20_000), 8).tolist())
    traces = Traces()
    traces.add_rows(rows)
    sigma = np.maximum(rows["x_sigma_nm"], rows["y_sigma_nm"])
    quantities = {
        "photons": rows["photons"],
        "background": rows["background"],
        "precision": sigma,
    }
    width = 64
    for name, values in quantities.items():
        series = traces.series[name]
        x, low, middle, high = series.points()
        assert x[:2].tolist() == [(width - 1) / 2, width + (width - 1) / 2]
        first = values[rows["frame"] < width]
        assert middle[0] == pytest.approx(np.median(first), rel=0.03)
        assert low[0] == pytest.approx(np.quantile(first, 0.1), rel=0.04)
        assert high[0] == pytest.approx(np.quantile(first, 0.9), rel=0.04)
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert series.newest == pytest.approx(np.median(values), rel=0.1)


@settings(max_examples=40, deadline=None)
@given(
    frames=st.lists(st.integers(0, 3000), max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=8),
    ordered=st.booleans(),
)
def test_curves_do_not_depend_on_the_pieces(
    frames: list[int], cuts: list[int], ordered: bool
) -> None:
    rows = table(sorted(frames) if ordered else frames)
    rows["x_nm"] /= 10  # some at the same place
    rows["y_nm"] /= 10
    whole, pieces = Traces(), Traces()
    whole.add_rows(rows)
    ends = sorted(min(cut, len(rows)) for cut in cuts)
    for first, last in zip([0, *ends], [*ends, len(rows)], strict=True):
        pieces.add_rows(rows[first:last])
    same(whole, pieces)


def test_curves_do_not_depend_on_the_pieces_where_only_a_sample_is_looked_at() -> None:
    random = np.random.default_rng(5)
    counts = random.poisson(9, 5 * FULL_SAMPLE // 9)
    rows = table(np.repeat(np.arange(len(counts)), counts).tolist())
    whole, pieces = Traces(), Traces()
    whole.add_rows(rows)
    for piece in np.array_split(rows, 83):
        pieces.add_rows(piece)
    same(whole, pieces)


def test_medians_of_very_many_rows_rest_on_some_whatever_the_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("liveloc.viewer.curves.traces.ALL_COUNT", 1000)
    rows = table(np.repeat(np.arange(4000), 5).tolist())
    whole, pieces = Traces(), Traces()
    whole.add_rows(rows)
    for piece in np.array_split(rows, 57):
        pieces.add_rows(piece)
    same(whole, pieces)
    counted = int(whole.series["photons"]._bins.values.sum())
    assert 3000 <= counted <= 6000
    x, _, median, _ = whole.series["photons"].points()
    assert x[-1] > 3900
    assert np.median(median) == pytest.approx(np.median(rows["photons"]), rel=0.05)
    assert (whole.series["localizations"].points()[2] == 5).all()


@given(
    frames=st.lists(st.integers(0, 1 << 40), min_size=1, max_size=50),
)
def test_bins_double_and_lose_nothing(frames: list[int]) -> None:
    bins = FrameBins(1, np.int64)
    for frame in frames:
        bins.add(np.array([frame]), 0, 1)
    assert bins.values.sum() == len(frames)
    assert max(frames) // bins.width < POINTS
    assert bins.width == 1 or max(frames) // bins.width >= POINTS // 2
    expected = np.bincount(np.array(frames) // bins.width, minlength=POINTS)
    assert bins.values[:, 0].tolist() == expected.tolist()
    centre = bins.centres()[frames[0] // bins.width]
    assert abs(centre - frames[0]) <= bins.width / 2


@given(
    values=st.lists(st.floats(1.0, 9e6), min_size=1, max_size=60),
    share=st.floats(0.05, 1.0),
)
def test_quantiles_of_a_histogram_lie_among_the_values(
    values: list[float], share: float
) -> None:
    scale = Scale(1.0, 1e7)
    counts = np.bincount(scale.cell(np.array(values)), minlength=scale.cells)
    both = np.stack([counts, np.roll(counts[::-1], 1)])  # a row knows no other
    (found,) = scale.quantiles(both, [share])
    exact = np.quantile(values, share, method="inverted_cdf")
    assert found[0] == pytest.approx(exact, rel=0.05)


def test_a_long_session_keeps_as_many_points_and_as_much_memory() -> None:
    traces = Traces()
    kept = sum(
        bins.values.nbytes
        for series in traces.series.values()
        for bins in vars(series).values()
        if isinstance(bins, FrameBins)
    )
    assert kept < 4e6
    for frame in range(0, 360_000, 30):
        traces.add_status({"frames": frame, "density_per_um2": frame / 1e6})
    traces.add_rows(table(np.arange(0, 360_000, 5).tolist()))
    for name in ("density", "localizations", "photons"):
        x, low, middle, high = traces.series[name].points()
        assert POINTS // 2 < len(x) <= POINTS
        assert (np.diff(x) > 0).all()
        assert len(low) == len(middle) == len(high) == len(x)
    x, low, middle, high = traces.series["density"].points()
    assert middle == pytest.approx(x / 1e6, abs=1e-3)
    assert (high - low).max() == pytest.approx(1024 / 1e6, rel=0.05)


def test_what_the_engine_tells_is_read_and_odd_values_are_left_out() -> None:
    traces = Traces()
    status = {
        "frames": 320,
        "density_per_um2": 0.48,
        "latency_ms": 6.0,
        "latency_p99_ms": 21.0,
        "lost": {"bridge_shed": 10, "receive_full": 2},
        "fps": 99.5,
        "laser": {"power": 12.5, "unit": "mW", "target_per_um2": 0.5},
    }
    traces.add_status(status)
    expected = {
        "density": 0.48,
        "density_target": 0.5,
        "laser_power": 12.5,
        "latency": 6.0,
        "losses": 12.0,
        "fps": 99.5,
    }
    for name, value in expected.items():
        assert traces.series[name].newest == value
        assert traces.series[name].points()[0].tolist() == [320]
    assert traces.series["laser_power"].unit == "mW"
    x, low, middle, high = traces.series["latency"].points()
    assert (x[0], low[0], middle[0], high[0]) == (320, 6.0, 6.0, 21.0)
    before = traces.revision
    traces.add_status({"frames": "many", "fps": 1.0})
    traces.add_status({"fps": 1.0})
    traces.add_status({"frames": 330, "fps": "fast", "laser": 3, "lost": [1]})
    traces.add_status({"frames": -1, "fps": 1.0})
    assert traces.revision == before


def test_frames_that_ended_without_rows_count_as_empty() -> None:
    traces = Traces()
    traces.add_rows(table([0, 0, 1, 1]))
    for localized in (90, 95):  # the rows may come a little after the status
        traces.add_status(
            {"frames": 101, "localized": localized, "lost": {"bridge_shed": 10}}
        )
    x, _, mean, _ = traces.series["localizations"].points()
    assert x[-1] == 99
    assert mean.tolist() == [2, 2] + [0] * 98
    assert traces.series["localizations"].newest == 0
    traces.add_rows(table([50, 100]))  # one came later than all others
    mean = traces.series["localizations"].points()[2]
    assert mean[50] == 1
    assert mean[100] == 1


@pytest.mark.parametrize("mean", [1.0, 1.8, 4.0])
def test_on_time_is_the_mean_run_of_successive_frames(mean: float) -> None:
    traces = Traces()
    traces.add_rows(blinking(20_000, mean))
    assert traces.series["on_time"].newest == pytest.approx(mean, rel=0.12)
    x, low, middle, high = traces.series["on_time"].points()
    assert np.median(middle[5:-5]) == pytest.approx(mean, rel=0.05)
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert len(x) > 50
    assert (np.diff(x) > 0).all()


def test_on_time_does_not_take_other_emitters_for_the_same() -> None:
    rows = blinking(20_000, 1.0)  # every one for itself
    for name in ("x_nm", "y_nm"):
        rows[name] /= 10  # 40 in 4 um2: many meet by chance
    traces = Traces()
    traces.add_rows(rows)
    _, followed, by_chance = OnTimeSample().add(rows)
    assert followed.mean() > 0.03
    assert by_chance.mean() == pytest.approx(followed.mean(), rel=0.2)
    middle = traces.series["on_time"].points()[2]
    assert np.median(middle) == pytest.approx(1.0, abs=0.03)


def test_on_time_asks_nothing_of_frames_whose_next_was_lost() -> None:
    rows = table([0, 1, 2, 3, 4])
    for name in ("x_nm", "y_nm"):
        rows[name] = 500
    rows["flags"][1] = Flag.NO_NEXT
    frames, followed, _ = OnTimeSample().add(rows)
    assert frames.tolist() == [0, 2]
    assert followed.all()


def test_nothing_known_is_no_point_and_no_warning() -> None:
    traces = Traces()
    rows = table([0, 1, 2, -5])
    for name in ("photons", "background", "x_sigma_nm", "x_nm"):
        rows[name] = np.nan
    traces.add_rows(rows)
    traces.add_rows(rows[:0])
    for name in ("photons", "background", "precision"):
        series = traces.series[name]
        assert series.newest is None
        assert [len(part) for part in series.points()] == [0, 0, 0, 0]
    assert traces.series["localizations"].points()[2].tolist() == [1, 1, 1]


def test_points_are_made_once_for_each_change() -> None:
    traces = Traces()
    traces.add_rows(table([0, 1]))
    photons = traces.series["photons"]
    first = photons.points()
    assert photons.points() is first
    traces.add_rows(table([2]))
    assert photons.points() is not first
    traces.clear()
    assert traces.newest_frame == -1
    assert photons.newest is None
    assert len(photons.points()[0]) == 0


def test_a_reader_never_sees_half_a_change() -> None:
    traces, done = Traces(), threading.Event()
    rows = table(np.repeat(np.arange(20_000), 3).tolist())
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                for series in traces.series.values():
                    assert len({len(part) for part in series.points()}) == 1
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for piece in np.array_split(rows, 20):
            traces.add_rows(piece)
            traces.add_status({"frames": int(piece["frame"][-1]), "fps": 100.0})
            traces.add_screen_latency(20.0)
    finally:
        done.set()
        reader.join()
    assert not failures
    untouched = Traces()
    untouched.add_rows(rows)
    same(traces, untouched)
