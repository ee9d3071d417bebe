import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.frames import StreamStart
from liveloc.stream.localizations import LOCALIZATION, empty
from liveloc.stream.tables.coordinates import (
    DIALECTS,
    from_localizations,
    nm_to_px,
    px_to_nm,
    stream_metadata,
    to_localizations,
)
from liveloc.stream.tables.opening import read_table
from liveloc.stream.tables.text import write_csv

START = StreamStart(
    stream_id=bytes(range(16)),
    shape=(64, 32),
    dtype="u2",
    pixel_size_nm=108.0,
    calibration=CameraCalibration(),
    exposure_ms=10,
    interval_ms=10,
    roi_origin=(100, 7),
    t0_utc="2026-01-01T00:00:00Z",
)


def data(name):
    root = Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(os.environ.get("LIVELOC_DATA", root)) / name
    if not path.exists():
        pytest.skip(f"{path} is missing; set LIVELOC_DATA")
    return path


def some_rows(count=40):
    rng = np.random.default_rng(2)
    rows = empty(count)
    for name in LOCALIZATION.names:
        rows[name] = rng.uniform(0, 2e4, count)
    rows["frame"] = np.arange(count) // 3
    rows["probability"] = rng.uniform(0, 1, count)
    rows["y_sigma_nm"] = rows["x_sigma_nm"]
    return rows


def test_metadata_state_the_geometry_and_no_time():
    said = stream_metadata(START)
    assert said["pixel_size_nm"] == "108.0"
    assert json.loads(said["roi_origin"]) == [100, 7]
    assert json.loads(said["shape"]) == [64, 32]
    assert "2026" not in "".join(said.values())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_writing_and_reading_gives_the_same_positions(tmp_path, dialect):
    rows = some_rows()
    write_csv(tmp_path / "t.csv", rows, stream_metadata(START), dialect)
    back, metadata = read_table(tmp_path / "t.csv")
    assert metadata["dialect"] == dialect
    assert json.loads(metadata["roi_origin"]) == [100, 7]
    assert metadata["pixel_size_nm"] == "108.0"
    carried = DIALECTS[dialect].columns
    for name in carried:
        tolerance = 0.01 if DIALECTS[dialect].unit == "px" else 1e-3
        np.testing.assert_allclose(back[name], rows[name], rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_first_pixel_of_the_first_frame_has_its_name_in_every_dialect(dialect):
    spec = DIALECTS[dialect]
    written = from_localizations(empty(1), dialect, pixel_size_nm=100.0)
    assert written[spec.columns["frame"][0]][0] == spec.frame_base
    expected = spec.centre_px * (1 if spec.unit == "px" else 100.0)
    assert written[spec.columns["x_nm"][0]][0] == expected
    assert written[spec.columns["y_nm"][0]][0] == expected
    assert written[spec.columns["z_nm"][0]][0] == 0  # z has no pixel centre


def test_thunderstorm_counts_frames_from_one_and_centres_pixels_at_a_half():
    columns = {
        "frame": np.array([1.0, 2.0]),
        "x [nm]": np.array([50.0, 150.0]),
        "y [nm]": np.array([250.0, 50.0]),
        "uncertainty [nm]": np.array([9.0, 8.0]),
    }
    rows = to_localizations(
        columns, "thunderstorm", pixel_size_nm=100.0, origin_px=(10, 0)
    )
    assert rows["frame"].tolist() == [0, 1]
    assert rows["x_nm"].tolist() == [1000, 1100]
    assert rows["y_nm"].tolist() == [200, 0]
    assert rows["y_sigma_nm"].tolist() == [9, 8]
    assert np.isnan(rows["photons"]).all()
    assert (rows["probability"] == 1).all()


def test_picasso_reads_the_thunderstorm_table_we_write(tmp_path):
    write_csv(tmp_path / "t.csv", some_rows(), stream_metadata(START))
    header = (tmp_path / "t.csv").read_text().splitlines()[0]
    names = [name.strip('"') for name in header.split(",")]
    # The columns that Picasso's importer looks up in a 3D table.
    assert {
        "frame",
        "x [nm]",
        "y [nm]",
        "z [nm]",
        "sigma1 [nm]",
        "sigma2 [nm]",
        "intensity [photon]",
        "offset [photon]",
        "uncertainty_xy [nm]",
    } <= set(names)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 41
    assert "nan" not in (tmp_path / "t.csv").read_text()


def test_a_half_pixel_shift_without_a_pixel_size_is_refused(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("Ground-truth,frame,xnano,ynano,znano,intensity\n1,1,5,6,7,8\n")
    with pytest.raises(
        SettingsError, match=r"truth\.csv: .*0\.5 px.*Specify the pixel size"
    ):
        read_table(path)
    rows, _ = read_table(path, pixel_size_nm=10.0)
    assert rows["x_nm"].tolist() == [0]


def test_frames_before_the_first_and_between_are_refused(tmp_path):
    path = tmp_path / "t.csv"
    for frame in ("0", "1.5", "nan", ""):
        path.write_text(
            f"frame,xnano,ynano,znano,intensity\n1,1,1,1,1\n{frame},5,6,7,8\n"
        )
        with pytest.raises(SettingsError, match=r"row 2: frame number .* from 1 on"):
            read_table(path, 100.0)


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("a,b,c\n1,2,3\n", "no table of localizations has the columns 'a, b, c'"),
        ("", "is empty"),
        ("frame,x_nm,y_nm\n1,2\n", "not a table of numbers"),
        ("frame,x_nm,y_nm\n1,2,far\n", "not a table of numbers"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path, content, complaint):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(SettingsError, match=rf"t\.csv: {complaint}"):
        read_table(path)


def test_a_table_without_rows_is_a_table(tmp_path):
    write_csv(tmp_path / "t.csv", empty(), stream_metadata(START))
    assert len(read_table(tmp_path / "t.csv")[0]) == 0


def test_a_binary_file_is_no_text_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\x80\x81\xff")
    with pytest.raises(SettingsError, match="is not a text table"):
        read_table(tmp_path / "t.csv")


def test_an_unknown_dialect_and_a_missing_folder_are_named(tmp_path):
    with pytest.raises(SettingsError, match="'excel'; known are liveloc, thunder"):
        write_csv(tmp_path / "t.csv", empty(), stream_metadata(START), "excel")
    with pytest.raises(RecordingError, match="cannot be written"):
        write_csv(tmp_path / "no" / "t.csv", empty(), stream_metadata(START))


@given(
    position=st.floats(-1e4, 1e4),
    size=st.floats(10, 500),
    centre=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_pixels_to_nm_and_back(position, size, centre):
    there = px_to_nm(np.array(position), size, centre)
    assert nm_to_px(there, size, centre) == pytest.approx(position, abs=1e-8)


@pytest.mark.data
def test_challenge_truth_lies_on_the_brightest_pixels():
    tifffile = pytest.importorskip("tifffile")
    folder = data("smlm2013_tubulins_ld")
    rows, _ = read_table(folder / "truth.csv", pixel_size_nm=150.0)
    frames = tifffile.imread(folder / "frames.tif").astype(float)
    centre, aside = [], []
    for row in rows[::3]:
        x, y = row["x_nm"] / 150.0, row["y_nm"] / 150.0
        if 3 < x < 252 and 3 < y < 252:
            image = frames[row["frame"]]
            box = image[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
            box = np.maximum(box - np.median(image), 0)
            grid = np.arange(-2, 3)
            centre.append((box.sum(0) @ grid) / box.sum() - (x - round(x)))
            aside.append((box.sum(1) @ grid) / box.sum() - (y - round(y)))
    # Half a pixel or a frame wrong would show at once.
    assert abs(np.median(centre)) < 0.1
    assert abs(np.median(aside)) < 0.1


@pytest.mark.data
@pytest.mark.parametrize(
    "name, size, rows, first",
    [
        ("deepstorm_thunderstorm_sim/truth_thunderstorm.csv", 100.0, None, 0),
        ("locan_formats/Thunderstorm_dstorm_data.csv", 133.0, None, 2000),
        (
            "smlm2016_beads/MT0.N1.HD_activations_frames1001-2500.csv",
            100.0,
            19200,
            1000,
        ),
        ("metrics_reference/A_HD_gt.csv", 100.0, None, 1000),
        ("nairr_3das_train/3DAS_LD_Validate_truth.csv", 100.0, None, 0),
    ],
)
def test_tables_of_other_programs_are_read(name, size, rows, first):
    path = data(name)
    table, _ = read_table(path, size)
    assert len(table) == (rows or len(path.read_text().strip().splitlines()) - 1)
    assert table["frame"].min() == first
    assert np.isfinite(table["x_nm"]).all()
    assert (table["photons"] > 0).all()
