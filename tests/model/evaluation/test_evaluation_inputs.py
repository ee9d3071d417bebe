"""What `evaluate` reads, and what it says of it."""

import h5py
import numpy as np
import pytest

from liveloc.model.evaluation.inputs import read_inputs
from liveloc.stream.errors import SettingsError

PLACES = [(k // 4, 1e3 + 600 * (k % 4), 9e2 + 6e2 * (k // 4 % 7)) for k in range(200)]


def ours(path, places=PLACES):
    rows = "".join(f"{frame},{x},{y}\n" for frame, x, y in places)
    path.write_text("frame,x_nm,y_nm\n" + rows)
    return path


def thunderstorm(path, shift_nm, first=1, names='"frame","x [nm]","y [nm]"'):
    rows = "".join(
        f"{frame + first},{x + shift_nm},{y + shift_nm}\n" for frame, x, y in PLACES
    )
    path.write_text(f"{names}\n{rows}")
    return path


def test_an_assumed_pixel_size_is_said(tmp_path):
    table, truth = thunderstorm(tmp_path / "t.csv", 80), ours(tmp_path / "truth.csv")
    inputs = read_inputs(table, truth)
    assert inputs.remarks == [
        "t.csv and truth.csv do not state the pixel size: 100 nm assumed; use "
        "--pixel-size for true positions"
    ]
    inputs = read_inputs(table, truth, 160.0)
    assert inputs.remarks == []
    assert np.array_equal(inputs.table["x_nm"], inputs.truth["x_nm"])


def test_a_pixel_size_that_one_table_says_holds_for_the_other(tmp_path):
    table, truth = thunderstorm(tmp_path / "t.csv", 80), ours(tmp_path / "truth.csv")
    (tmp_path / "truth.csv-metadata.json").write_text('{"pixel_size_nm": "160"}')
    inputs = read_inputs(table, truth)
    assert inputs.remarks == []
    assert np.array_equal(inputs.table["x_nm"], inputs.truth["x_nm"])
    (tmp_path / "t.csv-metadata.json").write_text('{"pixel_size_nm": "100"}')
    assert read_inputs(table, truth).remarks == [
        "t.csv states pixels of 100 nm, truth.csv of 160 nm: each was read with its own"
    ]


def test_no_size_is_assumed_for_positions_in_pixels(tmp_path):
    truth = ours(tmp_path / "truth.csv")
    names = '"frame","x [px]","y [px]"'
    table = thunderstorm(tmp_path / "t.csv", 0.0, names=names)
    with pytest.raises(SettingsError, match="pixel size"):
        read_inputs(table, truth)


def test_picassos_table_is_read(tmp_path):
    kinds = [("frame", "u4"), *((n, "f4") for n in ("x", "y", "lpx", "lpy"))]
    rows = np.array([(f, x / 160, y / 160, 0.1, np.nan) for f, x, y in PLACES], kinds)
    rows["x"][7] = np.nan
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file["locs"] = rows
    truth = ours(tmp_path / "truth.csv")
    with pytest.raises(SettingsError, match="does not say"):
        read_inputs(tmp_path / "t.hdf5", truth)
    (tmp_path / "t.yaml").write_text("Pixelsize: 160\n")
    inputs = read_inputs(tmp_path / "t.hdf5", truth)
    assert inputs.remarks == ["t.hdf5: 1 row without a position left out"]
    kept = np.arange(200) != 7
    assert np.allclose(inputs.table["x_nm"], inputs.truth["x_nm"][kept], atol=0.01)


def test_frames_that_count_from_another_number_are_doubted(tmp_path):
    truth = ours(tmp_path / "truth.csv")
    late = ours(tmp_path / "late.csv", [(frame + 1, x, y) for frame, x, y in PLACES])
    size = 100.0
    assert read_inputs(truth, truth, size).remarks == []
    (remark,) = read_inputs(late, truth, size).remarks
    assert remark.startswith("late.csv: with frame numbers one lower 200 of 200")
    (remark,) = read_inputs(truth, late, size).remarks
    assert remark.startswith("truth.csv: with frame numbers one higher 200 of 200")
