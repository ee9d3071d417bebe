"""A display that is lost ends the window with a reason, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from liveloc.stream.balance import WINDOW_CLOSED
from liveloc.stream.console.launch import _Watch
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.localizations import empty
from liveloc.stream.session.processes import Child, StopEvent
from liveloc.stream.tables.arrow import TableWriter
from liveloc.viewer.display import display_available

if TYPE_CHECKING:
    from pathlib import Path

FIELD = {"shape": "[32, 24]", "roi_origin": "[3, 5]", "pixel_size_nm": "100.0"}

# Shows a table and says so once the window is there.
VIEWER = """
import sys
from PySide6.QtCore import QTimer
from liveloc.viewer.run import run_viewer
from liveloc.viewer.sessions.opened import open_session
from liveloc.viewer.window import application

show = application.show_until_closed

def showing(*arguments):
    QTimer.singleShot(0, lambda: print("shown", flush=True))  # once Qt's loop runs
    show(*arguments)

application.show_until_closed = showing
run_viewer(open_session(sys.argv[1]))
"""


class Ended:
    """A child process that has ended."""

    def __init__(self, code: int, how: str) -> None:
        self._code, self._how = code, how
        self.asked = False

    def poll(self) -> int:
        return self._code

    def ending(self) -> str:
        return self._how

    def ask_to_stop(self) -> None:
        self.asked = True


def watch(folder: Path, viewer: Ended, bridge: Ended, said: list[str]) -> _Watch:
    none: Any = None
    child: Any = viewer
    other: Any = bridge
    return _Watch(
        paths=SessionFolder(folder),
        subscriber=none,
        engine=none,
        bridge=other,
        viewer=child,
        stop=StopEvent(),
        progress=lambda status: None,
        notice=said.append,
    )


def test_a_window_that_failed_is_told_once_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    bridge = Ended(0, "")
    lost = Ended(1, "failed with exit code 1: X connection to :0 broken")
    session = watch(tmp_path, lost, bridge, said)
    session._check_viewer()
    session._check_viewer()
    (line,) = said
    assert "the window has ended: failed with exit code 1: X connection" in line
    assert f"look again with 'liveloc view {tmp_path}'" in line
    assert not session.outcome.stopped_by
    assert not bridge.asked


def test_a_window_that_was_closed_ends_the_session(tmp_path: Path) -> None:
    said: list[str] = []
    bridge = Ended(0, "")
    session = watch(tmp_path, Ended(0, ""), bridge, said)
    session._check_viewer()
    assert (said, session.outcome.stopped_by, bridge.asked) == ([], WINDOW_CLOSED, True)


def test_a_killed_display_ends_the_viewer_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sys.platform.startswith("linux") or shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb, a display that may be killed")
    reading, writing = os.pipe()
    display = subprocess.Popen(
        ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1280x1024x24"],
        pass_fds=[writing],
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    with os.fdopen(reading) as told:
        number = told.readline().strip()
    monkeypatch.setenv("DISPLAY", f":{number}")
    monkeypatch.setenv("LIVELOC_CONFIG_DIR", str(tmp_path))
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    table, log = tmp_path / "localizations.arrow", tmp_path / "view.log"
    with TableWriter(table, FIELD) as writer:
        writer.append(empty(100))
    try:
        works, reason = display_available()
        if not works:
            pytest.skip(reason)
        with (
            log.open("wb") as words,
            subprocess.Popen(
                [sys.executable, "-c", VIEWER, str(table)],
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
            ) as viewer,
        ):
            try:
                assert viewer.stdout is not None
                assert viewer.stdout.readline().strip() == "shown", log.read_text()
                display.kill()
                assert viewer.wait(20) not in (0, None)
            finally:
                viewer.kill()
    finally:
        display.kill()
        display.wait()
    child = Child.__new__(Child)
    child._log = log
    assert f":{number}" in child.last_words() or "X11" in child.last_words()
    assert "Traceback" not in log.read_text()
