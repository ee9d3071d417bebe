"""Do harm to a running session and see what the laser and the recording make of it.

python tests/bridge/harm.py 20

Every case so many times: the engine is killed, also together with its viewer, a viewer
is killed, the bridge gets Ctrl-C or is asked to end, the laser raises, reads back
nonsense or hangs, the camera stalls or is pulled out. Printed is the longest
time until the laser was at its safe level, and whether the recording is whole.
"""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liveloc.bridge import bridge as bridge_module
from liveloc.bridge.camera.setup import CameraSettings
from liveloc.bridge.settings import BridgeSettings
from liveloc.bridge.simulated import (
    LASER,
    POWER_PROPERTY,
    SHUTTER,
    SimulatedSettings,
    open_simulated,
)
from liveloc.stream.density import BlockDensity
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.session.settings import (
    ControlSection,
    LaserSection,
    SessionSettings,
    ShutterSection,
)
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver

SAFE_S = 1.0
AFTER_ERROR_S = 0.25
DECISIONS = 15  # before harm is done
SECOND_WAY = ShutterSection(device=SHUTTER, open=1)
SUBSCRIBE = (
    "import sys; from liveloc.stream import LocalizationSubscriber as S\n"
    "s = S(sys.argv[1])\n"
    "while True: s.poll(0.1)"
)


@dataclass
class Outcome:
    """What became of laser and recording.

    Attributes
    ----------
    safe_after_s : float or None
        From the harm until the laser was at its safe level; None if it never was.
    whole : bool
        Every frame that was counted as recorded is there and can be read.
    text : str
        What went wrong, for people.
    """

    safe_after_s: float | None
    whole: bool
    text: str = ""


def recording_is_whole(folder, recorded):
    """Read every frame of a recording."""
    reader = SegmentReader(folder / "stream")
    seqs = [frame.header.seq for frame in reader]
    return len(seqs) == recorded and seqs == sorted(set(seqs))


def lines_of(folder, kind):
    """Give the lines of one kind of a session's control.jsonl, whole ones only."""
    path = folder / "control.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = [
        json.loads(line) for line in text.splitlines(keepends=True) if "\n" in line
    ]
    return [line for line in found if line["kind"] == kind]


def wait_for(condition, seconds, what):
    """Wait until a condition holds; give its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {seconds} s")
        time.sleep(0.005)
    return value


class Processes:
    """An engine, a bridge and a viewer without a window, each a process."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        frames, localizations = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        settings = SessionSettings().changed(
            simulation__shape=(64, 64),
            simulation__density_per_um2=0.5,
            stream__frames_endpoint=frames,
            stream__localizations_endpoint=localizations,
            stream__record=True,
            engine__model="simulated-microscope",
            engine__threads=1,
            camera__frames=0,
            camera__exposure_ms=30.0,  # a busy machine keeps up, too
            control__law="ratio",
            control__target_per_um2=0.5,
        )
        settings.save(folder)
        self.viewer = self._start("-c", SUBSCRIBE, localizations)
        self.engine = self._start("-m", "liveloc", "engine", "--session", str(folder))
        self.bridge = self._start("-m", "liveloc", "bridge", str(folder))

    def _start(self, *arguments):
        log = (self.folder / "processes.log").open("ab")
        windows_only = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        with log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                stdout=log,
                stderr=log,
                creationflags=windows_only,
            )

    def wait_until_it_is_lit(self):
        wait_for(
            lambda: len(lines_of(self.folder, "decision")) > DECISIONS,
            60,
            "feedback",
        )
        with contextlib.suppress(AssertionError):  # too busy for light: dark is safe
            wait_for(
                lambda: lines_of(self.folder, "laser")[-1]["power"] > 0, 10, "light"
            )

    def safe_after_s(self, harm_ns, within_s):
        """Wait for the laser to be set to 0 after the harm."""

        def dark():
            lines = lines_of(self.folder, "laser")
            if lines[-1]["power"] == 0:  # a busy machine: it was dark before
                return lines[-1]
            return next(
                (n for n in lines if n["t_ns"] >= harm_ns and n["power"] == 0), None
            )

        try:
            line = wait_for(dark, within_s, "a safe laser")
        except AssertionError:
            return None
        return max(0.0, (line["t_ns"] - harm_ns) / 1e9)

    def end(self):
        """Ask the bridge to end; tell whether the recording is whole."""
        self.bridge.send_signal(stop_signal())
        return self.ended()

    def ended(self):
        """Wait for the end of the bridge; tell whether the recording is whole."""
        self.bridge.wait(20)
        result = json.loads((self.folder / "bridge.json").read_text())
        return recording_is_whole(self.folder, result["recorded"])

    def close(self):
        for process in (self.bridge, self.engine, self.viewer):
            process.kill()
            process.wait()


def stop_signal():
    """Give what a process can be asked to end with."""
    return getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)


def free_port():
    """Return a free port that the system does not give to others meanwhile."""
    while True:
        port = random.randrange(10_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            return port


def kill(folder, *names):
    """Kill processes of a session."""
    session = Processes(folder)
    try:
        session.wait_until_it_is_lit()
        harm_ns = time.monotonic_ns()
        for name in names:
            getattr(session, name).kill()
        if "engine" in names:
            safe = session.safe_after_s(harm_ns, 5)
            return Outcome(safe, session.end())
        lit = session.safe_after_s(harm_ns, 1.5) is None  # it stays on
        return Outcome(0.0 if lit else None, session.end(), "the viewer took it along")
    finally:
        session.close()


def ask_to_end(folder, number):
    """Send the bridge a signal."""
    session = Processes(folder)
    try:
        session.wait_until_it_is_lit()
        harm_ns = time.monotonic_ns()
        session.bridge.send_signal(number)
        return Outcome(session.safe_after_s(harm_ns, 5), session.ended())
    finally:
        session.close()


class Engine:
    """Takes frames and tells densities that let the laser never rest."""

    def __init__(self):
        self.receiver = FrameReceiver("tcp://127.0.0.1:0")
        self._thread = threading.Thread(target=self._run)
        self._stop = threading.Event()
        self._rng = np.random.default_rng(1)
        self._stream = b""
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            event = self.receiver.next(16, 0.05)
            if isinstance(event, Arrived):
                self._answer(event.headers)
            elif isinstance(event, Closed):
                return
            elif event is not None:
                self._stream = event.start.stream_id

    def _answer(self, headers):
        self.receiver.localized(len(headers))
        self.receiver.send_density(
            BlockDensity(
                stream_id=self._stream,
                first_seq=headers[0].seq,
                last_seq=headers[-1].seq,
                frames=len(headers),
                t_ns=headers[-1].t_ns,
                per_um2=float(self._rng.uniform(0.3, 0.7)),
                sigma_per_um2=0.01,
                area_um2=10.0,
                precision_nm=10.0,
            )
        )
        self.receiver.published(headers[-1].seq)
        self.receiver.settle(headers[-1].seq)

    def close(self):
        self._stop.set()
        self._thread.join(5)
        self.receiver.close()


def break_device(folder, name, value, shutter=None):
    """Break the laser or the camera of a session in this process."""
    engine, opened = Engine(), []

    def open_and_keep(settings):
        opened.append(open_simulated(settings))
        return opened[-1]

    kept, bridge_module.open_simulated = bridge_module.open_simulated, open_and_keep
    stop, results = threading.Event(), []
    settings = BridgeSettings(
        simulated=SimulatedSettings(shape=(32, 32), exposure_ms=5.0),
        laser=LaserSection(
            device=LASER, property=POWER_PROPERTY, power=5.0, shutter=shutter
        ),
        camera=CameraSettings(patience_s=2.0),
        control=ControlSection(law="ratio", target_per_um2=0.5),
        endpoint=engine.receiver.endpoint,
        session=folder,
        record=True,
    )
    thread = threading.Thread(
        target=lambda: results.append(bridge_module.run_bridge(settings, stop=stop))
    )
    thread.start()
    try:
        wait_for(lambda: len(lines_of(folder, "decision")) > DECISIONS, 30, "feedback")
        laser = opened[0].core._pydevices[LASER]
        opened[0].faults.set(name, value)
        safe = dark_after_s(laser)
        stop.set()
        thread.join(20)
        whole = recording_is_whole(folder, results[0]["recorded"])
        return Outcome(safe, whole, results[0]["reason"])
    finally:
        stop.set()
        thread.join(20)
        bridge_module.open_simulated = kept
        engine.close()


def dark_after_s(laser, patience_s=5.0):
    """Wait until no light reaches the sample."""
    began = time.monotonic()
    while laser.power_mw > 0:
        if time.monotonic() - began > patience_s:
            return None
        time.sleep(0.001)
    return time.monotonic() - began


CASES = {
    "engine killed": (lambda f: kill(f, "engine"), SAFE_S),
    "engine and viewer killed": (lambda f: kill(f, "engine", "viewer"), SAFE_S),
    "viewer killed": (lambda f: kill(f, "viewer"), SAFE_S),
    "asked to end": (lambda f: ask_to_end(f, stop_signal()), SAFE_S),
    "laser raises once": (
        lambda f: break_device(f, "laser405", "error_once"),
        AFTER_ERROR_S,
    ),
    "laser reads nan": (lambda f: break_device(f, "laser405", "nan"), AFTER_ERROR_S),
    "laser reads another": (
        lambda f: break_device(f, "laser405", "wrong"),
        AFTER_ERROR_S,
    ),
    "laser hangs, with a shutter": (
        lambda f: break_device(f, "laser405", "hang", shutter=SECOND_WAY),
        SAFE_S,
    ),
    "laser always raises, with a shutter": (
        lambda f: break_device(f, "laser405", "error", shutter=SECOND_WAY),
        AFTER_ERROR_S,
    ),
    "camera stalls": (lambda f: break_device(f, "camera", "stall"), SAFE_S),
    "camera pulled out": (lambda f: break_device(f, "camera", "unplug"), SAFE_S),
}
if sys.platform != "win32":
    CASES["Ctrl-C"] = (lambda f: ask_to_end(f, signal.SIGINT), SAFE_S)


def run(case, folder):
    """Run one case once; say what is wrong with its outcome, if anything is."""
    do, limit_s = CASES[case]
    outcome = do(folder)
    if outcome.safe_after_s is None:
        return outcome, "the laser never reached its safe level"
    if outcome.safe_after_s > limit_s:
        return outcome, f"safe after {outcome.safe_after_s:.2f} s only"
    return outcome, "" if outcome.whole else "the recording is not whole"


def main():
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    chosen = sys.argv[2:] or list(CASES)
    print("| case | good | safe after, longest ms | limit ms |\n|---|---|---|---|")
    failed = 0
    for case in chosen:
        good, longest, wrongs = 0, 0.0, []
        for k in range(times):
            with tempfile.TemporaryDirectory() as folder:
                outcome, wrong = run(case, Path(folder) / str(k))
            good += not wrong
            took = outcome.safe_after_s
            longest = max(longest, float("inf") if took is None else took)
            wrongs += [wrong] if wrong else []
        failed += times - good
        print(
            f"| {case} | {good} of {times} | {1e3 * longest:.0f} | "
            f"{1e3 * CASES[case][1]:.0f} | {'; '.join(sorted(set(wrongs)))}",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
