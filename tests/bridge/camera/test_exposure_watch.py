"""A camera that changes its exposure by itself is noticed without being asked."""

import random

import pytest

from liveloc.bridge.camera.exposure_watch import WINDOW, ExposureWatch
from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import MicroManagerSource, open_core
from liveloc.stream.calibration import CameraCalibration


class Watched:
    """A watch, the frames that it is shown, and what it said."""

    def __init__(self):
        self.alarms = []
        self.watch = ExposureWatch("Cam", 10.0, lambda *said: self.alarms.append(said))
        self.number, self.t_ms = 0, 0.0

    def frames(self, count, interval_ms, delays=(), **tags):
        """Show frames that come at a pace and are taken out a little later.

        `delays`, ms, begin with some frames; what comes meanwhile waits.
        """
        free_ms = 0.0  # when the computer may take the next frame
        for k in range(count):
            self.t_ms += interval_ms
            taken = max(self.t_ms, free_ms) + (delays[k] if k < len(delays) else 0.0)
            free_ms = taken + 0.05
            fresh = taken < self.t_ms + interval_ms
            self.watch.frame(self.number, round(taken * 1e6) if fresh else None, tags)
            self.number += 1


@pytest.mark.parametrize("later_ms", [5.0, 12.0, 20.0])
def test_another_pace_is_a_warning(later_ms):
    seen = Watched()
    seen.frames(200, 10.2)
    assert not seen.alarms
    seen.frames(200, later_ms)
    [(text, certain)] = seen.alarms
    assert "every 10.2 ms at first, near frame 3" in text
    assert f"every {later_ms:.3g} ms" in text and not certain


def test_a_busy_computer_a_trigger_that_pauses_and_lost_frames_are_no_warning():
    seen, rng = Watched(), random.Random(1)
    seen.frames(400, 10.0)
    busy = [rng.uniform(0, 30) if rng.random() < 0.3 else 0.0 for _ in range(2000)]
    busy[700] = 6000.0  # it was stopped
    seen.frames(2000, 10.0, busy)
    seen.t_ms += 60_000
    seen.frames(400, 10.0)
    seen.number += 50
    seen.frames(4 * WINDOW, 10.0)
    assert not seen.alarms


def test_a_start_in_which_frames_catch_up_is_no_pace():
    seen = Watched()
    for interval_ms in (9.0, 0.5):  # late first frames, and then close together
        seen.frames(WINDOW // 2, interval_ms)
    seen.frames(10 * WINDOW, 5.0)
    assert not seen.alarms


def test_an_exposure_that_changes_in_the_metadata_is_an_alarm_once():
    seen = Watched()
    seen.frames(5, 10.0, **{"Exposure-ms": "10.00"})
    seen.frames(5, 10.0, **{"Exposure-ms": "20.00"})
    [(text, certain)] = seen.alarms
    assert "Exposure-ms is 20 in the metadata of frame 5, before it was 10" in text
    assert certain


@pytest.mark.parametrize("tag", ["nan", "", "fast", "0", None])
def test_odd_metadata_are_no_alarm(tag):
    seen = Watched()
    seen.frames(1, 10.0, Exposure="10")
    seen.frames(5, 10.0, Exposure=tag)
    assert not seen.alarms


def test_the_camera_is_asked_once_it_has_stopped(monkeypatch):
    core = open_core("demo")
    alarms = []
    try:
        core.setROI(0, 0, 32, 32)
        source = MicroManagerSource(
            core,
            frames=20,
            exposure_ms=5.0,
            pixel_size_nm=100.0,
            calibration=CameraCalibration(),
            on_alarm=lambda *said: alarms.append(said),
        )
        asked = core.getExposure
        monkeypatch.setattr(  # the core does not know, as of a knob at the camera
            core,
            "getExposure",
            lambda *camera: asked(*camera) if core.isSequenceRunning() else 8.0,
        )
        assert len(list(source.frames())) == 20
        source.close()
    finally:
        close_core(core)
    [(text, certain)] = alarms
    assert "after the last frame it is 8 ms, at the start it was 5 ms" in text
    assert certain
