"""The camera file: what is written is read again, and mistakes are named."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import (
    Camera,
    CameraFile,
    LevelRecord,
    Measurement,
    load_camera,
    save_camera,
)
from liveloc.stream.errors import SettingsError
from liveloc.stream.movies.replay import ReplaySource
from liveloc.stream.session.settings import SessionSettings

BY_HAND = """\
name: Andor iXon 897, 10 MHz, gain 300
offset_adu: 203.5
e_per_adu: 4.8
em_gain: 300
qe: 0.9
read_noise_e: 62
saturation_adu: 16383
pixel_size_nm: 107
"""


def chip(shape=(12, 16), origin=(100, 50)):
    rng = np.random.default_rng(1)
    return CameraCalibration(
        offset_adu=rng.normal(100, 3, shape),
        e_per_adu=rng.normal(0.46, 0.01, shape),
        read_noise_e=rng.lognormal(0.4, 0.4, shape),
        qe=0.82,
        origin=origin,
    )


def write(folder, text):
    path = folder / "camera.yaml"
    path.write_text(text)
    return path


def test_a_file_by_hand_needs_four_numbers_at_most(tmp_path):
    camera = load_camera(write(tmp_path, BY_HAND))
    assert camera.pixel_size_nm == 107
    assert camera.calibration == CameraCalibration(
        offset_adu=203.5,
        e_per_adu=4.8,
        em_gain=300,
        qe=0.9,
        read_noise_e=62,
        saturation_adu=16383,
    )
    short = write(tmp_path, "offset_adu: 100\ne_per_adu: 0.46\nread_noise_e: 1.4\n")
    assert load_camera(short).calibration == CameraCalibration(
        e_per_adu=0.46, read_noise_e=1.4
    )


@pytest.mark.parametrize("calibration", [chip(), chip().typical])
def test_a_camera_survives_its_file(tmp_path, calibration):
    path = tmp_path / "cameras" / "orca.yaml"
    level = LevelRecord(file="l1.tif", frames=9, signal_adu=50, variance_adu2=110)
    measurement = Measurement(method="photon transfer", levels=(level,))
    file = CameraFile.of(calibration, name="ORCA µ", measurement=measurement)
    save_camera(path, Camera(file, calibration))
    again = load_camera(path)
    assert again.file.name == "ORCA µ"
    assert again.file.measurement == measurement
    if calibration.has_maps:
        assert again.calibration == calibration
        assert again.file.offset_adu == pytest.approx(100, abs=1)
    else:
        assert again.calibration.photons_per_adu == pytest.approx(
            calibration.photons_per_adu, rel=1e-5
        )
    save_camera(tmp_path / "copy.yaml", again)
    assert load_camera(tmp_path / "copy.yaml").calibration == again.calibration
    left = {p.name for p in path.parent.iterdir()}
    assert left == ({"orca.yaml", "orca.npz"} if again.file.maps else {"orca.yaml"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ofset_adu: 100", "unknown setting 'ofset_adu'. Did you mean 'offset_adu'"),
        ("e_per_adu: 0", "e_per_adu is 0: input should be greater than 0"),
        ("em_gain: 0.5", "em_gain is 0.5: input should be greater than or equal to 1"),
        ("qe: 82", "qe is 82: input should be less than or equal to 1"),
        ("read_noise_e: .nan", "read_noise_e is nan: input should be"),
        ("offset_adu: .inf", "offset_adu is inf: input should be"),
        ("roi_origin: [-1, 0]", "roi_origin.0 is -1"),
        ("maps: 7", "maps is 7"),
        ("measurement: {frames: 7}", "unknown setting 'measurement.frames'"),
    ],
)
def test_a_mistake_in_the_file_names_its_key(tmp_path, line, words):
    key = line.split(":")[0]
    kept = [old for old in BY_HAND.splitlines() if not old.startswith(key + ":")]
    path = write(tmp_path, "\n".join([*kept, line]))
    with pytest.raises(SettingsError) as caught:
        load_camera(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_missing_numbers_files_and_maps_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"setting '\w+' is missing"):
        load_camera(write(tmp_path, "name: camera"))
    with pytest.raises(SettingsError, match=r"gone\.yaml: no such file"):
        load_camera(tmp_path / "gone.yaml")
    with pytest.raises(SettingsError, match=r"gone\.npz: no such file"):
        load_camera(write(tmp_path, BY_HAND + "maps: gone.npz\n"))


# In a session


def session_file(folder, camera):
    path = folder / "session.yaml"
    path.write_text("camera:\n" + "".join(f"  {line}\n" for line in camera))
    return path


def save_chip(folder, **numbers):
    calibration = replace(chip(), **numbers)
    file = CameraFile.of(calibration, pixel_size_nm=107)
    save_camera(folder / "orca.yaml", Camera(file, calibration))
    return calibration


def test_a_session_finds_the_camera_file_beside_it_and_takes_a_copy(tmp_path):
    there, run = tmp_path / "there", tmp_path / "run"
    run.mkdir()
    calibration = save_chip(there)
    path = session_file(there, ["calibration_file: orca.yaml"])
    settings = SessionSettings.load(path)
    assert settings.camera.load_file().calibration == calibration
    settings.save(run)
    for file in there.iterdir():
        file.unlink()
    again = SessionSettings.load(run)
    assert again.camera.load_file().calibration == calibration
    assert "calibration_file: camera.yaml" in (run / "session.yaml").read_text()
    again.save(run)
    assert SessionSettings.load(run).camera.load_file().calibration == calibration


def test_what_the_camera_file_says_is_not_said_twice(tmp_path):
    save_chip(tmp_path)
    path = session_file(tmp_path, ["calibration_file: orca.yaml", "offset_adu: 100"])
    with pytest.raises(SettingsError, match="camera: offset_adu is set beside"):
        SessionSettings.load(path)
    plain = session_file(tmp_path, ["offset_adu: 100", "e_per_adu: 0.5"])
    changed = SessionSettings.load(plain).with_camera_file(tmp_path / "orca.yaml")
    assert changed.camera.offset_adu is None
    assert changed.camera.load_file().pixel_size_nm == 107


def test_a_camera_file_that_is_not_there_stops_the_session(tmp_path):
    settings = SessionSettings.load(
        session_file(tmp_path, ["calibration_file: orca.yaml"])
    )
    with pytest.raises(SettingsError, match=r"orca\.yaml: no such file"):
        settings.save(tmp_path)


# In a replay


def movie(folder, shape):
    path = folder / "movie.tif"
    frames = np.random.default_rng(3).integers(90, 200, (4, *shape)).astype(np.uint16)
    tifffile.imwrite(path, frames, photometric="minisblack")
    return path


def test_maps_of_the_frames_own_shape_are_taken_as_they_are(tmp_path):
    path = movie(tmp_path, (12, 16))
    with ReplaySource(path, pixel_size_nm=100, calibration=chip()) as source:
        assert source.start.calibration == replace(chip(), origin=(0, 0))


def test_maps_of_the_chip_are_cropped_to_a_movie_that_says_its_place(tmp_path):
    path = movie(tmp_path, (5, 6))
    with pytest.raises(SettingsError, match=r"6x5 pixels.*\(12, 16\).*Set roi_origin"):
        ReplaySource(path, pixel_size_nm=100, calibration=chip())
    with ReplaySource(
        path, pixel_size_nm=100, calibration=chip(), roi_origin=(103, 52)
    ) as source:
        assert source.start.roi_origin == (103, 52)
        assert source.start.calibration == chip().cropped(103, 52, 6, 5)
    with pytest.raises(SettingsError, match=r"cover 16x12 pixels.*from \(0, 0\)"):
        ReplaySource(path, pixel_size_nm=100, calibration=chip(), roi_origin=(0, 0))
