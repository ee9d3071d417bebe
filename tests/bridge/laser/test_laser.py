"""A laser never leaves its limits, and is safe whenever anything ends."""

import math
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import open_core
from liveloc.bridge.laser.interlock import LaserInterlock
from liveloc.bridge.laser.laser import GuardedLaser, LaserError, MicroManagerLaser
from liveloc.bridge.simulated import (
    LASER,
    POWER_PROPERTY,
    SimulatedSettings,
    open_simulated,
)
from liveloc.stream.errors import SettingsError

SELDOM_S = 60.0
PATIENCE_S = 20.0  # for what must happen at once, on a machine that is busy


class FaultyLaser:
    """A laser with limits 0 to 50 mW whose faults a test decides."""

    name, unit, limits = "Faulty.Power", "mW", (0.0, 50.0)

    def __init__(self):
        self.value, self.history = 0.0, []
        self.raises, self.reads, self.gate = 0, None, None

    def power(self):
        return self.value if self.reads is None else self.reads

    def set(self, power):
        if self.gate is not None:
            self.gate.wait(SELDOM_S)  # longer than anybody's patience
        if self.raises:
            self.raises -= 1
            raise RuntimeError("serial port timed out")
        self.history.append(power)
        self.value = power
        return power


@pytest.fixture(scope="module")
def core():
    scope = open_simulated(SimulatedSettings(shape=(16, 16)))
    yield scope.core
    scope.close()


@pytest.fixture(scope="module")
def demo():
    core = open_core("demo")
    yield core
    close_core(core)


@pytest.fixture
def slow_to_look(monkeypatch):
    """Let the interlock look without news so seldom that only news can be prompt."""
    monkeypatch.setattr("liveloc.bridge.laser.interlock.LOOK_S", SELDOM_S)


def wait_until(condition, seconds=PATIENCE_S):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_limits_are_asked_from_the_device(core):
    laser = MicroManagerLaser(core, LASER, POWER_PROPERTY)
    assert laser.limits == (0.0, 50.0)
    guard = GuardedLaser(laser)
    assert guard.limits == (0.0, 50.0)
    assert guard.safe == 0.0
    assert guard.set(7.5) == 7.5
    assert laser.power() == 7.5
    assert guard.to_safe()
    assert laser.power() == 0.0


def test_text_and_whole_numbers_of_cpp_devices_are_numbers(demo):
    laser = MicroManagerLaser(demo, "LED", "State", "a.u.")  # an integer property
    guard = GuardedLaser(laser, lowest=0, highest=5, safe=0)
    guard.set(4.5)
    assert isinstance(demo.getProperty("LED", "State"), str)
    assert laser.power() == 4  # never more than asked for
    guard.set(100)
    assert laser.power() == 5
    guard.to_safe()
    assert laser.power() == 0


def test_a_camera_is_no_laser(demo):
    with pytest.raises(SettingsError, match="'Camera' is a camera"):
        MicroManagerLaser(demo, "Camera", "Gain")


@given(values=st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=30))
def test_no_input_leads_out_of_the_limits(values):
    laser = FaultyLaser()
    guard = GuardedLaser(laser, lowest=1.0, highest=20.0)
    for value in values:
        before = laser.value
        if math.isfinite(value):
            guard.set(value)
        else:
            with pytest.raises(LaserError, match="refused"):
                guard.set(value)
            assert laser.value == before
    assert all(1.0 <= value <= 20.0 for value in laser.history)


def test_settings_are_numbered_and_found_by_time():
    guard = GuardedLaser(FaultyLaser())
    assert guard.laser_seq == 0
    assert guard.seq_at(time.monotonic_ns()) == 0
    guard.set(5)
    between = time.monotonic_ns()
    guard.set(5)  # nothing changes, nothing is counted
    guard.set(6)
    assert [(c.seq, c.power) for c in guard.changes] == [(1, 5.0), (2, 6.0)]
    assert guard.seq_at(between) == 1
    assert guard.seq_at(time.monotonic_ns()) == 2
    assert guard.seq_at(0) == 0


def test_a_device_that_fails_goes_to_safe_and_takes_nothing_until_rearmed():
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    guard.set(10)
    laser.raises = 1
    with pytest.raises(LaserError, match=r"setting 20 mW failed: serial port"):
        guard.set(20)
    assert laser.value == 0.0
    with pytest.raises(LaserError, match="after a fault"):
        guard.set(5)
    assert laser.value == 0.0
    guard.rearm()
    assert guard.set(5) == 5


@pytest.mark.parametrize("reads", [float("nan"), 49.0])
def test_nonsense_read_back_is_a_fault(reads):
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    laser.reads = reads
    with pytest.raises(LaserError, match="but reads"):
        guard.set(10)
    assert laser.history[-1] == 0.0


def test_a_laser_that_does_not_go_safe_is_told_again_and_reported(caplog):
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    guard.set(10)
    laser.raises = 2
    assert guard.to_safe()
    guard.set(10)
    laser.raises = 3
    assert not guard.to_safe()
    assert "DOES NOT go to its safe level" in caplog.text
    assert guard.fault == "serial port timed out"
    assert guard.to_safe()
    assert laser.value == 0.0
    assert guard.to_safe()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"highest": 80.0}, "highest is 80.0 mW, the device allows 0 to 50"),
        ({"lowest": float("nan")}, "lowest is nan mW"),
        ({"lowest": 20.0, "highest": 10.0}, "wrong order"),
        ({"safe": 30.0, "highest": 10.0}, "wrong order"),
    ],
)
def test_limits_that_do_not_fit_are_refused(limits, message):
    with pytest.raises(SettingsError, match=message):
        GuardedLaser(FaultyLaser(), **limits)


def test_a_device_without_limits_needs_them_set(demo):
    laser = MicroManagerLaser(demo, "XY", "Velocity")
    with pytest.raises(SettingsError, match=r"lowest is -inf"):
        GuardedLaser(laser)
    guard = GuardedLaser(laser, lowest=0.0, highest=5.0)
    assert guard.safe == 0.0


def test_what_is_not_there_is_named_with_what_is(core):
    with pytest.raises(SettingsError, match=r"no laser device 'Laser640'.*Laser405"):
        MicroManagerLaser(core, "Laser640", "Power")
    with pytest.raises(SettingsError, match=r"no writable number 'Power'.*'Power_mW'"):
        MicroManagerLaser(core, LASER, "Power")


def test_the_interlock_follows_the_engine(core, slow_to_look):
    core.setProperty(LASER, POWER_PROPERTY, 30.0)  # as somebody left it
    laser = MicroManagerLaser(core, LASER, POWER_PROPERTY)
    guard = GuardedLaser(laser)
    interlock = LaserInterlock(guard, 5.0)
    assert laser.power() == 0.0
    interlock.peer(True)
    wait_until(lambda: laser.power() == 5.0)
    interlock.peer(False)
    wait_until(lambda: laser.power() == 0.0)
    interlock.peer(True)
    wait_until(lambda: laser.power() == 5.0)
    assert interlock.close()
    assert interlock.close()
    assert laser.power() == 0.0
    interlock.peer(True)  # too late
    time.sleep(0.05)
    assert laser.power() == 0.0


def test_the_laser_is_safe_while_frames_are_not_localized():
    changes, localizing = [], [True]
    guard = GuardedLaser(FaultyLaser(), on_change=changes.append)
    interlock = LaserInterlock(guard, 5.0)
    interlock.localizing = lambda: localizing[0]
    interlock.peer(True)  # the engine answers: that is not enough
    wait_until(lambda: guard.last_power == 5.0)
    localizing[0] = False
    wait_until(lambda: guard.last_power == 0.0)
    assert changes[-1].reason == "frames are not localized"
    localizing[0] = True
    wait_until(lambda: guard.last_power == 5.0)
    assert interlock.close()


def test_a_recording_without_an_engine_may_keep_the_power():
    laser = FaultyLaser()
    interlock = LaserInterlock(GuardedLaser(laser), 5.0, keep_without_engine=True)
    wait_until(lambda: laser.value == 5.0)
    interlock.peer(False)
    time.sleep(0.05)
    assert laser.value == 5.0
    interlock.close()
    assert laser.value == 0.0


def test_the_newest_power_wanted_is_set_and_renews_the_lease(slow_to_look):
    changes = []
    guard = GuardedLaser(FaultyLaser(), on_change=changes.append)
    interlock = LaserInterlock(guard, 5.0, lease_s=0.3)
    interlock.peer(True)
    wait_until(lambda: guard.last_power == 5.0)
    exposed_ns = time.monotonic_ns()
    interlock.want(7.0, "law", exposed_ns)
    wait_until(lambda: guard.last_power == 7.0)
    assert changes[-1].reason == "law"
    assert 0 < interlock.frame_to_laser.percentile(50) < PATIENCE_S * 1e3
    wait_until(lambda: guard.last_power == 0.0)
    assert changes[-1].t_ns - exposed_ns >= 0.3e9  # the lease, renewed after that
    assert changes[-1].reason == "no decision renewed the power"
    interlock.want(7.0, "law")
    wait_until(lambda: guard.last_power == 7.0)
    assert interlock.close()


def test_a_device_that_has_to_settle_is_left_alone_but_for_the_safe_level():
    changes = []
    guard = GuardedLaser(FaultyLaser(), on_change=changes.append)
    interlock = LaserInterlock(guard, 5.0, settle_s=0.3)
    interlock.peer(True)
    wait_until(lambda: guard.last_power == 5.0)
    for power in (6.0, 7.0, 8.0):
        interlock.want(power, "law")
    wait_until(lambda: guard.last_power == 8.0)
    powers = [change.power for change in changes]
    assert powers == [0.0, 5.0, 8.0]
    assert changes[-1].t_ns - changes[-2].t_ns > 0.25e9
    interlock.close()


def test_the_safe_level_does_not_wait_for_a_device_to_settle(slow_to_look):
    guard = GuardedLaser(FaultyLaser())
    interlock = LaserInterlock(guard, 5.0, settle_s=SELDOM_S)
    interlock.peer(True)
    wait_until(lambda: guard.last_power == 5.0)
    interlock.want(9.0, "law")
    interlock.peer(False)
    wait_until(lambda: guard.last_power == 0.0)
    interlock.close()


def test_the_interlock_does_not_wait_for_a_slow_laser():
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    interlock = LaserInterlock(guard, 5.0)
    laser.gate = threading.Event()
    interlock.peer(True)
    interlock.peer(False)
    assert not laser.gate.is_set()  # nor did either wait for it
    laser.gate.set()
    wait_until(lambda: laser.value == 0.0)
    assert interlock.close()
    assert laser.value == 0.0


def test_frames_do_not_wait_for_a_laser_that_hangs():
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    guard.set(5.0)
    laser.gate = threading.Event()
    setter = threading.Thread(target=guard.set, args=(6.0,))
    setter.start()
    assert guard.seq_at(time.monotonic_ns()) == 1
    assert len(guard.changes) == 1
    assert setter.is_alive()  # neither waited for it
    laser.gate.set()
    setter.join(PATIENCE_S)
    assert guard.seq_at(time.monotonic_ns()) == 2


def test_whoever_makes_a_hanging_laser_safe_does_not_hang():
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    guard.set(5.0)
    laser.gate = threading.Event()
    began = time.monotonic()
    assert not guard.to_safe()
    assert time.monotonic() - began < SELDOM_S / 2
    assert "hangs" in guard.fault
    assert not guard.to_safe()  # it is still at it
    assert time.monotonic() - began < SELDOM_S / 2
    laser.gate.set()
    wait_until(lambda: laser.value == 0.0)
    wait_until(guard.to_safe)


def test_a_laser_that_failed_is_told_again_to_be_safe():
    laser = FaultyLaser()
    guard = GuardedLaser(laser)
    interlock = LaserInterlock(guard, 5.0)
    interlock.peer(True)
    wait_until(lambda: laser.value == 5.0)
    laser.raises = 3  # the three tries of losing the engine
    interlock.peer(False)
    wait_until(lambda: laser.value == 0.0)
    interlock.close()


def test_a_camera_that_stalls_makes_the_laser_safe_until_it_goes_on():
    laser = FaultyLaser()
    interlock = LaserInterlock(GuardedLaser(laser), 5.0, stall_s=0.3)
    interlock.peer(True)
    time.sleep(0.05)
    assert laser.value == 0.0  # no camera yet
    interlock.camera_alive()
    wait_until(lambda: laser.value == 5.0)
    for _ in range(10):
        wait_until(lambda: laser.value == 5.0)
        last = time.monotonic()
        interlock.camera_alive()
        time.sleep(0.05)
        assert laser.value == 5.0 or time.monotonic() - last > 0.3  # a busy machine
    wait_until(lambda: laser.value == 0.0)
    interlock.camera_alive()
    wait_until(lambda: laser.value == 5.0)
    interlock.close()
    assert laser.value == 0.0


def test_a_power_beyond_the_limits_starts_nothing():
    laser = FaultyLaser()
    with pytest.raises(SettingsError, match=r"power is 60.0 mW, the limits are 0 to"):
        LaserInterlock(GuardedLaser(laser), 60.0)
    laser.raises, laser.value = 3, 9.0
    with pytest.raises(LaserError, match="does not go to its safe level"):
        LaserInterlock(GuardedLaser(laser), 5.0)
