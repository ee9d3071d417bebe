"""The loop around a law, with an interlock that only notes what is wanted."""

import threading
import time

import pytest
from readings import READING

from liveloc.bridge.control import target as target_module
from liveloc.bridge.control.feedback import Feedback
from liveloc.bridge.control.guard import GuardedPower
from liveloc.bridge.control.stop_rules import StopRules
from liveloc.bridge.control.target import Target, TargetFile
from liveloc.stream.density import BlockDensity
from liveloc.stream.latency import Latency
from liveloc.stream.session.settings import ControlSection, StopSection
from liveloc.stream.session.target_file import write_target

HIGHEST = 20.0
LOOK_S = 0.1


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Look at the file more often than in life."""
    monkeypatch.setattr(target_module, "LOOK_S", LOOK_S)


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
        self.obstacle = ""

    @property
    def power(self):
        return self._laser.safe if self.obstacle else self._laser.last_power

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

    def __init__(
        self, answer=lambda reading: 3.0, *, folder=None, hold_s=5.0, **control
    ):
        self.laser, self.law = Laser(), Law(answer)
        self.interlock = Interlock(self.laser)
        self.lines, self.stops, self.alarms = [], [], []
        self._news = threading.Condition()
        settings = ControlSection(
            **{"law": "ratio", "target_per_um2": 0.5, "ticks_per_s": 1000} | control
        )
        self.feedback = Feedback(
            self.law,
            GuardedPower(0.0, HIGHEST, 5.0, hold_s=hold_s),
            self.interlock,
            self.laser,
            settings,
            Target(settings, folder=folder, log=self._note, alarm=self.alarms.append),
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


def test_a_power_that_nothing_steers_is_written_as_it_stays():
    """With readings that are all too old the guard falls, but the laser does not."""
    with Loop(lambda reading: 5.0, law="constant", hold_s=0.0) as loop:
        lines = []
        for n in range(5):
            lines.append(loop.decide(block(5 * n, age_s=1.5)))
            time.sleep(0.02)
        assert [line["given"] for line in lines] == [5.0] * 5
        assert "the power stays" in lines[-1]["reason"]


def test_a_laser_that_may_not_be_on_is_written_as_safe():
    with Loop(lambda reading: 9.0) as loop:
        loop.interlock.obstacle = "no engine"
        line = loop.decide(block(0))
        assert (line["wanted"], line["given"]) == (9.0, 0.0)
        assert line["reason"].endswith("no engine")


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
        decisions = loop.feedback.decisions
        assert 2 <= decisions <= 10 * (time.monotonic() - began) + 1


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


def asked(loop, folder, target, seq, **written):
    """Ask for a target and wait until the loop has looked; give its lines since."""
    write_target(folder, target, **written)
    return after_a_look(loop, seq)


def after_a_look(loop, seq, looks=1):
    """Give blocks until the loop has looked at the file so often."""
    first = len(loop.lines)
    end = time.monotonic() + (LOOK_S + 0.05) * looks
    while time.monotonic() < end:
        loop.decide(block(seq, per_um2=0.7))
        seq += 5
        time.sleep(0.02)
    return loop.lines[first:]


def targets_of(lines):
    return [one["target_per_um2"] for one in lines if one["kind"] == "decision"]


def test_somebody_asks_for_another_target_while_it_runs(tmp_path):
    with Loop(folder=tmp_path, target_per_um2=[(0, 0.5), (10_000, 0.1)]) as loop:
        loop.decide(block(0))
        lines = asked(loop, tmp_path, 0.8, 5, origin="viewer")
        told = [line for line in lines if line["kind"] == "target"]
        assert len(told) == 1
        assert told[0]["origin"] == "viewer"
        assert (told[0]["before"], told[0]["target_per_um2"]) == (0.5, 0.8)
        assert told[0]["frames"] is None
        assert targets_of(lines)[-1] == 0.8
        assert loop.feedback.report()["target_per_um2"] == 0.8
        assert loop.feedback.report()["target_since_frame"] == told[0]["since_frame"]
        loop.decide(block(10_000))
        assert loop.lines[-1]["target_per_um2"] == 0.8  # the schedule is over
    assert not loop.alarms


def test_the_density_of_late_is_taken_as_the_target(tmp_path):
    with Loop(folder=tmp_path, settle_frames=40) as loop:
        for seq in range(0, 60, 5):
            loop.decide(block(seq, per_um2=9.0))
        for seq in range(60, 100, 5):
            loop.decide(block(seq, per_um2=0.7))
        lines = asked(loop, tmp_path, "present", 100)
        (told,) = (line for line in lines if line["kind"] == "target")
        assert told["asked"] == "present"
        assert told["target_per_um2"] == pytest.approx(0.7)
        first, last = told["frames"]
        assert last - first + 1 == 40
        assert told["since_frame"] == last + 1


def test_the_present_density_waits_for_enough_frames(tmp_path):
    with Loop(folder=tmp_path, settle_frames=1000) as loop:
        lines = asked(loop, tmp_path, "present", 0)
        assert not [line for line in lines if line["kind"] == "target"]
        loop.decide(block(200, per_um2=0.9, frames=800))
        assert loop.feedback.target_per_um2 == pytest.approx(0.9, abs=0.1)
    assert not loop.alarms


def test_no_emitters_and_too_many_are_no_target(tmp_path):
    with Loop(folder=tmp_path, settle_frames=20, highest_target_per_um2=1.0) as loop:
        for seq in range(0, 40, 5):
            loop.decide(block(seq, per_um2=0.0))
        write_target(tmp_path, "present")
        time.sleep(1.2 * LOOK_S)
        loop.decide(block(40, per_um2=0.0))
        write_target(tmp_path, 1.5)
        time.sleep(1.2 * LOOK_S)
        loop.decide(block(45))
        assert loop.feedback.target_per_um2 == 0.5
    assert ["0 per um2 is not above 0" in text for text in loop.alarms] == [True, False]
    assert "1.5 per um2 is not above 0 and at most 1" in loop.alarms[1]


@pytest.mark.parametrize(
    "content", [b"{", b'{"target_per_um2": 0.8, "safe": 50}', b"\0" * 9000]
)
def test_nonsense_in_its_place_raises_one_alarm_and_changes_nothing(tmp_path, content):
    with Loop(folder=tmp_path) as loop:
        loop.decide(block(0))
        (tmp_path / "target.json").write_bytes(content)
        lines = after_a_look(loop, 5, looks=4)
        assert set(targets_of(lines)) == {0.5}
        assert len(loop.alarms) == 1
        assert "The target stays" in loop.alarms[0]
        (tmp_path / "target.json").unlink()
        assert set(targets_of(after_a_look(loop, 500))) == {0.5}
        lines = asked(loop, tmp_path, 0.8, 700)
        assert targets_of(lines)[-1] == 0.8
    assert len(loop.alarms) == 1


def test_who_is_just_writing_is_not_blamed(tmp_path):
    alarms = []
    looks = TargetFile(tmp_path, alarms.append)
    (tmp_path / "target.json").write_text('{"target_per')
    assert looks.new_request(0.0) is None
    (tmp_path / "target.json").write_text('{"target_per_um2": 0.8}')
    assert looks.new_request(0.05) is None  # not that often
    assert looks.new_request(1.0).per_um2 == 0.8
    assert looks.new_request(2.0) is None  # once
    assert not alarms


def test_a_law_that_looks_at_no_target_says_so(tmp_path):
    told = []
    target = Target(
        ControlSection(law="linear"),
        folder=tmp_path,
        uses_target=False,
        alarm=told.append,
    )
    write_target(tmp_path, 0.8)
    assert not target.apply_request(READING, 0.0)
    assert "law linear does not use a target" in told[0]


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
