"""Alarms of a session: what the user at the microscope has to know at once.

The bridge writes them to ``control.jsonl``, the engine sends them with its status, and
the process that supervises the session raises its own. All meet in one `Alarms`: each
is shown once while the session runs, listed in the report, and a serious one keeps the
exit code from being 0.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

KEPT = 200  # alarms listed in a report; further ones are counted
LETTERS = 1_000  # of one alarm
_PIECE_BYTES = 1 << 20  # read from the log at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One alarm.

    Attributes
    ----------
    text : str
        One line that says what happened and what to do.
    t_ns : int
        Monotonic clock of this machine.
    frames : (first, last), optional
        Frames concerned, where that is known.
    serious : bool
        The session is not what was asked for: its exit code is not 0.
    """

    text: str
    t_ns: int
    frames: tuple[int, int] | None = None
    serious: bool = True

    def line(self) -> dict[str, Any]:
        """Return the alarm as a line of ``control.jsonl``."""
        return {"kind": "alarm", **asdict(self)}

    @classmethod
    def from_line(cls, line: Any) -> Alarm | None:
        """Read a line of ``control.jsonl``; None for anything but an alarm."""
        if not isinstance(line, dict) or line.get("kind") != "alarm":
            return None
        t_ns, text, frames = line.get("t_ns"), line.get("text"), line.get("frames")
        if not isinstance(t_ns, int) or not isinstance(text, str):
            return None
        concerned: tuple[int, int] | None = None
        match frames:
            case [int(first), int(last)]:
                concerned = (first, last)
        return cls(
            text=one_line(text),
            t_ns=t_ns,
            frames=concerned,
            serious=line.get("serious") is not False,
        )


def one_line(text: str) -> str:
    """Return a text as alarms have it: one line of bounded length."""
    return " ".join(text.split())[:LETTERS]


class AlarmFollower:
    """Reads the alarms that a running bridge appends to ``control.jsonl``.

    Parameters
    ----------
    path : Path
        The file; it may appear later.
    since_ns : int
        Older alarms, of an earlier start in the same folder, are passed over.
    """

    def __init__(self, path: Path, since_ns: int) -> None:
        self._path, self._since_ns = path, since_ns
        self._file: BinaryIO | None = None
        self._torn = b""

    def read(self) -> list[Alarm]:
        """Return the alarms written since the last call; a torn line waits."""
        alarms: list[Alarm] = []
        for line in self._lines():
            if b'"alarm"' not in line:
                continue
            try:
                alarm = Alarm.from_line(json.loads(line))
            except (ValueError, RecursionError):
                continue
            if alarm is not None and alarm.t_ns >= self._since_ns:
                alarms.append(alarm)
        return alarms

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self) -> Iterable[bytes]:
        try:
            if self._file is None:
                self._file = self._path.open("rb")
            while piece := self._file.read(_PIECE_BYTES):
                *whole, self._torn = (self._torn + piece).split(b"\n")
                yield from whole
                self._torn = self._torn[-_PIECE_BYTES:]  # no line of ours is longer
        except OSError:  # not there yet, or a disk that fails: the next call tries
            return


@dataclass(slots=True)
class Alarms:
    """The alarms of one session, from wherever they come.

    Parameters
    ----------
    show : callable
        Called once with each text, when it comes first.
    begun_ns : int
        Start of the session, monotonic clock.
    """

    show: Callable[[str], None]
    begun_ns: int = field(default_factory=time.monotonic_ns)
    _raised: list[Alarm] = field(default_factory=list)
    _texts: set[str] = field(default_factory=set)
    _more: int = 0
    _serious: bool = False

    def add(self, alarms: Iterable[Alarm]) -> None:
        """Take alarms in and show those that are new."""
        for alarm in alarms:
            self._serious = self._serious or alarm.serious
            if len(self._raised) < KEPT:
                self._raised.append(alarm)
            else:
                self._more += 1
            if alarm.text not in self._texts and len(self._texts) < KEPT:
                self._texts.add(alarm.text)
                self.show(f"ALARM: {alarm.text}" if alarm.serious else alarm.text)

    def raise_(
        self,
        text: str,
        *,
        frames: tuple[int, int] | None = None,
        serious: bool = True,
    ) -> None:
        """Raise one alarm now; the same text again is neither shown nor listed."""
        if text not in self._texts:
            now_ns = time.monotonic_ns()
            self.add([Alarm(text=text, t_ns=now_ns, frames=frames, serious=serious)])

    def as_list(self) -> list[dict[str, Any]]:
        """Return the ``alarms`` entry of a report, in the order of time."""
        listed = [
            {
                "text": alarm.text,
                "after_s": round((alarm.t_ns - self.begun_ns) / 1e9, 2),
                "frames": list(alarm.frames) if alarm.frames else None,
                "serious": alarm.serious,
            }
            for alarm in sorted(self._raised, key=lambda one: one.t_ns)
        ]
        if self._more:
            text = f"and {self._more} alarms more, see control.jsonl"
            more = {"text": text, "after_s": None, "frames": None}
            listed.append({**more, "serious": self._serious})
        return listed
