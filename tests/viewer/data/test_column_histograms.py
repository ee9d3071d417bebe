"""Histograms of the quantities, and what a region says about its rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.stream.localizations import empty
from liveloc.viewer.data.column_histograms import ColumnHistograms
from liveloc.viewer.data.compact import compacted
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.region import neighbour_precision, region_statistics
from liveloc.viewer.data.selection import Selection

QUANTITIES = (
    "probability",
    "lateral_sigma_nm",
    "z_sigma_nm",
    "z_nm",
    "photons",
    "background",
    "frame",
)
METADATA = {"shape": "[100, 100]", "pixel_size_nm": "100", "roi_origin": "[0, 0]"}


def table(count, seed=0, frames=1000):
    random = np.random.default_rng(seed)
    rows = empty(count)
    rows["frame"] = np.sort(random.integers(0, frames, count))
    rows["x_nm"], rows["y_nm"] = random.uniform(0, 9900, (2, count))
    rows["z_nm"] = random.normal(0, 300, count)
    rows["photons"] = random.lognormal(7, 1, count)
    rows["background"] = random.lognormal(3, 1, count)
    for name in ("x_sigma_nm", "y_sigma_nm", "z_sigma_nm"):
        rows[name] = random.lognormal(2.5, 0.4, count)
    rows["probability"] = random.random(count)
    return rows


def values_of(rows, name):
    if name == "lateral_sigma_nm":
        return np.maximum(rows["x_sigma_nm"], rows["y_sigma_nm"])
    return rows[name]


@pytest.mark.parametrize("name", QUANTITIES)
def test_every_row_is_counted_in_the_bin_it_belongs_to(name):
    rows = table(20_000)
    histograms = ColumnHistograms()
    histograms.add(rows)
    edges, counts = histograms.histogram(name)
    assert counts.sum() == len(rows) and len(counts) <= 256
    assert len(edges) == len(counts) + 1 and np.all(np.diff(edges) > 0)
    wanted = np.histogram(values_of(rows, name), edges)[0]
    # Kept are rounded values, which may change the bin next to an edge.
    assert np.abs(wanted - counts).sum() < 0.02 * len(rows)


@pytest.mark.parametrize("name", QUANTITIES)
def test_pieces_give_the_same_histograms_as_the_whole(name):
    rows = table(5000)
    whole, pieces = ColumnHistograms(), ColumnHistograms()
    whole.add(rows)
    for first in range(0, 5000, 37):
        piece = rows[first : first + 37]
        pieces.add(piece, compacted(piece) if first % 2 else None)
    for one, other in zip(whole.histogram(name), pieces.histogram(name), strict=True):
        assert one.tolist() == other.tolist()


def test_the_limits_of_the_selection_enclose_all_rows():
    """A slider at its ends selects everything that has a value."""
    rows = table(3000)
    histograms = ColumnHistograms()
    histograms.add(rows)
    for name in QUANTITIES:
        edges, _ = histograms.histogram(name)
        kept = compacted(rows).column(name)
        assert edges[0] <= kept.min() and kept.max() <= edges[-1]


def test_what_has_no_value_is_in_no_bin():
    rows = table(100)
    for name in ("z_nm", "photons", "x_sigma_nm", "z_sigma_nm", "probability"):
        rows[name][:40] = np.nan
    histograms = ColumnHistograms()
    histograms.add(rows)
    for name in QUANTITIES:
        missing = 0 if name in ("background", "frame") else 40
        assert histograms.histogram(name)[1].sum() == 100 - missing, name


@pytest.mark.parametrize("name", ["photons", "background", "z_sigma_nm"])
def test_zero_and_what_is_below_have_a_place_on_a_logarithmic_scale(name):
    rows = table(10)
    rows[name] = [0, -5, 1e-30, 0, 0, 100, 100, 100, 100, 100]
    histograms = ColumnHistograms()
    histograms.add(rows)
    edges, counts = histograms.histogram(name)
    assert edges[0] > 0 and counts[0] == 5 and counts.sum() == 10


@given(
    z=st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True),
        min_size=1,
        max_size=20,
    ),
    frames=st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=20),
)
@settings(deadline=None, max_examples=50)
def test_any_value_is_taken_and_edges_stay_in_order(z, frames):
    count = min(len(z), len(frames))
    rows = table(count)
    rows["z_nm"], rows["photons"] = z[:count], z[:count]
    rows["frame"] = frames[:count]
    histograms = ColumnHistograms()
    histograms.add(rows)
    for name in QUANTITIES:
        edges, counts = histograms.histogram(name)
        assert np.all(np.isfinite(edges)) and np.all(np.diff(edges) > 0)
        assert len(counts) <= 256
    assert histograms.histogram("frame")[1].sum() == count


def test_bins_of_frames_double_as_the_movie_goes_on():
    histograms = ColumnHistograms()
    rows = table(1000, frames=200)
    histograms.add(rows)
    assert np.diff(histograms.histogram("frame")[0]).tolist() == [1.0] * (
        rows["frame"].max() + 1
    )
    late = table(1000, frames=200)
    late["frame"] += 100_000
    histograms.add(late)
    edges, counts = histograms.histogram("frame")
    assert len(counts) <= 256 and counts.sum() == 2000
    assert edges[-1] > 100_199 and counts[0] == 1000 == counts[-1]
    assert (histograms.first_frame, histograms.last_frame) == (
        rows["frame"].min(),
        late["frame"].max(),
    )


def test_percentiles_are_those_of_the_rows():
    rows = table(5000)
    histograms = ColumnHistograms()
    assert np.isnan(histograms.percentile("photons", 50.0))
    histograms.add(rows)
    for name in ("photons", "lateral_sigma_nm", "z_nm", "background"):
        for percent in (2.0, 50.0, 99.0):
            wanted = np.percentile(values_of(rows, name), percent)
            found = histograms.percentile(name, percent)
            assert found == pytest.approx(wanted, rel=2e-3, abs=0.5)


def test_clear_forgets_every_row():
    histograms = ColumnHistograms()
    histograms.add(table(100))
    assert histograms.has_depth
    histograms.clear()
    assert histograms.rows == 0 and not histograms.has_depth
    for name in QUANTITIES:
        edges, counts = histograms.histogram(name)
        assert counts.sum() == 0 and np.all(np.diff(edges) > 0)


def test_a_table_without_z_has_no_depth():
    rows = table(100)
    rows["z_nm"][:50], rows["z_nm"][50:] = 0.0, np.nan
    histograms = ColumnHistograms()
    histograms.add(rows)
    assert not histograms.has_depth
    rows["z_nm"][7] = 12.0
    histograms.add(rows)
    assert histograms.has_depth


# Statistics of a region


@pytest.fixture
def document():
    made = Document(METADATA, spool=False)
    yield made
    made.close()


RECT = (2000.0, 5000.0, 1000.0, 3000.0)


def in_rect(rows, rect=RECT):
    left, right, top, bottom = rect
    x, y = rows["x_nm"], rows["y_nm"]
    return rows[(x >= left) & (x < right) & (y >= top) & (y < bottom)]


def test_a_region_describes_its_rows(document):
    rows = table(50_000)
    document.add(rows)
    found, wanted = region_statistics(document, RECT), in_rect(rows)
    assert found.rows == found.sampled == len(wanted)
    assert found.area_um2 == pytest.approx(6.0)
    assert found.per_um2 == pytest.approx(len(wanted) / 6.0)
    frames = rows["frame"].max() - rows["frame"].min() + 1
    assert found.per_frame == pytest.approx(len(wanted) / frames)
    assert found.photons == pytest.approx(np.median(wanted["photons"]), rel=1e-3)
    assert found.background == pytest.approx(np.median(wanted["background"]), rel=1e-3)
    lateral = np.maximum(wanted["x_sigma_nm"], wanted["y_sigma_nm"])
    assert found.lateral_sigma_nm == pytest.approx(np.median(lateral), rel=1e-3)
    assert found.z_nm == pytest.approx(np.percentile(wanted["z_nm"], (5, 95)), abs=0.5)


def test_a_region_is_of_rows_as_they_are_shown(document):
    """Selected ones, where the drift correction puts them."""
    rows = table(30_000)
    document.add(rows)
    document.select(Selection(photons=(1000.0, None)))
    document.correct(
        Drift(np.array([0, 999]), np.array([700.0, 700.0]), np.array([-300.0, -300.0]))
    )
    moved = rows.copy()
    moved["x_nm"] -= 700.0
    moved["y_nm"] += 300.0
    wanted = in_rect(moved)
    wanted = wanted[compacted(wanted).column("photons") >= 1000.0]
    found = region_statistics(document, RECT)
    assert found.rows == len(wanted) and found.photons > 1000.0


def test_of_many_rows_a_sample_gives_the_medians(document):
    rows = table(50_000)
    document.add(rows)
    found = region_statistics(document, RECT, limit=1000)
    assert found.sampled == 1000 and found.rows == len(in_rect(rows))
    assert found.photons == pytest.approx(np.median(in_rect(rows)["photons"]), rel=0.2)


def test_an_empty_region_says_so(document):
    for rows in (table(0), table(10)):
        document.add(rows)
        found = region_statistics(document, (-5000.0, -4000.0, -5000.0, -4000.0))
        assert found.rows == found.per_um2 == found.per_frame == 0
        assert np.isnan([found.photons, found.precision_nm, *found.z_nm]).all()


def test_quantities_that_no_row_has_are_not_a_number(document):
    rows = table(100)
    for name in ("photons", "x_sigma_nm", "z_nm"):
        rows[name] = np.nan
    document.add(rows)
    found = region_statistics(document, document.rect)
    assert found.rows == 100 and found.background > 0
    assert np.isnan([found.photons, found.lateral_sigma_nm, *found.z_nm]).all()


def blinking(emitters, precision_nm, seed=2):
    random = np.random.default_rng(seed)
    on = random.geometric(0.5, emitters)
    which = np.repeat(np.arange(emitters), on)
    start = random.integers(0, 2000, emitters)[which]
    frame = start + np.concatenate([np.arange(length) for length in on])
    x, y = (
        random.uniform(0, 20_000, emitters)[which]
        + random.normal(0, precision_nm, len(which))
        for _ in range(2)
    )
    return {"frame": frame, "x_nm": x, "y_nm": y}


@pytest.mark.parametrize("precision_nm", [5.0, 10.0, 20.0])
def test_the_precision_is_found_from_neighbours_in_successive_frames(precision_nm):
    columns = blinking(5000, precision_nm)
    assert neighbour_precision(columns) == pytest.approx(precision_nm, rel=0.08)


def test_the_order_of_rows_does_not_matter_for_the_precision():
    columns = blinking(3000, 10.0)
    order = np.random.default_rng(0).permutation(len(columns["frame"]))
    mixed = {name: values[order] for name, values in columns.items()}
    assert neighbour_precision(mixed) == pytest.approx(
        neighbour_precision(columns), rel=1e-6
    )


def test_without_neighbours_there_is_no_precision():
    few = {name: values[:100] for name, values in blinking(100, 10.0).items()}
    assert np.isnan(neighbour_precision(few))
    random = np.random.default_rng(0)
    crowd = {
        "frame": random.integers(0, 2000, 20_000),
        "x_nm": random.uniform(0, 5000, 20_000),
        "y_nm": random.uniform(0, 5000, 20_000),
    }
    assert np.isnan(neighbour_precision(crowd))  # only strangers
