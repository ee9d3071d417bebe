"""What a session's ``control.jsonl`` says of density, laser and time between them."""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .activation import finite

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CONTROL_FILE = "control.jsonl"


@dataclass(frozen=True, slots=True)
class ControlTrace:
    """Decisions and laser settings of a session, in the order of time.

    Attributes
    ----------
    decisions : list[dict]
        Lines of the kind ``decision`` with numbers in them, by ``exposed_ns``.
    settings : list[dict]
        Lines of the kind ``laser``: powers that the device took, by ``t_ns``.
    alarms : list[str]
        What somebody should look after.
    """

    decisions: list[dict[str, Any]] = field(default_factory=list)
    settings: list[dict[str, Any]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> ControlTrace:
        """Read ``control.jsonl``; without a file, nothing.

        A line that is broken, as the last one after a power cut, is left out.
        """
        if not path.exists():
            return cls()
        decisions, settings, alarms = [], [], []
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            line = _line(text)
            kind = line.get("kind")
            if kind == "decision" and _is_decision(line):
                decisions.append(line)
            elif kind == "laser" and _has(line, "t_ns", "power"):
                settings.append(line)
            elif kind == "alarm":
                alarms.append(str(line.get("text")))
        decisions.sort(key=lambda line: line["exposed_ns"])
        settings.sort(key=lambda line: line["t_ns"])
        return cls(decisions, settings, alarms)

    @property
    def unit(self) -> str:
        """Of the powers; empty without a setting."""
        return str(self.settings[0].get("unit", "")) if self.settings else ""


def frame_to_laser_ms(trace: ControlTrace, law: str) -> list[float]:
    """Give the time from exposure to laser for every power that a law set.

    A setting answers the newest exposure for which its power was decided. Where
    several decisions in a row gave the same power it answers the first of them: the
    others asked for nothing new.

    Parameters
    ----------
    trace : ControlTrace
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


def _line(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _is_decision(line: dict[str, Any]) -> bool:
    frames = line.get("frames")
    named = _has(line, "exposed_ns", "per_um2", "target_per_um2", "given")
    return named and isinstance(frames, list) and len(frames) == 2


def _has(line: dict[str, Any], *names: str) -> bool:
    """Whether these values are finite numbers."""
    return all(finite(line.get(name)) is not None for name in names)
