"""A running camera is asked nothing: answers come from what the core knows."""

import gc
import weakref

import pytest
import useq
from pymmcore_plus import CMMCorePlus
from pymmcore_plus.experimental.unicore import CameraDevice

from liveloc.bridge import attach
from liveloc.bridge.camera.python_core import FrameExactCore, close_core
from liveloc.bridge.camera.running_queries import (
    _exposure_now,
    avoid_live_queries,
    property_of,
)
from liveloc.bridge.camera.sequence_source import MicroManagerSource, open_core
from liveloc.stream.calibration import CameraCalibration


class AskedCore(CMMCorePlus):
    """Keeps what was asked of its camera while that ran."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.mute = False
        self.steps = 1.0

    def _note(self, name):
        if self.isSequenceRunning("Camera"):
            self.asked.append(name)
        if self.mute:
            raise RuntimeError("no answer")

    def getExposure(self, *camera):
        self._note("exposure")
        return self.steps * super().getExposure(*camera)

    def getPixelSizeUm(self, *cached):
        self._note("pixel size")
        return super().getPixelSizeUm(*cached)

    def getProperty(self, device, name):
        if device == "Camera":
            self._note(name)
        return super().getProperty(device, name)


@pytest.fixture(scope="module")
def only_core():
    core = AskedCore()
    core.loadSystemConfiguration()
    core.setProperty("Camera", "PixelType", "16bit")
    core.setROI(0, 0, 64, 64)
    yield core
    close_core(core)


@pytest.fixture
def loaded(only_core):
    only_core.setExposure(10.0)
    only_core.asked.clear()
    yield only_core
    only_core.mute, only_core.steps = False, 1.0
    if only_core.isSequenceRunning():
        only_core.stopSequenceAcquisition()


@pytest.fixture
def core(loaded):
    avoid_live_queries(loaded)
    return loaded


def start(core):
    core.startSequenceAcquisition(1_000_000, 0, True)


def test_questions_that_reach_a_running_camera_are_seen(loaded):
    start(loaded)
    AskedCore.getExposure(loaded)
    assert loaded.asked == ["exposure"]


def test_exposure_and_pixel_size_are_those_from_before_the_start(core):
    core.setExposure(7.12)
    standing = core.getExposure(), core.getExposure("Camera"), core.getPixelSizeUm()
    start(core)
    running = core.getExposure(), core.getExposure("Camera"), core.getPixelSizeUm(True)
    assert running == standing == (7.12, 7.12, 1.0)
    assert core.asked == []


@pytest.mark.parametrize(
    ("seen", "exposure_ms"),
    [
        ("10.00", 9.6),
        (None, 9.6),
        ("9.60", 9.6),
        ("9.6000", 9.6),
        ("5", 5.0),
        ("?", 9.6),
    ],
)
def test_another_exposure_is_one_that_the_core_has_seen_since(seen, exposure_ms):
    assert _exposure_now(9.6, "10.00", seen) == exposure_ms


def test_a_camera_that_makes_another_exposure_of_what_is_asked_for(core):
    core.steps = 0.96
    core.setExposure(10.0)
    start(core)
    assert core.getExposure() == pytest.approx(9.6)
    core.setExposure(5.0)
    assert core.getExposure() == 5.0


@pytest.mark.parametrize("how", ["exposure", "property"])
def test_an_exposure_changed_while_it_runs_is_seen(core, how):
    start(core)
    if how == "exposure":
        core.setExposure(5.0)
    else:
        core.setProperty("Camera", "Exposure", "5")
    assert core.getExposure() == 5.0
    core.stopSequenceAcquisition()
    core.setExposure(3.0)
    assert core.getExposure() == 3.0


def test_a_change_between_two_runs_counts_for_the_second(core):
    core.startContinuousSequenceAcquisition(0)
    assert core.getPixelSizeUm() == 1.0
    core.stopSequenceAcquisition()
    core.setExposure(2.0)
    core.setProperty("Camera", "Binning", "2")
    try:
        core.startContinuousSequenceAcquisition(0)
        assert (core.getExposure(), core.getPixelSizeUm()) == (2.0, 2.0)
        core.stopSequenceAcquisition()
    finally:
        core.setProperty("Camera", "Binning", "1")
        core.setROI(0, 0, 64, 64)


def test_a_property_of_a_running_camera_is_the_one_last_seen(core):
    core.setProperty("Camera", "Gain", "3")
    start(core)
    assert property_of(core, "Camera", "Gain") == "3"
    assert core.asked == []
    with pytest.raises(RuntimeError):
        property_of(core, "Camera", "NoSuchProperty")


@pytest.mark.parametrize("guess", [True, False], ids=["guessed gain", "calibrated"])
def test_an_acquisition_of_ours_asks_nothing(core, guess):
    source = MicroManagerSource(
        core,
        frames=60,
        exposure_ms=3.0,
        pixel_size_nm=100.0,
        calibration=None if guess else CameraCalibration(),
    )
    assert sum(1 for _ in source.frames()) == 60
    source.close()
    assert core.asked == []
    assert "camera.Gain" in source.start.metadata


def test_an_acquisition_of_others_asks_nothing_once_we_are_attached(loaded, tmp_path):
    plan = useq.MDASequence(
        axis_order="ptc",
        time_plan={"interval": 0, "loops": 40},
        stage_positions=[(0, 0), (1, 1)],
    )
    with attach(loaded, engine=None, record=tmp_path, pixel_size_nm=100.0) as live:
        loaded.run_mda(plan, block=True)
    assert [s.end.sent for s in live.streams] == [40, 40]
    assert loaded.asked == []


def test_following_a_running_sequence_asks_nothing(loaded, tmp_path):
    with attach(loaded, engine=None, record=tmp_path, pixel_size_nm=100.0) as live:
        loaded.startSequenceAcquisition(80, 0, True)
        live.follow_sequence()
    assert [s.end.status for s in live.streams] == ["ok"]
    assert loaded.asked == []


class PythonCamera(CameraDevice):
    """Changes its exposure by itself; has a lock of its own core."""

    exposure = 1.0

    def get_exposure(self):
        return self.exposure

    def set_exposure(self, exposure):
        self.exposure = exposure

    def shape(self):
        return 8, 8

    def dtype(self):
        return "u2"

    def start_sequence(self, n, get_buffer):
        while True:
            get_buffer(self.shape(), self.dtype())[...] = 0
            yield {}


def test_a_camera_in_python_is_asked_directly():
    core = FrameExactCore()
    avoid_live_queries(core)
    camera = PythonCamera()
    core.loadPyDevice("Python", camera)
    core.initializeDevice("Python")
    core.setCameraDevice("Python")
    try:
        start(core)
        assert core.isSequenceRunning()
        camera.exposure = 4.0
        assert core.getExposure() == 4.0
        core.stopSequenceAcquisition()
    finally:
        close_core(core)


def test_a_camera_that_cannot_tell_starts_all_the_same(core):
    core.mute = True
    start(core)
    assert core.isSequenceRunning()


def test_it_is_done_once_and_keeps_no_core_alive(caplog):
    caplog.set_level("WARNING", "pymmcore-plus")  # it keeps what it logs
    core = open_core("demo")
    asked = core.getExposure
    avoid_live_queries(core)
    assert core.getExposure == asked
    close_core(core)
    del asked
    reference = weakref.ref(core)
    gc.disable()
    try:
        del core
        assert reference() is None
    finally:
        gc.enable()
