"""Send frames from any camera that Python can read, in 40 lines.

Start an engine in another terminal, then this:

    liveloc engine --session results
    python docs/examples/bridge.py tcp://127.0.0.1:5555

Replace `expose` by what your camera's library does to get the next frame.
"""

import sys
import time
import uuid

import numpy as np

from liveloc.stream import (
    CameraCalibration,
    Frame,
    FrameHeader,
    FrameSender,
    StreamStart,
    transmit,
)

RANDOM = np.random.default_rng(1)
ROWS, COLUMNS = np.mgrid[:64, :64]


def expose():
    """Return one frame in camera counts: five spots on a background."""
    time.sleep(0.01)
    light = np.full((64, 64), 10.0)  # photons
    for x, y in RANDOM.uniform(5, 58, (5, 2)):
        light += 100 * np.exp(-((COLUMNS - x) ** 2 + (ROWS - y) ** 2) / 3.4)
    return (100 + 2 * RANDOM.poisson(light)).astype(np.uint16)


class MyCamera:
    """A `FrameSource`: one acquisition of 100 frames."""

    missing = 0  # exposures that the camera's driver lost

    def __init__(self):
        self.start = StreamStart(
            stream_id=uuid.uuid4().bytes,
            shape=(64, 64),
            dtype="u2",
            pixel_size_nm=100.0,
            exposure_ms=10.0,
            interval_ms=10.0,
            expected_frames=100,
            calibration=CameraCalibration(offset_adu=100.0, e_per_adu=0.5),
            camera_label="my camera",
        )
        self.running = True

    def frames(self):
        """Yield each frame as it comes. `seq` counts exposures, lost ones too."""
        for seq in range(self.start.expected_frames):
            if not self.running:
                return
            pixels = expose()
            now = time.monotonic_ns()
            yield Frame(FrameHeader(seq=seq, camera_frame=seq, t_ns=now), pixels)

    def stop(self):
        """End `frames` soon."""
        self.running = False

    def close(self):
        """Release the camera."""


if __name__ == "__main__":
    source = MyCamera()
    with FrameSender(sys.argv[1], source.start) as sender:
        sender.wait_connected(20)
        end = transmit(source, sender)
    print(f"{end.status}: {end.sent} sent, {end.dropped} shed, {end.missing} missing")
