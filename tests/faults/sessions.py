"""Faults in a live session: processes, signals, disks, floods."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import yaml
import zmq
from checks import (
    Running,
    agrees,
    laser_safe,
    logs,
    no_traceback,
    read_report,
    recorded_as_reported,
    true_report,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

FRAMES = 300
BEGIN_S = 40.0  # until the processes are there
END_S = 60.0  # until a session has ended after its fault
MIB = 1 << 20
REFUSED = 2  # exit code: one line said why nothing was begun


def _kill(rng: random.Random) -> dict[str, Any]:
    target = rng.choice(["engine", "engine", "bridge", "bridge", "run"])
    return {"target": target, "after_s": round(rng.uniform(0.0, 5.0), 2)}


def _pause(rng: random.Random) -> dict[str, Any]:
    return {
        "target": rng.choice(["engine", "engine", "bridge", "run"]),
        "after_s": round(rng.uniform(0.0, 3.5), 2),
        "for_s": round(rng.choice([0.2, 1.0, 3.0, 6.0]) * rng.uniform(0.5, 1.5), 2),
    }


def _signal(rng: random.Random) -> dict[str, Any]:
    name = rng.choice(["SIGTERM", "SIGHUP", "SIGINT"])
    return {"name": name, "after_s": round(rng.uniform(0.0, 5.0), 2)}


def _disk(rng: random.Random) -> dict[str, Any]:
    return {"kib": rng.randint(3000, 7500), "record": rng.random() < 0.7}


def _flood(rng: random.Random) -> dict[str, Any]:
    return {
        "how": rng.choice(["junk", "multipart", "subscribe", "idle", "start"]),
        "port": rng.choice(["frames", "localizations"]),
        "after_s": round(rng.uniform(0.0, 2.0), 2),
        "for_s": round(rng.uniform(0.5, 2.5), 2),
    }


DRAW: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "kill": _kill,
    "pause": _pause,
    "signal": _signal,
    "disk": _disk,
    "flood": _flood,
}


def run(kind: str, parameters: dict[str, Any], folder: Path) -> list[str]:
    """Run a session, disturb it, and return what was not as it must be."""
    with contextlib.ExitStack() as stack:
        place = folder
        if kind == "disk":
            place = folder / "disk"
            place.mkdir()
            stack.enter_context(small_disk(place, parameters["kib"]))
        session = place / "session"
        running = start(folder, session, record=parameters.get("record", True))
        try:
            stopped = disturb(kind, parameters, running, session)
            ended = running.wait(END_S)
        finally:
            orphans = running.orphans()
        complaints = ["did not end"] if ended.code is None else []
        complaints += [f"orphan: {line}" for line in orphans.values()]
        complaints += no_traceback({"terminal": ended.output, **logs(session)})
        killed = kind == "kill" and parameters["target"] == "run"
        complaints += judge(session, ended.code, stopped=stopped, killed=killed)
        if complaints:
            keep(session, folder / "kept")
    return complaints


def judge(session: Path, code: int | None, *, stopped: bool, killed: bool) -> list[str]:
    """Check the report of a session; one whose `run` was killed has no page."""
    begun = (session / "localizations.arrow").exists()
    if not begun and (killed or code == REFUSED):
        return []  # nobody was left who could have written one, or nothing was begun
    report, complaints = read_report(session)
    if not report:
        return complaints
    complaints += true_report(report, session)
    complaints += recorded_as_reported(report, session) if not killed else []
    complaints += laser_safe(report, session)
    if not killed:
        complaints += agrees(report, code, stopped=stopped)
        if not (session / "report.html").exists():
            complaints.append("no report.html")
    return complaints


def start(folder: Path, session: Path, *, record: bool) -> Running:
    """Start a session of a few seconds with ports of its own."""
    settings = {
        "camera": {"frames": FRAMES},
        "simulation": {"shape": [64, 64]},
        "engine": {"model": "simulated-microscope"},
        "stream": {
            "record": record,
            "frames_endpoint": "tcp://127.0.0.1:0",
            "localizations_endpoint": "tcp://127.0.0.1:0",
        },
    }
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return Running(
        *("run", str(file), "--headless", "--session", str(session)),
        log=folder / "terminal.log",
        mark=folder.name,
    )


def disturb(
    kind: str, parameters: dict[str, Any], running: Running, session: Path
) -> bool:
    """Bring the fault about; return whether it asked the session to end."""
    if kind == "disk" or not until(
        lambda: running.child("bridge") is not None, running
    ):
        return False
    time.sleep(parameters["after_s"])
    if kind == "flood":
        flood(parameters, session)
        return False
    if kind == "signal":
        send(running.process.pid, getattr(signal, parameters["name"]))
        return True
    target = parameters["target"]
    pid = running.process.pid if target == "run" else running.child(target)
    if pid is None:
        return False
    if kind == "kill":
        send(pid, signal.SIGKILL)
        return False
    send(pid, signal.SIGSTOP)
    time.sleep(parameters["for_s"])
    send(pid, signal.SIGCONT)
    return False


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def until(there: Callable[[], bool], running: Running) -> bool:
    """Wait for something; False when the session ends before."""
    end = time.monotonic() + BEGIN_S
    while time.monotonic() < end and running.process.poll() is None:
        if there():
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def small_disk(place: Path, kib: int) -> Iterator[None]:
    """Put a small disk under a folder, where this user may mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def keep(session: Path, place: Path) -> None:
    """Copy the small files of a session whose disk goes away."""
    for path in session.rglob("*"):
        if path.is_file() and path.stat().st_size < 4 * MIB:
            target = place / path.relative_to(session)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def flood(parameters: dict[str, Any], session: Path) -> None:
    """Send what no bridge and no viewer sends, for a while."""
    stream = yaml.safe_load((session / "session.yaml").read_text("utf-8"))["stream"]
    endpoint = stream[f"{parameters['port']}_endpoint"]
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    end = time.monotonic() + parameters["for_s"]
    how = {"junk": _junk, "idle": _idle}.get(parameters["how"])
    if how is not None:
        how((host, int(port)), end)
        return
    attack = {"multipart": _multipart, "subscribe": _subscribe, "start": _start}
    thread = threading.Thread(
        target=attack[parameters["how"]], args=(endpoint, end), daemon=True
    )
    thread.start()
    thread.join(parameters["for_s"] + 5)


def _junk(address: tuple[str, int], end: float) -> None:
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(address, 1) as one:
            one.settimeout(0.2)
            one.sendall(os.urandom(4096))


def _idle(address: tuple[str, int], end: float) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection(address, 1))
        time.sleep(max(0.0, end - time.monotonic()))


@contextlib.contextmanager
def _socket(kind: int, endpoint: str) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    one = context.socket(kind)
    one.setsockopt(zmq.LINGER, 0)
    one.setsockopt(zmq.SNDTIMEO, 100)
    one.connect(endpoint)
    try:
        yield one
    finally:
        one.close()
        context.term()


def _multipart(endpoint: str, end: float) -> None:
    with _socket(zmq.DEALER, endpoint) as one:
        while time.monotonic() < end:
            with contextlib.suppress(zmq.Again):
                one.send(b"x" * 1000, zmq.SNDMORE)


def _subscribe(endpoint: str, end: float) -> None:
    number = 0
    with _socket(zmq.SUB, endpoint) as one:
        while time.monotonic() < end:
            for _ in range(1000):
                one.subscribe(b"%d" % number)
                number += 1


def _start(endpoint: str, end: float) -> None:
    """Messages that are nearly right: random bytes of the length of a START."""
    with _socket(zmq.DEALER, endpoint) as one:
        while time.monotonic() < end:
            with contextlib.suppress(zmq.Again):
                one.send(b"\x82\xa4type\xa5start" + os.urandom(300))
            time.sleep(0.002)
