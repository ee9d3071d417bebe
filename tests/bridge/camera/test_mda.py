"""A useq plan as the acquisition."""

import threading
import time

import pytest
import useq

from liveloc.bridge.camera.handover import Handover
from liveloc.bridge.camera.mda import MDAAcquisition, check_plan, load_plan
from liveloc.bridge.camera.mda_plan import alternating_axis, axes_of
from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import open_core
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, SourceAborted, SourceError
from liveloc.stream.recording.recorder import FrameRecorder
from liveloc.stream.transport.transmission import transmit

TOLD = {"pixel_size_nm": 100.0, "calibration": CameraCalibration()}
SMALL = {"roi": (8, 4, 64, 48), "exposure_ms": 1.0, **TOLD}


def loops(count, **more):
    return useq.MDASequence(time_plan={"interval": 0, "loops": count}, **more)


@pytest.fixture(scope="module")
def demo_core():
    core = open_core("demo")
    yield core
    close_core(core)


@pytest.fixture
def core(demo_core):
    demo_core.setProperty("Camera", "PixelType", "16bit")
    demo_core.setProperty("Camera", "Binning", "1")
    demo_core.clearROI()
    yield demo_core
    assert not demo_core.mda.is_running()
    demo_core.mda.engine.use_hardware_sequencing = True


def test_a_plan_from_a_file_runs_timed_by_the_camera(core, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("time_plan: {interval: 0, loops: 80}\n")
    parts = []

    def count(event):
        parts.append(len(getattr(event, "events", ())))

    core.mda.events.eventStarted.connect(count)
    with MDAAcquisition(core, load_plan(path), **SMALL) as run:
        for source in run.sources():
            start = source.start
            assert not parts  # it waits for the first frame to be asked for
            seqs = [frame.header.seq for frame in source.frames()]
            assert source.missing == 0
    core.mda.events.eventStarted.disconnect(count)
    assert parts == [80]
    assert seqs == list(range(80))
    assert start.expected_frames == 80
    assert (start.shape, start.roi_origin) == ((48, 64), (8, 4))
    assert start.exposure_ms == start.interval_ms == 1.0
    assert '"loops":80' in start.metadata["mda_plan"]


def test_the_exposure_of_the_plan_wins(core):
    plan = loops(5, channels=[{"config": "DAPI", "exposure": 3.0}])
    with MDAAcquisition(core, plan, **SMALL) as run:
        ((start, seqs),) = list(read(run))
    assert start.exposure_ms == 3.0
    assert seqs == list(range(5))


def read(run):
    for source in run.sources():
        yield source.start, [frame.header.seq for frame in source.frames()]


def test_positions_and_planes_become_streams_one_after_the_other(core):
    plan = loops(
        12,
        axis_order="pzt",
        stage_positions=[(0, 0), (5, 5)],
        z_plan={"range": 2, "step": 2},
    )
    with MDAAcquisition(core, plan, **SMALL) as run:
        streams = list(read(run))
    assert [seqs for _, seqs in streams] == [list(range(12))] * 4
    places = [start.metadata["mda_index"] for start, _ in streams]
    assert places == ["p=0, z=0", "p=0, z=1", "p=1, z=0", "p=1, z=1"]
    assert len({start.stream_id for start, _ in streams}) == 4


def test_the_gain_is_guessed_when_it_is_not_known(core):
    told = SMALL | {"calibration": None}
    with MDAAcquisition(core, loops(20), **told) as run:
        ((start, seqs),) = list(read(run))
    assert start.calibration.estimated
    assert seqs == list(range(20))


def test_a_cancelled_plan_is_aborted_with_its_reason(core, tmp_path):
    with MDAAcquisition(core, loops(5000), **SMALL) as run:
        for source in run.sources():
            recorder = FrameRecorder(tmp_path / "stream", source.start)
            end = transmit(source, None, recorder, lambda n: n == 30 and run.cancel())
    assert end.status == "aborted"
    assert "cancelled after" in end.reason
    assert 30 <= end.sent < 5000
    assert end.missing == 0


def test_an_event_from_outside_ends_a_plan_that_waits(core):
    stop = threading.Event()
    plan = useq.MDASequence(time_plan={"interval": 30, "loops": 3})
    seqs = []
    with MDAAcquisition(core, plan, stop=stop, **SMALL) as run:
        source = next(run.sources())
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(SourceAborted, match="cancelled after 1 exposures"):
            seqs.extend(frame.header.seq for frame in source.frames())
        timer.join()
    assert seqs == [0]
    assert time.monotonic() - began < 30  # the plan's own interval


def test_a_plan_that_was_never_begun_can_be_closed(core):
    run = MDAAcquisition(core, loops(5), **SMALL)
    run.close()
    run = MDAAcquisition(core, loops(5), **SMALL)
    next(run.sources())
    run.close()
    run.close()
    with pytest.raises(SettingsError, match="has been run already"):
        next(run.sources())


def test_a_device_that_fails_is_named(core):
    def broken(self, event):
        raise RuntimeError("stage on fire")

    core.mda.engine.setup_event = broken.__get__(core.mda.engine)
    try:
        with MDAAcquisition(core, loops(5), **SMALL) as run:
            source = next(run.sources())
            with pytest.raises(SourceError, match="RuntimeError: stage on fire"):
                list(source.frames())
    finally:
        del core.mda.engine.setup_event


def test_an_overflow_of_micro_managers_buffer_is_named(core, monkeypatch):
    monkeypatch.setattr(Handover, "put", slow(Handover.put))
    told = SMALL | {"roi": None, "buffer_mib": 4}
    with MDAAcquisition(core, loops(400), **told) as run:
        source, seqs = next(run.sources()), []
        with pytest.raises(SourceError, match=r"overflowed.*buffer_mib"):
            seqs.extend(frame.header.seq for frame in source.frames())
    assert seqs == list(range(len(seqs)))
    assert 0 < len(seqs) < 400


def slow(put):
    def wait(self, frame):
        time.sleep(0.05)
        return put(self, frame)

    return wait


def test_a_channel_that_bins_is_told_from_its_start(core):
    core.defineConfig("Test", "Binned", "Camera", "Binning", "2")
    core.defineConfig("Test", "Plain", "Camera", "Binning", "1")
    plan = loops(5, channels=[{"group": "Test", "config": "Binned"}])
    try:
        with MDAAcquisition(core, plan, **SMALL) as run:
            source = next(run.sources())
            with pytest.raises(SourceError, match="was expected"):
                list(source.frames())
    finally:
        core.deleteConfigGroup("Test")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (loops(5, channels=["DAPI", "FITC"]), r"axis 'c' between.*'ct'"),
        (loops(5, stage_positions=[(0, 0), (1, 1)]), r"axis 'p' between.*'pt'"),
        (useq.MDASequence(z_plan={"range": 4, "step": 1}), "no time_plan"),
        (useq.MDASequence(), "no time_plan"),
    ],
)
def test_plans_that_make_no_streams_are_refused_with_the_remedy(plan, message):
    with pytest.raises(SettingsError, match=message):
        check_plan(plan)


def test_axes_of_plans_within_plans():
    inner = loops(4, z_plan={"range": 2, "step": 1})
    plan = useq.MDASequence(stage_positions=[useq.Position(x=0, sequence=inner)])
    assert axes_of(plan) == ["t", "z"]
    assert alternating_axis(plan) == "z"
    one = useq.MDASequence(stage_positions=[useq.Position(x=0, sequence=loops(4))] * 2)
    assert axes_of(one)[:2] == ["p", "t"]
    assert alternating_axis(one) == ""


def test_files_that_are_no_plan_are_named(tmp_path):
    with pytest.raises(SettingsError, match="no such plan"):
        load_plan(tmp_path / "none.yaml")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("time_plan: 7\n")
    with pytest.raises(SettingsError, match=r"wrong\.yaml is no useq MDASequence"):
        load_plan(wrong)
    with pytest.raises(SettingsError, match="would make the acquisition wait"):
        MDAAcquisition(None, loops(3), policy="block")
