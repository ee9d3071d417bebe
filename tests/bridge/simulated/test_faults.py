"""Faults of the simulated microscope: through a real core, to a named end."""

import math
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.bridge.camera.sequence_source import MicroManagerSource
from liveloc.bridge.laser.laser import GuardedLaser, LaserError, MicroManagerLaser
from liveloc.bridge.simulated import (
    CAMERA,
    EXCITATION,
    FAULTS,
    LASER,
    POWER_PROPERTY,
    SimulatedSettings,
    open_simulated,
)
from liveloc.bridge.simulated.faults import CHOICES, LIMITS, Faults
from liveloc.stream.errors import SettingsError, SourceError

FAST = SimulatedSettings(shape=(32, 32), exposure_ms=1.0)


@pytest.fixture
def microscope():
    opened = []

    def build(**changes):
        opened.append(open_simulated(FAST.changed(**changes)))
        return opened[-1]

    yield build
    for one in opened:
        one.close()
        one.close()


def source_of(scope, frames=40, **settings):
    given = {"pixel_size_nm": 100.0, "calibration": scope.calibration}
    return MicroManagerSource(scope.core, frames=frames, **(given | settings))


def guard_of(scope, device=LASER):
    return GuardedLaser(MicroManagerLaser(scope.core, device, POWER_PROPERTY))


def seqs_of(frames):
    return [frame.header.seq for frame in frames]


def test_every_fault_is_a_property_of_a_device(microscope):
    core = microscope().core
    assert {str(n) for n in core.getDevicePropertyNames(FAULTS)} == {*CHOICES, *LIMITS}
    for name, choices in CHOICES.items():
        assert tuple(core.getAllowedPropertyValues(FAULTS, name)) == choices
        assert core.getProperty(FAULTS, name) == "none"
    for name, (low, high) in LIMITS.items():
        core.setProperty(FAULTS, name, high)
        assert core.getProperty(FAULTS, name) == high
        assert core.getPropertyLowerLimit(FAULTS, name) == low
        with pytest.raises(ValueError, match="not within the allowed range"):
            core.setProperty(FAULTS, name, high + 1)
    with pytest.raises(ValueError, match="not allowed"):
        core.setProperty(FAULTS, "camera", "melt")


def test_an_unplugged_camera_ends_the_stream_with_its_reason(microscope):
    scope = microscope(events=((7, "camera", "unplug"),))
    seqs = []
    with pytest.raises(SourceError, match=r"after 7 of 40 frames: .* unplugged"):
        seqs.extend(frame.header.seq for frame in source_of(scope).frames())
    assert seqs == list(range(7))
    with pytest.raises(SourceError, match=r"after 0 of 3 frames: .* unplugged"):
        list(source_of(scope, 3).frames())
    scope.core.setProperty(FAULTS, "camera", "none")
    assert seqs_of(source_of(scope, 3).frames()) == [0, 1, 2]


def test_a_camera_can_be_unplugged_while_it_runs(microscope):
    scope = microscope()
    frames, seqs = source_of(scope, 0).frames(), []
    with pytest.raises(SourceError, match=r"an unlimited number .* unplugged"):
        for frame in frames:
            seqs.append(frame.header.seq)
            if len(seqs) == 5:
                scope.core.setProperty(FAULTS, "camera", "unplug")
    assert len(seqs) >= 5
    assert seqs == list(range(len(seqs)))


def test_an_overflow_keeps_the_frames_before_it(microscope):
    scope = microscope(events=((11, "camera", "overflow"),))
    source, seqs = source_of(scope), []
    with pytest.raises(SourceError, match="overflowed after frame 10"):
        seqs.extend(frame.header.seq for frame in source.frames())
    assert seqs == list(range(11))
    assert seqs_of(source_of(scope, 5).frames()) == list(range(5))


@pytest.mark.parametrize("scheduled", [True, False])
def test_lost_exposures_are_counted_and_in_the_truth(microscope, scheduled):
    events = ((20, "gap", 6),) if scheduled else ()
    scope = microscope(density_per_um2=2.0, events=events)
    scope.core.setProperty(LASER, POWER_PROPERTY, 5.0)
    source, seqs = source_of(scope, 0), []
    for frame in source.frames():
        seqs.append(frame.header.seq)
        if len(seqs) == 15 and not scheduled:
            scope.core.setProperty(FAULTS, "gap", 6)
        if frame.header.missing_total:
            source.stop()
    lost = sorted(set(range(seqs[-1])) - set(seqs))
    assert lost == list(range(lost[0], lost[0] + 6))
    assert lost[0] == 20 if scheduled else lost[0] >= 15
    assert source.missing == 6
    assert set(lost) <= set(scope.truth()["frame"].tolist())
    assert scope.core.getProperty(FAULTS, "gap") == 0


def test_a_stall_loses_nothing_and_goes_on(microscope):
    scope = microscope()
    source, seqs = source_of(scope, 0), []
    frames = source.frames()
    next(frames)
    scope.core.setProperty(FAULTS, "camera", "stall")
    before = -1
    while before != scope.sample.exposures:  # until the last exposure is through
        before = scope.sample.exposures
        time.sleep(0.05)
    assert scope.core.isSequenceRunning()
    scope.core.setProperty(FAULTS, "camera", "none")
    for frame in frames:
        seqs.append(frame.header.seq)
        if frame.header.seq == before + 20:
            source.stop()
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= before + 20
    assert source.missing == 0


def test_a_scheduled_stall_ends_by_itself(microscope):
    scope = microscope(events=((10, "stall_s", 0.3),))
    times = [frame.header.t_ns for frame in source_of(scope).frames()]
    waits = np.diff(times) / 1e9
    assert len(times) == 40
    assert waits[9] > 0.25


def test_a_camera_that_stalls_for_ever_ends_with_its_reason(microscope):
    scope = microscope(events=((10, "camera", "stall"),))
    source, seqs = source_of(scope, patience_s=0.2), []
    with pytest.raises(SourceError, match="delivered no frame for 0 s after frame 9"):
        seqs.extend(frame.header.seq for frame in source.frames())
    assert seqs == list(range(10))
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 20  # it listens while it stalls for ever
    assert not scope.core.isSequenceRunning()


def test_a_stalled_camera_can_be_stopped_and_closed(microscope):
    scope = microscope(events=((10, "camera", "stall"),))
    source = source_of(scope, 0)
    seqs = []
    for frame in source.frames():
        seqs.append(frame.header.seq)
        if frame.header.seq == 9:
            source.stop()
    assert seqs == list(range(10))
    before = set(threading.enumerate())
    scope.core.startSequenceAcquisition(20, 0, True)
    assert len(set(threading.enumerate()) - before) == 1
    scope.close()
    assert not set(threading.enumerate()) - before


def test_an_exposure_changed_while_it_runs_ends_the_stream(microscope):
    scope = microscope()
    frames = source_of(scope, 2000).frames()
    next(frames)
    scope.core.setExposure(3.0)
    with pytest.raises(SourceError, match="exposure was changed from 1 to 3 ms"):
        list(frames)


def test_an_exposure_longer_than_a_look_keeps_its_length(microscope):
    scope = microscope(exposure_ms=120.0)
    times = [frame.header.t_ns for frame in source_of(scope, 4).frames()]
    assert np.diff(times).mean() / 1e6 == pytest.approx(120, abs=15)


@pytest.mark.parametrize("device", [LASER, EXCITATION])
def test_a_laser_that_raises_is_refused_until_it_is_rearmed(microscope, device):
    scope = microscope()
    guard = guard_of(scope, device)
    guard.set(4.0)
    scope.core.setProperty(FAULTS, device.lower(), "error")
    with pytest.raises(LaserError, match=r"does not answer .*sent to its safe level"):
        guard.set(5.0)
    assert float(scope.core.getProperty(device, POWER_PROPERTY)) == 4.0
    scope.core.setProperty(FAULTS, device.lower(), "none")
    guard.rearm()
    assert float(scope.core.getProperty(device, POWER_PROPERTY)) == 0.0
    assert guard.set(5.0) == 5.0


def test_a_laser_that_fails_once_goes_to_its_safe_level(microscope):
    scope = microscope()
    guard = guard_of(scope)
    guard.set(4.0)
    scope.core.setProperty(FAULTS, "laser405", "error_once")
    with pytest.raises(LaserError, match="does not answer"):
        guard.set(5.0)
    assert scope.core.getProperty(LASER, POWER_PROPERTY) == 0.0
    assert scope.core.getProperty(FAULTS, "laser405") == "none"


@pytest.mark.parametrize(("fault", "reads"), [("wrong", 17.0), ("nan", math.nan)])
def test_a_laser_that_reads_back_nonsense_is_noticed(microscope, fault, reads):
    scope = microscope()
    guard = guard_of(scope)
    scope.core.setProperty(FAULTS, "laser405", fault)
    with pytest.raises(LaserError, match=f"but reads {reads:g} mW"):
        guard.set(5.0)
    assert guard.fault
    at_zero = 7.0 if fault == "wrong" else reads  # it went to its safe level
    np.testing.assert_equal(scope.core.getProperty(LASER, POWER_PROPERTY), at_zero)


def test_a_slow_laser_takes_its_time_and_the_camera_does_not_wait(microscope):
    scope = microscope()
    scope.core.setProperty(FAULTS, "laser405", "slow")
    scope.core.setProperty(FAULTS, "laser_delay_s", 0.3)
    source = source_of(scope, 300)
    frames = source.frames()
    next(frames)
    exposed, began = scope.sample.exposures, time.monotonic()
    assert guard_of(scope).set(5.0) == 5.0
    assert time.monotonic() - began >= 0.3
    assert scope.sample.exposures > exposed + 2  # of 1 ms each; waiting, it had none
    assert seqs_of(frames) == list(range(1, 300))
    assert source.missing == 0


def test_a_hanging_laser_goes_on_when_it_is_cleared(microscope):
    scope = microscope()
    scope.core.setProperty(FAULTS, "laser405", "hang")
    setter = threading.Thread(
        target=scope.core.setProperty, args=(LASER, POWER_PROPERTY, 5.0)
    )
    setter.start()
    setter.join(0.2)
    assert setter.is_alive()
    assert scope.core.getProperty(EXCITATION, POWER_PROPERTY) == 50.0  # another device
    scope.core.setProperty(FAULTS, "laser405", "none")
    setter.join(20)
    assert not setter.is_alive()
    assert scope.core.getProperty(LASER, POWER_PROPERTY) == 5.0


def test_closing_the_microscope_frees_a_hanging_laser(microscope):
    scope = microscope(events=((0, "laser405", "hang"),))
    seqs_of(source_of(scope, 1).frames())
    seen = []

    def hang():
        try:
            scope.core.setProperty(LASER, POWER_PROPERTY, 5.0)
        except RuntimeError as error:
            seen.append(str(error))

    setter = threading.Thread(target=hang)
    setter.start()
    setter.join(0.1)
    assert setter.is_alive()
    scope.close()
    setter.join(20)
    assert seen == ["the laser was closed while it hung (simulated fault)."]


def test_both_lasers_stand_in_the_metadata_of_a_frame(microscope):
    scope = microscope()
    scope.core.setProperty(LASER, POWER_PROPERTY, 3.0)
    scope.core.setProperty(EXCITATION, POWER_PROPERTY, 20.0)
    scope.core.startSequenceAcquisition(1, 0, True)
    while scope.core.isSequenceRunning():
        time.sleep(0.005)
    _, tags = scope.core.popNextImageAndMD()
    assert (tags[POWER_PROPERTY], tags["Excitation_mW"]) == ("3", "20")
    assert tags["Camera"] == CAMERA


@given(
    events=st.lists(
        st.tuples(st.integers(0, 30), st.just("on_time"), st.floats(0.01, 100)),
        max_size=12,
    ),
    steps=st.lists(st.integers(0, 35), max_size=12).map(sorted),
)
def test_a_schedule_is_followed_in_order_and_once(events, steps):
    faults = Faults(events)
    for exposure in steps:
        faults.reach(exposure)
        done = [e for e in sorted(events, key=lambda e: e[0]) if e[0] <= exposure]
        assert faults.number("on_time") == (done[-1][2] if done else 1.0)
    if steps:
        faults.set("on_time", 2.0)
        faults.reach(steps[-1])
        assert faults.number("on_time") == 2.0


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ((3, "camrea", "stall"), "no fault 'camrea'. Did you mean 'camera'"),
        ((3, "camera", "melt"), "camera is 'melt'. Give one of none, stall, overflow"),
        ((3, "gap", 2.5), "gap is 2.5. Give a whole number from 0 to"),
        ((3, "on_time", 0), "on_time is 0.0. Give a number from 0.01 to 100"),
        ((3, "background", "much"), "background is 'much'. Give a number"),
        ((3, "on_time", math.nan), "on_time is nan"),
        ((-1, "gap", 2), r"event \(-1, 'gap', 2.0\). Give \[frame, name, value\]"),
        ((1.5, "gap", 2), "events.0.0 is 1.5: input should be a valid integer"),
        (("gap", 2), "events.0.0 is 'gap'"),
        (7, "events.0 is 7"),
    ],
)
def test_an_event_that_cannot_be_is_refused(event, message):
    with pytest.raises(SettingsError, match=message):
        SimulatedSettings(events=(event,))
