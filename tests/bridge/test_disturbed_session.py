"""A whole session holds its density while the simulated sample changes under it."""

import json
import subprocess
import sys
import time

import pytest

from liveloc.bridge.control.settling import true_density
from liveloc.stream.errors import SettingsError
from liveloc.stream.session.target_file import write_target

pytestmark = pytest.mark.timeout(120)  # three processes

SETTINGS = """
camera: {config: simulated, frames: 650, exposure_ms: 20}
simulation:
  shape: [64, 64]
  events: [[200, background, 2], [350, on_time, 3]]
engine: {model: simulated-microscope, threads: 1}
control: {law: ratio, target_per_um2: 1.0}
stream:
  frames_endpoint: tcp://127.0.0.1:0
  localizations_endpoint: tcp://127.0.0.1:0
"""


def test_a_target_is_changed_while_the_session_runs(tmp_path):
    file, folder = tmp_path / "settings.yaml", tmp_path / "session"
    file.write_text(
        SETTINGS.replace("events: [[200, background, 2], [350, on_time, 3]]", "")
        .replace("650", "500")
        .replace("1.0", "0.5")
    )
    command = (sys.executable, "-m", "liveloc", "run", file, "--headless")
    session = subprocess.Popen(
        [*map(str, command), "--session", str(folder)], stdout=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 60
        while decided(folder) < 120 and time.monotonic() < until:
            time.sleep(0.05)
        write_target(folder, 1.0, origin="test")
        assert session.wait(60) == 0
    finally:
        session.kill()
        session.wait()
    (told,) = lines_of(folder, "target")
    assert (told["before"], told["target_per_um2"], told["origin"]) == (
        0.5,
        1.0,
        "test",
    )
    feedback = json.loads((folder / "report.json").read_text())["feedback"]
    assert feedback["target_per_um2"] == 1.0
    assert feedback["target_since_frame"] == told["since_frame"]
    after = told["since_frame"] + 100
    density = true_density(folder / "truth.arrow")
    if "nobody renewed the power" not in (folder / "control.jsonl").read_text():
        assert density[after:].mean() == pytest.approx(1.0, abs=0.2)
    with pytest.raises(SettingsError, match="has ended"):
        write_target(folder, 0.5)


def decided(folder):
    """Return the newest frame that a decision rests on."""
    decisions = lines_of(folder, "decision")
    return decisions[-1]["frames"][1] if decisions else -1


def lines_of(folder, kind):
    path = folder / "control.jsonl"
    text = path.read_text() if path.exists() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in map(json.loads, whole) if line["kind"] == kind]


def test_background_and_on_time_change_and_the_density_comes_back(tmp_path):
    file, folder = tmp_path / "settings.yaml", tmp_path / "session"
    file.write_text(SETTINGS)
    command = (sys.executable, "-m", "liveloc", "run", file, "--headless")
    done = subprocess.run(
        [*map(str, command), "--session", str(folder)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "nobody renewed the power" in (folder / "control.jsonl").read_text():
        pytest.skip("the machine was too busy: the engine fell a second behind")
    density = true_density(folder / "truth.arrow")
    assert density[100:200].mean() == pytest.approx(1.0, abs=0.2)
    assert density[250:350].mean() == pytest.approx(1.0, abs=0.2)  # background x2
    assert density[355:375].mean() > 1.1  # nothing removes those that are on
    assert density[500:650].mean() == pytest.approx(1.0, abs=0.2)  # on-time x3
    report = json.loads((folder / "report.json").read_text())
    assert report["frames"]["unexplained"] == 0
