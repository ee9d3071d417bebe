"""Sessions and tables opened for looking, good ones and bad ones."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.text import write_csv
from liveloc.viewer import Reconstruction
from liveloc.viewer.image.field import WIDEST_PX, field_of
from liveloc.viewer.sessions import opened as opening
from liveloc.viewer.sessions.opened import open_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIELD = {"shape": "[32, 24]", "roi_origin": "[3, 5]", "pixel_size_nm": "100.0"}


def table(rows: int, first_frame: int = 0) -> Localizations:
    random = np.random.default_rng(rows)
    made = empty(rows)
    made["frame"] = first_frame + np.arange(rows) // 7
    made["x_nm"] = random.uniform(260, 2600, rows)
    made["y_nm"] = random.uniform(460, 3600, rows)
    made["z_nm"] = random.normal(0, 200, rows)
    made["photons"] = 1000
    made["probability"] = 1
    for name in ("x_sigma_nm", "y_sigma_nm"):
        made[name] = 12
    return made


def written(path: Path, rows: Localizations, metadata: dict[str, str] = FIELD) -> Path:
    with TableWriter(path, metadata) as writer:
        for first in range(0, len(rows), 500):
            writer.append(rows[first : first + 500])
    return path


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 8.0
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


def test_a_sessions_folder_is_shown_with_its_report_and_its_laser(
    tmp_path: Path,
) -> None:
    rows = table(5000)
    written(tmp_path / "localizations.arrow", rows)
    report = {
        "frames": {"camera": 800, "localized": 715, "lost": {"late": 85}},
        "fps": 99.5,
        "latency_ms": {"p50": 31.0},
        "status": "aborted",
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    lines = [
        {
            "kind": "decision",
            "exposed_ns": frame,
            "frames": [frame - 4, frame],
            "per_um2": 0.4,
            "target_per_um2": 0.5,
            "power": 7.0,
            "given": 6.0,  # of a dry run
        }
        for frame in range(5, 700, 5)
    ]
    lines.append({"kind": "laser", "t_ns": 3, "power": 7.0, "unit": "mW"})
    control = "\n".join(map(json.dumps, lines))
    (tmp_path / "control.jsonl").write_text(control + '\n{"kind": "dec')
    expected = Reconstruction.from_metadata(FIELD)
    expected.add(rows)
    for path in (tmp_path, tmp_path / "localizations.arrow"):
        with open_session(path) as session:
            assert session.wait(8)
            assert session.document is not None
            assert np.array_equal(session.document.image.counts, expected.counts)
            assert session.complete
            assert session.state() == "ended"
            assert session.end_status == "aborted"
            assert session.figures.frames == 800
            assert session.figures.lost == {"late": 85}
            assert session.figures.localizations == 5000
            assert session.figures.activation is not None
            assert session.figures.activation.power_text == "7.00 mW"
            series = session.traces.series
            assert series["density"].newest == pytest.approx(0.4)
            assert series["density_target"].newest == pytest.approx(0.5)
            assert series["laser_power"].newest == pytest.approx(7.0)
            assert series["photons"].newest == pytest.approx(1000, rel=0.05)


@pytest.mark.parametrize("dialect", ["liveloc", "thunderstorm", "picasso"])
def test_tables_of_other_programs_are_shown_where_they_are(
    tmp_path: Path, dialect: str
) -> None:
    """With the file beside it, or without: the same places, to the half pixel."""
    rows = table(3000)
    write_csv(tmp_path / "t.csv", rows, FIELD, dialect)
    with open_session(tmp_path / "t.csv") as told:
        assert told.wait(8)
        assert told.document is not None
        assert told.document.rect == (250.0, 2650.0, 450.0, 3650.0)
        assert told.document.image.counted == 3000
        (tmp_path / "t.csv-metadata.json").unlink()
        with open_session(tmp_path / "t.csv", pixel_size_nm=100.0) as found:
            assert found.wait(8)
            assert found.document is not None
            assert found.document.image.counted == 3000
            same = [
                np.concatenate(list(session.document.selected_rows()))["x_nm"]
                for session in (told, found)
                if session.document is not None
            ]
            assert np.array_equal(*same)
            left, right, top, bottom = found.document.rect
            assert 250 <= left <= 350 and 450 <= top <= 550
            assert 2550 <= right <= 2650 and 3550 <= bottom <= 3650
            assert found.end_status == "ok"


def test_a_table_that_is_being_written_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "FOLLOW_S", 0.01)
    path = tmp_path / "localizations.arrow"
    with TableWriter(path, FIELD) as writer:
        writer.append(table(100))
        with open_session(path) as session:
            assert session.wait(8)
            assert session.rows == 100
            assert session.state() == "live"
            assert not session.complete
            writer.append(table(50, 20))
            until(lambda: session.rows == 150)
            writer.close()
            until(lambda: session.complete)
            assert session.end_status == "ok"


def test_a_table_that_is_written_anew_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by an engine that restarts: it cuts off what it does again."""
    monkeypatch.setattr(opening, "FOLLOW_S", 0.01)
    path = tmp_path / "localizations.arrow"
    writer = TableWriter(path, FIELD)
    for _ in range(5):
        writer.append(table(100))
    with open_session(path) as session:
        assert session.wait(8)
        writer._file.close()
        with TableWriter(path, FIELD, resume_rows=200) as again:
            until(lambda: session.rows == 200)
            again.append(table(30))
        until(lambda: session.complete)
        assert session.document is not None
        assert len(session.document.store) == session.rows == 230


def test_a_table_whose_writer_was_killed_is_shown_and_named_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "STILL_S", 0.05)
    path = written(tmp_path / "t.arrow", table(2000))
    path.write_bytes(path.read_bytes()[:-30])
    with open_session(path) as session:
        assert session.wait(8)
        assert session.rows == 1500
        until(lambda: session.state() == "ended")
        assert session.end_status == "incomplete"


def test_bad_rows_are_kept_out_of_the_picture_and_nothing_fails(
    tmp_path: Path,
) -> None:
    rows = table(1000)
    rows["x_nm"][::10] = np.nan
    rows["z_nm"][::7] = np.inf
    rows["photons"][::3] = np.nan
    with open_session(written(tmp_path / "t.arrow", rows)) as session:
        assert session.wait(8)
        assert session.document is not None
        assert session.document.image.counted == 900
        assert session.document.image.not_finite == 100


@pytest.mark.parametrize("told", [True, False])
def test_an_empty_table_is_an_empty_field(tmp_path: Path, told: bool) -> None:
    if told:
        path = written(tmp_path / "t.arrow", table(0))
    else:
        path = tmp_path / "t.csv"
        path.write_text("frame,x_nm,y_nm\n")
    with open_session(path) as session:
        assert session.wait(8)
        assert session.document is not None
        assert session.document.image.counted == 0
        assert session.complete


def test_a_hundred_thousand_rows_in_one_frame_without_z(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = table(100_000)
    lines = [
        f"3,{x:.1f},{y:.1f}" for x, y in zip(rows["x_nm"], rows["y_nm"], strict=True)
    ]
    path.write_text("frame,x_nm,y_nm\n" + "\n".join(lines))
    with open_session(path) as session:
        assert session.wait(20)
        assert session.document is not None
        assert session.document.image.counted == 100_000
        assert not session.document.image.has_depth
        assert session.figures.frames == 4


def test_rows_that_a_text_table_lacks_are_counted_in_words(tmp_path: Path) -> None:
    text = "frame,x_nm,y_nm,x_sigma_nm\n0,100,100,9\n0,,100,9\n1,300,400,NaN\n"
    (tmp_path / "t.csv").write_text(text)
    with open_session(tmp_path / "t.csv") as session:
        assert session.wait(8)
        assert session.document is not None
        assert session.document.image.counted == 2
        assert session.remarks == "t.csv: 1 row without a position left out"


def test_what_is_wrong_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        open_session(tmp_path / "gone.arrow")
    with pytest.raises(SettingsError, match=r"holds no localizations\.arrow"):
        open_session(tmp_path)
    (tmp_path / "a.txt").write_text("hello\n")
    with pytest.raises(SettingsError, match="no table of localizations"):
        open_session(tmp_path / "a.txt")
    write_csv(tmp_path / "t.csv", table(5), FIELD)
    (tmp_path / "t.csv-metadata.json").unlink()
    with open_session(tmp_path / "t.csv") as session:  # half a pixel of what size?
        with pytest.raises(SettingsError, match="Specify the pixel size"):
            session.wait(8)
        assert session.state() == "ended"
        assert session.end_status == "failed"
        assert not session.complete


def test_what_came_before_a_bad_line_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    write_csv(path, table(40_000), FIELD, "liveloc")
    with path.open("a") as file:
        file.write("a,b,c\n")
    with open_session(path) as session:
        with pytest.raises(SettingsError, match="good rows"):
            session.wait(8)
        assert session.document is not None
        assert 0 < len(session.document.store) <= 40_000


def test_closing_in_the_middle_of_loading_ends_the_thread(tmp_path: Path) -> None:
    path = written(tmp_path / "t.arrow", table(300_000))
    session = open_session(path)
    session.close()
    session.close()
    assert not session._thread.is_alive()


def test_a_row_from_nowhere_does_not_make_the_field_endless() -> None:
    rows = table(100)
    rows["x_nm"][50] = 3e9
    rows["y_nm"][51] = np.nan
    field = field_of([rows[:40], rows[40:]], {})
    assert field["pixel_size_nm"] == "100.0"
    height, width = json.loads(field["shape"])
    assert height < 40 and width < 40
    assert WIDEST_PX * 100.0 < 3e9
    Reconstruction.from_metadata(field)


@pytest.mark.parametrize("content", ["[" * 10_000, "{", "[1]", "", '{"frames": [1]}'])
def test_a_damaged_report_or_log_leaves_the_image(tmp_path: Path, content: str) -> None:
    rows = table(200)
    written(tmp_path / "localizations.arrow", rows)
    (tmp_path / "report.json").write_text(content)
    (tmp_path / "control.jsonl").mkdir()
    with open_session(tmp_path) as session:
        assert session.wait(8)
        assert session.document is not None
        assert session.figures.localizations == 200
