"""No power reaches the laser that is not safe, whatever comes in."""

import math
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import READING, at

from liveloc.bridge.control.guard import GuardedPower
from liveloc.bridge.control.laws.htsmlm import HtsmlmLaw
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import check
from liveloc.stream.session.settings import LaserSection

# All of a million: LIVELOC_INPUTS=1000000 pytest tests/bridge/control/test_guard.py
INPUTS = int(os.environ.get("LIVELOC_INPUTS", "50000"))


class Wish:
    """A law that wants what it is told to."""

    def __init__(self, power=None):
        self.power, self.seen = power, []

    def control(self, reading):
        self.seen.append(reading)
        if isinstance(self.power, Exception):
            raise self.power
        return self.power


def bad_readings():
    no_number = [math.nan, math.inf, -math.inf]
    names = ("t_s", "dt_s", "per_um2", "sigma_per_um2", "area_um2", "target_per_um2")
    return [
        None,
        at(10.0, frames=0),
        at(8.9),
        at(11.2),
        at(10.0, per_um2=-0.1),
        at(10.0, area_um2=0.0),
        replace(READING, last_seq=-1),
        *(replace(READING, **{name: bad}) for name in names for bad in no_number),
    ]


@pytest.mark.parametrize("reading", bad_readings())
def test_a_reading_that_says_nothing_holds_the_power(reading):
    guard, law = GuardedPower(0, 50, 5.0), Wish(40.0)
    verdict = guard.step(law, reading, 10.0)
    assert (verdict.power, verdict.held, verdict.wanted) == (5.0, True, None)
    assert verdict.reason
    assert not law.seen


@pytest.mark.parametrize("wish", [None, math.nan, math.inf, ValueError("off")])
def test_a_law_that_fails_holds_the_power(wish):
    verdict = GuardedPower(0, 50, 5.0).step(Wish(wish), READING, 10.0)
    assert (verdict.power, verdict.held) == (5.0, True)
    assert "the law" in verdict.reason


@given(
    inputs=st.lists(
        st.tuples(
            st.sampled_from(
                [math.nan, math.inf, -math.inf, -1.0, 0.0, 0.4, 1e300]
            ),  # density
            st.sampled_from([0, 3]),  # frames
            st.sampled_from([0.0, 0.5, 1.1, -3.0]),  # age
            st.floats(allow_nan=True, allow_infinity=True),  # wish
            st.floats(0, 0.5),  # time that passes
        ),
        max_size=30,
    )
)
def test_nothing_unusable_ever_raises_the_power(inputs):
    guard, now, law, power = GuardedPower(1, 20, 4.0), 100.0, Wish(), 4.0
    for per_um2, frames, age_s, wish, dt_s in inputs:
        now, law.power = now + dt_s, wish
        reading = at(now - age_s, per_um2=per_um2, frames=frames, power=power)
        usable = math.isfinite(per_um2) and per_um2 >= 0 and frames
        usable = usable and abs(age_s) <= 1 and math.isfinite(wish)
        verdict = guard.step(law, reading, now)
        if not usable:
            assert verdict.power <= power
        assert 1 <= verdict.power <= 20
        power = verdict.power


@pytest.mark.parametrize("quantum", [0.0, 0.5])
def test_limits_and_slew_hold_for_any_input(quantum):
    rng = np.random.default_rng(7)
    lowest, highest, slew = 0.5, 40.0, 300.0
    options = LaserSection(slew_percent_per_s=slew, quantum=quantum, floor=1.0)
    guard, law = GuardedPower(lowest, highest, 2.0, options), Wish()
    wishes = 10 ** rng.uniform(-6, 9, INPUTS) * rng.choice(
        [-1, 1], INPUTS, p=[0.1, 0.9]
    )
    wishes[rng.random(INPUTS) < 0.1] = math.nan
    wishes[rng.random(INPUTS) < 0.1] = math.inf
    near, nudges = rng.random(INPUTS) < 0.5, rng.uniform(0.95, 1.3, INPUTS)
    times = np.cumsum(rng.uniform(0, 0.05, INPUTS))
    powers = np.empty(INPUTS)
    power = 2.0
    for i in range(INPUTS):
        law.power = power * nudges[i] if near[i] else wishes[i]
        now = float(times[i])
        reading = replace(READING, t_s=now, last_seq=9 + i, power=power)
        power = powers[i] = guard.step(law, reading, now).power
    assert powers.min() >= lowest
    assert powers.max() <= highest
    assert len(np.unique(powers)) > 9  # it was not simply held
    before = np.maximum(powers[:-1], 1.0) + quantum
    fastest = before * (1 + slew / 100 * np.diff(times)) + quantum
    assert (powers[1:] <= fastest + 1e-9).all()
    if quantum:
        assert np.allclose(powers / quantum, np.round(powers / quantum))


def test_it_falls_at_once_and_rises_no_faster_than_allowed():
    guard, law = GuardedPower(0, 50, 20.0, LaserSection(slew_percent_per_s=100)), Wish()
    law.power = 10.0
    assert guard.step(law, at(1.0, power=20.0), 1.0).power == 10.0
    law.power = 50.0
    verdict = guard.step(law, at(1.1, power=10.0), 1.1)
    assert verdict.power == pytest.approx(11.0)
    assert "100 %/s" in verdict.reason
    assert verdict.wanted == 50.0


def test_from_zero_it_reaches_the_floor_at_once():
    guard = GuardedPower(0, 50, 0.0, LaserSection(floor=0.5))
    assert guard.step(Wish(9.0), at(1.0, power=0.0), 1.0).power == 0.5


def test_a_whole_number_property_never_sticks():
    guard = GuardedPower(0, 50, 10.0, LaserSection(quantum=1.0))
    law, powers = HtsmlmLaw(), []
    power = 10.0
    for i in range(15):
        now = 1 + i / 10
        power = guard.step(law, at(now, power=power), now).power
        powers.append(power)
    assert all(power == int(power) for power in powers)
    # What the law would do on a device without steps, rounded: it moves from the start.
    exact = [10.1, 10.3, 10.6, 11.0, 11.5, 12.1, 12.8, 13.6, 14.5, 15.5]
    assert np.abs(np.array(powers[:10]) - exact).max() < 1
    assert abs(np.sum(powers[:10]) - np.sum(exact)) <= 1 + 1e-9


def test_a_wish_between_two_steps_is_met_on_the_average():
    guard, law = GuardedPower(0, 50, 2.0, LaserSection(quantum=1.0)), Wish(2.3)
    powers, power = [], 2.0
    for i in range(100):
        power = guard.step(law, at(1 + i / 50, power=power), 1 + i / 50).power
        powers.append(power)
    assert set(powers) == {2.0, 3.0}
    assert np.mean(powers) == pytest.approx(2.3, abs=0.011)
    assert law.seen[-1].power == 2.3


def test_a_laser_that_somebody_else_has_lowered_is_believed():
    guard = GuardedPower(0, 50, 20.0)
    assert guard.step(Wish(20.0), at(1.0, power=0.0), 1.0).power == 0.5
    assert guard.step(Wish(None), at(1.1, power=0.0), 1.1).power == 0.0


def test_without_readings_the_power_stays_then_falls():
    guard, law = GuardedPower(1, 50, 16.0), Wish(16.0)
    guard.step(law, at(1.0, power=16.0), 1.0)
    assert guard.step(law, None, 6.0).held
    powers = [guard.step(law, None, 7.0 + i).power for i in range(8)]
    assert powers[:2] == [8.0, 4.0]  # a half every second
    assert powers[-1] == 1.0
    assert guard.step(law, at(15.0, power=1.0), 15.0).power > 1.0  # and comes back


@pytest.mark.parametrize("per_frame", [0.2, [(0, 0), (50, 10)]])
def test_a_spent_dose_turns_the_power_down_and_says_so(per_frame):
    options = LaserSection(dose_budget_uj=35, uj_per_frame=per_frame)
    guard, law = GuardedPower(0.5, 50, 5.0, options), Wish(5.0)
    doses = []
    for i in range(1, 5):
        reading = at(i / 10, power=5.0)
        verdict = guard.step(law, replace(reading, last_seq=10 * i - 1), i / 10)
        doses.append(verdict.dose_uj)
    assert doses == pytest.approx([10, 20, 30, 40])
    assert guard.spent
    assert verdict.power == 0.5
    assert "35 uJ is spent" in verdict.reason
    assert guard.step(Wish(50.0), at(0.6, power=0.5), 0.6).power == 0.5


def test_frames_that_nobody_saw_count_for_the_dose_at_the_brightest_power():
    options = LaserSection(dose_budget_uj=1e6, uj_per_frame=1.0, slew_percent_per_s=1e6)
    guard = GuardedPower(0, 50, 0.0, options)
    guard.step(Wish(20.0), replace(READING, t_s=1.0, power=0.0), 1.0)
    guard.step(Wish(20.0), replace(READING, t_s=1.1, power=0.5), 1.1)
    verdict = guard.step(
        Wish(1.0), replace(READING, t_s=1.2, power=20.0, last_seq=109), 1.2
    )
    assert verdict.dose_uj == pytest.approx(2000)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dose_budget_uj": 3}, "without uj_per_frame"),
        ({"uj_per_frame": [[3, 1], [2, 1]]}, "powers rising"),
        ({"slew_percent": 3}, "Did you mean 'slew_percent_per_s'"),
        ({"quantum": -1}, "quantum is -1"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(SettingsError, match=message):
        check(options, LaserSection, "control.guard")


def test_a_dose_table_must_cover_the_range():
    options = LaserSection(uj_per_frame=[(0, 0), (20, 1)])
    with pytest.raises(SettingsError, match="Calibrate its whole range"):
        GuardedPower(0, 50, 0.0, options)
