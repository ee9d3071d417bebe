"""What a user types and reads: every mistake is one line and exit code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from liveloc.stream.localizations import empty
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.opening import read_table


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "movie.tif"
    rng = np.random.default_rng(1)
    frames = rng.poisson(200, (4, 24, 26)).astype(np.uint16)
    frames[:, 10:13, 12:15] += 400
    tifffile.imwrite(path, frames, photometric="minisblack")
    return path


@pytest.fixture
def float_movie(tmp_path):
    path = tmp_path / "float.tif"
    noise = np.random.default_rng(1).normal(size=(3, 16, 16))
    tifffile.imwrite(path, noise, photometric="minisblack")
    return path


COMMANDS = (
    "demo run bridge target engine view render record replay fit evaluate train doctor"
).split()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(liveloc, command):
    result = liveloc(command, "--help")
    assert result.returncode == 0
    assert "Example: liveloc" in result.stdout


def test_a_mistake_is_one_line_and_exit_code_2(
    liveloc, tmp_path, movie, float_movie, monkeypatch
):
    monkeypatch.setattr("liveloc.stream.console.sending.ENGINE_WAIT_S", 0.5)
    monkeypatch.chdir(tmp_path)
    bad_key = tmp_path / "key.yaml"
    bad_key.write_text("camera: {exposre_ms: 10}\n")
    bad_value = tmp_path / "value.yaml"
    bad_value.write_text("engine: {threads: none}\n")
    no_device = tmp_path / "device.yaml"
    no_device.write_text("camera: {config: demo, device: Nikon, pixel_size_nm: 100}\n")
    bad_roi = tmp_path / "roi.yaml"
    bad_roi.write_text(
        "camera: {config: demo, roi: [0, 0, 4000, 4000], pixel_size_nm: 100}\n"
    )
    out = tmp_path / "out"
    misfit = ("--model", "simulated-microscope", "--pixel-size", 160)
    cases = [
        (("fit", tmp_path / "gone.tif", "--out", out), "gone.tif"),
        (("fit", bad_key, "--out", out), "key.yaml"),
        (("fit", float_movie, "--out", out), "counts"),
        (("fit", movie, "--out", out, "--model", movie), "not a model bundle"),
        (("fit", movie, "--out", out, "--model", "nope"), "gaussian-2d"),
        (("fit", movie, "--out", out, "--offset", "100"), "--gain"),
        (("run", bad_key), "exposure_ms"),
        (("run", bad_value), "engine.threads"),
        (("run", tmp_path / "gone.yaml"), "gone.yaml"),
        (("bridge", no_device), "Nikon"),
        (("bridge", bad_roi), "4000"),
        (("bridge", tmp_path / "gone.yaml"), "gone.yaml"),
        (("record", "--config", "gone.cfg", "--session", out / "r"), "gone.cfg"),
        (("engine", "--bind", "tcp://0.0.0.0:5555", "--session", out), "key"),
        (("engine", "--model", "nope", "--session", out), "nope"),
        (("replay", tmp_path / "gone"), "gone"),
        (("replay", movie, "--out", out, *misfit), "trained for 100 nm"),
        (("replay", movie, "--engine", "tcp://127.0.0.1:9"), "liveloc engine"),
        (("evaluate", tmp_path / "a.csv", movie), "a.csv"),
        (("evaluate", movie, movie), "movie.tif"),
        (("view", tmp_path / "gone.arrow"), "gone.arrow"),
        (("view", tmp_path), "localizations.arrow"),
        (("view", movie, "--connect", "tcp://127.0.0.1:9"), "not both"),
        (("render", tmp_path / "gone.yaml", "--out", out / "a.png"), "gone.yaml"),
        (("render", bad_key, "--out", out / "a.png"), "camera"),
        (("train", tmp_path / "gone.yaml"), "gone.yaml"),
        (("target", tmp_path / "gone", "0.5"), "gone"),
        (("fit", movie, "--out", movie), "movie.tif"),
        (("fit", movie, "--out", movie / "x"), "movie.tif"),
        (("fit", tmp_path, "--out", out), "holds no recording"),
        (("record", "--config", "simulated", "--session", movie), "movie.tif"),
        (("run", "--headless", "--session", movie / "x"), "movie.tif"),
        (("doctor", "--json", tmp_path), "is a directory"),
        (("run", "--plan", "loop", "--headless", "--session", out / "p"), "loop"),
    ]
    if sys.platform != "win32":
        Path("loop").symlink_to("loop")
        os.mkfifo("pipe.tif")
        cases += [
            (("fit", "pipe.tif", "--out", out), "is a pipe"),
            (("evaluate", "pipe.tif", movie), "is a pipe"),
            (("run", "/dev/zero"), "is a pipe or a device"),
            (("calibrate", "optics", "pipe.tif", "--out", out), "is a pipe"),
            (("doctor", "--json", "/dev/full"), "no space left"),
        ]
    for arguments, names in cases:
        result = liveloc(*arguments)
        code, said = result.returncode, result.stderr.strip()
        assert code == 2, (arguments, said)
        assert said.startswith("liveloc: "), (arguments, said)
        assert names in said, (arguments, said)
        assert "Traceback" not in said and "\n" not in said, (arguments, said)


def test_a_mistake_ends_the_process_with_its_line_and_code(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "liveloc", "fit", "gone.tif", "--out", "out"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("liveloc: ")
    assert result.stderr.count("\n") == 1
    assert "gone.tif" in result.stderr


def test_results_are_never_overwritten(liveloc, tmp_path, movie):
    assert liveloc("fit", movie, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out" / "localizations.arrow").read_bytes()
    again = liveloc("fit", movie, "--out", tmp_path / "out")
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert (tmp_path / "out" / "localizations.arrow").read_bytes() == before


def test_fit_writes_table_picture_and_report(liveloc, tmp_path, movie):
    out = tmp_path / "out"
    report = tmp_path / "report.json"
    result = liveloc("fit", movie, "--out", out, "--json", report)
    assert result.returncode == 0, result.stderr
    table, metadata = read_table(out / "localizations.arrow")
    told = json.loads(report.read_text())
    assert told["frames"] == {
        "camera": 4,
        "localized": 4,
        "lost": {},
        "unexplained": 0,
    }
    assert told["localizations"] == len(table)
    assert metadata["model"] == "gaussian-2d"
    assert (out / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    assert "100 nm assumed" in result.stdout


def test_evaluate_prints_and_writes_the_score(liveloc, tmp_path):
    truth = empty(3)
    truth["frame"] = [0, 0, 1]
    truth["x_nm"] = [1000, 2000, 1000]
    truth["y_nm"] = 1000
    metadata = {"pixel_size_nm": "100", "roi_origin": "[0, 0]", "shape": "[32, 32]"}
    for name, rows in (("truth", truth), ("found", truth[:2])):
        with TableWriter(tmp_path / f"{name}.arrow", metadata) as writer:
            writer.append(rows)
    report = tmp_path / "score.json"
    result = liveloc(
        *("evaluate", tmp_path / "found.arrow", tmp_path / "truth.arrow"),
        *("--border", "450", "--json", report),
    )
    assert result.returncode == 0, result.stderr
    score = json.loads(report.read_text())
    assert score["jaccard"] == pytest.approx(100 * 2 / 3)
    assert (score["precision"], score["recall"]) == (1.0, pytest.approx(2 / 3))
    assert {
        "rmse_lateral_nm",
        "rmse_axial_nm",
        "efficiency_lateral",
        "efficiency_axial",
        "efficiency_3d",
    } <= set(score)


def test_evaluate_names_its_rule_and_compares_errors_with_the_limits(liveloc, tmp_path):
    rng = np.random.default_rng(1)
    truth = empty(300)
    truth["frame"] = np.arange(300) // 3
    truth["x_nm"], truth["y_nm"] = rng.uniform(500, 5500, (2, 300))
    truth["z_nm"] = rng.uniform(-300, 300, 300)
    truth["photons"], truth["background"] = rng.uniform(1000, 4000, 300), 10
    found = truth.copy()
    for axis, sigma in (("x", 10), ("y", 10), ("z", 40)):
        found[f"{axis}_nm"] += rng.normal(0, sigma, 300)
        found[f"{axis}_sigma_nm"] = sigma
    metadata = {"pixel_size_nm": "100", "roi_origin": "[0, 0]", "shape": "[64, 64]"}
    for name, rows in (("truth", truth), ("found", found)):
        with TableWriter(tmp_path / f"{name}.arrow", metadata) as writer:
            writer.append(rows)
    (tmp_path / "wobble.csv").write_text("0,0,-500\n0,0,500\n")
    report, figures = tmp_path / "score.json", tmp_path / "figures"
    result = liveloc(
        *("evaluate", tmp_path / "found.arrow", tmp_path / "truth.arrow"),
        *("--border", "450", "--photon-quantile", "0.25"),
        *("--wobble", tmp_path / "wobble.csv", "--model", "simulated-microscope"),
        *("--plots", figures, "--json", report),
    )
    assert result.returncode == 0, result.stderr
    for words in ("450 nm left out", "dimmest 25 %", "wobble added", "Jaccard index"):
        assert words in result.stdout
    axes = json.loads(report.read_text())["axes"]
    assert axes["x"]["sigma_over_rmse"] == pytest.approx(1, abs=0.2)
    assert axes["z"]["rmse_over_limit"] > 1.3
    assert (figures / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.data
def test_evaluate_reproduces_the_official_score(liveloc, tmp_path, data):
    folder = data / "metrics_reference"
    report = tmp_path / "score.json"
    result = liveloc(
        *("evaluate", folder / "A_HD_pred.csv", folder / "A_HD_gt.csv"),
        *("--border", "450", "--json", report),
    )
    assert result.returncode == 0, result.stderr
    score = json.loads(report.read_text())
    expected = json.loads((folder / "expected.json").read_text())[2]
    assert expected["border_nm"] == 450 and expected["dim3D"]
    for ours, theirs in (("jaccard", "jaccard"), ("rmse_lateral_nm", "rmse_lat")):
        value = expected["own_python_greedy"][theirs]
        assert score[ours] == pytest.approx(value, abs=1e-3)


def test_doctor_says_what_works(liveloc, tmp_path):
    report = tmp_path / "doctor.json"
    result = liveloc("doctor", "--json", report, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    findings = json.loads(report.read_text())
    assert findings["inference"]["works"]
    assert {"display", "disk", "Micro-Manager"} <= set(findings)
    for finding in findings.values():
        assert finding["detail"]
