"""A whole session holds its density while sample and target change under it."""

import json
import subprocess
import sys
import time

import pytest

from liveloc.bridge.control.settling import true_density
from liveloc.stream.errors import SettingsError
from liveloc.stream.session.target_file import write_target

pytestmark = pytest.mark.timeout(180)  # three processes

SETTINGS = """
camera: {config: simulated, frames: 700, exposure_ms: 20}
simulation:
  shape: [64, 64]
  events: [[350, background, 2], [480, on_time, 3]]
engine: {model: simulated-microscope, threads: 1}
control: {law: ratio, target_per_um2: 0.5}
stream:
  frames_endpoint: tcp://127.0.0.1:0
  localizations_endpoint: tcp://127.0.0.1:0
"""


def test_target_background_and_on_time_change_and_the_density_is_held(
    tmp_path, steady, ended_well
):
    code, folder = steady(run_session, tmp_path)
    assert ended_well(code, folder)
    (told,) = lines_of(folder, "target")
    assert (told["before"], told["target_per_um2"], told["origin"]) == (
        0.5,
        1.0,
        "test",
    )
    report = json.loads((folder / "report.json").read_text())
    assert report["frames"]["unexplained"] == 0
    feedback = report["feedback"]
    assert feedback["target_per_um2"] == 1.0
    assert feedback["target_since_frame"] == told["since_frame"] < 200
    density = true_density(folder / "truth.arrow")
    assert density[300:350].mean() == pytest.approx(1.0, abs=0.2)
    assert density[400:480].mean() == pytest.approx(1.0, abs=0.2)  # background x2
    assert density[485:505].mean() > 1.1  # nothing removes those that are on
    assert density[600:700].mean() == pytest.approx(1.0, abs=0.2)  # on-time x3
    with pytest.raises(SettingsError, match="has ended"):
        write_target(folder, 0.5)


def run_session(folder):
    """Run a session whose target is changed after some decisions."""
    file = folder.with_suffix(".yaml")
    file.write_text(SETTINGS)
    command = (sys.executable, "-m", "liveloc", "run", file, "--headless")
    session = subprocess.Popen(
        [*map(str, command), "--session", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while decided(folder) < 120 and time.monotonic() < until:
            time.sleep(0.05)
        write_target(folder, 1.0, origin="test")
        return session.wait(60)
    finally:
        session.kill()
        session.wait()


def decided(folder):
    """Return the newest frame that a decision rests on."""
    decisions = lines_of(folder, "decision")
    return decisions[-1]["frames"][1] if decisions else -1


def lines_of(folder, kind):
    path = folder / "control.jsonl"
    text = path.read_text() if path.exists() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in map(json.loads, whole) if line["kind"] == kind]
