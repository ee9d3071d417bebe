"""Whatever happens to the processes of a session, it leaves a true report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Several whole processes each: more time than one test usually gets.
pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix"),
]


def start(folder, *, frames, cwd):
    """Start a session; returns the process."""
    settings = cwd / "session.yaml"
    settings.write_text(
        f"camera: {{config: simulated, frames: {frames}, exposure_ms: 10}}\n"
        "simulation: {shape: [64, 64]}\n"
        f"engine: {{model: simulated-microscope, threads: 1}}\n"
        "control: {stop: {free_disk_gib: 0}}\n"
    )
    with (cwd / "terminal.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "liveloc", "run", str(settings)),
                *("--headless", "--session", str(folder)),
            ],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return
        assert process.poll() is None, "it ended before that"
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def ledger_lines(folder):
    path = folder / "processed.jsonl"
    return path.read_bytes().splitlines() if path.exists() else []


def child_of(process, name):
    """Return the process identifier of a child that runs a command."""
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == process.pid and name.encode() in words:
            return int(entry.name)
    raise AssertionError(f"no {name} runs")


def report_of(folder, terminal):
    """Read the report; what every report has to fulfil is checked."""
    report = json.loads((folder / "report.json").read_text())
    frames = report["frames"]
    explained = frames["localized"] + sum(frames["lost"].values())
    assert frames["camera"] - explained == frames["unexplained"] == 0
    assert (folder / "reconstruction.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "report.html").read_text()
    if report["status"] != "ok":
        assert report["reason"] and report["status"] in page
    said = terminal.read_text()
    said += "".join(log.read_text() for log in (folder / "logs").glob("*.log"))
    assert "Traceback" not in said
    return report


def test_sigterm_ends_a_session_in_order_and_no_file_of_the_folder_is_run(tmp_path):
    for name in ("zmq", "numpy", "yaml", "json", "typer"):
        (tmp_path / f"{name}.py").write_text(
            "open('RAN', 'a').write(__name__)\nraise ImportError\n"
        )
    folder = tmp_path / "session"
    process = start(folder, frames=50_000, cwd=tmp_path)
    wait_for(lambda: len(ledger_lines(folder)) > 3, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 128 + signal.SIGTERM
    assert not (tmp_path / "RAN").exists()
    report = report_of(folder, tmp_path / "terminal.log")
    assert report["status"] == "aborted"
    assert "SIGTERM" in report["reason"]
    assert report["frames"]["localized"] == report["frames"]["camera"] > 10
    assert report["laser"]["safe"] is True


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_bridge_is_named_with_the_power_of_the_laser(tmp_path):
    folder = tmp_path / "session"
    process = start(folder, frames=50_000, cwd=tmp_path)
    wait_for(lambda: len(ledger_lines(folder)) > 3, process)
    os.kill(child_of(process, "bridge"), signal.SIGKILL)
    assert process.wait(40) == 1
    report = report_of(folder, tmp_path / "terminal.log")
    assert report["status"] == "failed"
    for words in ("SIGKILL", "LASER MAY STILL BE ON", "5 mW"):
        assert words in report["reason"]
        assert words in (tmp_path / "terminal.log").read_text()
    assert report["laser"]["safe"] is None and report["laser"]["end"] == 5.0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_engine_killed_after_the_end_is_not_waited_for(tmp_path, ended_well):
    folder = tmp_path / "session"
    process = start(folder, frames=60, cwd=tmp_path)
    wait_for(lambda: ledger_lines(folder), process)
    engine = child_of(process, "engine")
    wait_for(lambda: b'"end"' in ledger_lines(folder)[-1], process)
    os.kill(engine, signal.SIGKILL)
    killed = time.monotonic()
    code = process.wait(40)
    assert time.monotonic() - killed < 20  # 30 s and more before
    report = report_of(folder, tmp_path / "terminal.log")
    assert report["status"] == "ok" and ended_well(code, folder)
    assert report["frames"]["localized"] == 60


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a disk of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode
    except OSError:
        mounted = 1
    if mounted != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_alarm_at_once_and_leaves_a_report(small_disk, tmp_path):
    folder = small_disk / "session"
    process = start(folder, frames=300, cwd=tmp_path)
    wait_for(lambda: len(ledger_lines(folder)) > 2, process)
    with (small_disk / "rest").open("wb", buffering=0) as rest:
        try:
            while rest.write(bytes(4096)):
                pass
        except OSError:
            pass
    log = tmp_path / "terminal.log"
    wait_for(lambda: b"is full" in log.read_bytes(), process)
    assert process.wait(60) == 4
    report = report_of(folder, tmp_path / "terminal.log")
    assert any("is full" in alarm["text"] for alarm in report["alarms"])
    assert report["frames"]["camera"] == 300
