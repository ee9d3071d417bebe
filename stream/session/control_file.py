"""A session's ``control.jsonl``: density, laser and what went on between them.

One reader for all who use the file. It takes every line that is whole and counts the
others: a full disk or a power cut tears lines, and a decision is worth reading without
its neighbour.
"""

from __future__ import annotations

import bisect
import json
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..broadcast.status import finite
from ..errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LONGEST_LINE = 64 * 1024  # bytes; ours have about 300
HIGHEST_FRAME = 2**40  # a number above it is damage
LATEST_NS = 2**63


@dataclass(frozen=True, slots=True)
class ControlFile:
    """Decisions and laser settings of a session, in the order of time.

    Attributes
    ----------
    decisions : list[dict]
        Lines of the kind ``decision`` with numbers in them, by ``exposed_ns``.
    settings : list[dict]
        Lines of the kind ``laser``: powers that the device took, by ``t_ns``.
    damaged : int
        Lines that were left out because they are torn or lack what their kind needs.
    first_damaged : int
        Number of the first of them, counted from 1; 0 if all are good.
    """

    decisions: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0
    first_damaged: int = 0

    @classmethod
    def read(cls, path: Path) -> ControlFile:
        """Read ``control.jsonl``; without a file, nothing.

        Raises
        ------
        SettingsError
            The file is there and cannot be read.
        """
        decisions, settings = [], []
        damaged = first_damaged = 0
        for number, line in enumerate(_lines(path), start=1):
            kind = line.get("kind")
            if kind == "decision" and _is_decision(line):
                decisions.append(line)
            elif kind == "laser" and _is_setting(line):
                settings.append(line)
            elif kind in ("decision", "laser") or not isinstance(kind, str):
                damaged += 1
                first_damaged = first_damaged or number
        decisions.sort(key=lambda line: line["exposed_ns"])
        settings.sort(key=lambda line: line["t_ns"])
        return cls(decisions, settings, damaged, first_damaged)

    @property
    def unit(self) -> str:
        """Of the powers; empty without a setting."""
        return str(self.settings[0].get("unit", "")) if self.settings else ""

    @property
    def problem(self) -> str:
        """What was left out of it, one sentence for people; empty if nothing was."""
        if not self.damaged:
            return ""
        lines = "1 line is" if self.damaged == 1 else f"{self.damaged} lines are"
        return (
            f"control.jsonl: {lines} damaged and left out, the first is line "
            f"{self.first_damaged}. Was the disk full, or the session killed?"
        )

    def power_at(self, t_ns: int, before: float) -> float:
        """Return the power in force at a monotonic time of the bridge.

        Parameters
        ----------
        t_ns : int
            Nanoseconds.
        before : float
            Power before the first setting, in the laser's unit.
        """
        place = bisect.bisect_right(self.settings, t_ns, key=lambda line: line["t_ns"])
        return float(self.settings[place - 1]["power"]) if place else before


def frame_to_laser_ms(trace: ControlFile, law: str) -> list[float]:
    """Return the time from exposure to laser for every power that a law set.

    A setting answers the newest exposure for which its power was decided. Where
    several decisions in a row gave the same power it answers the first of them: the
    others asked for nothing new.

    Parameters
    ----------
    trace : ControlFile
        Of the session.
    law : str
        Its name, which the settings give as their reason. Others, such as going to
        the safe level, answer no exposure.

    Returns
    -------
    list[float]
        From the end of the exposure until the device had taken the power, in the
        order of the settings. Those of which no decision is known are missing.
    """
    first_times: dict[float, list[int]] = {}  # of each power: exposures asking for it
    before = None
    for line in trace.decisions:
        if line["given"] != before:
            first_times.setdefault(line["given"], []).append(line["exposed_ns"])
        before = line["given"]
    took_ms = []
    for setting in trace.settings:
        asked: Sequence[int] = first_times.get(setting["power"], ())
        place = bisect.bisect_right(asked, setting["t_ns"])
        if setting.get("reason") == law and place:
            took_ms.append((setting["t_ns"] - asked[place - 1]) / 1e6)
    return took_ms


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a file, an empty dict for one that is no object of JSON."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path}: not a file. Was something else put there?")
        with path.open("rb") as file:
            while text := file.readline(LONGEST_LINE):
                if text.strip():
                    yield _object(text)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}. Check its permissions."
        ) from None


def _object(text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _is_decision(line: dict[str, Any]) -> bool:
    frames = line.get("frames")
    return (
        _has(line, "per_um2", "target_per_um2", "power", "given")
        and _is_time(line.get("exposed_ns"))
        and isinstance(frames, list)
        and len(frames) == 2
        and all(type(one) is int for one in frames)
        and 0 <= frames[0] <= frames[1] <= HIGHEST_FRAME
    )


def _is_setting(line: dict[str, Any]) -> bool:
    return _has(line, "power") and _is_time(line.get("t_ns"))


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value < LATEST_NS


def _has(line: dict[str, Any], *names: str) -> bool:
    """Whether these values are finite numbers."""
    return all(finite(line.get(name)) is not None for name in names)
