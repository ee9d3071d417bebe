"""The report of a session, from whatever is left of it."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.balance import FAILED, NOT_PROCESSED, exit_code
from liveloc.stream.broadcast.status import EngineStatus
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.console.terminal import summary
from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.files.line_file import LineFile
from liveloc.stream.files.reserve import Reserve
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.recording.segments import SegmentWriter
from liveloc.stream.session.end import (
    Outcome,
    collect,
    laser_words,
    write_report,
)
from liveloc.stream.session.processes import StopEvent, exit_words
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint
from liveloc.viewer.report.page import write_report_page

STREAM = bytes(16)
COUNT = st.integers(0, 500)


def bridge_took(folder, camera, *, dropped=0, missing=0, status="ok", **more):
    frames = {"camera": camera, "sent": camera, "dropped": dropped, "missing": missing}
    told = {"status": status, "reason": "", "frames": frames, "laser": None, **more}
    (folder / "bridge.json").write_text(json.dumps(told))


def engine_did(folder, localized, *, end=False, lost=None):
    lost = lost or {}
    next_seq = localized + sum(lost.values())
    with ProcessedLog(folder / "processed.jsonl") as log:
        point = ResumePoint(next_seq=next_seq, localized=localized, lost=lost)
        log.append(STREAM, 0, next_seq - 1, point)
        if end:
            log.end(
                StreamEnd(
                    stream_id=STREAM,
                    last_seq=next_seq - 1,
                    sent=1,
                    dropped=0,
                    missing=0,
                )
            )


@given(localized=COUNT, shed=COUNT, more=COUNT, dropped=COUNT, missing=COUNT)
def test_every_frame_that_the_bridge_took_has_a_name(
    tmp_path_factory, localized, shed, more, dropped, missing
):
    folder = tmp_path_factory.mktemp("session")
    engine_did(folder, localized, lost={"bridge_shed": shed})
    camera = localized + shed + more
    bridge_took(folder, camera, dropped=dropped, missing=missing)
    report = collect(folder, Outcome())
    frames = report["frames"]
    assert frames["camera"] == camera and frames["localized"] == localized
    assert frames["unexplained"] == 0
    assert localized + sum(frames["lost"].values()) == camera
    assert min(frames["lost"].values(), default=1) >= 0
    assert exit_code(report) == FAILED  # the engine left no end


def test_a_session_whose_engine_left_its_ledger_only_is_reported_whole(tmp_path):
    engine_did(tmp_path, 90, end=True)
    bridge_took(tmp_path, 90)
    report = collect(tmp_path, Outcome())
    assert (report["status"], exit_code(report)) == ("ok", 0)
    assert report["frames"]["localized"] == 90
    assert "90 of 90 frames localized" in summary(report)


def test_frames_that_only_the_recording_of_a_killed_bridge_holds_are_counted(tmp_path):
    engine_did(tmp_path, 20)
    start = StreamStart(
        stream_id=STREAM,
        shape=(4, 4),
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=10.0,
        interval_ms=10.0,
    )
    with SegmentWriter(tmp_path / "stream", start) as writer:
        for seq in (*range(20), 22):  # the driver lost two
            header = FrameHeader(seq=seq, camera_frame=seq, t_ns=0, missing_total=0)
            writer.append(Frame(header, np.zeros((4, 4), np.uint16)))
    frames = collect(tmp_path, Outcome(failure="the bridge was killed"))["frames"]
    assert (frames["camera"], frames["lost"]) == (23, {NOT_PROCESSED: 3})


def test_frames_that_no_engine_saw_are_named_in_status_and_page(tmp_path):
    engine_did(tmp_path, 90, end=True)
    bridge_took(tmp_path, 120, dropped=10)
    report = collect(tmp_path, Outcome())
    assert report["frames"]["lost"] == {"bridge_shed": 10, NOT_PROCESSED: 20}
    assert report["status"] == "lost" and "20 frames" in report["reason"]
    assert "20 frames" in write_report_page(report, tmp_path).read_text()


def test_the_last_status_of_an_engine_stands_for_a_report_it_could_not_write(tmp_path):
    status = {
        "ended": "ok",
        "frames": 50,
        "localized": 40,
        "lost": {"not_written": 10},
        "unexplained": 0,
        "localizations": 300,
    }
    report = collect(tmp_path, Outcome(status=EngineStatus.from_json(status)))
    assert report["frames"]["lost"] == {"not_written": 10}
    assert report["localizations"] == 300


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff" * 9, b"[" * 9000])
def test_damaged_parts_are_done_without(tmp_path, content):
    for name in ("bridge.json", "report.json", "processed.jsonl", "control.jsonl"):
        (tmp_path / name).write_bytes(content)
    report = collect(tmp_path, Outcome(failure="the bridge was killed by SIGKILL"))
    assert report["status"] == "failed" and exit_code(report) == FAILED
    assert summary(report)
    assert write_report(report, tmp_path) == ""
    assert write_report_page(report, tmp_path).exists()


def test_the_laser_is_said_to_be_on_at_its_last_power(tmp_path):
    lines = [("opened", 0.5, 10), ("engine and camera are there", 3.0, 20)]
    path = tmp_path / "control.jsonl"
    for reason, power, t_ns in [("opened", 0.0, 1), *lines]:
        line = {"kind": "laser", "t_ns": t_ns, "power": power, "reason": reason}
        with LineFile(path) as file:
            file.write(line | {"unit": "mW"})
    assert "STILL BE ON: its last known power is 3 mW" in laser_words(tmp_path, 5)
    with LineFile(path) as file:
        file.write({"kind": "laser", "t_ns": 30, "power": 0.5, "reason": "closed"})
    assert "at its safe level" in laser_words(tmp_path, 5)
    assert laser_words(tmp_path, 99) == ""


def test_a_report_that_the_folder_refuses_is_written_elsewhere(tmp_path):
    folder = tmp_path / "gone"  # removed while the session ran
    report = collect(folder, Outcome(failure="x"))
    text = write_report(report, folder)
    elsewhere = Path(text.rpartition("The report is in ")[2].rstrip("."))
    try:
        assert json.loads(elsewhere.read_text())["status"] == "failed"
    finally:
        shutil.rmtree(elsewhere.parent)


def test_a_disk_without_room_is_refused_before_a_session_begins(tmp_path):
    with Reserve(tmp_path, 100_000) as reserve:
        assert list(tmp_path.iterdir()) == [] or sys.platform == "win32"
        reserve.release()
    with pytest.raises(SettingsError, match="the disk refuses 97 KiB"):
        Reserve(tmp_path / "no folder", 100_000)


def test_a_torn_line_is_cut_off_and_a_full_disk_is_one_error(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a":1}\n{"b":')
    with LineFile(path) as file:
        file.write({"c": 3})
    assert path.read_bytes() == b'{"a":1}\n{"c":3}\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no full device")
def test_a_line_that_a_full_disk_refuses_is_an_error_of_ours(tmp_path):
    path = tmp_path / "full"
    path.symlink_to("/dev/full")
    with LineFile(path) as file, pytest.raises(RecordingError, match="refused a line"):
        file.write({"a": 1})


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended"),
        (2, "failed with exit code 2"),
        (-9, "was killed by SIGKILL"),
        (-11, "was killed by SIGSEGV"),
        (0xC0000005, "crashed with exit code 0xC0000005"),
    ],
)
def test_an_exit_code_is_said_in_words(code, words):
    if code >= 0 or sys.platform != "win32":
        assert exit_words(code).startswith(words)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_second_signal_interrupts_only_what_may_be_interrupted():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it
    try:
        with StopEvent() as stop:
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            assert (stop.signal, stop.again, stop.is_set()) == (1, True, True)
            with pytest.raises(KeyboardInterrupt), stop.interruptible():
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopEvent() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


STORED = (
    '{"frames": {"camera": 120, "localized": 90, "lost": {"bridge_shed": 10, '
    '"not_processed": 20}, "unexplained": 0}, "localizations": 0, "status": "lost", '
    '"reason": "20 frames that the camera took were never processed", '
    '"session": "FOLDER", "stopped_by": "", "alarms": [], "laser": null, "bridge": '
    '{"status": "ok", "reason": "", "frames": {"camera": 120, "sent": 120, "dropped": '
    '10, "missing": 0}, "laser": null}, "engine": {"restarts": 0}, "processes": '
    '{"engine": "ended"}}'
)


def test_a_report_has_the_bytes_that_it_always_had(tmp_path):
    engine_did(tmp_path, 90, end=True)
    bridge_took(tmp_path, 120, dropped=10)
    report = collect(tmp_path, Outcome(processes={"engine": "ended"}))
    assert write_report(report, tmp_path) == ""
    written = (tmp_path / "report.json").read_text().replace(str(tmp_path), "FOLDER")
    assert written == json.dumps(json.loads(STORED), indent=1)
