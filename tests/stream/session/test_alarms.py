"""Alarms of a session: from the bridge's file to terminal and report."""

import json
import time

from liveloc.bridge.feedback_setup import ControlLog
from liveloc.stream.balance import ALARM, exit_code
from liveloc.stream.session.alarms import KEPT, AlarmFollower, Alarms
from liveloc.viewer.report.page import write_report_page

REPORT = {"frames": {"unexplained": 0}}


def test_what_the_bridge_raises_is_read_while_the_file_grows(tmp_path):
    path = tmp_path / "control.jsonl"
    follower = AlarmFollower(path, time.monotonic_ns())
    assert follower.read() == []  # no file yet
    log = ControlLog(tmp_path, "mW")
    log.alarm("frames 10 to 30 were not localized", frames=(10, 30))
    log.write({"kind": "laser", "power": 1.0})
    log.alarm("both have one driver", serious=False)
    first, second = follower.read()
    assert (first.text, first.frames) == (
        "frames 10 to 30 were not localized",
        (10, 30),
    )
    assert first.serious and not second.serious
    assert follower.read() == []
    log.close()
    follower.close()


def test_torn_foreign_and_old_lines_are_no_alarms(tmp_path):
    path = tmp_path / "control.jsonl"
    new = json.dumps({"kind": "alarm", "t_ns": 200, "text": "new\nline"})
    old = json.dumps({"kind": "alarm", "t_ns": 99, "text": "old"})
    odd = ["[" * 5000 + '"alarm"', '{"kind": "alarm"', "\x00\xff", '["alarm"]']
    path.write_text("\n".join([old, *odd, new[:20]]))
    follower = AlarmFollower(path, 100)
    assert follower.read() == []
    with path.open("a") as file:
        file.write(new[20:] + "\n")
    assert [alarm.text for alarm in follower.read()] == ["new line"]
    follower.close()


def test_an_alarm_is_shown_once_listed_with_its_time_and_keeps_from_exit_code_0(
    tmp_path,
):
    shown = []
    alarms = Alarms(shown.append, begun_ns=time.monotonic_ns() - 2_000_000_000)
    alarms.raise_("<odd> driver", serious=False)
    assert exit_code(REPORT | {"alarms": alarms.as_list()}) == 0
    for _ in range(2):
        alarms.raise_("nothing is localized", frames=(3, 9))
    assert shown == ["<odd> driver", "ALARM: nothing is localized"]
    report = REPORT | {"alarms": alarms.as_list()}
    assert [alarm["frames"] for alarm in report["alarms"]] == [None, [3, 9]]
    assert 2 <= report["alarms"][0]["after_s"] < 10
    assert exit_code(report) == ALARM
    page = write_report_page(report, tmp_path).read_text()
    assert "frames 3 to 9: nothing is localized" in page
    assert "&lt;odd&gt; driver" in page


def test_a_flood_of_alarms_is_bounded_and_counted():
    shown = []
    alarms = Alarms(shown.append)
    for number in range(3 * KEPT):
        alarms.raise_(f"alarm {number}")
    assert len(shown) == KEPT
    assert "400 alarms more" in alarms.as_list()[-1]["text"]
