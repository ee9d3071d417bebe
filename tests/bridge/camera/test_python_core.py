"""No frame of a Python camera gets lost in the buffer, at any size."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymmcore_plus.experimental.unicore import CameraDevice
from pymmcore_plus.experimental.unicore.core._sequence_buffer import SequenceBuffer

from liveloc.bridge.camera.python_core import (
    DEFAULT_BUFFER_MIB,
    FrameExactBuffer,
    FrameExactCore,
    close_core,
)

SHAPES = [(128, 128), (97, 131), (33, 57), (64, 64)]


class StampingCamera(CameraDevice):
    """Writes the number of each frame into all its pixels, as fast as asked for.

    Waits until `room` returns more than 1: of a machine that stood still it asks less.
    """

    def __init__(self, shape, rate, room=lambda: 2):
        super().__init__()
        self._frame_shape, self._rate, self._room = shape, rate, room

    def get_exposure(self):
        return 1e3 / self._rate

    def set_exposure(self, exposure):
        self._rate = 1e3 / exposure

    def shape(self):
        return self._frame_shape

    def dtype(self):
        return np.uint16

    def start_sequence(self, n, get_buffer):
        began = time.monotonic()
        for i in itertools.count() if n is None else range(n):
            while self._room() < 2:
                time.sleep(0.001)
            get_buffer(self._frame_shape, np.uint16)[...] = i
            time.sleep(max(0.0, began + (i + 1) / self._rate - time.monotonic()))
            yield {}


def test_upstream_still_loses_frames_when_they_do_not_divide_its_pool():
    """When this fails, pymmcore-plus is mended: `FrameExactCore` may go."""
    pool = SequenceBuffer(1, overwrite_on_overflow=False)
    frame = np.zeros((97, 131), np.uint16)
    pool.insert_data(frame)
    with pytest.raises(BufferError):  # full, with never more than two frames in it
        for _ in range(100):
            pool.insert_data(frame)
            pool.pop_next()


def test_ours_has_every_public_method_of_the_buffer_it_stands_in_for():
    public = {name for name in vars(SequenceBuffer) if not name.startswith("_")}
    assert public <= set(dir(FrameExactBuffer))
    assert isinstance(FrameExactCore()._seq_buffer, FrameExactBuffer)
    assert FrameExactCore()._seq_buffer.size_mb == DEFAULT_BUFFER_MIB


@pytest.mark.parametrize("shape", SHAPES)
def test_a_slow_consumer_gets_every_frame_whole(shape):
    core, frames = FrameExactCore(), 1500
    room = core.getBufferFreeCapacity
    core.loadPyDevice("Camera", StampingCamera(shape, rate=1500, room=room))
    core.initializeDevice("Camera")
    core.setCameraDevice("Camera")
    core.setCircularBufferMemoryFootprint(4)  # goes round many times
    core.startSequenceAcquisition(frames, 0, True)
    seen = []
    while core.isSequenceRunning() or core.getRemainingImageCount():
        while core.getRemainingImageCount():
            pixels, tags = core.popNextImageAndMD()
            assert pixels.shape == shape
            assert pixels.min() == pixels.max() == int(tags["ImageNumber"])
            seen.append(int(tags["ImageNumber"]))
        time.sleep(0.02)
    overflowed = core.isBufferOverflowed()
    close_core(core)
    assert not overflowed
    assert seen == list(range(frames))


def test_stop_on_overflow_keeps_the_first_frames():
    core = FrameExactCore()
    core.loadPyDevice("Camera", StampingCamera((128, 128), rate=5000))
    core.initializeDevice("Camera")
    core.setCameraDevice("Camera")
    core.setCircularBufferMemoryFootprint(1)  # 32 frames
    core.startSequenceAcquisition(100, 0, True)
    while core.isSequenceRunning():
        time.sleep(0.005)
    kept = [
        core.popNextImage()[0, 0].item() for _ in range(core.getRemainingImageCount())
    ]
    overflowed = core.isBufferOverflowed()
    close_core(core)
    assert overflowed
    assert kept == list(range(32))


@given(
    moves=st.lists(st.sampled_from(["put", "pop"]), max_size=80),
    overwrite=st.booleans(),
    pixels=st.integers(1, 5),
)
def test_the_buffer_behaves_as_a_bounded_queue(moves, overwrite, pixels):
    buffer = FrameExactBuffer(16 / 2**20, overwrite_on_overflow=overwrite)  # 16 bytes
    room, queue, count, overflow = 16 // (2 * pixels), [], 0, False
    for move in moves:
        if move == "pop":
            got = buffer.pop_next()
            assert (got[0][0].item() if got else None) == (
                queue.pop(0) if queue else None
            )
            continue
        frame = np.full(pixels, count, np.uint16)
        if len(queue) == room:
            overflow = True
            if not overwrite:
                with pytest.raises(BufferError, match="full"):
                    buffer.insert_data(frame)
                continue
            queue.pop(0)
        buffer.insert_data(frame, {"n": count})
        queue.append(count)
        count += 1
        assert buffer.peek_last()[1] == {"n": count - 1}
    assert len(buffer) == len(queue)
    assert buffer.used_bytes == 2 * pixels * len(queue)
    assert buffer.overflow_occurred == overflow


def test_a_frame_that_can_never_fit_says_so():
    with pytest.raises(BufferError, match="larger than the buffer"):
        FrameExactBuffer(1).acquire_slot((1024, 1024), np.uint16)


HANGING = """
import sys, threading
from liveloc.bridge.camera.python_core import FrameExactCore, close_core
from liveloc.bridge.camera.python_core import leave, silence_at_exit

class Hanging(FrameExactCore):
    def unloadAllDevices(self):
        threading.Event().wait()

core = Hanging()
silence_at_exit(core)
print("unloaded", close_core(core, 0.3))
if sys.argv[1] == "leave":
    leave(0)
"""


@pytest.mark.parametrize("how", ["leave", "end"])
def test_a_driver_that_hangs_does_not_keep_the_process(how):
    result = subprocess.run(
        [sys.executable, "-c", HANGING, how],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1, result.stderr
    assert result.stdout == "unloaded False\n"
    assert "a driver of Micro-Manager hangs" in result.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a read-only folder")
def test_a_home_that_cannot_be_written_to_keeps_no_camera_from_being_opened():
    """pymmcore-plus would fail to load: it makes a folder for its log there."""
    program = (
        "from liveloc.bridge import open_core\n"
        "from liveloc.bridge.camera.python_core import close_core\n"
        "core = open_core('demo')\n"
        "print(core.getCameraDevice())\n"
        "close_core(core)\n"
    )
    home = {"HOME": "/proc/self", "XDG_DATA_HOME": "/proc/self/share"}
    kept = {k: v for k, v in os.environ.items() if k != "PYMM_LOG_FILE"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=kept | home,
    )
    assert result.stdout == "Camera\n", result.stderr
