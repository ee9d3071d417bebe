"""Frames per second and latency of the frame stream between two processes.

python tests/benchmarks/bench_stream.py --side 512 --frames 5000
python tests/benchmarks/bench_stream.py --side 512 --frames 2000 --fps 400
"""

import argparse
import json
import subprocess
import sys
import time
import uuid

import numpy as np

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.frames import Frame, FrameHeader, StreamStart
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver
from liveloc.stream.transport.sender import FrameSender


def send(endpoint, side, frames, fps):
    start = StreamStart(
        stream_id=uuid.uuid4().bytes,
        shape=(side, side),
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=0.0,
        policy="block",
    )
    rng = np.random.default_rng(1)
    pixels = [rng.integers(0, 999, (side, side), np.uint16) for _ in range(16)]
    with FrameSender(endpoint, start) as sender:
        sender.wait_connected(5.0)
        began = time.monotonic()
        for seq in range(frames):
            if fps:
                time.sleep(max(0.0, began + seq / fps - time.monotonic()))
            now = time.monotonic_ns()
            header = FrameHeader(seq=seq, camera_frame=seq, t_ns=now)
            sender.offer(Frame(header, pixels[seq % 16]))
        sender.finish()


def receive(receiver):
    """Take every frame; give rate, latencies in ms and the balance."""
    offered, received, count, began = [], [], 0, 0.0
    while True:
        event = receiver.next(64, 10.0)
        if isinstance(event, Closed):
            break
        if not isinstance(event, Arrived):
            continue
        now = time.monotonic_ns()
        began = began or now
        offered += [now - header.t_ns for header in event.headers]
        received += [now - then for then in event.received_ns]
        count += len(event.headers)
        receiver.localized(len(event.headers))
        receiver.settle(event.headers[-1].seq)
    seconds = (time.monotonic_ns() - began) / 1e9

    def percentiles(times):
        return {p: round(np.percentile(times, p) / 1e6, 3) for p in (50, 99)}

    return {
        "fps": round(count / seconds),
        "offered_to_next_ms": percentiles(offered),
        "received_to_next_ms": percentiles(received),
        "frames": receiver.balance.as_dict(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--fps", type=float, default=0.0, help="0: as fast as it goes")
    parser.add_argument("--send-to", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.send_to:
        send(told.send_to, told.side, told.frames, told.fps)
        return
    with FrameReceiver("tcp://127.0.0.1:0") as receiver:
        command = [sys.executable, __file__, "--send-to", receiver.endpoint]
        command += ["--side", str(told.side), "--frames", str(told.frames)]
        with subprocess.Popen([*command, "--fps", str(told.fps)]):
            print(json.dumps(receive(receiver)))


if __name__ == "__main__":
    main()
