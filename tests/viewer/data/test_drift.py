"""Drift from cross-correlation: simulated structures that move in a known way."""

from __future__ import annotations

import numpy as np
import pytest

from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import empty
from liveloc.viewer.data.document import Document
from liveloc.viewer.data.drift import drift_of, estimate_drift
from liveloc.viewer.data.drift_curve import Drift
from liveloc.viewer.data.selection import Selection

FRAMES = 5000
METADATA = {"shape": "[100, 100]", "pixel_size_nm": "100", "roi_origin": "[3, 5]"}


def movie(rows, *, drift_nm=250.0, seed=1, kind="filaments"):
    """Simulate (frame, x, y, drift x, drift y) of a structure, precision 12 nm."""
    random = np.random.default_rng(seed)
    frame = np.sort(random.integers(0, FRAMES, rows))
    if kind == "filaments":
        which = random.integers(0, 12, rows)
        angle = random.uniform(0, np.pi, 12)[which]
        along = random.uniform(-3000, 3000, rows)
        x = random.uniform(2500, 7500, 12)[which] + along * np.cos(angle)
        y = random.uniform(2500, 7500, 12)[which] + along * np.sin(angle)
        spread = 10.0
    else:
        which = random.integers(0, 60, rows)
        x, y = (random.uniform(500, 9500, 60)[which] for _ in range(2))
        spread = 30.0
    part = frame / FRAMES
    dx = drift_nm * part + 30 * np.sin(5 * part)
    dy = -0.6 * drift_nm * part**2 + 20 * np.sin(9 * part)
    x = x + dx + random.normal(0, np.hypot(spread, 12.0), rows)
    y = y + dy + random.normal(0, np.hypot(spread, 12.0), rows)
    return frame, x, y, dx, dy


def error_nm(drift, frame, dx, dy):
    """Give the RMS error after the mean, which nobody can know, is taken off."""
    found = drift.at(frame)
    missed = [
        f - f.mean() - (d - d.mean()) for f, d in zip(found, (dx, dy), strict=True)
    ]
    return float(np.sqrt(np.mean(missed[0] ** 2 + missed[1] ** 2)))


def table(frame, x, y):
    rows = empty(len(frame))
    rows["frame"], rows["x_nm"], rows["y_nm"] = frame, x, y
    rows["probability"] = 0.9
    return rows


@pytest.mark.parametrize("kind", ["filaments", "clusters"])
@pytest.mark.parametrize("drift_nm", [100.0, 300.0])
def test_a_known_drift_is_found_to_a_few_nm(kind, drift_nm):
    frame, x, y, dx, dy = movie(20_000, drift_nm=drift_nm, kind=kind)
    drift = drift_of(frame, x, y)
    assert error_nm(drift, frame, dx, dy) < 5.0
    moved = np.hypot(dx - dx.mean(), dy - dy.mean())
    assert np.sqrt(np.mean(moved**2)) > 20.0  # there was something to be found


def test_the_drift_has_no_mean():
    frame, x, y, _, _ = movie(20_000)
    drift = drift_of(frame, x, y)
    every = np.arange(frame.min(), frame.max() + 1)
    for shift in drift.at(every):
        assert abs(shift.mean()) < 0.5


def test_no_drift_is_found_where_there_is_none():
    frame, x, y, dx, dy = movie(20_000)
    drift = drift_of(frame, x - dx, y - dy)
    assert drift.largest_nm < 5.0


def test_a_bead_that_does_not_bleach_does_not_drown_the_structure():
    frame, x, y, dx, dy = movie(20_000)
    bead = np.arange(FRAMES)
    rng = np.random.default_rng(4)
    x = np.concatenate([x, 5000 + rng.normal(0, 5, FRAMES)])  # stuck: does not move
    y = np.concatenate([y, 5000 + rng.normal(0, 5, FRAMES)])
    drift = drift_of(np.concatenate([frame, bead]), x, y)
    assert error_nm(drift, frame, dx, dy) < 12.0


def test_a_document_gives_the_drift_of_its_rows_as_they_came():
    """Also of those that are shown corrected; unselected rows have no say."""
    frame, x, y, dx, dy = movie(20_000)
    document = Document(METADATA)
    noise = table(frame, *np.random.default_rng(2).uniform(500, 9500, (2, len(x))))
    noise["probability"] = 0.1
    told = []
    try:
        document.add(table(frame, x, y))
        document.add(noise)
        document.select(Selection(probability=(0.5, None)))
        drift = estimate_drift(document, progress=told.append)
        assert error_nm(drift, frame, dx, dy) < 5.0
        document.correct(drift)
        again = estimate_drift(document)
        assert error_nm(again, frame, dx, dy) < 5.0
    finally:
        document.close()
    assert told == sorted(told) and told[-1] == 1.0


def test_of_too_many_rows_a_sample_is_taken(monkeypatch):
    monkeypatch.setattr("liveloc.viewer.data.drift.MOST_ROWS", 15_000)
    frame, x, y, dx, dy = movie(60_000)
    document = Document(METADATA, spool=False)
    try:
        document.add(table(frame, x, y))
        drift = estimate_drift(document, 10)
    finally:
        document.close()
    assert error_nm(drift, frame, dx, dy) < 6.0


def test_too_few_rows_are_refused_with_what_to_do():
    frame, x, y, _, _ = movie(500)
    with pytest.raises(SettingsError, match=r"500 rows .*at least 600.*Record longer"):
        drift_of(frame, x, y)
    with pytest.raises(SettingsError, match=r"10 segments need.*fewer segments"):
        drift_of(frame, x, y, 10)
    with pytest.raises(SettingsError, match="2 segments, at least 3"):
        drift_of(frame, x, y, 2)


def test_no_rows_at_all_are_refused():
    document = Document(METADATA, spool=False)
    try:
        with pytest.raises(SettingsError, match="0 rows"):
            estimate_drift(document)
    finally:
        document.close()


def test_one_frame_is_no_movie():
    with pytest.raises(SettingsError, match="one frame"):
        drift_of(np.zeros(5000, np.int64), np.arange(5000.0), np.arange(5000.0))


def test_rows_without_structure_are_refused():
    random = np.random.default_rng(0)
    frame = np.arange(3000)
    x, y = random.uniform(0, 20_000, (2, 3000))
    with pytest.raises(SettingsError, match="too little structure"):
        drift_of(frame, x, y, 10)
    with pytest.raises(SettingsError, match="too little structure"):
        drift_of(frame, x, y)


def test_where_segments_are_too_short_longer_ones_are_taken(monkeypatch):
    monkeypatch.setattr("liveloc.viewer.data.drift.LEAST_ROWS", 50)
    monkeypatch.setattr("liveloc.viewer.data.drift.FITTING_ROWS", 75)
    frame, x, y, dx, dy = movie(1500, drift_nm=100.0)
    with pytest.raises(SettingsError, match="too little structure"):
        drift_of(frame, x, y, 20)
    assert error_nm(drift_of(frame, x, y), frame, dx, dy) < 15.0


def test_a_drift_is_interpolated_and_stays_at_its_ends():
    drift = Drift(np.array([10, 20]), np.array([0.0, 10.0]), np.array([5.0, 5.0]))
    dx, dy = drift.at(np.array([0, 10, 15, 20, 99]))
    assert dx.tolist() == [0.0, 0.0, 5.0, 10.0, 10.0]
    assert dy.tolist() == [5.0] * 5
    assert drift.largest_nm == 10.0


def test_a_drift_survives_a_file():
    drift = Drift(np.array([1, 7]), np.array([0.5, -2.0]), np.array([3.0, 4.0]))
    back = Drift.from_dict(drift.as_dict())
    assert back.frames.tolist() == [1, 7]
    assert back.x_nm.tolist() == [0.5, -2.0] and back.y_nm.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"frames": [1], "x_nm": [1.0], "y_nm": []},
        {"frames": [], "x_nm": [], "y_nm": []},
        {"frames": [2, 1], "x_nm": [1.0, 1.0], "y_nm": [1.0, 1.0]},
        {"frames": [1], "x_nm": [float("nan")], "y_nm": [1.0]},
        {"frames": "abc", "x_nm": None, "y_nm": 3},
        {"frames": [[1]], "x_nm": [[1.0]], "y_nm": [[1.0]]},
    ],
)
def test_what_is_no_drift_is_refused(plain):
    with pytest.raises(SettingsError, match=r"drift: .*cannot be read"):
        Drift.from_dict(plain)
