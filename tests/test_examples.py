"""The scripts in docs/examples do what they say, as a user runs them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liveloc.stream import LOCALIZATION, TableWriter

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
LIVELOC = [sys.executable, "-m", "liveloc"]


def run(*command, folder):
    """Run a command as a user does; return what it prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def engine(folder):
    """An engine in a process of its own, that takes stream after stream."""
    command = ["engine", "--out", "served", "--model", "simulated-microscope"]
    anywhere = ["--bind", "tcp://127.0.0.1:*", "--publish", "tcp://127.0.0.1:*"]
    process = subprocess.Popen(
        [*LIVELOC, *command, *anywhere],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    with process:
        line = process.stdout.readline()  # frames in at ADDRESS, localizations out ...
        yield line.split()[3].rstrip(",")
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def tables(folder):
    return sorted((folder / "served").glob("*/localizations.arrow"))


def last_report(folder):
    newest = max(tables(folder), key=lambda path: path.stat().st_mtime)
    return json.loads((newest.parent / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["bridge", "attach"])
def test_frames_of_a_script_are_localized(name, engine, folder):
    before = len(tables(folder))
    printed = run(sys.executable, EXAMPLES / f"{name}.py", engine, folder=folder)
    assert printed.startswith("ok: "), printed
    assert len(tables(folder)) == before + 1
    report = last_report(folder)
    assert report["frames"]["camera"] == 100
    assert report["frames"]["unexplained"] == 0
    assert report["localizations"] > 100


def test_a_law_of_ones_own_steers_the_laser(engine, folder):
    settings = EXAMPLES / "own_law.yaml"
    run(
        *LIVELOC,
        *("bridge", settings, "--frames", "300"),
        *("--connect", engine, "--session", "steered"),
        folder=folder,
    )
    lines = (folder / "steered" / "control.jsonl").read_text(encoding="utf-8")
    decisions = [
        line
        for line in map(json.loads, lines.splitlines())
        if line["kind"] == "decision" and line["wanted"] is not None
    ]
    assert decisions, lines
    near = 0
    for line in decisions:  # an answer may be one to the reading before
        power = max(line["power"], 0.02 * 50)
        asked = power * (line["target_per_um2"] / max(line["per_um2"], 0.01)) ** 0.3
        near += abs(line["wanted"] / asked - 1) < 0.5
    assert near >= len(decisions) / 2


def test_a_table_becomes_a_data_frame(tmp_path):
    pytest.importorskip("pandas", reason="pandas does not come with liveloc")
    described = {
        "pixel_size_nm": "100.0",
        "roi_origin": "[0, 0]",
        "shape": "[70, 70]",
        "stream_id": "00" * 16,
    }
    rows = np.zeros(10, LOCALIZATION)
    rows["frame"], rows["x_sigma_nm"] = np.arange(10) // 2, np.arange(10) * 5
    with TableWriter(tmp_path / "localizations.arrow", described) as table:
        table.append(rows)
    printed = run(
        sys.executable,
        EXAMPLES / "to_pandas.py",
        "localizations.arrow",
        folder=tmp_path,
    )
    assert "10 localizations" in printed
    assert "4 of them" in printed
