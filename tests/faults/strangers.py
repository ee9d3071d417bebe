"""Programs that a session's engine never asked for: sessions beside it, floods, junk.

    python tests/faults/strangers.py --seconds 5 --pairs 20 --fps 100

runs each flood against a session under way, then pairs of sessions that are started
together, and prints what became of them.
"""

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml
import zmq

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.frames import StreamEnd, StreamStart
from liveloc.stream.transport import wire

MARK = wire.Mark(next_seq=0, sent=0, dropped_total=0, missing_total=0)
CHUNK = 50_000  # repetitions of a short message in one call of the system


class Session:
    """A ``liveloc run`` of the simulated microscope, in a process of its own."""

    def __init__(self, folder, *, frames=3000, stream=None, exposure_ms=50):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder / "session", folder / "log.txt"
        settings = {
            "camera": {
                "config": "simulated", "frames": frames, "exposure_ms": exposure_ms
            },
            "simulation": {"shape": [64, 64]},
            "engine": {"model": "simulated-microscope", "threads": 1},
            "stream": stream or {},
        }  # fmt: skip
        file = folder / "session.yaml"
        file.write_text(yaml.safe_dump(settings))
        run = [sys.executable, "-m", "liveloc", "run", file, "--headless"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*map(str, run), "--session", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ports(self):
        """Return the ports for frames and for localizations."""
        stream = yaml.safe_load((self.folder / "session.yaml").read_text())["stream"]
        names = ("frames_endpoint", "localizations_endpoint")
        return [int(stream[name].rpartition(":")[2]) for name in names]

    def localized(self):
        """Return how many frames are in the table by now."""
        ledger = self.folder / "processed.jsonl"
        if not ledger.exists():
            return 0
        lines = [json.loads(line) for line in ledger.read_text().splitlines()]
        return max((line.get("localized", 0) for line in lines), default=0)

    def engine(self):
        """Return the engine's process identifier."""
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except (OSError, ValueError):
                continue
            if b"engine" in words and str(self.folder).encode() in words:
                return int(entry.name)
        raise LookupError("no engine runs")

    def report(self):
        """Return what the session says of itself; None if it says nothing."""
        try:
            return json.loads((self.folder / "report.json").read_text())
        except FileNotFoundError:
            return None

    def stop(self):
        """End it as Ctrl-C does."""
        self.process.terminate()
        self.process.wait(30)


def wait_for(condition, timeout_s=60.0):
    """Return what `condition` gives once that is true."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise TimeoutError("it did not happen in time")


def memory_mb(pid):
    """Return the resident memory of a process, in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


# Floods: each sends over a new connection until it is cut off.


def greet(peer, mechanism=b"NULL"):
    """Greet as ZMTP 3.0 does."""
    rest = mechanism.ljust(20, b"\0") + bytes(32)
    peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + rest)
    peer.recv(64)


def ready(peer, kind):
    """Say which kind of socket this is, as if the other side had let us in."""
    body = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    peer.sendall(b"\x04" + bytes([len(body)]) + body)


def subscriptions(peer):
    """Subscribe and unsubscribe."""
    greet(peer)
    ready(peer, b"SUB")
    while True:
        peer.sendall(b"\0\x02\x01a\0\x02\0a" * CHUNK)


def topics(peer):
    """Subscribe to ever new topics."""
    greet(peer)
    ready(peer, b"SUB")
    number = 0
    while True:
        names = (b"\0\x09\x01" + struct.pack(">Q", number + i) for i in range(CHUNK))
        peer.sendall(b"".join(names))
        number += CHUNK


def endless(peer):
    """Begin a message that never ends."""
    greet(peer)
    ready(peer, b"DEALER")
    while True:
        peer.sendall(b"\x01\x01a" * CHUNK)


def junk(peer):
    """Send whole messages that mean nothing."""
    greet(peer)
    ready(peer, b"DEALER")
    while True:
        peer.sendall(b"\0\x0bhello there" * CHUNK)


def noise(peer):
    """Send random bytes."""
    peer.sendall(os.urandom(1 << 20))


def old_protocol(peer):
    """Send messages as the first version of the protocol did."""
    peer.sendall(b"\x01\x00")
    while True:
        peer.sendall(b"\x06\x00hello" * CHUNK)


def guesses(peer):
    """Try passwords."""
    greet(peer, b"PLAIN")
    body = b"\x05HELLO\x07liveloc\x20" + os.urandom(16).hex().encode()
    peer.sendall(b"\x04" + bytes([len(body)]) + body)
    peer.recv(64)
    endless_after = b"\x01\x01a" * CHUNK
    while True:
        peer.sendall(endless_after)


def long_hello(peer):
    """Begin a handshake that claims 60 MB."""
    greet(peer, b"PLAIN")
    peer.sendall(b"\x06" + struct.pack(">Q", 60 << 20) + b"\x05HELLO")
    while True:
        peer.sendall(bytes(1 << 20))


FLOODS = (
    subscriptions, topics, endless, junk, noise, old_protocol, guesses, long_hello
)  # fmt: skip


class Flood:
    """Threads that flood ports until the end of a ``with`` block, again and again."""

    def __init__(self, floods, ports):
        self._over = threading.Event()
        self.cut_off = 0
        self._threads = [
            threading.Thread(target=self._run, args=(flood, port), daemon=True)
            for flood in floods
            for port in ports
        ]

    def _run(self, flood, port):
        while not self._over.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=2) as peer:
                    flood(peer)
            except OSError:
                self.cut_off += 1
            self._over.wait(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(5)


def foreign_stream(endpoint):
    """Send START and END of a stream without frames, without a key."""
    context = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.linger = 0
    peer.connect(endpoint)
    start = StreamStart(
        stream_id=os.urandom(16),
        shape=(4096, 8192),
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=1.0,
        policy="block",
    )
    end = StreamEnd(
        stream_id=start.stream_id, last_seq=-1, sent=0, dropped=0, missing=0
    )
    peer.send(wire.encode(wire.Start(start, os.urandom(16), MARK)))
    peer.send(wire.encode(wire.End(end)))
    answered = bool(peer.poll(1000))
    peer.close()
    context.term()
    return answered


def outcome(session, timeout_s=120):
    """Wait for a session; return its exit code, whose stream it has, and its frames."""
    code = session.process.wait(timeout_s)
    report = session.report() or {}
    bridge = session.folder / "bridge.json"
    own = json.loads(bridge.read_text())["stream_id"] if bridge.exists() else None
    seen = report.get("stream_id")
    whose = "none" if seen is None else "own" if seen == own else "FOREIGN"
    return code, whose, report.get("frames")


def pair(folder, gap_s, stream=None, frames=300):
    """Start two sessions `gap_s` apart; return what became of each."""
    one = Session(folder / "a", frames=frames, stream=stream)
    time.sleep(gap_s)
    other = Session(folder / "b", frames=frames, stream=stream)
    return outcome(one), outcome(other)


def main():
    """Run everything and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each flood")
    parser.add_argument("--pairs", type=int, default=20, help="at each kind of ports")
    parser.add_argument("--fps", type=float, default=20.0, help="of the flooded camera")
    given = parser.parse_args()
    flood_sessions(given.seconds, 1000 / given.fps)
    start_pairs(given.pairs)


def flood_sessions(seconds, exposure_ms):
    """Flood one session after the other, each in another way."""
    root = Path(tempfile.mkdtemp())
    for flood in FLOODS:
        session = Session(
            root / flood.__name__, frames=100_000, exposure_ms=exposure_ms
        )
        try:
            wait_for(lambda session=session: session.localized() > 100)
            engine = session.engine()
            time.sleep(2.0)
            before, memory = session.localized(), memory_mb(engine)
            time.sleep(seconds)
            calm, most = session.localized() - before, memory
            before = session.localized()
            with Flood([flood], session.ports()) as running:
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    most = max(most, memory_mb(engine))
                    time.sleep(0.05)
                during = session.localized() - before
        finally:
            session.stop()
        frames = (session.report() or {}).get("frames")
        print(
            f"{flood.__name__}: {calm / seconds:.0f} frames/s before, "
            f"{during / seconds:.0f} during, memory +{most - memory:.0f} MB, "
            f"{running.cut_off} times cut off, {frames}",
            flush=True,
        )


def start_pairs(pairs):
    """Start sessions two by two, on ports of their own and on the same ones."""
    root = Path(tempfile.mkdtemp())
    for number in range(pairs):
        gap_s = (0, 0, 0.1, 0.2, 0.3, 0.5)[number % 6]
        print("default ports", gap_s, pair(root / f"free{number}", gap_s), flush=True)
    for number in range(pairs):
        gap_s = (0, 0, 0.1, 0.2, 0.3, 0.5)[number % 6]
        stream = {
            "frames_endpoint": f"tcp://127.0.0.1:{48_000 + 20 * number}",
            "localizations_endpoint": f"tcp://127.0.0.1:{48_004 + 20 * number}",
        }
        found = pair(root / f"equal{number}", gap_s, stream)
        print("equal ports", gap_s, found, flush=True)


if __name__ == "__main__":
    main()
