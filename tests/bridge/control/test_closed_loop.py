"""The default law holds the density of a field of discrete emitters.

Densities are true ones, in means over 50 frames, relative to the target.
"""

from dataclasses import replace

import numpy as np
import pytest
from plant import Field, run
from readings import READING

from liveloc.bridge.control.guard import GuardedPower
from liveloc.bridge.control.laws.registry import open_law
from liveloc.stream.session.settings import LaserSection

TICKS = [2, 10, 50]  # per second
RESERVOIR = Field(fluorophores=24_000)  # at 1 per um2 half is gone in 2,000 frames


def law():
    return open_law("ratio")


def mean_of(seeds, frames, **options):
    """Average the densities of several fields frame by frame: the noise goes."""
    traces = [run(law(), frames, seed=seed, **options) for seed in range(seeds)]
    return np.mean([trace.per_um2 / trace.target for trace in traces], axis=0)


def moving(ratio, frames=50):
    return np.convolve(ratio, np.ones(frames) / frames, "valid")


class Free:
    """No control: the power that gives the target."""

    def control(self, reading):
        return None


def test_the_field_without_control_is_as_noisy_as_it_should_be():
    sample = Field(bleach_probability=0.0)
    means = np.concatenate(
        [
            run(Free(), 3000, seed=seed, sample=sample, power=5.0).means(500)
            for seed in range(4)
        ]
    )
    assert means.mean() == pytest.approx(1.0, abs=0.02)
    assert means.std() == pytest.approx(0.05, abs=0.01)  # 82 correlated emitters


@pytest.mark.parametrize(("ticks_per_s", "within"), [(2, 0.94), (10, 0.99), (50, 1.0)])
def test_density_stays_while_half_of_the_reservoir_bleaches(ticks_per_s, within):
    means, left = [], []
    for seed in range(4):
        trace = run(
            law(),
            2500,
            seed=seed,
            sample=RESERVOIR,
            target=1.0,
            power=10.0,
            ticks_per_s=ticks_per_s,
        )
        means.append(trace.means(300))
        left.append(trace.dark[-1] / trace.dark[300])
    means = np.concatenate(means)
    assert max(left) < 0.55
    assert abs(means.mean() - 1) < 0.03
    assert (abs(means - 1) < 0.1).mean() >= within


@pytest.mark.parametrize("ticks_per_s", [10, 50])
def test_density_varies_less_than_without_control(ticks_per_s):
    sample = Field(fluorophores=200_000)
    means = [
        run(
            law(), 3000, seed=seed, sample=sample, power=5.0, ticks_per_s=ticks_per_s
        ).means(300)
        for seed in range(3)
    ]
    free = [
        run(Free(), 3000, seed=seed, sample=sample, power=5.0).means(300)
        for seed in range(3)
    ]
    limit = {10: 0.95, 50: 0.75}[ticks_per_s]
    assert np.std(means) < limit * np.std(free)


@pytest.mark.parametrize("ticks_per_s", TICKS)
@pytest.mark.parametrize("target", [1.0, 0.25])
@pytest.mark.parametrize("delay_frames", [2, 6])
def test_a_step_of_the_target_is_there_within_50_frames_and_an_on_time(
    ticks_per_s, target, delay_frames
):
    # The worst case: the target changes just after a decision.
    ratio = mean_of(
        6,
        1200,
        power=5.0,
        ticks_per_s=ticks_per_s,
        delay_frames=delay_frames,
        changes=[(600, {"target": target})],
        sample=Field(fluorophores=60_000),
    )[600:]
    there = 50 + 6
    assert abs(ratio[there : there + 50].mean() - 1) < (
        0.15 if ticks_per_s == 2 else 0.1
    )
    assert abs(moving(ratio[there + 50 :]) - 1).max() < 0.1
    if target > 0.5:
        assert moving(ratio).max() < 1.2  # overshoot


@pytest.mark.parametrize("ticks_per_s", TICKS)
def test_the_step_response_does_not_depend_on_the_pace(ticks_per_s):
    steps = [
        mean_of(
            6,
            900,
            power=5.0,
            ticks_per_s=pace,
            changes=[(599, {"target": 1.0})],  # just before a decision
            sample=Field(fluorophores=60_000),
        )[600:]
        for pace in (50, ticks_per_s)
    ]
    reference, other = (step[:300].reshape(-1, 25).mean(1) for step in steps)
    assert abs(other[1:] - reference[1:]).max() < 0.1


@pytest.mark.parametrize("ticks_per_s", TICKS)
@pytest.mark.parametrize("start", [0.0, 0.5, 50.0])
def test_it_finds_the_target_from_any_power(ticks_per_s, start):
    ratio = mean_of(
        4,
        800,
        power=start,
        ticks_per_s=ticks_per_s,
        sample=Field(fluorophores=60_000),
    )
    assert abs(moving(ratio[350:]) - 1).max() < 0.15
    if start < 5:
        assert moving(ratio).max() < 1.25


@pytest.mark.parametrize("ticks_per_s", TICKS)
@pytest.mark.parametrize(
    "change",
    [{"on_time_frames": 18.0}, {"on_time_frames": 2.0}, {"spontaneous": 0.1}],
    ids=["on-time x3", "on-time / 3", "background"],
)
def test_it_settles_after_the_sample_changes(ticks_per_s, change):
    ratio = mean_of(
        5 if ticks_per_s > 2 else 12,
        1600,
        power=5.0,
        ticks_per_s=ticks_per_s,
        changes=[(600, change)],
        sample=Field(fluorophores=60_000),
    )[600:]
    assert abs(moving(ratio[250:]) - 1).max() < 0.15
    if ticks_per_s == 50:
        assert moving(ratio).max() < 1.5


def test_a_biased_density_is_held_as_it_is_told():
    """A doubled background that makes the engine see 10 % more: it follows that."""
    ratio = mean_of(4, 1200, power=5.0, changes=[(600, {"bias": 1.1})])[850:]
    assert ratio.mean() == pytest.approx(1 / 1.1, abs=0.03)


@pytest.mark.parametrize("ticks_per_s", TICKS)
@pytest.mark.parametrize("delay_frames", [12, 25, 50])
def test_answers_that_come_late_leave_the_density_as_it_is_by_itself(
    ticks_per_s, delay_frames
):
    sample = Field(fluorophores=60_000)
    means = np.concatenate(
        [
            run(
                law(),
                2000,
                seed=seed,
                power=1.0,
                sample=sample,
                ticks_per_s=ticks_per_s,
                delay_frames=delay_frames,
            ).means(500)
            for seed in range(4)
        ]
    )
    assert means.mean() == pytest.approx(1.0, abs=0.04)
    assert means.std() < 0.075  # 0.052 without control


@pytest.mark.parametrize("ticks_per_s", TICKS)
@pytest.mark.parametrize("late_frames", [4, 60, 90])
def test_after_the_dark_the_density_comes_back_and_not_too_high(
    ticks_per_s, late_frames
):
    """The engine was away, and catches up with answers that are late at first."""
    ratio = mean_of(
        4,
        1600,
        power=5.0,
        ticks_per_s=ticks_per_s,
        changes=[
            (600, {"dark": True}),
            (800, {"dark": False, "delay_frames": late_frames}),
            (950, {"delay_frames": 4}),
        ],
        sample=Field(fluorophores=60_000),
    )[800:]
    assert moving(ratio).max() < 1.3
    assert abs(moving(ratio[250:]) - 1).max() < 0.15


def test_a_gain_that_is_far_too_small_is_learned_again():
    """What shows that the gain is wrong counts, however little was expected."""
    controlled, power = law(), 0.0
    for i in range(300):
        step = {"t_s": i / 50, "first_seq": 2 * i, "last_seq": 2 * i + 1}
        seen = 0.0 if i < 200 else 3.0  # far above the target, all at once
        reading = replace(READING, per_um2=seen, power=power, dt_s=0.02, **step)
        power = controlled.control(reading)
        if i == 199:
            assert power == 50.0
    assert power < 1.0


def test_bleaching_is_met_ahead_also_between_rare_decisions():
    ratio = np.concatenate(
        [
            run(
                law(),
                2500,
                seed=seed,
                sample=RESERVOIR,
                target=1.0,
                power=10.0,
                ticks_per_s=2,
            ).means(1000)
            for seed in range(12)
        ]
    )
    assert abs(ratio.mean() - 1) < 0.016


def test_the_search_for_the_gain_is_not_taken_for_bleaching():
    ratio = mean_of(
        12, 1000, power=1.0, ticks_per_s=2, sample=Field(fluorophores=60_000)
    )
    assert ratio[300:].mean() == pytest.approx(1.0, abs=0.02)


def test_the_limit_is_left_at_the_first_tick():
    controlled, reading = law(), replace(READING, power=50.0, per_um2=0.1)
    for i in range(100):
        step = {"t_s": i / 10, "first_seq": 10 * i, "last_seq": 10 * i + 9}
        assert controlled.control(replace(reading, **step)) == 50.0 or i == 0
    step = {"t_s": 10.0, "first_seq": 1000, "last_seq": 1009}
    assert controlled.control(replace(reading, per_um2=0.6, **step)) < 50.0


def test_without_emitters_it_searches_up_to_the_limit_and_no_further():
    controlled, power, powers = law(), 0.0, []
    for i in range(200):
        step = {"t_s": i / 50, "first_seq": 2 * i, "last_seq": 2 * i + 1}
        reading = replace(READING, per_um2=0.0, power=power, dt_s=0.02, **step)
        power = controlled.control(reading)
        powers.append(power)
    assert powers[0] < 0.1
    assert powers[-1] == 50.0
    assert np.all(np.diff(powers) >= -1e-9)


def test_a_new_target_is_answered_before_new_frames_come():
    controlled = law()
    for i in range(50):
        step = {"t_s": i / 10, "first_seq": 10 * i, "last_seq": 10 * i + 9}
        reading = replace(READING, **step)
        before = controlled.control(reading)
    after = controlled.control(replace(reading, target_per_um2=1.0))
    assert after == pytest.approx(2 * before, rel=0.01)
    assert controlled.control(reading) == pytest.approx(before, rel=1e-6)


def test_target_0_turns_the_laser_down():
    assert law().control(replace(READING, target_per_um2=0.0)) == 0.0


@pytest.mark.parametrize("quantum", [0.0, 1.0])
def test_it_holds_behind_the_guard_and_on_a_device_with_coarse_steps(quantum):
    guarded = GuardedPower(0.0, 50.0, 0.0, LaserSection(quantum=quantum))
    trace = run(
        law(),
        2000,
        seed=3,
        ticks_per_s=20,
        guard=lambda law, reading, now_s: guarded.step(law, reading, now_s).power,
    )
    means = trace.means(400)
    assert abs(means.mean() - 1) < 0.03
    assert (abs(means - 1) < 0.15).all()
    if quantum:
        assert set(trace.power) <= set(range(51))
