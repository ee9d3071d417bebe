"""Pauses of the engine in whole sessions: is the stream localized again, and in time?

``python tests/faults/pauses.py`` runs 20 sessions of a 64x64 camera. In each, the
process of the engine is stopped for 1 to 30 s and continued, as on a PC that is busy or
was suspended. A line per session; exit code 1 if one did not do all of this:

- frames are localized again within 2 s;
- the laser is at its safe level from 2 s after the pause began until it ends;
- the alarm names the first frame that was not localized;
- the balance closes, and the exit code is not 0 when there was an alarm.

POSIX only: it stops processes by signals.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AGAIN_S = 2.0
SAFE_AFTER_S = 2.0
RATES = (50, 100, 200)
RINGS = (64, 256)
SETTINGS = """
camera: {{config: simulated, frames: {frames}, exposure_ms: {exposure_ms}}}
simulation: {{shape: [64, 64]}}
engine: {{model: simulated-microscope, threads: 1, ring_frames: {ring}}}
"""


def child_of(parent: int, command: str) -> int:
    """Return the process of `parent`'s child that runs ``liveloc COMMAND``."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            about = stat.read_text().rpartition(")")[2].split()
            words = (stat.parent / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(about[1]) == parent and command.encode() in words:
            return int(stat.parent.name)
    raise LookupError(f"no child {command} of process {parent}")


def lines(path: Path) -> list[dict]:
    """Return the whole lines of a JSON-lines file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def localized(folder: Path) -> int:
    """Return the frames that the ledger calls localized."""
    entries = [
        line for line in lines(folder / "processed.jsonl") if "localized" in line
    ]
    return entries[-1]["localized"] if entries else 0


def wait_for(condition, timeout_s: float) -> float | None:
    """Return the seconds until `condition` holds; None if it does not in time."""
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < timeout_s:
        if condition():
            return waited_s
        time.sleep(0.01)
    return None


def pause_once(fps: int, ring: int, pause_s: float, root: Path) -> list[str]:
    """Run one session with one pause; return what was wrong."""
    folder = root / "session"
    frames = int(fps * (pause_s + 6))
    settings = root / "settings.yaml"
    settings.write_text(
        SETTINGS.format(frames=frames, exposure_ms=1000 / fps, ring=ring)
    )
    command = [sys.executable, "-P", "-m", "liveloc", "run", str(settings)]
    session = subprocess.Popen(
        [*command, "--session", str(folder), "--headless"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if wait_for(lambda: localized(folder) > fps, 60) is None:
            return ["the session did not begin"]
        engine = child_of(session.pid, "engine")
        os.kill(engine, signal.SIGSTOP)
        began_ns = time.monotonic_ns()
        time.sleep(pause_s)
        before = localized(folder)
        os.kill(engine, signal.SIGCONT)
        ended_ns = time.monotonic_ns()
        again_s = wait_for(lambda: localized(folder) > before, 30)
        output, _ = session.communicate(timeout=120)
    finally:
        session.kill()
        session.wait()
    wrong = judge(folder, session.returncode, pause_s, began_ns, ended_ns)
    if again_s is None or again_s > AGAIN_S:
        wrong.append(f"localized again after {again_s} s")
    if "Traceback" in output:
        wrong.append("a traceback")
    report = json.loads((folder / "report.json").read_text())
    again = "never" if again_s is None else f"{again_s:.2f} s"
    print(
        f"{fps:3d} frames/s, ring {ring:3d}, pause {pause_s:4.1f} s: localized again "
        f"after {again}; exit code {session.returncode}; {report['frames']}"
        + "".join(f"; WRONG: {text}" for text in wrong),
        flush=True,
    )
    return wrong


def judge(
    folder: Path, code: int, pause_s: float, began_ns: int, ended_ns: int
) -> list[str]:
    """Return what a session with a pause did wrong."""
    wrong = []
    report = json.loads((folder / "report.json").read_text())
    if report["frames"]["unexplained"]:
        wrong.append(f"{report['frames']['unexplained']} frames unexplained")
    control = lines(folder / "control.jsonl")
    if any(
        off_ns > began_ns + SAFE_AFTER_S * 1e9 and on_ns < ended_ns
        for on_ns, off_ns in lit(control)
        if pause_s > SAFE_AFTER_S
    ):
        wrong.append("the laser was on while nothing was localized")
    alarms = [line["text"] for line in control if line["kind"] == "alarm"]
    standstills = [text for text in alarms if "not localized" in text]
    if pause_s > 1.6 and not standstills:  # the engine may be ahead by a frame or so
        wrong.append("no alarm")
    if standstills and code == 0:
        wrong.append("exit code 0 in spite of an alarm")
    if standstills and not report["alarms"]:
        wrong.append("the report does not list the alarm")
    return wrong


def lit(control: list[dict]) -> list[tuple[int, int]]:
    """Return when the laser went on and off again, monotonic nanoseconds."""
    times, on_ns = [], None
    for line in control:
        if line["kind"] != "laser":
            continue
        if line["power"] > 0 and on_ns is None:
            on_ns = line["t_ns"]
        elif line["power"] == 0 and on_ns is not None:
            times.append((on_ns, line["t_ns"]))
            on_ns = None
    return times if on_ns is None else [*times, (on_ns, sys.maxsize)]


def main() -> int:
    """Run all pauses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="sessions")
    parser.add_argument("--seed", type=int, default=1, help="of the pauses")
    parser.add_argument("--longest", type=float, default=30.0, help="pause, seconds")
    given = parser.parse_args()
    rng, bad = random.Random(given.seed), 0
    cases = [(fps, ring) for ring in RINGS for fps in RATES]
    for number in range(given.count):
        fps, ring = cases[number % len(cases)]
        pause_s = round(given.longest ** rng.random(), 1)  # 1 s to the longest
        with tempfile.TemporaryDirectory() as root:
            bad += bool(pause_once(fps, ring, pause_s, Path(root)))
    print(f"{given.count - bad} of {given.count} as they should be")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
