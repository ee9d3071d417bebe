"""What the page of a session shows of its density and laser."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from liveloc.stream.session.control_file import ControlFile, frame_to_laser_ms
from liveloc.viewer.report.control_plots import COLUMNS, control_plots, running_mean
from liveloc.viewer.report.page import write_report_page

if TYPE_CHECKING:
    from pathlib import Path

MS = 10**6
FEEDBACK = {
    "law": "ratio",
    "target_per_um2": 0.5,
    "frame_to_laser_ms": {"p50": 60.0, "p95": 90.0, "p99": 151.0},
    "later_than_100_ms": 1,
}


def decided(exposed_ms: float, given: float, **more: Any) -> dict[str, Any]:
    frame = round(exposed_ms / 10)
    return {
        "kind": "decision",
        "t_ns": round((exposed_ms + 50) * MS),
        "frames": [max(frame - 9, 0), frame],
        "exposed_ns": round(exposed_ms * MS),
        "per_um2": 0.4,
        "target_per_um2": 0.5,
        "power": 5.0,
        "given": given,
        **more,
    }


def took(t_ms: float, power: float, reason: str = "ratio") -> dict[str, Any]:
    return {
        "kind": "laser",
        "seq": 1,
        "t_ns": round(t_ms * MS),
        "power": power,
        "reason": reason,
        "unit": "mW",
    }


def written(path: Path, *lines: dict[str, Any] | str) -> ControlFile:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (path / "control.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return ControlFile.read(path / "control.jsonl")


def svgs(html: str) -> list[ET.Element]:
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.S)]


def test_a_setting_answers_the_exposure_for_which_its_power_was_decided(
    tmp_path: Path,
) -> None:
    trace = written(
        tmp_path,
        took(0, 0.0, "opened"),
        decided(100, 5.0),
        took(160, 5.0),
        decided(200, 6.0),
        decided(300, 7.0),
        took(390, 7.0),  # the device was slow: 6 was never set
        decided(400, 5.0),  # once more
        took(455, 5.0),
        took(500, 0.0, "closed"),
    )
    assert frame_to_laser_ms(trace, "ratio") == [60.0, 90.0, 55.0]


def test_a_power_that_stays_is_asked_for_once(tmp_path: Path) -> None:
    late = took(350, 5.0)
    lines = [decided(100, 5.0), decided(200, 5.0), late, decided(300, 5.0)]
    assert frame_to_laser_ms(written(tmp_path, *lines), "ratio") == [250.0]


def test_the_order_in_which_two_threads_wrote_does_not_matter(tmp_path: Path) -> None:
    swapped = written(tmp_path, took(150.0, 5.0), decided(100, 5.0))
    assert frame_to_laser_ms(swapped, "ratio") == [50.0]


def test_settings_that_no_decision_asked_for_are_no_answers(tmp_path: Path) -> None:
    trace = written(
        tmp_path,
        took(50, 5.0),  # before any exposure
        decided(100, 5.0),
        took(160, 5.1),
        took(170, 5.0, "engine and camera are there"),
    )
    assert frame_to_laser_ms(trace, "ratio") == []
    assert frame_to_laser_ms(ControlFile(), "ratio") == []


def test_broken_lines_are_left_out(tmp_path: Path) -> None:
    trace = written(
        tmp_path,
        "[1]",
        '{"kind": "laser"}',
        decided(100, 5.0, per_um2=float("nan")),
        decided(100, 5.0, frames=None),
        decided(100, 5.0, target_per_um2="present"),
        decided(100, 4.0),
        took(160, 4.0),
        '{"kind": "decision", "t_n',
    )
    assert [line["given"] for line in trace.decisions] == [4.0]
    assert frame_to_laser_ms(trace, "ratio") == [60.0]
    assert ControlFile.read(tmp_path / "missing") == ControlFile()


def test_means_are_over_the_last_fifty_frames_each_counted_once() -> None:
    frames = np.array([30.0, 20.0, 10.0, 40.0, 60.0])
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    expected = [np.nan, 70 / 50, 100 / 60, 190 / 50, 5.0]
    assert running_mean(values, frames) == pytest.approx(expected, nan_ok=True)


def test_plots_show_what_was_measured_set_and_missed(tmp_path: Path) -> None:
    lines = [took(0, 0.0, "opened")]
    for n in range(1, 41):
        lines += [decided(100 * n, n + 1.0), took(100 * n + 60, n + 1.0)]
    lines += [decided(4200, 99.0), took(4551, 99.0)]
    density, power, answers = svgs(control_plots(written(tmp_path, *lines), FEEDBACK))
    assert "target ± 10 %" in "".join(density.itertext())
    assert "Laser power, mW" in "".join(power.itertext())
    words = "".join(answers.itertext())
    for part in (
        "median 60 ms, p99 151 ms",
        "1 of 41 missed the deadline",
        "deadline 100 ms",
        "1 longer than 200 ms, up to 351 ms",
    ):
        assert part in words
    good, bad = answers.findall("rect")
    (beyond,) = (text for text in answers.findall("text") if "longer" in str(text.text))
    assert float(beyond.get("x", 0)) < float(bad.get("x", 0))
    assert float(good.get("height", 0)) > 30 * float(bad.get("height", 0))
    deadline = float(answers.findall("line")[-1].get("x1", 0))
    assert float(good.get("x", 0)) < deadline < float(bad.get("x", 0))


def test_the_band_follows_a_changed_target(tmp_path: Path) -> None:
    lines = [decided(100 * n, n, target_per_um2=0.5 if n < 5 else 1) for n in range(9)]
    first, second = svgs(control_plots(written(tmp_path, *lines), FEEDBACK))[0].findall(
        "rect"
    )
    height = [float(band.get("height", 0)) for band in (first, second)]
    assert height[1] == pytest.approx(2 * height[0], abs=0.2)
    end = float(first.get("x", 0)) + float(first.get("width", 0))
    assert end == pytest.approx(float(second.get("x", 0)), abs=0.2)


def test_a_session_without_a_target_has_no_band(tmp_path: Path) -> None:
    lines = [decided(100 * n, 5.0, target_per_um2=0.0) for n in range(9)]
    (density,) = svgs(control_plots(written(tmp_path, *lines), {"law": "constant"}))
    assert "target" not in "".join(density.itertext())
    assert density.findall("rect") == []


def test_a_long_session_is_a_short_page_that_keeps_its_extremes(tmp_path: Path) -> None:
    lines = [decided(100.0 * n, 5.0 + n % 7) for n in range(20_000)]
    lines[12_345]["per_um2"] = 3.0
    (density,) = svgs(control_plots(written(tmp_path, *lines), FEEDBACK))
    readings = density.findall("polyline")[1].get("points", "").split()
    assert len(readings) <= 2 * (COLUMNS + 1)
    heights = [float(point.split(",")[1]) for point in readings]
    assert sum(height < min(heights) + 1 for height in heights) == 1
    assert "over time, min" in "".join(density.itertext())


@pytest.mark.parametrize(
    "lines",
    [
        [decided(0, 0.0, per_um2=0.0, target_per_um2=0.0)],
        [took(0, 0.0)],
        [decided(0, 0.0, per_um2=0.0), took(0, 0.0)],
    ],
)
def test_a_session_of_a_moment_has_a_page(
    tmp_path: Path, lines: list[dict[str, Any]]
) -> None:
    assert svgs(control_plots(written(tmp_path, *lines), FEEDBACK))


def page(folder: Path, feedback: dict[str, Any] | None) -> str:
    report = {"frames": {"unexplained": 0}, "feedback": feedback}
    return write_report_page(report, folder).read_text(encoding="utf-8")


def test_the_page_has_the_plots(tmp_path: Path) -> None:
    written(tmp_path, decided(100, 5.0), took(160, 5.0))
    html = page(tmp_path, FEEDBACK)
    assert len(svgs(html)) == 3
    assert "<script" not in html


def test_a_page_without_feedback_has_no_such_section(tmp_path: Path) -> None:
    assert "activation laser" not in page(tmp_path, FEEDBACK)  # and no file
    written(tmp_path, decided(100, 5.0), took(160, 5.0))
    for none in (None, {}):
        assert "activation laser" not in page(tmp_path, none)
        assert "<svg" not in page(tmp_path, none)
