import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.recording import recorder as module
from liveloc.stream.recording.recorder import FrameRecorder
from liveloc.stream.recording.segments import HEADER_BYTES, SegmentReader

START = StreamStart(
    stream_id=bytes(range(16)),
    shape=(64, 64),
    dtype="u2",
    pixel_size_nm=100,
    calibration=CameraCalibration(),
    exposure_ms=10,
    interval_ms=10,
)
FRAME = START.frame_nbytes


def end(frames):
    return StreamEnd(
        stream_id=START.stream_id,
        last_seq=frames - 1,
        sent=frames,
        dropped=0,
        missing=0,
    )


def stamped(seq):
    header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq)
    return Frame(header, np.full(START.shape, seq, np.uint16))


def check(folder, at_least):
    """Verify every frame of a recording; return the reader."""
    with SegmentReader(folder) as reader:
        count = 0
        for count, frame in enumerate(reader, 1):
            assert frame.header.seq == count - 1
            assert (frame.pixels == count - 1).all()
        assert count >= at_least
        assert reader.recovered.frames == count
        return reader


def hold_the_disk(recorder):
    """Make every write wait until the returned event is set."""
    go, append = threading.Event(), recorder._writer.append

    def waiting(frame):
        assert go.wait(20)
        append(frame)

    recorder._writer.append = waiting
    return go


def test_every_frame_reaches_the_disk_and_the_end_is_kept(tmp_path):
    with FrameRecorder(tmp_path / "r", START, segment_bytes=50 * FRAME) as recorder:
        for seq in range(300):
            recorder.append(stamped(seq))
        recorder.close(end(300))
        assert (recorder.written, recorder.queued) == (300, 0)
        with pytest.raises(RecordingError, match="was closed"):
            recorder.append(stamped(300))
    reader = check(tmp_path / "r", 300)
    assert reader.end == end(300)
    assert reader.recovered.reason == ""


def test_a_slow_disk_fills_the_queue_and_then_blocks(tmp_path):
    with FrameRecorder(tmp_path / "r", START, queue_bytes=4 * FRAME) as recorder:
        go = hold_the_disk(recorder)
        for seq in range(4):
            recorder.append(stamped(seq))  # room for these
        disk = threading.Timer(0.2, go.set)
        disk.start()
        recorder.append(stamped(4))  # waits for the disk
        assert go.is_set()
        disk.join()
        recorder.close(end(5))
    assert check(tmp_path / "r", 5).end == end(5)


def test_a_hanging_disk_ends_the_recording_and_says_so_each_time(tmp_path):
    recorder = FrameRecorder(tmp_path / "r", START, queue_bytes=3 * FRAME, wait_s=0.2)
    go = hold_the_disk(recorder)
    for seq in range(3):
        recorder.append(stamped(seq))
    for _ in range(2):
        with pytest.raises(RecordingError, match=r"within 0\.2 s while 3 frames wait"):
            recorder.append(stamped(3))
    assert "faster disk" in recorder.warning
    go.set()
    recorder.close(end(9))  # said already: does not raise again
    reader = check(tmp_path / "r", 3)  # what was queued before is there
    assert reader.end.status == "failed"
    assert "faster disk" in reader.end.reason


def test_a_frame_larger_than_the_queue_still_passes(tmp_path):
    with FrameRecorder(tmp_path / "r", START, queue_bytes=1) as recorder:
        for seq in range(5):
            recorder.append(stamped(seq))
        recorder.close(end(5))
    check(tmp_path / "r", 5)


def test_a_full_disk_ends_the_recording_with_whole_frames(tmp_path):
    resource = pytest.importorskip("resource", reason="limits file sizes, POSIX only")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    record = FRAME + HEADER_BYTES
    recorder = FrameRecorder(tmp_path / "r", START)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(7.5 * record), limits[1]))
    try:
        with pytest.raises(RecordingError, match=r"disk refused frame 7: .* 7 frames"):
            for seq in range(1000):
                recorder.append(stamped(seq))
                time.sleep(0.001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert recorder.written == 7
    recorder.close(end(1000))
    reader = check(tmp_path / "r", 7)
    assert reader.recovered.reason == ""
    assert reader.end.status == "failed"


def test_an_error_nobody_heard_of_is_raised_by_close(tmp_path):
    recorder = FrameRecorder(tmp_path / "r", START)
    recorder.append(Frame(stamped(0).header, np.zeros((3, 3), np.uint16)))
    with pytest.raises(RecordingError, match=r"frame 0 is \(3, 3\)"):
        recorder.close(end(1))
    recorder.close(end(1))


def test_a_disk_with_no_room_is_refused_at_once(tmp_path):
    with pytest.raises(RecordingError, match=r"MiB are free.*make room"):
        FrameRecorder(tmp_path / "r", START, stop_free_bytes=1 << 60)


def test_a_disk_that_fills_up_warns_and_then_ends_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SYNC_INTERVAL_S", 0.05)
    with FrameRecorder(tmp_path / "r", START, warn_free_bytes=1 << 60) as recorder:
        assert "MiB are free" in recorder.warning
        recorder.append(stamped(0))
        recorder._stop_free = 1 << 60
        with pytest.raises(RecordingError, match="The recording ends after"):
            for seq in range(1, 1000):
                recorder.append(stamped(seq))
                time.sleep(0.005)
    check(tmp_path / "r", 1)


def test_a_recording_is_never_overwritten(tmp_path):
    FrameRecorder(tmp_path / "r", START).close(end(0))
    with pytest.raises(SettingsError, match="holds a recording already"):
        FrameRecorder(tmp_path / "r", START)


KILLED = """
import sys, time
sys.path.insert(0, sys.argv[2])
from test_recorder import FrameRecorder, START, stamped
recorder = FrameRecorder(sys.argv[1], START)
seq = 0
while True:
    recorder.append(stamped(seq))
    seq += 1
    print(recorder.written, flush=True)
    time.sleep(0.0005)
"""


@pytest.mark.parametrize("kill_after", [3, 200])
def test_killing_the_process_loses_no_frame_counted_as_written(tmp_path, kill_after):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "r", os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    )
    with child:
        said = 0
        for _ in range(kill_after):
            said = int(child.stdout.readline())
        child.kill()
        rest = child.stdout.read().split(b"\n")
        said = int(rest[-2]) if len(rest) > 1 else said
    assert check(tmp_path / "r", said).end is None
