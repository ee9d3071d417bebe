"""The laws of other programs, number for number; ramps; and how laws are opened."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from readings import READING

from liveloc.bridge.control.laws.registry import (
    LAWS,
    check_options,
    close_law,
    needs_target,
    open_law,
)
from liveloc.stream.errors import SettingsError

EMITTERS = replace(READING, area_um2=1.0, highest=10_000.0)  # per um2 is a count


def htsmlm(counts, target, power, **options):
    """Drive a device without a guard: the law reads back what it has set."""
    law, powers = open_law("htsmlm", options), []
    for count in counts:
        reading = replace(
            EMITTERS, per_um2=count, target_per_um2=target, power=float(power)
        )
        power = law.control(reading)
        powers.append(power)
    return powers


@pytest.mark.parametrize(
    ("count", "start", "powers"),
    [
        (0, 0, "0.1 0.34 0.816 1.7184 3.40816 4.871424 6.919994 9.787991"),
        (
            20,
            10,
            "10.1 10.3 10.6 11 11.5 12.1 12.8 13.6 14.5 15.5 16.6 16.7 16.9 17.2 17.6",
        ),
        (40, 10, "6.1 3.76 2.356 1.5136 0.16576"),
    ],
)
def test_htsmlm_gives_the_published_numbers(count, start, powers):
    expected = [float(power) for power in powers.split()]
    given = htsmlm([count] * len(expected), 20, start)
    assert given == pytest.approx(expected, abs=1e-6)


def test_htsmlm_on_a_whole_number_property_sticks_as_the_original_does():
    given = htsmlm([20] * 12, 20, 10, integer=True)
    assert given == [10.0] * 9 + [11.0, 12.0, 12.0]


def test_htsmlm_without_a_target_is_off_and_stays_within_the_range():
    assert htsmlm([5, 5], 0, 10) == [0.0, 0.0]
    assert max(htsmlm([0] * 100, 20, 0)) == 10_000


def pi(densities, target, dt_s, highest, **options):
    law, powers = open_law("pi", {"unit": "per_um2", **options}), []
    for density in densities:
        reading = replace(
            READING, per_um2=density, target_per_um2=target, dt_s=dt_s, highest=highest
        )
        powers.append(law.control(reading))
    return powers


def test_pi_gives_the_published_numbers():
    given = pi([0, 1, 3, 5, 8, 20], 5, 0.5, 10.0, proportional=0.5, integral_per_s=0.4)
    assert given == pytest.approx([3.5, 3.8, 3.2, 2.2, 0.1, 0.0], abs=1e-12)


def test_pi_leaves_the_limit_at_the_first_tick():
    given = pi([0] * 100 + [5.01], 5, 0.5, 10.0, proportional=0.5, integral_per_s=0.4)
    assert given[99] == 10.0
    assert given[100] < 10.0


def test_pi_forgets_its_integral_at_target_0():
    law = open_law("pi", {"unit": "per_um2"})
    reading = replace(READING, per_um2=0.0, dt_s=1.0, target_per_um2=2.0)
    assert law.control(reading) == 4.0
    assert law.control(replace(reading, target_per_um2=0.0)) == 0.0
    assert law.control(reading) == 4.0


@pytest.mark.parametrize(
    ("unit", "power"), [("per_um2", 1.0), ("per_100_um2", 100.0), ("counts", 200.0)]
)
def test_pi_says_what_its_gain_is_per(unit, power):
    law = open_law("pi", {"unit": unit, "integral_per_s": 0})
    reading = replace(READING, per_um2=1.0, target_per_um2=2.0, area_um2=200.0)
    assert law.control(replace(reading, highest=1e9)) == power


def test_dead_band_moves_at_a_constant_speed_outside_its_band_only():
    law = open_law("dead_band", {"step_percent_per_s": 2, "band_percent": 10})
    reading = replace(READING, target_per_um2=1.0, power=5.0, dt_s=0.5)
    answers = {n: law.control(replace(reading, per_um2=n)) for n in (0.89, 0.95, 1.11)}
    assert answers == {0.89: 5.5, 0.95: None, 1.11: 4.5}
    slow = replace(reading, per_um2=0.0, dt_s=0.1)
    assert law.control(slow) == pytest.approx(5.1)  # the same speed
    assert law.control(replace(slow, power=50.0)) == 50.0
    assert law.control(replace(slow, power=0.0, per_um2=2.0)) == 0.0


def ramp(name, options, frames=(9, 99, 199, 100_000), **start):
    law = open_law(name, options, **start)
    return [law.control(replace(READING, last_seq=seq)) for seq in frames]


def test_ramps_follow_the_frames():
    assert ramp("constant", {"power": 7}) == [7.0] * 4
    assert ramp("constant", {}) == [None] * 4
    assert ramp("constant", {}, power=3.0) == [3.0] * 4
    assert ramp("linear", {"start": 1, "increment": 0.5}) == [1.0, 1.5, 2.0, 50.0]
    assert ramp("linear", {"increment": -2}) == [5.0, 3.0, 1.0, 0.0]
    assert ramp("exponential", {"start": 2, "factor": 2}) == pytest.approx(
        [2.0, 4.0, 8.0, 50.0]
    )
    assert ramp("exponential", {}, power=2.0)[1] == pytest.approx(2.1)
    assert ramp("exponential", {"start": 0}) == [0.0] * 4


def test_a_ramp_begins_again_with_a_new_stream():
    law = open_law("linear", {"start": 1, "increment": 1, "every_frames": 10})
    later = replace(READING, first_seq=100, last_seq=109)
    assert [law.control(r) for r in (READING, later, READING)] == [2.0, 12.0, 2.0]


def test_powers_of_a_file_are_replayed_frame_by_frame(tmp_path):
    file = tmp_path / "powers.txt"
    file.write_text("# mW, 405 and 488\n1.5 9\n2,8  # twice\n3.5 7\n\n")
    assert ramp("file", {"path": file}, (0, 1, 2, 500)) == [2.0, 3.5, 3.5, 3.5]
    law = open_law("file", {"path": "powers.txt", "column": 1}, folder=tmp_path)
    assert law.control(replace(READING, last_seq=0)) == 8.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\nfull\n3", r"line 2: 'full' is not a power"),
        ("1\n-2\n", r"line 2: '-2' is not a power"),
        ("nan", r"line 1: 'nan' is not a power"),
        ("1\n\n3\n", r"line 2 is empty"),
        ("# nothing\n", r"contains no powers"),
        ("", r"contains no powers"),
    ],
)
def test_a_bad_power_file_names_the_line(tmp_path, text, message):
    file = tmp_path / "powers.txt"
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        open_law("file", {"path": file})


def test_a_power_file_that_is_missing_or_too_narrow_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no such file"):
        open_law("file", {"path": tmp_path / "none"})
    file = tmp_path / "powers.txt"
    file.write_text("1\n")
    with pytest.raises(SettingsError, match="column 1"):
        open_law("file", {"path": file, "column": 1})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ration", {}, "no control law 'ration'. Did you mean 'ratio'"),
        ("pid", {}, "Available: ratio, pi, dead_band, htsmlm, constant"),
        ("ratio", {"on_time": 1}, "Did you mean 'on_time_s'"),
        ("ratio", {"on_time_s": 0}, "control.options: on_time_s is 0"),
        ("ratio", {"on_time_s": math.nan}, "on_time_s is nan"),
        ("linear", {}, "setting 'increment' is missing"),
        ("user", {}, "setting 'path' is missing"),
        ("pi", {"unit": "mW"}, "unit is 'mW'"),
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_remedy(name, options, message):
    with pytest.raises(SettingsError, match=message):
        open_law(name, options)


def test_laws_know_whether_they_need_a_target():
    assert [name for name in LAWS if needs_target(name)] == [
        "ratio",
        "pi",
        "dead_band",
        "htsmlm",
    ]


def test_options_are_checked_without_opening_anything():
    assert check_options("user", {"path": "no/such/file.py"}).path == Path(
        "no/such/file.py"
    )


def test_every_law_without_options_of_its_own_opens_and_closes():
    for name in set(LAWS) - {"linear", "file", "user"}:
        law = open_law(name)
        answer = law.control(READING)
        assert answer is None or np.isfinite(answer)
        close_law(law)
