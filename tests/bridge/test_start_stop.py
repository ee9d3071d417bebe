"""A bridge that was started and stopped leaves nothing behind."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("start_stop.py")


def test_start_and_stop_leave_no_thread_socket_port_or_file():
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, "8"],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    told = json.loads(done.stdout) if done.returncode == 0 else done.stderr
    assert done.returncode == 0, told
    assert told["after"] == told["before"]


def test_what_is_left_behind_is_counted(tmp_path):
    held = runpy.run_path(str(SCRIPT))["held"]
    before = held()
    with (tmp_path / "open").open("w"):
        assert held() != before
    assert held() == before
