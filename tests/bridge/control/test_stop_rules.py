import re
from dataclasses import replace

import pytest
from readings import READING

from liveloc.bridge.control.stop_rules import StopRules
from liveloc.stream.session.settings import StopSection

FIRST = replace(READING, t_s=100.0, dt_s=0.0, power=4.0, highest=20.0)


def run(rules, seconds, precision_nm=10.0, **changes):
    """Read ten times a second; give the time after the first reading and the reason."""
    watched = StopRules(StopSection(free_disk_gib=0, **rules))
    for k in range(round(10 * seconds)):
        reading = replace(FIRST, t_s=100 + 0.1 * k, dt_s=0.1 * (k > 0), **changes)
        if reason := watched.met(reading, precision_nm):
            return 0.1 * k, reason
    return None


def test_no_rule_ends_nothing():
    assert run({}, 1000, power=20.0, per_um2=0.0) is None


@pytest.mark.parametrize(
    ("rules", "changes", "seconds", "evidence"),
    [
        ({"minutes": 0.5}, {}, 30.0, r"minutes: 0\.5"),
        ({"at_highest_s": 5}, {"power": 20.0}, 5.0, r"highest power of 20 for 5\.0 s"),
        (
            {"density_below_per_um2": 0.6, "density_below_s": 3},
            {},
            3.0,
            r"0\.5 per um2, below 0\.6 for 3\.0 s",
        ),
        ({"dose": 40.0}, {}, 10.0, r"dose: 40\.\d of 40"),
        # 10 nm: 23.5 nm; 0.5 per um2 in 10 frames ten times a second: the spacing
        # falls as 1 / sqrt(t) to 40.4 / 2 nm
        ({"resolution_nm": 46.8}, {}, 48.9, r"46\.\d nm reached"),
    ],
)
def test_each_rule_ends_when_it_is_met_and_says_why(rules, changes, seconds, evidence):
    at, reason = run(rules, 100, **changes)
    assert at == pytest.approx(seconds, abs=0.25)
    assert reason.startswith(next(iter(rules)))
    assert re.search(evidence, reason)


def test_a_rule_that_lasts_begins_anew_when_it_is_broken():
    rules = StopRules(StopSection(at_highest_s=5, free_disk_gib=0))
    for k in range(200):
        power = 20.0 if k % 40 else 19.0
        reading = replace(FIRST, t_s=100 + 0.1 * k, dt_s=0.1, power=power)
        assert rules.met(reading, 10.0) == ""


def test_a_full_disk_ends_it(tmp_path):
    rules = StopRules(StopSection(free_disk_gib=1e9), tmp_path)
    assert rules.met(FIRST, 0.0).startswith("free_disk_gib")
