"""Raw frames of a finished session, with what was found in them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.frames import Frame, FrameHeader, StreamStart
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.recording.segments import SegmentWriter
from liveloc.stream.tables.arrow import TableWriter
from liveloc.viewer.data.document import Document
from liveloc.viewer.sessions.opened import open_session
from liveloc.viewer.sessions.recorded_frames import RecordedFrames

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, ORIGIN = (16, 12), (4, 7)
FIELD = {"shape": "[16, 12]", "roi_origin": "[4, 7]", "pixel_size_nm": "100.0"}
SEQS = [*range(3, 10), *range(14, 40)]  # the exposures between were lost


def pixels(seq: int, shape: tuple[int, int] = SHAPE) -> Any:
    return np.random.default_rng(seq).integers(100, 900, shape).astype(np.uint16)


def record(folder: Path, shape: tuple[int, int] = SHAPE) -> None:
    start = StreamStart(
        stream_id=bytes(16),
        shape=shape,
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=10.0,
        interval_ms=10.0,
        roi_origin=ORIGIN,
    )
    with SegmentWriter(folder / "stream", start) as writer:
        for seq in SEQS:
            header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq)
            writer.append(Frame(header, pixels(seq, shape)))
        writer.close()


def table() -> Localizations:
    """Make `seq` % 4 rows of each frame, 1 px apart along its third row."""
    frames = np.repeat(SEQS, np.array(SEQS) % 4)
    rows = empty(len(frames))
    rows["frame"] = frames
    place = np.concatenate([np.arange(seq % 4) for seq in SEQS])
    rows["x_nm"], rows["y_nm"] = (ORIGIN[0] + place) * 100.0, (ORIGIN[1] + 2) * 100.0
    rows["probability"] = 1
    return rows


@pytest.fixture
def session(tmp_path: Path) -> Path:
    record(tmp_path)
    with TableWriter(tmp_path / "localizations.arrow", FIELD) as writer:
        writer.append(table())
    return tmp_path


@pytest.fixture
def document() -> Any:
    with Document(FIELD) as made:
        made.add(table())
        yield made


def test_each_frame_comes_with_its_own_rows(session: Path, document: Document) -> None:
    with RecordedFrames(session) as frames:
        assert frames.numbers == (3, 39)
        for seq in SEQS:
            shown = frames.at(seq, document)
            assert shown is not None
            assert shown.seq == seq
            np.testing.assert_array_equal(shown.pixels, pixels(seq))
            assert shown.localizations["frame"].tolist() == [seq] * (seq % 4)


@pytest.mark.parametrize(
    ("asked", "shown"), [(0, 3), (10, 14), (13, 14), (40, 39), (10**9, 39)]
)
def test_where_no_frame_is_the_next_is_shown(
    session: Path, document: Document, asked: int, shown: int
) -> None:
    with RecordedFrames(session) as frames:
        found = frames.at(asked, document)
    assert found is not None
    assert found.seq == shown


def test_of_a_crowded_frame_the_first_rows_are_given(document: Document) -> None:
    assert len(document.of_frame(39, 2)) == 2
    assert len(document.of_frame(39, 100)) == 3
    assert len(document.of_frame(12, 100)) == 0
    assert len(document.of_frame(10**6, 100)) == 0


def test_without_kept_rows_the_frame_is_bare(session: Path) -> None:
    with Document(FIELD, spool=False) as bare, RecordedFrames(session) as frames:
        bare.add(table())
        shown = frames.at(39, bare)
    assert shown is not None
    assert len(shown.localizations) == 0


def test_a_large_frame_is_binned(tmp_path: Path, document: Document) -> None:
    record(tmp_path, (1200, 1000))
    with RecordedFrames(tmp_path) as frames:
        shown = frames.at(5, document)
    assert shown is not None
    assert (shown.binning, shown.pixels.shape) == (2, (600, 500))


def test_a_damaged_frame_is_none_and_the_others_are_there(
    session: Path, document: Document
) -> None:
    segment = session / "stream" / "seg-000000.bin"
    data = bytearray(segment.read_bytes())
    record_bytes = len(data) // len(SEQS)
    data[20 * record_bytes + record_bytes // 2] ^= 0xFF
    segment.write_bytes(data)
    with RecordedFrames(session) as frames:
        assert frames.numbers == (3, 39)
        assert frames.at(SEQS[20], document) is None
        for seq in (SEQS[19], SEQS[21]):
            shown = frames.at(seq, document)
            assert shown is not None
            assert shown.seq == seq


def test_a_session_without_a_recording_has_none(tmp_path: Path) -> None:
    assert RecordedFrames.of(tmp_path) is None
    (tmp_path / "stream").mkdir()
    (tmp_path / "stream" / "stream.json").write_text("{}")
    assert RecordedFrames.of(tmp_path) is None


def test_an_opened_session_has_its_frames(session: Path, tmp_path: Path) -> None:
    with open_session(session) as opened:
        assert opened.wait(8.0)
        assert opened.recorded is not None
        assert opened.document is not None
        shown = opened.recorded.at(35, opened.document)
        assert shown is not None
        assert len(shown.localizations) == 3
    with open_session(session / "localizations.arrow") as by_table:
        assert by_table.recorded is not None


@pytest.mark.display
def test_the_camera_panel_leads_through_the_recording(
    session: Path, application: Any
) -> None:
    from liveloc.viewer.window.main_window import ViewerWindow

    window = ViewerWindow(open_session(session))
    try:
        window.show()
        panel = window.docks.camera

        def wait_for(text: str) -> None:
            deadline = time.monotonic() + 8.0
            while text not in panel.view.accessibleDescription():
                assert time.monotonic() < deadline, panel.view.accessibleDescription()
                application.processEvents()
                time.sleep(0.003)

        wait_for("Frame 3 · 3 found")
        assert panel.number.isVisible()
        panel.number.setValue(35)
        wait_for("Frame 35 · 3 found")
        places = panel.view.on_widget(panel.view._places)
        box = panel.view.target()
        expected = [
            box.left() + box.width() * (column + 0.5) / SHAPE[1] for column in range(3)
        ]
        np.testing.assert_allclose(places[:, 0], expected)
        np.testing.assert_allclose(
            places[:, 1], box.top() + box.height() * 2.5 / SHAPE[0]
        )
        panel._slider.setValue(11)  # lost: the next is shown
        wait_for("Frame 14 · 2 found")
    finally:
        window.close()
        window.deleteLater()
        application.processEvents()
