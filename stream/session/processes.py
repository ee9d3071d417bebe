"""Child processes of a session: started, watched, ended in order.

A child ends when its standard input ends. That works on every system, and also
when the parent is killed: no child outlives its session.

Signals that ask a process to end (`STOP_SIGNALS`) end it in order, wherever they come
from: Ctrl-C, a terminal or console that is closed, a shutdown of the machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

STOP_SECONDS = 10.0
GENTLY = 5  # Unix: niceness of a child that others come before
# Python that imports nothing from the present folder, where a file of the user may have
# the name of a library.
PYTHON = (sys.executable, "-P")
IN_ORDER = b"end\n"  # the last that a child reads from a parent that is not killed
orphaned = threading.Event()  # the parent of this process was killed
_WORDS_BYTES = 1 << 16
_PLAIN_CODES = 255
STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last one: Windows
    if hasattr(signal, name)
)


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
        self._arguments = [*PYTHON, "-m", "liveloc", *arguments, "--supervised"]
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
        """End its standard input in order; it finishes its work and exits."""
        pipe = self._process.stdin
        if pipe and not pipe.closed:
            with suppress(OSError):  # it has ended already
                pipe.write(IN_ORDER)
                pipe.flush()
            with suppress(OSError):
                pipe.close()

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
        """Return the last line that it printed, with the one that it continues.

        An indented line says less than what it belongs to: Xlib's loss of a display
        ends in "      after 391 requests (352 known processed) ...". Empty if there is
        none.
        """
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(0, size - _WORDS_BYTES))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        last = lines.pop() if lines else ""
        if last[:1].isspace() and lines and not lines[-1][:1].isspace():
            last = f"{lines[-1]} {last.strip()}"
        return last.strip().removeprefix("liveloc: ")

    def ending(self) -> str:
        """Describe how it ended, without a full stop; empty while it runs."""
        code = self.poll()
        if code is None:
            return ""
        output = self.last_words() if code > 0 else ""
        how = exit_words(code)
        return f"{how}: {output.rstrip('.')}" if output else how


def exit_words(code: int) -> str:
    """Describe what the exit code of a child means."""
    if code == 0:
        return "ended"
    if code < 0:  # Unix
        name = signal_name(-code)
        why = " (kill -9, or the system was out of memory)" if name == "SIGKILL" else ""
        return f"was killed by {name}{why}"
    if code > _PLAIN_CODES:  # Windows: a status of the system
        return f"crashed with exit code 0x{code:08X}"
    return f"failed with exit code {code}"


def signal_name(number: int) -> str:
    """Return the name of a signal, for people."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def when_parent_ends(stop: Callable[[], None]) -> None:
    """In a child: call `stop` from a thread once standard input ends.

    `orphaned` is set before if the parent did not end it in order: it was killed.
    """

    def watch() -> None:
        # The raw file, not the buffered one: its lock would hang the interpreter's
        # exit while this thread still waits.
        output = b""
        while piece := os.read(0, 1024):
            output += piece
        if output != IN_ORDER:
            orphaned.set()
        stop()

    threading.Thread(target=watch, name="parent watch", daemon=True).start()


class StopEvent(threading.Event):
    """An event that is set when the process is asked to end.

    As a context it takes the signals that ask for it (`STOP_SIGNALS`); one that is
    ignored, as by ``nohup``, stays ignored. Main thread only.

    Attributes
    ----------
    signal : int
        The signal that asked first; 0 if it was none.
    again : bool
        A signal came when the event was set already: do not wait for anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.signal = 0
        self.again = False
        self._interrupts = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopEvent:
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._before.clear()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal that comes `again` raise KeyboardInterrupt within."""
        self._interrupts = True
        try:
            yield
        finally:
            self._interrupts = False

    def _asked(self, number: int, _: object) -> None:
        self.again = self.signal != 0 or self.is_set()
        if self.signal == 0:  # never `set` within `set`: its lock is not re-entrant
            self.signal = number
            self.set()
        if self.again and self._interrupts:
            raise KeyboardInterrupt


def stop_event(supervised: bool) -> StopEvent:
    """Return an event that is set by a signal to end, or when the parent ends.

    For a process that does nothing else: a second signal raises KeyboardInterrupt.
    """
    stop = StopEvent()
    stop.__enter__()
    stop.interruptible().__enter__()
    if supervised:
        when_parent_ends(stop.set)
    return stop
