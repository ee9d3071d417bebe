"""The loop around a law, with an interlock that only notes what is wanted."""

import threading
import time

import pytest

from liveloc.bridge.control.feedback import Feedback
from liveloc.bridge.control.guard import GuardedPower
from liveloc.bridge.control.stop_rules import StopRules
from liveloc.stream.density import BlockDensity
from liveloc.stream.latency import Latency
from liveloc.stream.session import ControlSection, StopSection

HIGHEST = 20.0


class Laser:
    """Takes every power at once."""

    limits = (0.0, HIGHEST)
    safe = 0.0
    last_power = 5.0


class Interlock:
    """Notes what is wanted."""

    def __init__(self, laser):
        self.frame_to_laser, self.late = Latency(), 0
        self.wanted, self._laser = [], laser

    def want(self, power, reason, exposed_ns=None):
        self.wanted.append((power, reason, exposed_ns))
        self._laser.last_power = power


class Law:
    """Answers what a function says of the reading."""

    def __init__(self, answer):
        self.answer, self.readings = answer, []

    def control(self, reading):
        self.readings.append(reading)
        return self.answer(reading)


def block(seq, per_um2=0.5, frames=5, age_s=0.0, **changes):
    values = {
        "first_seq": seq,
        "last_seq": seq + frames - 1,
        "frames": frames,
        "t_ns": time.monotonic_ns() - round(age_s * 1e9),
        "per_um2": per_um2,
        "sigma_per_um2": 0.02,
        "area_um2": 100.0,
        "precision_nm": 10.0,
    }
    return BlockDensity(stream_id=b"s" * 16, **values | changes)


class Loop:
    """A feedback whose decisions can be waited for."""

    def __init__(self, answer=lambda reading: 3.0, **control):
        self.laser, self.law = Laser(), Law(answer)
        self.interlock = Interlock(self.laser)
        self.lines, self.stops = [], []
        self._news = threading.Condition()
        settings = ControlSection(
            **{"law": "ratio", "target_per_um2": 0.5, "ticks_per_s": 1000} | control
        )
        self.feedback = Feedback(
            self.law,
            GuardedPower(0.0, HIGHEST, 5.0),
            self.interlock,
            self.laser,
            settings,
            StopRules(settings.stop),
            power=5.0,
            stop=self.stops.append,
            log=self._note,
        )

    def _note(self, line):
        with self._news:
            self.lines.append(line)
            self._news.notify_all()

    def decide(self, *blocks):
        """Give blocks and wait for the decision."""
        seen = len(self.lines)
        for one in blocks:
            self.feedback.take(one)
        with self._news:
            assert self._news.wait_for(lambda: len(self.lines) > seen, 5)
        return self.lines[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.feedback.close()


def test_a_decision_rests_on_all_frames_since_the_last_one():
    with Loop(ticks_per_s=2) as loop:
        loop.decide(block(0))
        loop.decide(block(5, per_um2=0.4, frames=10), block(15, per_um2=0.7, frames=5))
        reading = loop.law.readings[-1]
        assert (reading.first_seq, reading.last_seq, reading.frames) == (5, 19, 15)
        assert reading.per_um2 == pytest.approx(0.5)
        assert reading.sigma_per_um2 == pytest.approx(0.02 * (5 / 9) ** 0.5)
        assert reading.power == 3.0
        assert reading.highest == HIGHEST
        assert len(loop.law.readings) == 2


def test_what_is_decided_is_wanted_and_written_with_its_frames():
    with Loop() as loop:
        newest = block(10)
        line = loop.decide(newest)
        assert loop.interlock.wanted == [
            (3.0, "ratio", pytest.approx(newest.t_ns, abs=1000))
        ]
        assert line["kind"] == "decision"
        assert line["frames"] == [10, 14]
        assert line["exposed_ns"] == pytest.approx(newest.t_ns, abs=1000)
        assert (line["per_um2"], line["wanted"], line["given"]) == (0.5, 3.0, 3.0)


@pytest.mark.parametrize("answer", [float("nan"), float("inf"), None])
def test_an_answer_that_is_none_holds_the_laser_and_renews_its_lease(answer):
    with Loop(lambda reading: answer) as loop:
        line = loop.decide(block(0))
        assert [power for power, *_ in loop.interlock.wanted] == [5.0]
        assert line["given"] == 5.0
        assert loop.feedback.report()["held"] == 1


def test_a_law_that_raises_holds_the_laser():
    def fail(_):
        raise ZeroDivisionError("no density")

    with Loop(fail) as loop:
        assert "no density" in loop.decide(block(0))["reason"]
        assert [power for power, *_ in loop.interlock.wanted] == [5.0]


def test_stale_densities_do_not_renew_the_lease():
    with Loop(lambda reading: 20.0) as loop:
        line = loop.decide(block(0, age_s=1.5))
        assert loop.interlock.wanted == []
        assert "s old" in line["reason"]
        assert not loop.law.readings


def test_a_density_from_the_future_is_not_believed():
    with Loop(lambda reading: 20.0) as loop:
        loop.decide(block(0, age_s=-2.0))
        assert loop.interlock.wanted == []


def test_no_more_decisions_than_the_pace_allows():
    with Loop(ticks_per_s=10) as loop:
        began = time.monotonic()
        for k in range(60):
            loop.feedback.take(block(5 * k))
            time.sleep(0.01)
        allowed = 10 * (time.monotonic() - began) + 1
        assert 2 <= loop.feedback.decisions <= allowed


def test_a_dry_run_decides_and_leaves_the_laser():
    with Loop(dry_run=True) as loop:
        line = loop.decide(block(0))
        assert (line["wanted"], line["given"]) == (3.0, 3.0)
        assert [power for power, *_ in loop.interlock.wanted] == [5.0]


def test_a_dry_run_lights_a_laser_that_was_safe():
    with Loop(dry_run=True) as loop:
        loop.laser.last_power = 0.0
        loop.decide(block(0))
        assert [power for power, *_ in loop.interlock.wanted] == [5.0]


def test_the_present_density_becomes_the_target():
    with Loop(target_per_um2="present", settle_frames=40) as loop:
        assert loop.feedback.target_per_um2 == 0
        for seq, density in ((0, 9.0), (10, 9.0), (20, 0.4), (30, 0.6)):
            loop.decide(block(seq, per_um2=density, frames=10))
        assert not loop.law.readings  # nothing is controlled while it is measured
        assert [power for power, *_ in loop.interlock.wanted] == [5.0] * 4
        loop.decide(block(40, per_um2=0.5, frames=10))
        loop.decide(block(50, per_um2=0.3, frames=10))
        assert loop.law.readings[-1].target_per_um2 == pytest.approx(0.5)


def test_the_target_changes_on_schedule():
    with Loop(target_per_um2=[(20, 1.0), (0, 0.5)]) as loop:
        for seq in (0, 10, 20, 30):
            loop.decide(block(seq))
        told = [reading.target_per_um2 for reading in loop.law.readings]
        assert told == [0.5, 0.5, 1.0, 1.0]


def test_a_rule_that_is_met_stops_once_and_says_why():
    with Loop(stop=StopSection(dose=0.001, free_disk_gib=0)) as loop:
        loop.decide(block(0))
        time.sleep(0.01)
        for seq in (5, 10, 15):
            loop.decide(block(seq))
    assert len(loop.stops) == 1
    assert loop.stops[0].startswith("dose")
    assert loop.feedback.report()["stopped_by"] == loop.stops[0]
    evidence = [line for line in loop.lines if line["kind"] == "stop"]
    assert [line["evidence"] for line in evidence] == loop.stops


def test_closing_twice_leaves_no_thread():
    loop = Loop()
    loop.feedback.close()
    loop.feedback.close()
    assert "liveloc-control" not in [thread.name for thread in threading.enumerate()]
