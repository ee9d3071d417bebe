import json
import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import RecordingError, SettingsError, SourceError
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.recording.segments import HEADER_BYTES, SegmentReader, SegmentWriter

START = StreamStart(
    stream_id=bytes(range(16)),
    shape=(4, 5),
    dtype="u2",
    pixel_size_nm=100.25,
    calibration=CameraCalibration(offset_adu=99.5),
    exposure_ms=10,
    interval_ms=11,
    roi_origin=(3, 4),
    metadata={"Ä": "µ"},
)
END = StreamEnd(
    stream_id=START.stream_id, last_seq=20, sent=9, dropped=1, missing=2, reason="ü"
)
RECORD = HEADER_BYTES + START.frame_nbytes


def stamped(seq, start=START):
    """A frame that says which it is, in its header and in its pixels."""
    rng = np.random.default_rng(seq)
    high = 256 if start.dtype == "u1" else 65_536
    pixels = rng.integers(0, high, start.shape).astype(start.dtype)
    header = FrameHeader(
        seq=seq,
        camera_frame=seq + 7,
        t_ns=seq * 10**7 - 5,
        missing_total=seq // 3,
        laser_seq=2**40 + seq,
    )
    return Frame(header, pixels)


def same(frame, other):
    return frame.header == other.header and (frame.pixels == other.pixels).all()


def record(folder, count, end=END, per_segment=4, start=START):
    size = per_segment * (HEADER_BYTES + start.frame_nbytes)
    with SegmentWriter(folder, start, segment_bytes=size) as writer:
        for seq in range(count):
            writer.append(stamped(2 * seq, start))
        writer.close(end)


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_recording_gives_back_every_bit(tmp_path, dtype):
    start = replace(START, dtype=dtype)
    record(tmp_path / "r", 10, start=start)
    with SegmentReader(tmp_path / "r") as reader:
        frames = list(reader)
        assert reader.start == start
        assert reader.end == END
        assert len(reader) == len(frames) == 10
        assert all(same(f, stamped(2 * i, start)) for i, f in enumerate(frames))
        assert frames[0].pixels.dtype == np.dtype("<" + dtype)
        assert str(reader.recovered) == "10 frames, all good"
        assert same(reader.read(9), frames[9])
        with pytest.raises(IndexError, match="record 10 of 10"):
            reader.read(10)
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "end.json",
        "seg-000000.bin",
        "seg-000001.bin",
        "seg-000002.bin",
        "stream.json",
    ]


def test_the_format_of_version_1_never_changes(tmp_path):
    start = replace(START, shape=(1, 2))
    with SegmentWriter(tmp_path, start) as writer:
        header = FrameHeader(
            seq=1, camera_frame=2, t_ns=-1, missing_total=4, laser_seq=5
        )
        writer.append(Frame(header, np.array([[1, 515]], "u2")))
    assert (tmp_path / "seg-000000.bin").read_bytes().hex() == (
        "4c4c4652"
        "0100"
        "4000"  # magic, version, header length
        "0100000000000000"
        "0200000000000000"  # seq, camera_frame
        "ffffffffffffffff"
        "0400000000000000"
        "0500000000000000"  # t_ns, missing, laser
        "04000000"
        "0001020304050607"  # payload, stream
        "e0d62aab"
        "01000302"
    )


def test_a_session_folder_is_as_good_as_its_recording(tmp_path):
    record(tmp_path / "stream", 3)
    assert len(SegmentReader(tmp_path)) == 3
    with pytest.raises(
        SettingsError, match=r"holds no recording: neither stream\.json"
    ):
        SegmentReader(tmp_path / "other")


def test_a_recording_is_never_overwritten(tmp_path):
    record(tmp_path, 3)
    with pytest.raises(SettingsError, match=r"holds a recording already"):
        SegmentWriter(tmp_path, START)
    assert SegmentReader(tmp_path).recovered.frames == 3


def test_a_frame_of_another_size_is_refused_and_the_rest_goes_on(tmp_path):
    with SegmentWriter(tmp_path, START) as writer:
        writer.append(stamped(0))
        for wrong in (np.zeros((5, 4), "u2"), np.zeros((4, 5), "u1")):
            with pytest.raises(
                RecordingError, match=r"frame 1 is .* started for \(4, 5"
            ):
                writer.append(Frame(stamped(1).header, wrong))
        writer.append(stamped(1))
    assert SegmentReader(tmp_path).recovered.frames == 2


def test_pixels_in_any_memory_order_are_recorded_as_seen(tmp_path):
    frame = stamped(0)
    with SegmentWriter(tmp_path, START) as writer:
        writer.append(Frame(frame.header, np.asfortranarray(frame.pixels)))
        writer.append(Frame(replace(frame.header, seq=1), frame.pixels.astype(">u2")))
    for read in SegmentReader(tmp_path):
        assert (read.pixels == frame.pixels).all()


def test_without_writev_the_bytes_are_the_same(tmp_path, monkeypatch):
    record(tmp_path / "a", 6)
    monkeypatch.delattr(os, "writev", raising=False)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    record(tmp_path / "b", 6)
    for name in ("seg-000000.bin", "seg-000001.bin"):
        one, other = (tmp_path / folder / name for folder in "ab")
        assert one.read_bytes() == other.read_bytes()


def test_an_interrupted_recording_reads_up_to_its_torn_tail(tmp_path):
    record(tmp_path, 6, end=None)
    last = tmp_path / "seg-000001.bin"
    for cut in range(1, RECORD):
        last.write_bytes(last.read_bytes()[: 2 * RECORD - cut])
        with SegmentReader(tmp_path) as reader:
            assert [f.header.seq for f in reader] == [0, 2, 4, 6, 8]
            recovered = reader.recovered
        assert reader.end is None
        assert (recovered.frames, recovered.segment) == (5, "seg-000001.bin")
        assert recovered.offset == RECORD
        assert recovered.reason == f"{RECORD - cut} bytes are not a whole record"


def test_whole_records_cut_off_are_missed_when_the_end_is_known(tmp_path):
    record(tmp_path, 6)
    last = tmp_path / "seg-000001.bin"
    last.write_bytes(last.read_bytes()[:RECORD])
    reader = SegmentReader(tmp_path)
    assert str(reader.recovered) == (
        f"5 good frames up to byte {RECORD} of seg-000001.bin: "
        "the recording had 6 frames"
    )
    reader.close()


@pytest.mark.parametrize("size", [None, 0, RECORD, 2 * RECORD - 1])
def test_a_missing_or_short_segment_in_the_middle_ends_the_reading(tmp_path, size):
    record(tmp_path, 11, end=None)
    middle = tmp_path / "seg-000001.bin"
    if size is None:
        middle.unlink()
    else:
        middle.write_bytes(middle.read_bytes()[:size])
    with SegmentReader(tmp_path) as reader:
        frames = list(reader)
        whole = 4 + (size or 0) // RECORD
        assert [f.header.seq for f in frames] == [2 * i for i in range(whole)]
        assert reader.recovered.frames == whole
        assert reader.recovered.segment == "seg-000001.bin"
        assert reader.recovered.reason


def test_frames_behind_a_damaged_one_can_still_be_read(tmp_path):
    record(tmp_path, 6)
    flip(tmp_path / "seg-000000.bin", RECORD + 70)
    with SegmentReader(tmp_path) as reader:
        assert reader.recovered.frames == 1
        with pytest.raises(SourceError, match=r"1 good frames up to byte 104.*CRC32C"):
            reader.read(1)
        assert same(reader.read(2), stamped(4))


def flip(path, offset, bits=1):
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(data)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_flipped_byte_is_found_where_it_is(tmp_path, data):
    folder = tmp_path / "r"
    if not folder.exists():
        record(folder, 9)
    place = data.draw(st.integers(0, 9 * RECORD - 1))
    segment, offset = divmod(place, 4 * RECORD)
    file, change = folder / f"seg-{segment:06d}.bin", data.draw(st.integers(1, 255))
    flip(file, offset, change)
    try:
        with SegmentReader(folder) as reader:
            frames = list(reader)
        assert len(frames) == reader.recovered.frames == place // RECORD
        assert all(same(f, stamped(2 * i)) for i, f in enumerate(frames))
        assert reader.recovered.segment == file.name
        assert reader.recovered.offset == offset // RECORD * RECORD
    finally:
        flip(file, offset, change)  # as it was, for the next


def test_1000_random_corruptions_never_give_a_wrong_frame(tmp_path):
    record(tmp_path / "r", 9)
    whole = {p.name: p.read_bytes() for p in (tmp_path / "r").glob("seg-*")}
    right = [stamped(2 * i) for i in range(9)]
    random.seed(19)
    for _ in range(1000):
        damaged = {}
        for name, data in whole.items():
            content = bytearray(data)
            for _ in range(random.choice([0, 1, 3])):
                kind = random.randrange(4)
                at = random.randrange(len(content) + 1) if content else 0
                if kind == 0:
                    del content[at:]
                elif kind == 1:
                    content[at : at + 8] = random.randbytes(min(8, len(content) - at))
                elif kind == 2:  # a record that lost or gained bytes
                    content[at : at + random.randrange(9)] = random.randbytes(4)
                else:  # a record in the place of another
                    there = random.randrange(4) * RECORD
                    content[there : there + RECORD] = content[:RECORD]
            damaged[name] = bytes(content)
            (tmp_path / "r" / name).write_bytes(content)
        with SegmentReader(tmp_path / "r") as reader:
            frames = list(reader)
            assert all(map(same, frames, right)) and len(frames) <= len(right)
            assert reader.recovered.frames == len(frames)
            if damaged == whole or not reader.recovered.reason:
                assert len(frames) == 9 and not reader.recovered.reason


@pytest.mark.parametrize("name", ["stream.json", "end.json"])
def test_a_changed_description_is_refused(tmp_path, name):
    record(tmp_path, 2)
    text = (tmp_path / name).read_text()
    (tmp_path / name).write_text(text.replace('"0001', '"0002'))
    with pytest.raises(SettingsError, match=rf"{name}: bytes were changed"):
        SegmentReader(tmp_path)
    (tmp_path / name).write_text(text[: len(text) // 2])
    with pytest.raises(SettingsError, match=rf"{name}: cannot be read"):
        SegmentReader(tmp_path)


def test_a_recording_of_a_newer_program_says_so(tmp_path):
    record(tmp_path, 2)
    content = json.loads((tmp_path / "stream.json").read_text())
    (tmp_path / "stream.json").write_text(json.dumps(content | {"version": 3}))
    with pytest.raises(SettingsError, match="version 3, this program reads 2"):
        SegmentReader(tmp_path)


def test_a_full_disk_ends_the_recording_with_whole_frames(tmp_path):
    resource = pytest.importorskip("resource", reason="limits file sizes, POSIX only")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SegmentWriter(tmp_path, START) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(3.5 * RECORD), limits[1]))
        try:
            for seq in range(3):
                writer.append(stamped(seq))
            for _ in range(2):
                with pytest.raises(
                    RecordingError, match=r"frame 3: .* 3 frames before"
                ):
                    writer.append(stamped(3))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (tmp_path / "seg-000000.bin").stat().st_size == 3 * RECORD
        writer.append(stamped(3))  # room was made
    assert SegmentReader(tmp_path).recovered.frames == 4


KILLED = """
import sys
sys.path.insert(0, sys.argv[2])
from test_segments import SegmentWriter, START, stamped, replace
start = replace(START, shape=(64, 64))
writer = SegmentWriter(sys.argv[1], start, segment_bytes=200_000)
seq = 0
while True:
    writer.append(stamped(seq, start))
    print(seq, flush=True)
    seq += 1
"""


@pytest.mark.parametrize("kill_after", [1, 37, 150])
def test_killing_the_process_loses_no_frame_that_was_written(tmp_path, kill_after):
    here = os.path.dirname(__file__)
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path, here],
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
    start = replace(START, shape=(64, 64))
    with SegmentReader(tmp_path) as reader:
        count = 0
        for count, frame in enumerate(reader, 1):
            assert same(frame, stamped(count - 1, start))
        assert count > said
        assert reader.end is None
