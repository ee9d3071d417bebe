"""The whole bridge: camera, laser, recording and a real engine's socket."""

import _thread
import json
import logging
import socket
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import typer

from liveloc.bridge.bridge import run_bridge
from liveloc.bridge.camera.setup import CameraSettings
from liveloc.bridge.commands import bridge as bridge_command
from liveloc.bridge.examine import examine_micromanager
from liveloc.bridge.laser.laser import LaserError
from liveloc.bridge.settings import BridgeSettings
from liveloc.bridge.simulated import LASER, POWER_PROPERTY, SimulatedSettings
from liveloc.stream.balance import BRIDGE_SHED
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, StreamError
from liveloc.stream.frames import StreamStart
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.session.processes import StopEvent
from liveloc.stream.session.settings import LaserSection, SessionSettings
from liveloc.stream.tables.opening import read_table
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver
from liveloc.stream.transport.sender import FrameSender

SMALL = SimulatedSettings(shape=(64, 64), exposure_ms=4.0)


class Engine:
    """Takes every frame from a receiver, as an engine would, while it is `working`."""

    def __init__(self, endpoint="tcp://127.0.0.1:*", **options):
        self.receiver = FrameReceiver(endpoint, **options)
        self.working = threading.Event()
        self.working.set()
        self.endpoint = self.receiver.endpoint
        self.headers, self.pixels, self.end = [], [], None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set() and self.end is None:
            self.working.wait(10)
            event = self.receiver.next(16, 0.05)
            if isinstance(event, Arrived):
                self.headers += event.headers
                self.pixels += [pixels.copy() for pixels in event.pixels]
                self.receiver.localized(len(event.headers))
                self.receiver.published(event.headers[-1].seq)
                self.receiver.settle(event.headers[-1].seq)
            elif isinstance(event, Closed):
                self.end = event.end

    def close(self, *, when_done=False):
        if when_done:
            self._thread.join(15)
        self._stop.set()
        self.working.set()
        self._thread.join(5)
        self.receiver.close()


@pytest.fixture
def engine():
    running = Engine()
    yield running
    running.close()


@pytest.fixture
def laser_log(caplog):
    """Give (seconds, power, reason) of every change of the laser."""
    caplog.set_level(logging.INFO, logger="liveloc.bridge.laser.laser")

    def read():
        lines = [r for r in caplog.records if r.msg.startswith("laser %s: %g")]
        return [(r.created, r.args[1], r.args[3]) for r in lines]

    return read


def test_every_frame_reaches_the_engine_the_recording_and_the_truth(
    engine, tmp_path, laser_log
):
    result = run_bridge(
        BridgeSettings(
            simulated=SMALL,
            endpoint=engine.endpoint,
            camera=CameraSettings(frames=200),
            session=tmp_path / "session",
            record=True,
        )
    )
    engine.close(when_done=True)
    assert result["status"] == "ok"
    assert result["frames"] == {"camera": 200, "sent": 200, "dropped": 0, "missing": 0}
    assert result["laser"] == {
        "start": 5.0,
        "end": 5.0,
        "unit": "mW",
        "safe": True,
        "fault": "",
        "shutter": None,
    }
    assert [h.seq for h in engine.headers] == list(range(200))
    assert engine.end.status == "ok"
    assert engine.receiver.balance.as_dict() == {
        "camera": 200,
        "localized": 200,
        "lost": {},
        "unexplained": 0,
    }
    recorded = list(SegmentReader(tmp_path / "session" / "stream"))
    assert result["recorded"] == len(recorded) == 200
    np.testing.assert_array_equal([f.pixels for f in recorded], engine.pixels)
    truth, metadata = read_table(tmp_path / "session" / "truth.arrow")
    assert result["truth"] == len(truth) > 100
    assert np.all(np.diff(truth["frame"]) >= 0)
    assert truth["frame"].max() <= 199
    assert json.loads(metadata["shape"]) == [64, 64]
    assert [power for _, power, _ in laser_log()] == [0.0, 5.0, 0.0]
    assert {h.laser_seq for h in engine.headers} <= {1, 2}
    assert engine.headers[-1].laser_seq == 2
    json.dumps(result)


def test_an_engine_that_answers_but_localizes_nothing_raises_an_alarm(
    laser_log, tmp_path
):
    engine, stop, results = Engine(ring_frames=16), threading.Event(), []
    settings = BridgeSettings(
        simulated=SMALL,
        endpoint=engine.endpoint,
        session=tmp_path,
        send_queue_bytes=64 * 64 * 64 * 2,  # 64 frames
    )
    bridge = threading.Thread(
        target=lambda: results.append(run_bridge(settings, stop=stop))
    )
    bridge.start()
    wait_for_power(laser_log, 5.0)
    engine.working.clear()  # its receiver still answers
    wait_for_power(laser_log, 0.0)
    assert laser_log()[-1][2] == "frames are not localized"
    time.sleep(2.5)  # more than queue and ring hold: frames are shed
    done = len(engine.headers)
    engine.working.set()
    wait_for_power(laser_log, 5.0)
    deadline = time.monotonic() + 10
    while len(engine.headers) < done + 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    stop.set()
    bridge.join(15)
    engine.close(when_done=True)
    balance = engine.receiver.balance
    assert balance.unexplained == 0
    assert balance.lost[BRIDGE_SHED] > 0
    (standstill,) = results[0]["not_localized"]
    assert standstill["over"]
    assert standstill["first_seq"] <= done < standstill["last_seq"]
    assert standstill["seconds"] > 2.5
    lines = map(json.loads, (tmp_path / "control.jsonl").read_text().splitlines())
    alarms = [line["text"] for line in lines if line["kind"] == "alarm"]
    assert len(alarms) == 2
    assert "the engine answers but localizes nothing" in alarms[0]
    assert "Localizing goes on" in alarms[1]
    assert engine.receiver.alarms == alarms


def test_losing_the_engine_makes_the_laser_safe_until_it_is_back(engine, laser_log):
    stop, results = threading.Event(), []
    settings = BridgeSettings(simulated=SMALL, endpoint=engine.endpoint)
    bridge = threading.Thread(
        target=lambda: results.append(run_bridge(settings, stop=stop))
    )
    bridge.start()
    wait_for_power(laser_log, 5.0)
    engine.close()
    lost = time.time()
    wait_for_power(laser_log, 0.0)
    assert laser_log()[-1][0] - lost < 2.0
    again = Engine(engine.endpoint)
    wait_for_power(laser_log, 5.0)
    stop.set()
    bridge.join(15)
    again.close(when_done=True)
    assert laser_log()[-1][1] == 0.0
    frames = results[0]["frames"]
    assert frames["camera"] == frames["sent"] + frames["dropped"] + frames["missing"]


def wait_for_power(laser_log, power, seconds=8.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        changes = laser_log()
        if changes and changes[-1][1] == power and changes[-1][2] != "opened":
            return
        time.sleep(0.01)
    raise AssertionError(f"the laser did not get to {power} mW: {laser_log()}")


def endpoint_without_engine():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{free.getsockname()[1]}"


def test_without_an_engine_the_laser_stays_safe_and_the_recording_is_whole(
    tmp_path, laser_log
):
    stop = threading.Event()
    result = run_bridge(
        BridgeSettings(
            simulated=SMALL,
            endpoint=endpoint_without_engine(),
            camera=CameraSettings(frames=1000),
            session=tmp_path,
            record=True,
            wait_for_engine_s=0.0,
        ),
        progress=lambda exposures: stop.set() if exposures == 60 else None,
        stop=stop,
    )
    frames = result["frames"]
    assert result["status"] == "aborted"
    assert result["reason"] == f"stopped after {frames['camera']} of 1000 exposures"
    assert result["recorded"] == frames["camera"] >= 60
    recorded = [f.header.seq for f in SegmentReader(tmp_path / "stream")]
    assert recorded == list(range(frames["camera"]))
    assert frames["sent"] + frames["dropped"] == frames["camera"]
    assert {power for _, power, _ in laser_log()} == {0.0}
    assert result["laser"]["start"] == 0.0


def test_a_busy_engine_is_named_with_the_stream_that_it_receives(engine):
    """Also when the bridge has less patience than a sender that may be the last one."""
    first = StreamStart(
        stream_id=b"first bridge  16",
        shape=(8, 8),
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=1.0,
    )
    with FrameSender(engine.endpoint, first) as other:
        assert other.wait_connected(5.0)
        settings = BridgeSettings(
            simulated=SMALL,
            endpoint=engine.endpoint,
            camera=CameraSettings(frames=20),
            wait_for_engine_s=1.0,
        )
        with pytest.raises(StreamError, match="refuses the stream: busy") as raised:
            run_bridge(settings)
        assert first.stream_id.hex() in str(raised.value)


def test_a_bridge_whose_frames_no_engine_took_does_not_end_well(
    tmp_path, monkeypatch, capsys
):
    def impatient(settings, **more):
        return run_bridge(replace(settings, wait_for_engine_s=0.0), **more)

    monkeypatch.setattr("liveloc.bridge.bridge.run_bridge", impatient)
    monkeypatch.setattr("liveloc.stream.transport.transmission._PATIENCE_S", 0.5)
    monkeypatch.setattr(  # the command takes the signals of its process
        "liveloc.bridge.commands.stop_event", lambda _: StopEvent()
    )
    file, nobody = tmp_path / "session.yaml", endpoint_without_engine()
    file.write_text(
        f"camera: {{frames: 20}}\nstream: {{frames_endpoint: {nobody}}}\n"
        "simulation: {shape: [64, 64]}\n"
    )
    with pytest.raises(typer.Exit) as ended:
        bridge_command(file)
    assert ended.value.exit_code == 1
    assert f"no engine accepted a frame at {nobody}" in capsys.readouterr().err


def test_a_recording_without_engine_lights_the_sample(tmp_path, laser_log):
    result = run_bridge(
        BridgeSettings(
            simulated=SMALL,
            camera=CameraSettings(frames=100),
            session=tmp_path,
            record=True,
            without_engine=True,
        )
    )
    assert result["status"] == "ok"
    assert result["recorded"] == result["frames"]["sent"] == 100
    reader = SegmentReader(tmp_path / "stream")
    assert [frame.header.seq for frame in reader] == list(range(100))
    assert reader.end.status == "ok"
    assert [power for _, power, _ in laser_log()] == [0.0, 5.0, 0.0]
    assert len(read_table(tmp_path / "truth.arrow")[0]) > 50
    with pytest.raises(SettingsError, match="neither an engine nor a recording"):
        run_bridge(BridgeSettings(simulated=SMALL, without_engine=True))


def test_doctor_sees_the_demo_devices():
    (core, works, detail), (camera, takes, picture) = examine_micromanager()
    assert works and takes
    assert (core, camera) == ("Micro-Manager", "demo camera")
    assert "Device API version 75" in detail
    assert "512 x 512" in picture


def test_ctrl_c_ends_with_the_laser_safe(engine, tmp_path, laser_log):
    asked = []

    def interrupt(sent):
        if sent >= 40 and not asked:
            asked.append(sent)
            _thread.interrupt_main()

    result = run_bridge(
        BridgeSettings(
            simulated=SMALL,
            endpoint=engine.endpoint,
            session=tmp_path,
            record=True,
            camera=CameraSettings(
                frames=3000
            ),  # it has an end, whatever becomes of Ctrl-C
        ),
        progress=interrupt,
    )
    engine.close(when_done=True)
    assert result["status"] == engine.end.status == "aborted"
    assert laser_log()[-1][1] == 0.0
    assert len(engine.headers) >= 40
    assert SegmentReader(tmp_path / "stream").end.status == "aborted"


def test_an_overflowing_camera_ends_failed_with_its_reason(engine, laser_log):
    result = run_bridge(
        BridgeSettings(
            simulated=SimulatedSettings(shape=(64, 64), exposure_ms=0.5),
            camera=CameraSettings(buffer_mib=1, frames=5000),
            endpoint=engine.endpoint,
        ),
        progress=lambda sent: time.sleep(0.01),
    )
    engine.close(when_done=True)
    assert result["status"] == "failed"
    assert "overflowed after frame" in result["reason"]
    assert engine.end.reason == result["reason"]
    assert len(engine.headers) == result["frames"]["sent"]
    assert laser_log()[-1][1] == 0.0


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"laser": LaserSection(device="L", property="Power", power=1)},
            SettingsError,
            "no laser device 'L'",
        ),
        (
            {"laser": LaserSection(device=LASER, property=POWER_PROPERTY, power=60)},
            SettingsError,
            "power is 60.0 mW",
        ),
        (
            {"camera": CameraSettings(roi=(0, 0, 100, 100))},
            SettingsError,
            "64 x 64 pixels",
        ),
        ({"camera": CameraSettings(camera="Andor")}, SettingsError, "no camera 'An"),
        ({"endpoint": "tcp://192.168.0.1:5555"}, SettingsError, "192.168.0.1"),
    ],
)
def test_wrong_settings_are_one_line_and_leave_nothing_running(
    settings, error, message
):
    before = threading.active_count()
    with pytest.raises((error, LaserError), match=message) as raised:
        run_bridge(BridgeSettings(simulated=SMALL, **settings))
    assert "\n" not in str(raised.value)
    assert threading.active_count() <= before


def test_a_session_file_says_it_all(tmp_path):
    session = SessionSettings().changed(
        camera__frames=30,
        camera__exposure_ms=4.0,
        simulation__shape=(64, 64),
        simulation__seed=7,
        laser__power=8.0,
        laser__highest=20.0,
        stream__record=True,
    )
    settings = BridgeSettings.from_session(session, tmp_path)
    assert settings.simulated == SimulatedSettings(
        shape=(64, 64), exposure_ms=4.0, seed=7
    )
    assert settings.laser.device == LASER
    assert settings.laser.power == 8.0
    assert settings.laser.highest == 20.0
    assert settings.record
    real = session.changed(camera__config="demo", camera__pixel_size_nm=100.0)
    assert BridgeSettings.from_session(real, None).simulated is None
    assert BridgeSettings.from_session(real, None).laser is None


def test_the_demo_camera_goes_the_same_way(engine):
    result = run_bridge(
        BridgeSettings(
            camera=CameraSettings(
                config="demo",
                exposure_ms=2.0,
                roi=(16, 8, 96, 64),
                pixel_size_nm=100.0,
                frames=100,
            ),
            endpoint=engine.endpoint,
        )
    )
    engine.close(when_done=True)
    assert result["status"] == "ok"
    assert result["laser"] is None
    assert [h.seq for h in engine.headers] == list(range(100))
    assert engine.pixels[0].shape == (64, 96)
