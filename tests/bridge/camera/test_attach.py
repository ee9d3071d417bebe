"""Following a core that somebody else drives: every frame, and no harm to them."""

import itertools
import re
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import useq
from pymmcore_plus.experimental.unicore import CameraDevice

from liveloc.bridge import attach
from liveloc.bridge.camera.handover import HandedSource, Handover
from liveloc.bridge.camera.python_core import FrameExactCore, close_core
from liveloc.bridge.camera.sequence_follower import SequenceFollower
from liveloc.bridge.camera.sequence_reader import CAMERA_FRAME_TAG
from liveloc.bridge.camera.sequence_source import open_core
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, SourceAborted, SourceError
from liveloc.stream.frames import Frame, FrameHeader
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.shedding import BLOCK
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver

TOLD = {"pixel_size_nm": 100.0, "calibration": CameraCalibration()}


def loops(count, **more):
    return useq.MDASequence(time_plan={"interval": 0, "loops": count}, **more)


@pytest.fixture(scope="module")
def demo_core():
    core = open_core("demo")
    core.setProperty("Camera", "PixelType", "16bit")
    yield core
    close_core(core)


@pytest.fixture
def core(demo_core):
    engine = demo_core.mda.engine
    demo_core.setROI(8, 4, 64, 48)
    demo_core.setExposure(1.0)
    demo_core.setProperty("Camera", "Exposure", "1")
    yield demo_core
    if demo_core.isSequenceRunning():
        demo_core.stopSequenceAcquisition()
    demo_core.clearROI()
    demo_core.mda.set_engine(engine)
    engine.use_hardware_sequencing = True


class Streams:
    """An engine that takes one stream after the other."""

    def __init__(self):
        self.receiver = FrameReceiver("tcp://127.0.0.1:*")
        self.endpoint = self.receiver.endpoint
        self.ends, self.balances, self.seqs = [], [], [[]]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            event = self.receiver.next(16, 0.05)
            if isinstance(event, Arrived):
                self.seqs[-1] += [header.seq for header in event.headers]
                self.receiver.localized(len(event.headers))
                self.receiver.published(event.headers[-1].seq)
                self.receiver.settle(event.headers[-1].seq)
            elif isinstance(event, Closed):
                self.ends.append(event.end)
                self.balances.append(self.receiver.balance)
                self.seqs.append([])

    def close(self):
        self._stop.set()
        self._thread.join(5)
        self.receiver.close()


@pytest.fixture
def engine():
    running = Streams()
    yield running
    running.close()


def recorded(stream):
    return list(SegmentReader(stream.folder / "stream"))


def frame(seq, side=8):
    header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq)
    return Frame(header, np.full((side, side), seq, np.uint16))


def test_three_lines_send_an_acquisition_and_the_next(core, engine, tmp_path):
    with attach(core, engine=engine.endpoint, record=tmp_path, **TOLD) as live:
        core.run_mda(loops(60), block=True)
        core.run_mda(loops(40))
    assert [s.end.status for s in live.streams] == ["ok", "ok"]
    assert [b.camera for b in engine.balances] == [60, 40]
    assert [b.unexplained for b in engine.balances] == [0, 0]
    assert engine.seqs[:2] == [list(range(60)), list(range(40))]
    assert [s.recorded for s in live.streams] == [60, 40]
    first = SegmentReader(live.streams[0].folder / "stream")
    assert first.start.roi_origin == (8, 4)
    assert first.start.shape == (48, 64)
    assert first.start.expected_frames == 60
    assert first.start.exposure_ms == 1.0
    assert first.start.camera_label == "Camera"
    assert not live.others
    assert live.failure is None


def test_frames_are_those_of_the_acquisition_and_copies_of_them(core, tmp_path):
    seen = []

    def spoil(image, event, meta):
        seen.append(image.copy())
        image[:] = 0

    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.mda.events.frameReady.connect(spoil)
        core.run_mda(loops(30), block=True)
        core.mda.events.frameReady.disconnect(spoil)
    kept = recorded(live.streams[0])
    assert len(seen) == 30
    np.testing.assert_array_equal([f.pixels for f in kept], seen)


def test_software_timed_frames_are_numbered_too(core, tmp_path):
    core.mda.engine.use_hardware_sequencing = False
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.run_mda(loops(12), block=True)
    assert [f.header.seq for f in recorded(live.streams[0])] == list(range(12))


def test_an_output_of_run_mda_takes_only_that_acquisition(core, tmp_path):
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        output = live.as_output()
        core.run_mda(loops(10), block=True)
        core.run_mda(loops(25), output=[output, "memory"], block=True)
    assert [s.end.sent for s in live.streams] == [25]
    assert live.streams[0].end.status == "ok"
    assert live.others == {"not_asked_for": 10}


def test_a_cancelled_acquisition_is_aborted_with_its_reason(core, tmp_path):
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        thread = core.run_mda(loops(5000))
        wait_for(lambda: live._listener._stream and live._listener._stream.taken > 20)
        core.mda.cancel()
        thread.join(10)
    end = live.streams[0].end
    assert end.status == "aborted"
    assert "cancelled after" in end.reason
    assert end.missing == 0
    assert end.sent == end.last_seq + 1 == live.streams[0].recorded


def test_an_acquisition_that_fails_is_failed_and_keeps_its_own_error(core, tmp_path):
    def broken(self, event):
        if event.index["t"] == 5:
            raise RuntimeError("stage on fire")
        return type(core.mda.engine).exec_event(core.mda.engine, event)

    core.mda.engine.use_hardware_sequencing = False
    errors = []
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.mda.engine.exec_event = broken.__get__(core.mda.engine)
        try:
            core.mda.run(loops(10))
        except RuntimeError as error:
            errors.append(str(error))
        finally:
            del core.mda.engine.exec_event
    assert errors == ["stage on fire"]
    assert live.streams[0].end.status == "failed"
    assert live.streams[0].end.sent == 5


def test_each_position_is_a_stream_when_time_is_the_last_axis(core, engine):
    plan = loops(20, axis_order="ptc", stage_positions=[(0, 0), (1, 1)])
    with attach(core, engine=engine.endpoint, **TOLD) as live:
        core.run_mda(plan)
    assert [s.end.sent for s in live.streams] == [20, 20]
    assert [s.end.status for s in live.streams] == ["ok", "ok"]
    assert engine.seqs[:2] == [list(range(20))] * 2


def test_of_alternating_channels_the_first_is_taken_and_the_rest_named(
    core, tmp_path, caplog
):
    plan = loops(6, channels=["DAPI", "FITC"])
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.run_mda(plan, block=True)
    assert [s.end.sent for s in live.streams] == [6]
    assert live.streams[0].end.missing == 0
    assert live.others == {"other_axis": 6}
    assert "put t last in axis_order" in caplog.text


def test_a_stack_without_time_is_no_stream(core, tmp_path):
    plan = useq.MDASequence(z_plan={"range": 4, "step": 1})
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.run_mda(plan, block=True)
    assert live.streams == []
    assert live.others == {"no_time_axis": 5}


def test_frames_of_another_camera_and_another_shape_are_named(core, tmp_path):
    listener_frames = []
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        listener = live._listener
        listener.sequenceStarted(loops(10), {})
        image = np.zeros((48, 64), np.uint16)
        for t in range(10):
            event = useq.MDAEvent(index={"t": t})
            listener.eventStarted(event)
            meta = {"camera_device": "Camera", "exposure_ms": 1.0}
            if t == 3:
                meta["camera_device"] = "Other"
            shown = image[:20] if t in (5, 6) else image
            listener.frameReady(shown, event, meta)
            listener_frames.append(t)
        listener.sequenceFinished(loops(10))
    assert live.others == {"other_camera": 1, "other_shape": 2}
    end = live.streams[0].end
    assert (end.sent, end.missing, end.last_seq) == (7, 3, 9)
    seqs = [f.header.seq for f in recorded(live.streams[0])]
    assert seqs == [0, 1, 2, 4, 7, 8, 9]


def test_a_lost_exposure_of_a_timed_sequence_is_a_gap_where_it_was_lost(core, tmp_path):
    events = tuple(useq.MDAEvent(index={"t": t}) for t in range(8))
    part = useq.MDAEvent(index={"t": 0})
    object.__setattr__(part, "events", events)
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        listener = live._listener
        listener.sequenceStarted(loops(8), {})
        listener.eventStarted(part)
        for came, number in enumerate((0, 1, 4, 5, 6)):
            meta = {
                "camera_device": "Camera",
                "exposure_ms": 1.0,
                "hardware_triggered": True,
                "camera_metadata": {"ImageNumber": str(number)},
            }
            image = np.full((48, 64), number, np.uint16)
            listener.frameReady(image, events[came], meta)
        listener.sequenceFinished(loops(8))
    kept = recorded(live.streams[0])
    assert [f.header.seq for f in kept] == [0, 1, 4, 5, 6]
    assert [f.header.missing_total for f in kept] == [0, 0, 2, 2, 2]
    end = live.streams[0].end
    assert (end.last_seq, end.missing, end.status) == (7, 3, "ok")


class LossyCamera(CameraDevice):
    """Counts its exposures and loses some of them."""

    def __init__(self, lost):
        super().__init__()
        self.lost = set(lost)

    def get_exposure(self):
        return 1.0

    def set_exposure(self, exposure):
        pass

    def shape(self):
        return 24, 32

    def dtype(self):
        return np.uint16

    def start_sequence(self, n, get_buffer):
        numbers = (i for i in itertools.count() if i not in self.lost)
        for number in itertools.islice(numbers, n):
            get_buffer(self.shape(), np.uint16)[...] = number
            time.sleep(0.001)
            yield {CAMERA_FRAME_TAG: str(number)}


def test_a_camera_that_goes_on_until_it_has_delivered_all_it_was_asked_for(tmp_path):
    core = FrameExactCore()
    core.loadPyDevice("Lossy", LossyCamera([0, 5, 6, 11]))
    core.initializeDevice("Lossy")
    core.setCameraDevice("Lossy")
    try:
        with attach(core, engine=None, record=tmp_path, **TOLD) as live:
            core.run_mda(loops(20))
    finally:
        close_core(core)
    kept = recorded(live.streams[0])
    seqs = [f.header.seq for f in kept]
    assert seqs == [int(f.pixels[0, 0]) for f in kept]
    assert seqs == [i for i in range(24) if i not in (0, 5, 6, 11)]
    end = live.streams[0].end
    assert (end.status, end.sent, end.missing, end.last_seq) == ("ok", 20, 4, 23)


def test_an_exposure_that_changes_ends_the_stream(core, tmp_path):
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        listener = live._listener
        listener.sequenceStarted(loops(9), {})
        for t in range(9):
            event = useq.MDAEvent(index={"t": t})
            listener.eventStarted(event)
            meta = {"camera_device": "Camera", "exposure_ms": 1.0 if t < 4 else 2.0}
            listener.frameReady(np.zeros((48, 64), np.uint16), event, meta)
        listener.sequenceFinished(loops(9))
    end = live.streams[0].end
    assert end.status == "failed"
    assert "changed from 1 to 2 ms at frame 4" in end.reason
    assert end.sent == 4
    assert live.others == {"after_end": 5}


def test_a_fault_of_ours_ends_the_stream_and_not_the_acquisition(
    core, tmp_path, monkeypatch
):
    taken = []

    def count(image, event, meta):
        taken.append(event.index["t"])

    def broken(self, *_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("liveloc.bridge.camera.mda_frames.MDAFrames._put", broken)
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        core.mda.events.frameReady.connect(count)
        core.run_mda(loops(15), block=True)
        core.mda.events.frameReady.disconnect(count)
    assert taken == list(range(15))
    assert live.streams[0].end.status == "failed"
    assert "a bug" in live.streams[0].end.reason


def test_what_cannot_be_sent_says_why_and_the_acquisition_goes_on(core, tmp_path):
    taken = []

    def count(image, event, meta):
        taken.append(event.index["t"])

    chip = np.full((16, 16), 100.0)
    told = TOLD | {"calibration": CameraCalibration(offset_adu=chip)}
    with attach(core, engine=None, record=tmp_path, **told) as live:
        core.mda.events.frameReady.connect(count)
        core.run_mda(loops(15), block=True)
        core.mda.events.frameReady.disconnect(count)
    assert taken == list(range(15))
    assert live.streams == []
    assert isinstance(live.failure, SettingsError)


def test_an_exception_in_the_block_detaches_at_once(core, tmp_path):
    with pytest.raises(ZeroDivisionError):
        with attach(core, engine=None, record=tmp_path, **TOLD) as live:
            thread = core.run_mda(loops(3000))
            wait_for(
                lambda: live._listener._stream and live._listener._stream.taken > 5
            )
            raise ZeroDivisionError
    assert core.mda.is_running()
    core.mda.cancel()
    thread.join(10)
    assert live.streams[0].end.status == "aborted"
    assert "detached" in live.streams[0].end.reason


def test_attaching_to_a_running_acquisition_takes_the_next_one(core, tmp_path):
    begun = threading.Event()

    def begin(image, event, meta):
        begun.set()

    core.mda.events.frameReady.connect(begin)
    thread = core.run_mda(loops(4000))
    assert begun.wait(8)
    core.mda.events.frameReady.disconnect(begin)
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        wait_for(lambda: live.others["before_attach"] > 3)
        core.mda.cancel()
        thread.join(10)
        core.run_mda(loops(10))
    assert [s.end.sent for s in live.streams] == [10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": None}, "neither an engine nor a folder"),
        ({"policy": "block"}, "would make the acquisition wait"),
        ({"camera": "Andor"}, "no camera 'Andor' in the core; its camera is 'Camera'"),
        ({"engine": "tcp://192.168.0.1:5555"}, r"192\.168\.0\.1"),
        ({"pixel_size_nm": -1.0}, "pixel_size_nm is -1: no microscope"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(core, options, message):
    with pytest.raises(SettingsError, match=message):
        attach(core, **options)


def test_a_sequence_that_runs_is_followed_and_its_camera_left_on(core, engine):
    core.startSequenceAcquisition(300, 0, True)
    with attach(core, engine=engine.endpoint, **TOLD) as live:
        live.follow_sequence()
        wait_for(lambda: not core.isSequenceRunning())
    end = live.streams[0].end
    assert end.status == "ok"
    assert end.sent == end.last_seq + 1 == 300
    assert engine.balances[0].unexplained == 0


def test_detaching_from_a_sequence_does_not_stop_the_camera(core):
    core.startContinuousSequenceAcquisition(0)
    follower = SequenceFollower(core, **TOLD)
    seen = []
    with pytest.raises(SourceAborted, match="detached"):
        for taken in follower.frames():
            seen.append(taken.header.seq)
            if len(seen) == 30:
                follower.stop()
    follower.close()
    assert seen == list(range(30))
    assert core.isSequenceRunning()


def test_a_follower_leaves_the_buffer_to_an_acquisition(core, tmp_path):
    core.startContinuousSequenceAcquisition(0)
    with attach(core, engine=None, record=tmp_path, **TOLD) as live:
        live.follow_sequence()
        time.sleep(0.1)
        core.run_mda(loops(40), block=True)
    assert [s.end.status for s in live.streams] == ["aborted", "ok"]
    assert "took the camera" in live.streams[0].end.reason
    assert live.streams[1].end.sent == 40


def test_following_nothing_is_refused(core):
    with pytest.raises(SettingsError, match="runs no sequence"):
        SequenceFollower(core, **TOLD)


def test_a_full_queue_sheds_blocks_and_never_waits():
    side = 8
    handover = Handover(queue_bytes=40 * side * side * 2)
    kept = [seq for seq in range(200) if handover.put(frame(seq))]
    assert kept == list(range(40))
    for _ in range(30):
        handover.take(0.0)
    kept += [seq for seq in range(200, 230) if handover.put(frame(seq))]
    assert kept[40:] == list(range(200, 230))
    assert handover.shed == 160
    assert handover.shed >= BLOCK
    handover.end(planned=230)
    assert not handover.put(frame(230))


def test_what_was_shed_is_missing_from_the_stream():
    handover = Handover(queue_bytes=10 * 128)
    for seq in range(50):
        handover.put(frame(seq))
    handover.end(planned=50)
    source = HandedSource(handover, start=None)
    assert [f.header.seq for f in source.frames()] == list(range(10))
    assert source.missing == 40


def test_policy_stop_ends_the_stream_where_there_is_no_room():
    handover = Handover(queue_bytes=10 * 128, policy="stop")
    assert sum(handover.put(frame(seq)) for seq in range(50)) == 10
    with pytest.raises(SourceError, match="policy stop allows no loss"):
        list(HandedSource(handover, start=None).frames())


def test_the_examples_of_the_documentation_run(engine, tmp_path, monkeypatch):
    page = Path(__file__).parents[3] / "docs" / "micromanager.md"
    text = page.read_text(encoding="utf-8")
    for written, here in {
        "MyScope.cfg": "demo",
        '{"TriggerMode": "External"}': '{"Gain": "1"}',
        "(512, 512, 256, 256)": "(0, 0, 64, 64)",
        "tcp://127.0.0.1:5555": engine.endpoint,
        "attach(core, pixel": f"attach(core, engine='{engine.endpoint}', pixel",
        "frames=20_000": "frames=20",
        "(20_000": "(200",
        "loops: 20000": "loops: 9",
        "frames=5000": "frames=5",
        "times=4, pause_s=60": "times=2, pause_s=0",
        "Alexa647": "Cy5",
    }.items():
        assert written in text
        text = text.replace(written, here)
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(blocks[2][1])
    names = {"plan": loops(7)}
    try:
        for kind, code in blocks:
            if kind == "python":
                exec(textwrap.dedent(code), names)
    finally:
        if "core" in names:
            close_core(names["core"])
    assert [end.status for end in engine.ends] == ["ok"] * len(engine.ends)
    assert [len(seqs) for seqs in engine.seqs[:6]] == [20, 5, 5, 9, 9, 7]
    assert len(engine.ends) == 7
    assert [balance.unexplained for balance in engine.balances] == [0] * 7


def wait_for(condition, seconds=8.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.005)
    raise AssertionError("it did not happen")
