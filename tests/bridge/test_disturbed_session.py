"""A whole session holds its density while the simulated sample changes under it."""

import json
import subprocess
import sys

import pytest

from liveloc.bridge.control.settling import true_density

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
