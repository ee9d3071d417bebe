"""Frames from real cores: what is lost is counted, what is wrong is said."""

import itertools
import threading
import time

import numpy as np
import pytest
from pymmcore_plus.experimental.unicore import CameraDevice

from liveloc.bridge.camera.python_core import FrameExactCore, close_core
from liveloc.bridge.camera.repeat import repeated
from liveloc.bridge.camera.sequence_source import (
    CAMERA_FRAME_TAG,
    MicroManagerSource,
    open_core,
)
from liveloc.bridge.laser.laser import GuardedLaser, MicroManagerLaser
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, SourceError

CALIBRATION = CameraCalibration()


@pytest.fixture(scope="module")
def demo_core():
    core = open_core("demo")
    yield core
    close_core(core)


@pytest.fixture
def demo(demo_core):
    demo_core.setProperty("Camera", "Binning", "1")
    demo_core.setProperty("Camera", "PixelType", "16bit")
    demo_core.setProperty("Camera", "FastImage", "1")
    demo_core.clearROI()
    yield demo_core
    if demo_core.isSequenceRunning():
        demo_core.stopSequenceAcquisition()


class FaultyCamera(CameraDevice):
    """A camera whose own count and whose faults a test decides."""

    def __init__(self, *, lost=(), unplugged_after=None, roi_step=1, repeats=()):
        super().__init__()
        self.exposure_ms, self.silent_after = 1.0, None
        self.lost, self.unplugged_after = set(lost), unplugged_after
        self.repeats, self.roi_step = set(repeats), roi_step
        self.pause_s = 0.001
        self.stopped = threading.Event()
        self.roi = (0, 0, 64, 48)

    def get_exposure(self):
        return self.exposure_ms

    def set_exposure(self, exposure):
        self.exposure_ms = exposure

    def shape(self):
        return self.roi[3], self.roi[2]

    def dtype(self):
        return np.uint16

    def get_roi(self):
        return self.roi

    def set_roi(self, x, y, width, height):
        step = self.roi_step
        self.roi = (x, y, width // step * step, height // step * step)

    def clear_roi(self):
        self.roi = (0, 0, 64, 48)

    def start_sequence(self, n, get_buffer):
        numbers = (i for i in itertools.count() if i not in self.lost)
        for made in itertools.count() if n is None else range(n):
            if made == self.unplugged_after:
                return
            while made == self.silent_after and not self.stopped.wait(0.01):
                pass
            number = next(numbers)
            get_buffer(self.shape(), np.uint16)[...] = number
            self.stopped.wait(self.pause_s)
            shown = number - 1 if number in self.repeats else number
            yield {CAMERA_FRAME_TAG: str(shown)}


@pytest.fixture
def faulty():
    cores = []

    def build(**faults):
        core = FrameExactCore()
        cores.append(core)
        camera = FaultyCamera(**faults)
        core.loadPyDevice("Faulty", camera)
        core.initializeDevice("Faulty")
        core.setCameraDevice("Faulty")
        return core, camera

    cameras = []
    yield lambda **faults: (built := build(**faults), cameras.append(built[1]))[0]
    for camera in cameras:
        camera.stopped.set()
    for core in cores:
        close_core(core)


def source_of(core, **settings):
    given = {"pixel_size_nm": 100.0, "calibration": CALIBRATION, "frames": 20}
    return MicroManagerSource(core, **(given | settings))


def test_demo_camera_delivers_numbered_frames_of_its_roi(demo):
    source = source_of(demo, roi=(10, 20, 97, 131), exposure_ms=2.0)
    frames = list(source.frames())
    source.close()
    start = source.start
    assert start.shape == (131, 97)
    assert start.dtype == "u2"
    assert start.roi_origin == (10, 20)
    assert start.exposure_ms == start.interval_ms == 2.0
    assert start.camera_label == "Camera"
    assert start.camera_serial
    assert start.metadata["camera_adapter"] == "DemoCamera/DCam"
    assert len(start.stream_id) == 16
    assert [f.header.seq for f in frames] == list(range(20))
    assert [f.header.camera_frame for f in frames] == list(range(20))
    times = [f.header.t_ns for f in frames]
    assert times == sorted(times)
    assert all(f.pixels.shape == (131, 97) for f in frames)
    assert all(f.pixels.dtype == np.uint16 for f in frames)
    assert source.missing == 0


def test_eight_bit_pixels_stay_eight_bit(demo):
    demo.setProperty("Camera", "PixelType", "8bit")
    source = source_of(demo, frames=3, exposure_ms=1.0)
    assert source.start.dtype == "u1"
    assert {f.pixels.dtype.str for f in source.frames()} == {"|u1"}
    source.close()


def test_two_cameras_at_once_are_refused(demo):
    for name in ("Left", "Right"):
        demo.loadDevice(name, "DemoCamera", "DCam")
        demo.initializeDevice(name)
    demo.loadDevice("Both", "Utilities", "Multi Camera")
    demo.initializeDevice("Both")
    demo.setProperty("Both", "Physical Camera 1", "Left")
    demo.setProperty("Both", "Physical Camera 2", "Right")
    demo.setCameraDevice("Both")
    try:
        with pytest.raises(SettingsError, match=r"2 cameras at once \('Left', 'R"):
            MicroManagerSource(demo, pixel_size_nm=100)
    finally:
        demo.setCameraDevice("Camera")
        for name in ("Both", "Left", "Right"):
            demo.unloadDevice(name)


def test_colour_pixels_are_refused(demo):
    demo.setProperty("Camera", "PixelType", "32bitRGB")
    with pytest.raises(SettingsError, match=r"4 component.*8 or 16 bit monochrome"):
        source_of(demo)


def test_overflow_of_micro_managers_buffer_ends_the_stream_and_says_what_to_do(demo):
    source = source_of(demo, frames=500, exposure_ms=1.0, buffer_mib=16)
    frames = source.frames()
    first = next(frames)
    while demo.isSequenceRunning():  # nobody takes frames: 16 MiB hold 32 of them
        time.sleep(0.01)
    seen = [first.header.seq]
    with pytest.raises(SourceError, match=r"overflowed after frame \d+.*buffer_mib"):
        seen.extend(frame.header.seq for frame in frames)
    source.close()
    assert seen == list(range(len(seen)))
    assert 32 <= len(seen) < 500


def test_an_unbounded_acquisition_ends_when_asked_to(demo):
    source = source_of(demo, frames=0, exposure_ms=1.0, roi=(0, 0, 64, 64))
    seen = []
    for frame in source.frames():
        seen.append(frame.header.seq)
        if len(seen) == 30:
            source.stop()
    source.close()
    source.close()
    assert seen == list(range(len(seen)))
    assert not demo.isSequenceRunning()
    assert source.start.expected_frames == 0


def test_a_camera_that_is_never_waited_for_can_be_stopped(faulty):
    core, camera = faulty()
    camera.pause_s = 0.0005
    source, taken = source_of(core, frames=0), 0
    for taken, _ in enumerate(source.frames(), start=1):
        if taken == 50:
            source.stop()
        time.sleep(0.002)  # slower than the camera: frames always wait
    assert 50 <= taken < 600
    source.close()


def test_an_event_from_outside_ends_a_camera_that_waits(faulty):
    core, camera = faulty()
    stop = threading.Event()
    source = source_of(core, frames=0, stop=stop)
    frames = source.frames()
    next(frames)
    camera.pause_s = 60.0  # longer than a test may take
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    ending = threading.Timer(0.6, camera.stopped.set)  # the core waits for its camera
    ending.start()
    list(frames)
    timer.join()
    ending.join()


def test_without_calibration_the_gain_is_guessed_and_no_frame_is_lost(demo):
    source = source_of(demo, calibration=None, exposure_ms=1.0, roi=(0, 0, 64, 64))
    assert source.start.calibration.estimated
    assert [f.header.seq for f in source.frames()] == list(range(20))
    source.close()


def test_exposures_that_the_camera_lost_are_gaps_in_seq(faulty):
    core, _ = faulty(lost=[0, 5, 6, 11])
    source = source_of(core, frames=10)
    frames = list(source.frames())
    assert [f.header.seq for f in frames] == [1, 2, 3, 4, 7, 8, 9, 10, 12, 13]
    assert [f.header.missing_total for f in frames] == [1, 1, 1, 1, 3, 3, 3, 3, 4, 4]
    assert [f.pixels[0, 0] for f in frames] == [f.header.seq for f in frames]
    assert source.missing == 4


def test_a_camera_that_stops_by_itself_is_an_error_after_its_good_frames(faulty):
    core, _ = faulty(unplugged_after=7)
    frames = []
    with pytest.raises(SourceError, match="stopped by itself after 7 of 20 frames"):
        frames.extend(source_of(core).frames())
    assert [f.header.seq for f in frames] == list(range(7))


def test_a_repeated_camera_count_is_an_error(faulty):
    core, _ = faulty(repeats=[4])
    with pytest.raises(SourceError, match="CameraFrame is 3 after 3"):
        list(source_of(core).frames())


def test_a_roi_that_the_camera_rounds_is_refused_with_both_numbers(faulty):
    core, _ = faulty(roi_step=8)
    with pytest.raises(SettingsError, match=r"\(4, 4, 20, 20\).*camera set \(4, 4, 16"):
        source_of(core, roi=(4, 4, 20, 20))


def test_a_roi_off_the_chip_is_refused(demo):
    with pytest.raises(SettingsError, match=r"chip of camera 'Camera' has 512 x 512"):
        source_of(demo, roi=(500, 0, 64, 64))


def test_binning_makes_pixels_larger_and_places_them_on_the_binned_chip(demo, caplog):
    source = source_of(
        demo, frames=3, exposure_ms=1.0, binning=2, roi=(50, 30, 100, 60)
    )
    frames = list(source.frames())
    source.close()
    assert source.start.shape == (60, 100)
    assert source.start.roi_origin == (50, 30)
    assert source.start.metadata["binning"] == "2"
    assert {f.pixels.shape for f in frames} == {(60, 100)}
    assert not caplog.records
    known = source_of(demo, frames=1, binning=2, pixel_size_nm=None)
    assert known.start.pixel_size_nm == 2000.0  # 1 um on the chip, says the file
    with_chip_size = source_of(demo, frames=1, binning=2, pixel_size_nm=1000.0)
    assert with_chip_size.start.pixel_size_nm == 1000.0
    assert "give the size of a binned pixel" in caplog.text
    demo.setProperty("Camera", "Binning", "1")


def test_a_camera_that_counts_its_roi_in_pixels_of_the_chip(faulty):
    core, camera = faulty()
    core.hasProperty = lambda device, name: name == "Binning"
    core.getProperty = lambda device, name: "2x2"
    camera.shape = lambda: (camera.roi[3] // 2, camera.roi[2] // 2)
    source = source_of(core, frames=2, roi=(4, 3, 10, 8))
    assert camera.roi == (8, 6, 20, 16)
    assert source.start.roi_origin == (4, 3)
    assert [f.pixels.shape for f in source.frames()] == [(8, 10)] * 2
    camera.roi = (7, 6, 20, 16)
    with pytest.raises(SettingsError, match=r"\(7, 6\).*Begin it at multiples of 2"):
        source_of(core)


def test_properties_are_set_and_kept_with_the_recording(demo):
    properties = {"Gain": 3, "ScanMode": "2", "FastImage": True}
    source = source_of(demo, frames=2, exposure_ms=1.0, properties=properties)
    assert len(list(source.frames())) == 2
    source.close()
    assert demo.getProperty("Camera", "Gain") == "3"
    said = source.start.metadata
    assert (said["camera.Gain"], said["camera.ScanMode"]) == ("3", "2")
    assert said["camera.FastImage"] == "1"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"properties": {"Triger": "x"}}, r"no property 'Triger'\. It has: .*Binning"),
        ({"properties": {"ScanMode": "9"}}, r"'ScanMode' cannot be '9'.*1, 2, 3"),
        ({"properties": {"Gain": 99}}, r"'99' for property 'Gain' \(allowed: -5 to 8"),
        ({"properties": {"CameraID": "x"}}, "'CameraID' is read-only"),
        ({"properties": {"Binning": "2"}, "binning": 2}, "binning is given twice"),
        ({"binning": 3}, r"does not bin by 3\. Its binning can be: 1, 2, 4"),
        ({"patience_s": -1.0}, "patience_s is -1.0"),
    ],
)
def test_what_the_camera_cannot_be_set_to_is_named(demo, settings, message):
    with pytest.raises(SettingsError, match=message):
        source_of(demo, **settings)


def test_a_value_that_reads_back_as_another_is_refused(demo, monkeypatch):
    monkeypatch.setattr(demo, "setProperty", lambda *_: None)
    with pytest.raises(SettingsError, match=r"'Gain' was set to '4' and reads back as"):
        source_of(demo, properties={"Gain": 4})


def test_an_exposure_that_is_changed_while_it_runs_ends_the_stream(demo):
    source = source_of(demo, frames=0, exposure_ms=2.0, roi=(0, 0, 64, 64))
    seen = []
    with pytest.raises(SourceError, match=r"exposure was changed from 2 to 5 ms near"):
        for frame in source.frames():
            seen.append(frame.header.seq)
            if len(seen) == 20:
                demo.setExposure(5.0)
    source.close()
    assert 20 <= len(seen) < 200
    assert not demo.isSequenceRunning()


def test_a_roi_that_is_moved_while_it_runs_ends_the_stream(demo):
    source = source_of(demo, frames=0, exposure_ms=1.0, roi=(0, 0, 64, 64))
    seen = []
    with pytest.raises(SourceError, match=r"ROI of frame \d+ begins at \(8, 0\)"):
        for frame in source.frames():
            seen.append(frame.header.seq)
            if len(seen) == 20:
                demo.setROI(8, 0, 64, 64)
    source.close()


def test_a_camera_that_falls_silent_is_told_from_one_that_ended(faulty):
    core, camera = faulty()
    camera.silent_after = 6
    source, seen = source_of(core, patience_s=0.2), []
    began = time.monotonic()
    with pytest.raises(SourceError, match="delivered no frame for 0 s after frame 5"):
        seen.extend(frame.header.seq for frame in source.frames())
    camera.stopped.set()
    source.close()
    assert seen == list(range(6))
    assert time.monotonic() - began < 30  # the patience if none is given


def test_a_core_that_raises_ends_the_stream_after_its_good_frames(faulty):
    core, camera = faulty()
    source, seen = source_of(core), []

    def unplugged():
        raise RuntimeError("Camera not connected")

    with pytest.raises(SourceError, match=r"not connected\. Is it unplugged"):
        for frame in source.frames():
            seen.append(frame.header.seq)
            if len(seen) == 5:
                core.getRemainingImageCount = unplugged
    del core.getRemainingImageCount
    camera.stopped.set()
    source.close()
    assert seen == list(range(5))


def test_acquisitions_one_after_the_other_are_streams_of_their_own(demo):
    streams = {}
    pauses = []
    began = time.monotonic()
    for source in repeated(
        lambda: source_of(demo, frames=5, exposure_ms=1.0), 3, pause_s=0.2
    ):
        pauses.append(time.monotonic() - began)
        streams[source.start.stream_id] = [f.header.seq for f in source.frames()]
        began = time.monotonic()
    assert list(streams.values()) == [list(range(5))] * 3
    assert min(pauses[1:]) >= 0.2
    assert not demo.isSequenceRunning()


def test_repetition_without_end_ends_when_asked_to(demo):
    stop, taken = threading.Event(), []
    for source in repeated(
        lambda: source_of(demo, frames=2, exposure_ms=1.0), 0, 30.0, stop
    ):
        taken.append(len(list(source.frames())))
        threading.Timer(0.1, stop.set).start()
    assert taken == [2]
    with pytest.raises(SettingsError, match="-1 acquisitions"):
        next(repeated(None, -1))


def test_a_roi_changed_while_it_runs_ends_the_stream(faulty):
    core, camera = faulty()
    frames = source_of(core, frames=50).frames()
    next(frames)
    camera.set_roi(0, 0, 32, 32)
    with pytest.raises(SourceError, match="ROI or the binning changed"):
        list(frames)


def test_what_is_not_there_is_named_with_what_is(demo, faulty, tmp_path):
    with pytest.raises(SettingsError, match=r"no camera 'Andor'.*'Camera'"):
        source_of(demo, camera="Andor")
    with pytest.raises(SettingsError, match=r"no such Micro-Manager configuration"):
        open_core(tmp_path / "missing.cfg")
    broken = tmp_path / "broken.cfg"
    broken.write_text("Device,Camera,NoSuchAdapter,Cam\n")
    with pytest.raises(SettingsError, match=r"broken\.cfg: .*NoSuchAdapter"):
        open_core(broken)
    empty = tmp_path / "empty.cfg"
    empty.write_text("Property,Core,Initialize,0\n")
    core = open_core(empty)
    with pytest.raises(SettingsError, match="no current camera"):
        source_of(core)
    close_core(core)
    core, _ = faulty()
    with pytest.raises(SettingsError, match=r"no pixel size.*pixel_size_nm"):
        source_of(core, pixel_size_nm=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frames": -1}, "frames is -1"),
        ({"exposure_ms": 0.0}, "exposure_ms is 0.0"),
        ({"interval_ms": float("nan")}, "interval_ms is nan"),
        ({"pixel_size_nm": -1.0}, "pixel_size_nm is -1.0: no microscope"),
        ({"buffer_mib": 0}, "buffer_mib is 0: input should be greater"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(faulty, settings, message):
    core, _ = faulty()
    with pytest.raises(SettingsError, match=message):
        source_of(core, **settings)


def test_python_devices_of_a_configuration_are_loaded(tmp_path):
    config = tmp_path / "python.cfg"
    config.write_text(
        "#py pyDevice,Cam,liveloc.bridge.simulated.devices,SimulatedLaser\n"
    )
    with pytest.raises(SettingsError, match=r"python\.cfg"):  # it needs an argument
        open_core(config)


def test_frames_carry_the_laser_setting_they_were_exposed_under(demo):
    laser = GuardedLaser(
        MicroManagerLaser(demo, "LED", "State", "a.u."), lowest=0, highest=5, safe=0
    )
    source = source_of(
        demo, exposure_ms=5.0, roi=(0, 0, 64, 64), laser_seq=laser.seq_at
    )
    laser.set(1)
    headers = []
    for frame in source.frames():
        headers.append(frame.header)
        if len(headers) == 10:
            laser.set(3)
    source.close()
    began = [header.t_ns - 5_000_000 for header in headers]
    assert [h.laser_seq for h in headers] == [laser.seq_at(t) for t in began]
    assert headers[-1].laser_seq == 2
    assert 1 in {header.laser_seq for header in headers}
