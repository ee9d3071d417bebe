"""Child processes of a session: started, watched, ended in order.

A child ends when its standard input ends. That works on every system, and also
when the parent is killed: no child outlives its session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

STOP_SECONDS = 10.0
GENTLY = 5  # Unix: niceness of a child that others come before


def as_argument(path: Path) -> str:
    """Return a path for a command line: a name like ``-x`` is no option there."""
    return str(path) if path.is_absolute() else os.path.join(".", path)


class Child:
    """One ``liveloc`` command in a process of its own.

    Parameters
    ----------
    name : str
        For people, and the name of its log file.
    arguments : list[str]
        Of the command line, without the program.
    log : Path
        Takes what the child prints.
    gently : bool
        Its processor time comes after that of the others.
    environment : Mapping[str, str], optional
        Variables beside those of this process: keys, which no command line may show.
    """

    def __init__(
        self,
        name: str,
        arguments: list[str],
        log: Path,
        *,
        gently: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._log, self._gently = name, log, gently
        self._environment = dict(environment or {})
        self._arguments = [sys.executable, "-m", "liveloc", *arguments, "--supervised"]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process in a group of its own: Ctrl-C reaches the parent only."""
        windows_only: int = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        gently: int = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._environment},
                start_new_session=not windows_only,
                creationflags=windows_only | (gently if self._gently else 0),
            )
        if self._gently and sys.platform != "win32":
            os.setpriority(os.PRIO_PROCESS, process.pid, GENTLY)
        return process

    @property
    def pid(self) -> int:
        """Process identifier."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code, None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Start it again after it ended."""
        self.stop()
        self._process = self._start()

    def ask_to_stop(self) -> None:
        """End its standard input; it finishes its work and exits."""
        if self._process.stdin and not self._process.stdin.closed:
            self._process.stdin.close()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for its end; None if it still runs."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float = STOP_SECONDS) -> int:
        """End it: ask, then insist. Idempotent."""
        self.ask_to_stop()
        if self.wait(timeout_s) is None:
            self._process.terminate()
        if self.wait(2.0) is None:
            self._process.kill()
        return self._process.wait()

    def last_words(self) -> str:
        """Last line that it printed."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return last.removeprefix("liveloc: ")


def when_parent_ends(stop: Callable[[], None]) -> None:
    """In a child: call `stop` from a thread once standard input ends."""

    def watch() -> None:
        # The raw file, not the buffered one: its lock would hang the interpreter's
        # exit while this thread still waits.
        while os.read(0, 1024):
            pass
        stop()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


def stop_event(supervised: bool) -> threading.Event:
    """Give an event that is set by Ctrl-C, by SIGTERM, or when the parent ends."""
    stop = threading.Event()

    def end(number: int, _: object) -> None:
        if stop.is_set():  # asked twice: do not wait for anything
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    if supervised:
        when_parent_ends(stop.set)
    return stop
