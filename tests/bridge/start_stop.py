"""Start and stop the whole bridge many times and count what is left behind.

python tests/bridge/start_stop.py 200
"""

import gc
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from liveloc.bridge import BridgeSettings, SimulatedSettings, run_bridge
from liveloc.bridge.camera.setup import CameraSettings
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver

SIMULATED = SimulatedSettings(shape=(32, 32), exposure_ms=1.0, density_per_um2=0.0)
TEN = CameraSettings(frames=10)
DEMO = CameraSettings(
    frames=10, config="demo", exposure_ms=1.0, roi=(0, 0, 64, 64), pixel_size_nm=100.0
)


def held():
    """Count threads, those of the system too, and open files and sockets.

    A closed core keeps three threads and a log file until Python's collector frees
    it, so that is asked to first.
    """
    gc.collect()
    counts = {"threads": threading.active_count()}
    if os.path.isdir("/proc/self/fd"):
        counts["handles"] = len(os.listdir("/proc/self/fd"))
        counts["system_threads"] = len(os.listdir("/proc/self/task"))
    elif sys.platform == "win32":
        import ctypes

        kernel, count = ctypes.windll.kernel32, ctypes.c_ulong()
        kernel.GetProcessHandleCount(kernel.GetCurrentProcess(), ctypes.byref(count))
        counts["handles"] = count.value
    return counts


def receive(receiver):
    """Take one stream to its end; give its balance."""
    while True:
        event = receiver.next(16, 5.0)
        if isinstance(event, Arrived):
            receiver.localized(len(event.headers))
            receiver.published(event.headers[-1].seq)
            receiver.settle(event.headers[-1].seq)
        elif isinstance(event, Closed) or event is None:
            return receiver.balance


def cycle(endpoint, folder, number):
    """Run an acquisition of ten frames with engine, recording and laser."""
    odd = {"camera": DEMO} if number % 2 else {"simulated": SIMULATED, "camera": TEN}
    settings = BridgeSettings(
        endpoint=endpoint, session=folder / str(number), record=True, **odd
    )
    with FrameReceiver(endpoint) as receiver:
        results = []
        bridge = threading.Thread(target=lambda: results.append(run_bridge(settings)))
        bridge.start()
        balance = receive(receiver)
        receiver.next(1, 0.0)
        bridge.join(30)
    good = results and results[0]["status"] == "ok" and balance.unexplained == 0
    if not good or balance.camera != 10:
        raise AssertionError(f"cycle {number}: {results} {balance}")


def run(cycles, warm_up=4):
    """Count what is held after a few cycles and after `cycles` more."""
    with FrameReceiver("tcp://127.0.0.1:0") as receiver:
        endpoint = receiver.endpoint  # the same port is bound again every time
    with tempfile.TemporaryDirectory() as folder:
        for number in range(warm_up):
            cycle(endpoint, Path(folder), number)
        before = settled(None)
        for number in range(warm_up, warm_up + cycles):
            cycle(endpoint, Path(folder), number)
        return before, settled(before)


def settled(wanted):
    """Count when it is as wanted, or does not change for a while."""
    deadline = time.monotonic() + 3.0
    seen = held()
    while time.monotonic() < deadline:
        time.sleep(0.05)
        last, seen = seen, held()
        if seen == wanted or (wanted is None and seen == last):
            break
    return seen


if __name__ == "__main__":
    began = time.monotonic()
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    first, last = run(number)
    seconds = round(time.monotonic() - began, 1)
    told = {"cycles": number, "before": first, "after": last, "seconds": seconds}
    print(json.dumps(told))
    sys.exit(first != last)
