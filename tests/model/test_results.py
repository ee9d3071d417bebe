"""Results of a live session on a disk that refuses them for a while."""

import os

import numpy as np
import pytest

from liveloc.model.bundle import load_bundle
from liveloc.model.localizer import Localized
from liveloc.model.results import Results
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import RecordingError
from liveloc.stream.frames import StreamEnd, StreamStart
from liveloc.stream.localizations import empty
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint
from liveloc.stream.tables.opening import read_table

START = StreamStart(
    stream_id=bytes(range(16)),
    shape=(16, 16),
    dtype="u2",
    pixel_size_nm=100.0,
    exposure_ms=10.0,
    interval_ms=10.0,
    calibration=CameraCalibration(offset_adu=100, e_per_adu=1.0),
)
END = StreamEnd(stream_id=START.stream_id, last_seq=79, sent=80, dropped=0, missing=0)


@pytest.fixture
def results(tmp_path):
    """Results of which `refused` collects what the disk does."""
    done = {"localized": 0, "written": [], "refused": []}

    def settle(last, frames, failed):
        done["localized"] += frames
        return ResumePoint(next_seq=last + 1, localized=done["localized"])

    made = Results(
        tmp_path / "session",
        START,
        load_bundle("gaussian-2d"),
        settle,
        written=done["written"].append,
        refused=done["refused"].append,
    )
    yield made, done
    made.close()


def localized(first, last):
    """Frames `first` to `last` with one emitter each."""
    frames = np.arange(first, last + 1)
    rows = empty(len(frames))
    rows["frame"], rows["x_nm"] = frames, frames
    return Localized(
        frames=frames, localizations=rows, expected=np.ones((len(frames), 3))
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no full device")
def test_rows_that_a_full_disk_refuses_wait_and_are_written_when_there_is_room(
    results, tmp_path
):
    made, done = results
    made.add(localized(0, 15))
    table = made._table
    good, table._file = table._file, open("/dev/full", "wb", buffering=0)
    made.add(localized(16, 47))
    assert done["written"] == [7]
    assert made.owed_frames == 32 and made.rows == 48
    assert len(done["refused"]) == 4
    assert isinstance(done["refused"][0], RecordingError)
    read = made.read_rows(10, 30)  # a viewer that comes late gets them all
    assert read["frame"].tolist() == list(range(10, 40))
    table._file.close()
    table._file = good
    made.add(localized(48, 79))
    assert made.owed_frames == 0
    made.close(END)
    rows, metadata = read_table(tmp_path / "session" / "localizations.arrow")
    assert rows["frame"].tolist() == list(range(80))
    assert metadata["complete"] == "yes"
    log = ProcessedLog(tmp_path / "session" / "processed.jsonl")
    assert log.last()[0].localized == 80 and log.last()[1] == END


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="has no full device")
def test_rows_that_find_no_room_to_the_end_are_counted_and_the_table_is_not_whole(
    results, tmp_path
):
    made, _ = results
    made.add(localized(0, 15))
    good, made._table._file = made._table._file, open("/dev/full", "wb", buffering=0)
    made.add(localized(16, 31))
    made.close(END)
    good.close()
    assert made.owed_frames == 24
    rows, metadata = read_table(tmp_path / "session" / "localizations.arrow")
    assert rows["frame"].tolist() == list(range(8))
    assert metadata["complete"] == "no"
    log = ProcessedLog(tmp_path / "session" / "processed.jsonl")
    assert log.last()[0].localized == 8 and log.last()[1] is None
