"""A second way to dark: a shutter that closes when the laser does not answer."""

import json
import threading
import time

import pytest

from liveloc.bridge import bridge as bridge_module
from liveloc.bridge.bridge import run_bridge
from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import open_core
from liveloc.bridge.camera.setup import CameraSettings
from liveloc.bridge.laser.interlock import LaserInterlock
from liveloc.bridge.laser.laser import GuardedLaser, LaserError, MicroManagerLaser
from liveloc.bridge.laser.shutter import MicroManagerShutter, ShutterWatch
from liveloc.bridge.settings import BridgeSettings
from liveloc.bridge.simulated import (
    LASER,
    POWER_PROPERTY,
    SHUTTER,
    SimulatedSettings,
    open_simulated,
)
from liveloc.stream.errors import SettingsError
from liveloc.stream.session.settings import (
    LaserSection,
    SessionSettings,
    ShutterSection,
)

SMALL = SimulatedSettings(shape=(32, 32), exposure_ms=4.0)
DEMO_SHUTTER = "DShutter"  # a C++ device of Micro-Manager
DARK_S = 1.0  # promised for any fault of a laser
HANG_S = 30.0  # for ever, where a test has to end


@pytest.fixture
def scope():
    opened = open_simulated(SMALL)
    opened.core.loadDevice(DEMO_SHUTTER, "DemoCamera", DEMO_SHUTTER)
    opened.core.initializeDevice(DEMO_SHUTTER)
    yield opened
    opened.close()


class Told:
    """Keeps what a `ShutterWatch` tells."""

    def __init__(self):
        self.changes, self.alarms = [], []

    def change(self, closed, reason):
        self.changes.append((closed, reason))


@pytest.fixture
def watched(scope):
    """Give a guarded laser whose second way is the demo shutter, and what is told."""
    told, watches = Told(), []

    def build(after_s=0.2):
        shutter = MicroManagerShutter(scope.core, DEMO_SHUTTER, "State", 0, 1)
        watches.append(
            ShutterWatch(
                shutter, after_s, on_change=told.change, on_alarm=told.alarms.append
            )
        )
        laser = MicroManagerLaser(scope.core, LASER, POWER_PROPERTY)
        guard = GuardedLaser(laser, shutter=watches[-1])
        assert guard.to_safe()
        watches[-1].open()
        return guard, told

    yield build
    scope.faults.close()
    for watch in watches:
        watch.end()


def state(scope):
    return scope.core.getProperty(DEMO_SHUTTER, "State")


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_a_laser_that_hangs_is_behind_a_closed_shutter_in_time(scope, watched):
    guard, told = watched()
    interlock = LaserInterlock(guard, 5.0)
    interlock.peer(True)
    wait_until(lambda: guard.last_power == 5.0)
    assert state(scope) == "1"
    scope.faults.set("laser405", "hang")
    began = time.monotonic()
    interlock.want(6.0, "law")
    wait_until(lambda: state(scope) == "0")
    assert 0.2 <= time.monotonic() - began < DARK_S
    wait_until(lambda: guard.shutter_closed)
    assert "did not answer for 0.2 s" in told.alarms[0]
    interlock.peer(False)
    began = time.monotonic()
    assert not interlock.close()  # it ends though the driver does not
    assert not interlock.close()
    assert time.monotonic() - began < HANG_S
    assert "hangs" in guard.fault
    scope.faults.set("laser405", "none")
    wait_until(lambda: scope.core.getProperty(LASER, POWER_PROPERTY) == 0.0)
    assert state(scope) == "0"  # nobody has looked after it


def test_a_laser_that_does_not_go_safe_is_behind_a_closed_shutter(scope, watched):
    guard, told = watched()
    guard.set(5.0)
    scope.faults.set("laser405", "error")
    assert not guard.to_safe()
    assert state(scope) == "0"
    assert guard.shutter_closed
    assert "does not answer" in told.alarms[0]
    scope.faults.set("laser405", "none")
    guard.rearm()
    assert state(scope) == "1"
    assert not guard.shutter_closed
    assert [closed for closed, _ in told.changes] == [False, True, False]


def test_a_laser_that_fails_and_goes_safe_keeps_its_shutter_open(scope, watched):
    guard, told = watched()
    guard.set(4.0)
    scope.faults.set("laser405", "error_once")
    with pytest.raises(LaserError, match="does not answer"):
        guard.set(5.0)
    assert state(scope) == "1"
    assert not told.alarms


def test_a_laser_that_is_slow_once_is_safe_and_shut_afterwards(scope, watched):
    guard, _ = watched(after_s=0.1)
    guard.set(4.0)
    scope.faults.set("laser_delay_s", 0.3)
    scope.faults.set("laser405", "slow")
    with pytest.raises(LaserError, match="did not answer in time"):
        guard.set(5.0)
    assert state(scope) == "0"
    assert scope.core.getProperty(LASER, POWER_PROPERTY) == 0.0
    scope.faults.set("laser405", "none")
    guard.rearm()
    assert guard.set(5.0) == 5.0
    assert state(scope) == "1"


def test_a_quick_laser_never_moves_its_shutter(scope, watched):
    guard, told = watched(after_s=0.1)
    for power in range(1, 40):
        guard.set(float(power))
        time.sleep(0.005)
    assert told.changes == [(False, "opened")]
    assert not told.alarms


class StuckShutter:
    """Does not close."""

    name = "Stuck.State"

    def close(self):
        raise RuntimeError("no air")

    def open(self):
        pass


def test_a_shutter_that_does_not_close_calls_for_a_hand():
    told = Told()
    watch = ShutterWatch(
        StuckShutter(), on_change=told.change, on_alarm=told.alarms.append
    )
    assert not watch.close("a test")
    assert not watch.close("a test")  # it is tried again
    watch.end()
    assert len(told.alarms) == 2
    assert "DOES NOT close (no air)" in told.alarms[0]
    assert "by hand" in told.alarms[0]
    assert not told.changes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("Nowhere", "State", 0, 1), r"no shutter device 'Nowhere'.*DShutter"),
        ((DEMO_SHUTTER, "Speed", 0, 1), r"no writable property 'Speed'.*State"),
        ((DEMO_SHUTTER, "Name", 0, 1), "no writable property 'Name'"),
        ((DEMO_SHUTTER, "State", 2, 1), "takes 0, 1, not 2"),
        ((DEMO_SHUTTER, "State", 0, "Open"), "takes 0, 1, not Open"),
    ],
)
def test_a_shutter_that_is_not_there_is_refused(scope, values, message):
    with pytest.raises(SettingsError, match=message):
        MicroManagerShutter(scope.core, *values)


def test_a_session_says_which_shutter():
    session = SessionSettings().changed(
        laser__shutter={"device": SHUTTER, "open": 1, "after_s": 0.3}
    )
    assert BridgeSettings.from_session(session, None).laser.shutter == ShutterSection(
        device=SHUTTER, property="State", closed=0, open=1, after_s=0.3
    )


def lines_of(folder, kind):
    lines = (folder / "control.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == kind]


@pytest.mark.parametrize("fault", ["hang", "error"])
def test_no_light_reaches_the_sample_of_a_session_whose_laser_fails(
    monkeypatch, tmp_path, fault
):
    """Asked to end while the laser does not answer: dark at once, and it does end."""
    opened, results, stop = [], [], threading.Event()

    def open_and_keep(settings):
        opened.append(open_simulated(settings))
        return opened[-1]

    monkeypatch.setattr(bridge_module, "open_simulated", open_and_keep)
    settings = BridgeSettings(
        simulated=SMALL,
        laser=LaserSection(
            device=LASER,
            property=POWER_PROPERTY,
            power=5.0,
            shutter=ShutterSection(device=SHUTTER, open=1, after_s=0.2),
        ),
        session=tmp_path,
        record=True,
        without_engine=True,
    )
    thread = threading.Thread(
        target=lambda: results.append(run_bridge(settings, stop=stop)), daemon=True
    )
    thread.start()
    wait_until(lambda: opened, 20)
    laser = opened[0].core._pydevices[LASER]
    wait_until(lambda: laser.power_mw == 5.0, 20)
    opened[0].faults.set("laser405", fault)
    stop.set()
    began = time.monotonic()
    wait_until(lambda: laser.power_mw == 0.0, 5)
    assert time.monotonic() - began < DARK_S
    thread.join(20)
    assert results[0]["laser"]["safe"] is False
    assert results[0]["laser"]["shutter"] is True
    assert results[0]["recorded"] == results[0]["frames"]["camera"]
    assert [line["closed"] for line in lines_of(tmp_path, "shutter")] == [False, True]
    alarm = lines_of(tmp_path, "alarm")[0]
    assert "shutter Shutter405.State was closed" in alarm["text"]
    assert alarm["t_ns"] > 0


def test_a_session_opens_its_shutter_and_closes_it_at_the_end(tmp_path):
    result = run_bridge(
        BridgeSettings(
            simulated=SMALL,
            laser=LaserSection(
                device=LASER,
                property=POWER_PROPERTY,
                power=5.0,
                shutter=ShutterSection(device=SHUTTER, open=1),
            ),
            session=tmp_path,
            camera=CameraSettings(frames=20),
            record=True,
            without_engine=True,
        )
    )
    assert result["laser"]["safe"]
    assert [line["closed"] for line in lines_of(tmp_path, "shutter")] == [False, True]
    assert lines_of(tmp_path, "shutter")[-1]["reason"] == "closed"
    assert not lines_of(tmp_path, "alarm")
    assert "liveloc-shutter" not in [one.name for one in threading.enumerate()]


def test_laser_and_shutter_of_one_driver_are_told_of(tmp_path):
    core = open_core("demo")
    try:
        libraries = {
            str(core.getDeviceLibrary(one)) for one in ("LED", "White Light Shutter")
        }
    finally:
        close_core(core)
    assert libraries == {"DemoCamera"}
    run_bridge(
        BridgeSettings(
            laser=LaserSection(
                device="LED",
                property="State",
                power=0,
                safe=0,
                lowest=0,
                highest=5,
                shutter=ShutterSection(device="White Light Shutter"),
            ),
            camera=CameraSettings(
                config="demo",
                exposure_ms=2.0,
                roi=(0, 0, 32, 32),
                pixel_size_nm=100.0,
                frames=5,
            ),
            session=tmp_path,
            record=True,
            without_engine=True,
        )
    )
    assert "has the same driver as laser LED" in lines_of(tmp_path, "alarm")[0]["text"]
