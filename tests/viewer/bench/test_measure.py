"""The benchmark of the viewer, on little."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveloc.stream.errors import SettingsError
from liveloc.viewer.bench import measure as bench


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PIECE": 2_000,
        "ACCUMULATED": 4_000,
        "PEERS_ROWS": 2_000,
        "LIVE_ROWS": 10,
        "REDRAWS": 8,
        "SMALL_UPDATES": 100,
        "CANVAS": 200,
        "STREAM_S": 3.0,
    }.items():
        monkeypatch.setattr(bench, name, value)


@pytest.mark.display
def test_everything_promised_is_measured(
    application: Any, little: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVELOC_CONFIG_DIR", str(tmp_path))
    heard: list[str] = []
    report = bench.measure([1_000, 3_000], sys.executable, heard.append)
    json.dumps(report)
    assert set(report["redraw_ms"]) == {"1e3", "3e3"}
    assert all(ms > 0 for ms in report["redraw_ms"].values())
    assert report["accumulate_per_s"] > 0
    # An open block of 262,144 rows has its room from the first row on.
    assert report["bytes_per_localization"] > 20
    assert report["renderer"]
    assert report["published_to_screen_ms"]["p50"] > 0
    assert set(report["full_field_speedup"]) == {"picasso", "smappy"}
    assert any("redraw" in line for line in heard)


def test_the_sample_goes_on_and_lies_within_the_field() -> None:
    once, again = bench.Sample(seed=3), bench.Sample(seed=3)
    first, second = once.rows(500), once.rows(500)
    assert np.array_equal(first, again.rows(500))
    assert second["frame"].min() > first["frame"].max()
    for name in ("x_nm", "y_nm"):
        assert first[name].min() >= 0
        assert first[name].max() < bench.FIELD_NM


def test_an_interpreter_that_is_none_is_named(tmp_path: Any) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(SettingsError, match="no-such-python could not time"):
        bench._run_peers("no-such-python", tmp_path / "rows.npy")
