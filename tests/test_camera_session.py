"""Cameras with files and maps, through whole sessions."""

import json

import numpy as np
import pytest
import yaml

from liveloc.bridge.simulated import SIMULATED_CAMERA, simulated_camera
from liveloc.stream.camera_file import Camera, CameraFile, load_camera, save_camera
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.tables.opening import read_table

pytestmark = pytest.mark.timeout(180)  # several whole processes each

SHAPE = (64, 64)
ROI = (8, 4, 48, 52)  # x, y, width, height


def session_file(folder, kind, calibration, frames, **camera):
    save_camera(
        folder / "orca.yaml",
        Camera(CameraFile.of(calibration, pixel_size_nm=100), calibration),
    )
    path = folder / "settings.yaml"
    settings = {
        "camera": {
            "config": "simulated",
            "frames": frames,
            "calibration_file": "orca.yaml",
            **camera,
        },
        "simulation": {"shape": list(SHAPE), "seed": 1, "camera": kind},
        "stream": {
            "frames_endpoint": "tcp://127.0.0.1:0",
            "localizations_endpoint": "tcp://127.0.0.1:0",
            "record": True,
        },
        "engine": {"model": "simulated-microscope", "threads": 1},
    }
    path.write_text(yaml.safe_dump(settings))
    return path


def test_maps_travel_with_the_frames_into_tables_recordings_and_replays(
    liveloc, ended_well, tmp_path
):
    chip = simulated_camera("scmos_maps", SHAPE, seed=1)
    path = session_file(tmp_path, "scmos_maps", chip, 120, roi=list(ROI))
    run = tmp_path / "run"
    done = liveloc("run", path, "--headless", "--session", run)
    assert ended_well(done.returncode, run), done.stdout + done.stderr
    assert "calibration may be wrong" not in done.stdout
    report = json.loads((run / "report.json").read_text())
    assert report["frames"]["unexplained"] == 0
    assert report["camera"]["maps"] == ["e_per_adu", "offset_adu", "read_noise_e"]
    assert report["camera"]["warnings"] == []
    assert report["camera"]["check"]["frames"] == 100
    with SegmentReader(run) as reader:
        recorded = reader.start.calibration
    assert recorded == chip.cropped(*ROI)
    assert load_camera(run / "camera.yaml").calibration == chip

    again = liveloc("replay", run, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stdout + again.stderr
    first, second = (
        read_table(f / "localizations.arrow") for f in (run, tmp_path / "again")
    )
    assert len(first[0]) > 20
    assert np.array_equal(first[0], second[0])
    assert first[1]["calibration"] == second[1]["calibration"]


def test_a_wrong_camera_file_gives_one_line_on_the_terminal_and_in_the_report(
    liveloc, ended_well, tmp_path
):
    wrong = CameraFile.of(SIMULATED_CAMERA).model_copy(update={"e_per_adu": 0.1})
    path = session_file(tmp_path, "scmos", wrong.numbers, 120)
    run = tmp_path / "run"
    done = liveloc("run", path, "--headless", "--session", run)
    assert ended_well(done.returncode, run), done.stdout + done.stderr
    lines = [v for v in done.stdout.splitlines() if "calibration may be wrong" in v]
    assert len(lines) == 1
    assert "less noise than the calibration permits" in lines[0]
    report = json.loads((run / "report.json").read_text())
    assert len(report["camera"]["warnings"]) == 1
    assert report["camera"]["warnings"][0] in lines[0]
    page = (run / "report.html").read_text()
    assert "calibration may be wrong" in page and "<h2>Camera</h2>" in page

    right = tmp_path / "right.yaml"
    save_camera(right, Camera(CameraFile.of(SIMULATED_CAMERA), SIMULATED_CAMERA))
    fixed = liveloc("replay", run, "--out", tmp_path / "fixed", "--camera", right)
    assert fixed.returncode == 0, fixed.stdout + fixed.stderr
    assert "calibration may be wrong" not in fixed.stdout + fixed.stderr
    report = json.loads((tmp_path / "fixed" / "report.json").read_text())
    assert report["camera"]["e_per_adu"] == 0.5
    assert load_camera(tmp_path / "fixed" / "camera.yaml").file.e_per_adu == 0.5

    both = liveloc(
        "fit", run, "--out", tmp_path / "fit", "--camera", right, "--gain", 1
    )
    assert both.returncode == 2


def test_a_camera_file_with_a_typing_error_stops_before_the_camera_starts(
    liveloc, tmp_path
):
    path = session_file(tmp_path, "scmos", SIMULATED_CAMERA, 10)
    camera = tmp_path / "orca.yaml"
    camera.write_text(camera.read_text().replace("e_per_adu", "e_per_adc"))
    done = liveloc("run", path, "--headless", "--session", tmp_path / "run")
    assert done.returncode == 2
    assert "unknown setting 'e_per_adc'. Did you mean 'e_per_adu'?" in done.stderr
