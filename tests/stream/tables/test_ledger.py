"""The ledger of what is localized: what a crash leaves is what counts."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError
from liveloc.stream.frames import StreamEnd, StreamStart
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint

STREAM = uuid.uuid4().bytes
START = StreamStart(
    stream_id=STREAM,
    shape=(8, 8),
    dtype="u2",
    pixel_size_nm=100.0,
    calibration=CameraCalibration(),
    exposure_ms=1.0,
    interval_ms=1.0,
)
counts = st.integers(0, 2**40)
points = st.builds(
    ResumePoint,
    next_seq=st.integers(1, 2**40),
    localized=counts,
    lost=st.dictionaries(st.sampled_from(["bridge_shed", "late"]), counts),
    missing_total=counts,
    dropped_total=counts,
    rows=counts,
)


@given(entries=st.lists(points, min_size=1, max_size=5), cut=st.integers(0, 10_000))
def test_a_torn_ledger_gives_its_last_whole_line_and_goes_on(
    tmp_path_factory, entries, cut
):
    path = tmp_path_factory.mktemp("ledger") / "session" / "processed.jsonl"
    sizes = [0]
    with ProcessedLog(path) as log:
        for point in entries:
            log.append(STREAM, 0, point.next_seq - 1, point)
            sizes.append(path.stat().st_size)
    whole = path.read_bytes()
    cut = min(cut, len(whole))
    path.write_bytes(whole[:cut])
    kept = sum(size <= cut for size in sizes[1:])
    wanted = [*entries[:kept]]
    with ProcessedLog(path) as log:
        assert log.resume(START) == (wanted[-1] if wanted else None)
        more = ResumePoint(next_seq=7, localized=7, rows=3)
        log.append(STREAM, 0, 6, more)
        assert log.resume(START) == more
    assert path.read_bytes().count(b"\n") == kept + 1


def test_only_the_named_stream_counts(tmp_path):
    with ProcessedLog(tmp_path / "processed.jsonl") as log:
        log.append(uuid.uuid4().bytes, 0, 4, ResumePoint(next_seq=5))
        assert log.resume(START) is None
        log.append(STREAM, 0, 8, ResumePoint(next_seq=9))
        log.append(uuid.uuid4().bytes, 0, 4, ResumePoint(next_seq=5))
        log.end(StreamEnd(stream_id=STREAM, last_seq=8, sent=9, dropped=0, missing=0))
        assert log.resume(START) == ResumePoint(next_seq=9)


@pytest.mark.parametrize(
    "junk",
    [b"\xff\xfe\n", b"[]\n", b"{}\n", b"null\n", b'{"lost":1}\n', b"[" * 5000 + b"\n"],
)
def test_lines_that_are_no_entries_are_passed_over(tmp_path, junk):
    path = tmp_path / "processed.jsonl"
    path.write_bytes(junk)
    with ProcessedLog(path) as log:
        assert log.resume(START) is None
        log.append(STREAM, 0, 8, ResumePoint(next_seq=9))
        assert log.resume(START) == ResumePoint(next_seq=9)


@pytest.mark.parametrize("number", ["1e999", "1e18", "-7", "99999999999999999999"])
def test_a_number_that_no_stream_reaches_is_passed_over(tmp_path, number):
    path = tmp_path / "processed.jsonl"
    with ProcessedLog(path) as log:
        log.append(STREAM, 0, 8, ResumePoint(next_seq=9, localized=9))
    good = path.read_text()
    bad = good.replace('"next_seq":9', f'"next_seq":{number}')
    path.write_text(good + bad.replace('"localized":9', f'"localized":{number}'))
    assert ProcessedLog(path).resume(START) == ResumePoint(next_seq=9, localized=9)
    assert ProcessedLog(path).localized_frames().tolist() == list(range(9))


def test_a_ledger_that_is_a_folder_is_named(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        ProcessedLog(tmp_path).resume(START)


def test_only_blocks_without_losses_count_as_localized_frames(tmp_path):
    with ProcessedLog(tmp_path / "processed.jsonl") as log:
        log.append(STREAM, 0, 7, ResumePoint(next_seq=8, localized=8))
        shed = {"bridge_shed": 2}
        log.append(STREAM, 8, 15, ResumePoint(next_seq=16, localized=14, lost=shed))
        log.append(STREAM, 16, 19, ResumePoint(next_seq=20, localized=18, lost=shed))
        # Frames 20 to 26 were on their way to an engine that was killed.
        shed = {"bridge_shed": 2, "engine_stopped": 7}
        log.append(STREAM, 27, 31, ResumePoint(next_seq=32, localized=23, lost=shed))
        frames = log.localized_frames()
    assert frames.tolist() == [*range(8), *range(16, 20), *range(27, 32)]
    assert not ProcessedLog(tmp_path / "none.jsonl").localized_frames().size
