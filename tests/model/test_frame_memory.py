"""Large frames: bounded before they come, refused in words, fewer at once."""

import subprocess
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.model.backend import (
    BATCH_BYTES,
    FIRST_FRAME,
    FURTHER_FRAME,
    frames_at_once,
)
from liveloc.model.engine import Engine
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import MessageError
from liveloc.stream.frames import StreamStart
from liveloc.stream.session.settings import SessionSettings
from liveloc.stream.sockets.endpoints import FREE

PEAK = """
import sys
from pathlib import Path
import numpy as np
from liveloc.model.backend import OnnxBackend
from liveloc.model.bundle import load_bundle
from liveloc.model.localizer import Localizer
from liveloc.stream.calibration import CameraCalibration

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(l for l in lines if l.startswith("VmHWM")).split()[1])

frames, shape = int(sys.argv[1]), (256, 512)
bundle = load_bundle("gaussian-2d")
of = {"shape": shape, "pixel_size_nm": 100.0}
localizer = Localizer.of(bundle, OnnxBackend(bundle), CameraCalibration(), **of)
before = peak()
localizer.feed(list(range(frames)), [np.zeros(shape, np.uint16)] * frames)
print((peak() - before) / (shape[0] * shape[1]))
"""


def stream_start(shape, **changes):
    return StreamStart(
        stream_id=uuid.uuid4().bytes,
        shape=shape,
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=1.0,
        policy="block",
        **changes,
    )


@pytest.fixture
def engine(tmp_path):
    settings = SessionSettings().changed(
        stream__frames_endpoint=FREE, stream__localizations_endpoint=FREE
    )
    with Engine(settings, lambda start: tmp_path) as engine:
        yield engine


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_getting_ready_for_large_frames_takes_no_memory_for_them(engine):
    def now():
        with open("/proc/self/statm") as file:
            return 4096 * int(file.read().split()[1])

    before = now()
    assert engine._prepare(stream_start((4096, 4096), roi_origin=(64, 32))) is None
    assert now() - before < 100e6


def test_frames_too_large_for_the_network_are_refused_with_what_to_do(engine):
    with pytest.raises(
        MessageError, match=r"8192 x 4096 pixels.*13\.4 GiB.*allows 8.*smaller ROI"
    ):
        engine._prepare(stream_start((4096, 8192)))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_frames_take_the_memory_that_is_counted_for_them():
    def measure(frames):
        run = [sys.executable, "-c", PEAK, str(frames)]
        return float(subprocess.run(run, capture_output=True, check=True).stdout)

    # A little is taken whatever the size.
    two, five = measure(2), measure(5)
    assert two < FIRST_FRAME + FURTHER_FRAME
    assert (five - two) / 3 < 1.2 * FURTHER_FRAME


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(1, 1024))
def test_a_batch_stays_within_its_memory_and_is_never_empty(height, width, most):
    frames, pixels = frames_at_once((height, width), most), height * width
    assert 1 <= frames <= most
    taken = (FIRST_FRAME + (frames - 1) * FURTHER_FRAME) * pixels
    assert frames == 1 or taken <= BATCH_BYTES
    assert frames == most or taken + FURTHER_FRAME * pixels > BATCH_BYTES
