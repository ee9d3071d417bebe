"""The whole bridge at full speed: camera, sender, a ring in another process, disk.

python tests/benchmarks/bench_bridge.py --seconds 60
python tests/benchmarks/bench_bridge.py --seconds 60 --record FOLDER
python tests/benchmarks/bench_bridge.py --seconds 20 --record FOLDER --freeze 4

The camera is Micro-Manager's DemoCamera with ``FastImage``, 16 bit, at its shortest
exposure. ``--freeze S`` lets the engine's side sleep for S seconds once, as a viewer
or an engine that hangs: what is recorded must be whole all the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import MicroManagerSource, open_core
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.recording.recorder import FrameRecorder
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver
from liveloc.stream.transport.sender import FrameSender
from liveloc.stream.transport.transmission import transmit


def receive(freeze_s, after):
    """Be the engine's side: take every frame, print the balance."""
    with FrameReceiver("tcp://127.0.0.1:0") as receiver:
        print(receiver.endpoint, flush=True)
        frozen = freeze_s == 0
        count = 0
        while not isinstance(event := receiver.next(64, 60.0), Closed):
            if event is None:
                break
            if isinstance(event, Arrived):
                count += len(event.headers)
                receiver.localized(len(event.headers))
                receiver.published(event.headers[-1].seq)
                receiver.settle(event.headers[-1].seq)
            if not frozen and count >= after:
                frozen = True
                time.sleep(freeze_s)
        balance = receiver.balance.as_dict()
        cpu = round(time.process_time(), 2)
        receiver.next(1, 0.0)
        print(json.dumps({"balance": balance, "cpu_s": cpu}), flush=True)


def run(told):
    """Run the bridge for a while; give what came of it."""
    command = [sys.executable, __file__, "--receive", "--freeze", str(told.freeze)]
    engine = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    endpoint = engine.stdout.readline().strip()
    core = open_core("demo")
    source = MicroManagerSource(
        core,
        exposure_ms=told.exposure,
        properties={
            "OnCameraCCDXSize": told.side,
            "OnCameraCCDYSize": told.side,
            "PixelType": "16bit",
            "FastImage": 1,
        },
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
    )
    recorder = None
    if told.record:
        Path(told.record).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=told.record)) / "stream"
        recorder = FrameRecorder(folder, source.start)
    before = time.process_time()
    timer = threading.Timer(told.seconds, source.stop)
    with FrameSender(endpoint, source.start) as sender:
        sender.wait_connected(10.0)
        timer.start()
        began = time.monotonic()
        end = transmit(source, sender, recorder)
        seconds = time.monotonic() - began
    timer.cancel()
    source.close()
    close_core(core)
    after = time.process_time()
    far = json.loads(engine.stdout.readline())
    engine.wait(10)
    frames = end.last_seq + 1
    result = {
        "status": end.status,
        "reason": end.reason,
        "frames_per_s": round(frames / min(seconds, told.seconds), 1),
        "seconds": round(seconds, 1),
        "camera": frames,
        "sent": end.sent,
        "shed": end.dropped,
        "missing": end.missing,
        "unexplained": far["balance"]["unexplained"],
        "lost": far["balance"]["lost"],
        "bridge_cpu_s": round(after - before, 2),
        "engine_side_cpu_s": far["cpu_s"],
    }
    if recorder is not None:
        result["recorded"] = recorder.written
        result["recording_whole"] = check_recording(folder, frames)
    return result


def check_recording(folder, frames):
    """Read a recording back: every frame of the camera, each with its checksum."""
    with SegmentReader(folder) as recording:
        seqs = [frame.header.seq for frame in recording]
    return seqs == list(range(frames))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--exposure", type=float, default=1.0, help="ms")
    parser.add_argument("--record", help="folder for a recording")
    parser.add_argument("--freeze", type=float, default=0.0, help="seconds")
    parser.add_argument("--freeze-after", type=int, default=500, help="frames")
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.receive:
        receive(told.freeze, told.freeze_after)
        return
    result = run(told)
    print(json.dumps(result))
    whole = result.get("recording_whole", True)
    sys.exit(result["unexplained"] != 0 or not whole)


if __name__ == "__main__":
    main()
