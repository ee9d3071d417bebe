"""A user's own control function, in a process where it can do no harm."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from liveloc.stream.errors import SettingsError
from liveloc.stream.session.processes import PYTHON

from .controller import NotNegative, Options, Positive

if TYPE_CHECKING:
    from collections.abc import Callable

    from .controller import Reading

END_S = 2.0  # longest wait for a process that was killed, and for what it wrote
LONGEST_ANSWER = 64 * 1024  # bytes
MOST_WAITING = 1000  # messages that were not yet looked at; each question has one
_NO_ANSWER = {
    "failed": "wrote into the pipe of its answers"
}  # the user's file did, not our program
_PROGRAM = Path(__file__).with_name("user_process.py")
_log = logging.getLogger(__name__)


class UserOptions(Options):
    """Options of `UserLaw`.

    Attributes
    ----------
    path : Path
        Python file with a function ``control(stats) -> value``. `stats` is a dict with
        the fields of `Reading`; the value is a power, or None to hold.
    timeout_s : float
        Longest time for one answer, then the process is ended.
    start_s : float
        Longest time to import the file.
    wait_s : float
        How long `UserLaw.control` waits for the answer; one that comes later counts
        at the next reading.
    restarts : int
        Number of restarts of the process before the law gives up.
    """

    path: Path
    timeout_s: Positive = 0.2
    start_s: Positive = 20.0
    wait_s: NotNegative = 0.01
    restarts: Annotated[int, Field(ge=0)] = 3


class _Process:
    """One process with the user's file, and a thread that reads its answers."""

    def __init__(self, path: Path) -> None:
        self._condition = threading.Condition()
        self._messages: list[dict[str, Any]] = []
        windows_only: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        # -P: modules beside our program do not hide the user's. Own group: Ctrl-C
        # reaches the parent only.
        self._child = subprocess.Popen(
            [*PYTHON, str(_PROGRAM), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"},
            start_new_session=not windows_only,
            creationflags=windows_only,
        )
        self.pid = self._child.pid
        self._thread = threading.Thread(
            target=self._read, name="user control", daemon=True
        )
        self._thread.start()

    def _read(self) -> None:
        """Collect messages until the process ends; the last one is its end."""
        assert self._child.stdout is not None
        rest = b""
        with self._child.stdout as answers:
            while got := answers.read(LONGEST_ANSWER):
                *lines, rest = (rest + got).split(b"\n")
                for line in lines:
                    self._add(_message(line))
                if len(rest) > LONGEST_ANSWER or len(self._messages) > MOST_WAITING:
                    self._add(_NO_ANSWER)
                    break
        self._add({"ended": True})

    def _add(self, message: dict[str, Any]) -> None:
        with self._condition:
            self._messages.append(message)
            self._condition.notify_all()

    def take(self, wait_s: float) -> dict[str, Any] | None:
        """Return the oldest message, or None after `wait_s`."""
        with self._condition:
            self._condition.wait_for(lambda: bool(self._messages), wait_s)
            return self._messages.pop(0) if self._messages else None

    def send(self, message: dict[str, Any]) -> None:
        """Send one; never more than one unanswered, so that it does not block."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:  # it is gone; its end is among the messages
            _log.debug("user control: process %d is gone", self.pid)

    def kill(self) -> int:
        """End it and what it started, at once; return its exit code. Idempotent.

        What it started may have left its group and still hold the pipe. Its end is then
        not waited for: the thread that reads and the pipe are left alone.
        """
        if self._child.returncode is None:
            _kill_tree(self._child)
        try:
            code = self._child.wait(END_S)
        except subprocess.TimeoutExpired:  # it hangs in a driver of the system
            _log.error("user control: process %d does not end", self.pid)
            code = -1
        self._thread.join(END_S)
        if self._child.stdin is not None:
            try:
                self._child.stdin.close()
            except OSError:  # what was not yet written has nowhere to go
                _log.debug("user control: process %d is gone", self.pid)
        return code


def _message(line: bytes) -> dict[str, Any]:
    """Read one line of the process."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return _NO_ANSWER
    return message if isinstance(message, dict) and message else _NO_ANSWER


def _kill_tree(child: subprocess.Popen[bytes]) -> None:
    """Kill a process that was not yet waited for, with what it started."""
    try:
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(child.pid)],
                capture_output=True,
                timeout=END_S,
                check=False,
            )
        else:
            os.killpg(child.pid, signal.SIGKILL)  # it began a group of its own
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.debug("user control: process %d: %s", child.pid, error)
    child.kill()


class UserLaw:
    """Calls a user's function in a process of its own.

    `control` does not block longer than `wait_s`. Whatever the function does (an
    endless loop, an exception, no number, the end of its process), the result is None,
    which holds the power, and one alarm is raised.

    Parameters
    ----------
    options : UserOptions
        The file, and how long it may take.
    on_alarm : Callable[[str], None], optional
        Called with one line for the user, from `control`. Logged anyway.

    Raises
    ------
    SettingsError
        There is no such file.
    """

    def __init__(
        self, options: UserOptions, on_alarm: Callable[[str], None] | None = None
    ) -> None:
        if not options.path.is_file():
            raise SettingsError(
                f"control file {options.path} does not exist. Name a Python file with "
                "a function control(stats)."
            )
        self._options, self._on_alarm = options, on_alarm
        self._path = options.path.resolve()
        self._restarts_left = options.restarts
        self._last_alarm = ""
        self._number = 0  # of the newest question
        self._ready = False
        self._asked_at: float | None = None
        self._process: _Process | None = _Process(self._path)
        self._deadline = time.monotonic() + options.start_s

    @property
    def pid(self) -> int | None:
        """Process identifier; None once the law has given up or is closed."""
        return self._process.pid if self._process else None

    def control(self, reading: Reading) -> float | None:
        """Return the function's power, None while there is no answer."""
        power = self._listen(0.0)
        if self._process and self._ready and self._asked_at is None:
            self._ask(self._process, reading)
            newer = self._listen(self._options.wait_s)
            power = power if newer is None else newer
        return power

    def _ask(self, process: _Process, reading: Reading) -> None:
        self._number += 1
        process.send({"number": self._number, **dataclasses.asdict(reading)})
        self._asked_at = time.monotonic()
        self._deadline = self._asked_at + self._options.timeout_s

    def _listen(self, wait_s: float) -> float | None:
        """Read an answer; end the process when it has been silent for too long."""
        process = self._process
        if process is None:
            return None
        until = time.monotonic() + wait_s
        while message := process.take(max(0.0, until - time.monotonic())):
            if "ready" in message:
                self._ready = True
            elif "number" in message:
                self._asked_at = None
                return self._judge(message)
            else:
                self._replace(process, str(message.get("failed", "")))
                return None
        waiting = self._asked_at is not None or not self._ready
        if waiting and time.monotonic() > self._deadline:
            done = "answer" if self._ready else "start"
            self._replace(process, f"took too long to {done}")
        return None

    def _judge(self, message: dict[str, Any]) -> float | None:
        """Take an answer if it is one."""
        power = message.get("power")
        if "error" in message:
            self._alarm(str(message["error"]))
        elif power is not None and not (
            isinstance(power, int | float) and math.isfinite(power)
        ):
            self._alarm(f"it returned {power}, which is not a power")
        else:
            self._last_alarm = ""
            return None if power is None else float(power)
        return None

    def _replace(self, process: _Process, why: str) -> None:
        """End a process that failed; start another one, if any are left."""
        code = process.kill()
        self._process, self._ready, self._asked_at = None, False, None
        why = why or f"its process ended with exit code {code}"
        if self._restarts_left == 0:
            self._alarm(f"{why}. It is not restarted: the power stays as it is")
            return
        self._restarts_left -= 1
        self._alarm(f"{why}. It is restarted")
        self._process = _Process(self._path)
        self._deadline = time.monotonic() + self._options.start_s

    def _alarm(self, text: str) -> None:
        """Raise an alarm, once for each kind of trouble."""
        text = f"control file {self._path.name}: {text}."
        if text == self._last_alarm:
            return
        self._last_alarm = text
        _log.error("%s", text)
        if self._on_alarm is not None:
            self._on_alarm(text)

    def close(self) -> None:
        """End the process. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
