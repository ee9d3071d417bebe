"""A report says so when its stream is not that of the session's own camera."""

import json

import pytest

from liveloc.stream.balance import FAILED, exit_code
from liveloc.stream.session.end import Outcome, collect

OWN, OTHER = "11" * 16, "22" * 16


def report_of(folder, *, frames, localized_stream, sent_stream, status="ok"):
    counts = {"camera": frames, "localized": frames, "lost": {}, "unexplained": 0}
    engine = {
        "frames": counts,
        "localizations": 0,
        "status": status,
        "reason": "",
        "stream_id": localized_stream,
    }
    bridge = {
        "status": status,
        "reason": "",
        "stream_id": sent_stream,
        "frames": {"camera": frames, "sent": frames, "dropped": 0, "missing": 0},
    }
    (folder / "report.json").write_text(json.dumps(engine))
    (folder / "bridge.json").write_text(json.dumps(bridge))
    return collect(folder, Outcome())


def test_its_own_stream_is_well(tmp_path):
    report = report_of(tmp_path, frames=9, localized_stream=OWN, sent_stream=OWN)
    assert (report["status"], exit_code(report)) == ("ok", 0)


@pytest.mark.parametrize("frames", [0, 9])
def test_another_camera_is_named_and_does_not_end_well(tmp_path, frames):
    report = report_of(tmp_path, frames=frames, localized_stream=OTHER, sent_stream=OWN)
    assert (report["status"], exit_code(report)) == ("failed", FAILED)
    assert "not of this session's camera" in report["reason"]
    assert OWN in report["reason"] and OTHER in report["reason"]


def test_no_frame_at_all_is_not_well(tmp_path):
    report = report_of(tmp_path, frames=0, localized_stream=OWN, sent_stream=OWN)
    assert (report["status"], exit_code(report)) == ("failed", FAILED)
    assert "no frame came" in report["reason"]


def test_nothing_localized_by_an_engine_alone_is_not_well():
    frames = {"camera": 0, "localized": 0, "lost": {}, "unexplained": 0}
    assert exit_code({"frames": frames, "status": "ok"}) == FAILED
