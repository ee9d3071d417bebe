"""A user's function may do what it likes: the laser stays, the loop goes on."""

import os
import signal
import subprocess
import sys
import time

import pytest
from readings import READING

from liveloc.bridge.control.laws.user import UserLaw, UserOptions
from liveloc.stream.errors import SettingsError


@pytest.fixture
def law(tmp_path):
    laws = []

    def start(code, **options):
        path = tmp_path / "mine.py"
        path.write_text(code, encoding="utf-8")
        alarms = []
        law = UserLaw(UserOptions(path=path, **options), alarms.append)
        law.alarms, law.longest_s = alarms, 0.0
        laws.append(law)
        return law

    yield start
    for law in laws:
        law.close()


def ask(law, until, seconds=20.0):
    """Ask as a loop does, until a condition of answers and alarms holds."""
    answers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        answers.append(law.control(READING))
        law.longest_s = max(law.longest_s, time.monotonic() - began)
        if until(answers):
            return answers
        time.sleep(0.005)
    raise AssertionError(f"answers {answers[-5:]}, alarms {law.alarms}")


def exists(pid):
    if os.name == "nt":
        listed = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}"], capture_output=True, check=True
        )
        return str(pid).encode() in listed.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_function_is_asked_and_answers(law):
    mine = law(
        "print('noise on standard output')\n"
        "def control(stats):\n"
        "    print('more of it')\n"
        "    return stats['power'] * stats['target_per_um2'] / stats['per_um2'] + 1\n"
    )
    answers = ask(mine, lambda answers: answers[-1] is not None)
    assert answers[-1] == 6.0
    assert mine.alarms == []


def test_it_keeps_its_state_and_may_hold(law):
    mine = law(
        "calls = 0\n"
        "def control(stats):\n"
        "    global calls\n"
        "    calls += 1\n"
        "    return None if calls % 2 else calls\n"
    )
    ask(mine, lambda answers: 4.0 in answers)
    assert mine.alarms == []


@pytest.mark.parametrize(
    ("body", "alarm"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero (mine.py, line 2)"),
        ("return float('nan')", "it returned nan, which is not a power"),
        ("return 'full power'", "ValueError: could not convert"),
        ("return -float('inf')", "it returned -inf"),
    ],
)
def test_nonsense_holds_and_is_told_once(law, body, alarm):
    mine = law(f"def control(stats):\n    {body}\n")
    pid = mine.pid
    answers = ask(mine, lambda answers: mine.alarms)
    answers += [mine.control(READING) for _ in range(20)]
    assert set(answers) == {None}
    assert len(mine.alarms) == 1
    assert alarm in mine.alarms[0]
    assert mine.pid == pid  # no reason to start it again


def test_an_endless_loop_is_ended_and_started_again_but_not_for_ever(law):
    mine = law("def control(stats):\n    while True: pass\n", restarts=1)
    pid = mine.pid
    answers = ask(mine, lambda answers: mine.pid is None)
    assert set(answers) == {None}
    assert [("not restarted" in text) for text in mine.alarms] == [False, True]
    assert all("took too long to answer" in text for text in mine.alarms)
    assert not exists(pid)
    assert mine.control(READING) is None


def test_the_loop_is_never_kept_waiting(law):
    mine = law(
        "import time\ndef control(stats):\n    time.sleep(2)\n    return 3\n",
        timeout_s=20.0,
    )
    ask(mine, lambda answers: 3.0 in answers)
    assert mine.longest_s < 1.8  # less than the function takes
    assert mine.alarms == []


def test_a_process_that_dies_is_started_again(law):
    mine = law(
        "import os\n"
        "def control(stats):\n"
        "    if stats['last_seq'] == 9 and not os.path.exists(__file__ + '.died'):\n"
        "        open(__file__ + '.died', 'w').close()\n"
        "        os._exit(3)\n"
        "    return 2\n"
    )
    ask(mine, lambda answers: 2.0 in answers)
    assert len(mine.alarms) == 1
    assert "exit code 3. It is restarted" in mine.alarms[0]


@pytest.mark.parametrize(
    ("code", "alarm"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named"),
        ("def control(:", "SyntaxError"),
        ("x = 1", "mine.py has no function control(stats)"),
        ("import sys; sys.exit(1)", "SystemExit: 1"),
    ],
)
def test_a_file_that_does_not_load_is_an_alarm(law, code, alarm):
    mine = law(code, restarts=0)
    answers = ask(mine, lambda answers: mine.pid is None)
    assert set(answers) == {None}
    assert len(mine.alarms) == 1
    assert alarm in mine.alarms[0]


def test_a_file_that_does_not_exist_is_refused_at_once(tmp_path):
    with pytest.raises(SettingsError, match="does not exist"):
        UserLaw(UserOptions(path=tmp_path / "none.py"))


def test_closing_ends_the_process(law):
    mine = law("def control(stats):\n    return 1\n")
    pid = mine.pid
    mine.close()
    mine.close()
    assert not exists(pid)
    assert mine.control(READING) is None


PARENT = """
import sys, time
from pathlib import Path
from liveloc.bridge.control.laws.user import UserLaw, UserOptions
sys.path.insert(0, sys.argv[2])
from readings import READING
law = UserLaw(UserOptions(path=Path(sys.argv[1]), timeout_s=60))
while not Path(sys.argv[1] + ".asked").exists():
    law.control(READING)
    time.sleep(0.01)
print(law.pid, flush=True)
time.sleep(60)
"""


def test_no_process_outlives_a_killed_parent(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "def control(stats):\n"
        "    open(__file__ + '.asked', 'w').close()\n"
        "    while True: pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        assert exists(pid)
        parent.kill()
    end = time.monotonic() + 10
    while exists(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not exists(pid)


FORKS = """
import os, time
from pathlib import Path

done = []

def control(stats):
    if not done:
        done.append(1)
        if os.fork() == 0:
            {leave}
            Path({file!r}).write_text(str(os.getpid()))
            time.sleep(40)
            os._exit(0)
    return 5
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("leave", ["pass", "os.setsid()"])
def test_a_function_that_forks_does_not_hold_up_the_end(law, tmp_path, leave):
    """The child of the process holds its pipe; one that left its group survives."""
    file = tmp_path / "pid"
    mine = law(FORKS.format(leave=leave, file=str(file)))
    ask(mine, lambda answers: answers[-1] == 5 and file.exists() and file.read_text())
    pid = int(file.read_text())
    try:
        began = time.monotonic()
        mine.close()
        assert time.monotonic() - began < 20  # its child would hold it for 40
        if leave == "pass":
            assert soon(lambda: not exists(pid))
    finally:
        if exists(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_flood_of_answers_is_cut_off(law):
    mine = law(
        "import os\n"
        "def control(stats):\n"
        "    for fd in range(3, 10):\n"
        "        try:\n"
        "            while True:\n"
        "                os.write(fd, b'7\\n' * 1000)\n"
        "        except OSError:\n"
        "            pass\n",
        restarts=0,
        timeout_s=5.0,
    )
    ask(mine, lambda answers: mine.pid is None)
    assert len(mine.alarms) == 1


def soon(happens, seconds=5.0):
    end = time.monotonic() + seconds
    while not happens() and time.monotonic() < end:
        time.sleep(0.05)
    return happens()
