"""The status that an engine sends a few times a second."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIT_LETTERS = 8  # of a unit that are shown
REASON_LETTERS = 256
ABSURD = 1e12  # nothing here gets near it
MOST_ALARMS, ALARM_LETTERS = 16, 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """Density and laser of a running session; None where it is not known.

    Attributes
    ----------
    per_um2 : float
        Emitters per um2 and frame of late.
    target_per_um2 : float
        That are to be held; None also without a target.
    power : float
        Present power of the laser, in `unit`.
    unit : str
        Of the power.
    reason : str
        Why the power is what it is.
    frame_to_laser_p99_ms : float
        From the end of an exposure to the laser's answer; None before the first.
    late : int
        Answers that came after the deadline.
    """

    per_um2: float | None = None
    target_per_um2: float | None = None
    power: float | None = None
    unit: str = ""
    reason: str = ""
    frame_to_laser_p99_ms: float | None = None
    late: int | None = None

    @classmethod
    def read(cls, status: Mapping[str, Any]) -> Activation | None:
        """Take what is usable from an engine's status; None without a laser.

        Odd and negative values are left out.
        """
        laser = status.get("laser")
        if not isinstance(laser, dict):
            return None
        late = _amount(laser.get("late"))
        return cls(
            per_um2=_amount(status.get("density_per_um2")),
            target_per_um2=_amount(laser.get("target_per_um2")) or None,
            power=_amount(laser.get("power")),
            unit=_line(laser.get("unit"), UNIT_LETTERS),
            reason=_line(laser.get("reason"), REASON_LETTERS),
            frame_to_laser_p99_ms=_amount(laser.get("frame_to_laser_p99_ms")) or None,
            late=None if late is None else int(late),
        )

    @property
    def density_text(self) -> str:
        """Density, with its target if there is one, without the unit."""
        if self.per_um2 is None:
            return ""
        target = self.target_per_um2
        aim = "" if target is None else f" of {target:.3g}"
        return f"{short(self.per_um2)}{aim}"

    @property
    def power_text(self) -> str:
        """Power with its unit."""
        return "" if self.power is None else f"{short(self.power)} {self.unit}".strip()

    def __str__(self) -> str:
        density = self.density_text
        parts = (f"{density}/um2" if density else "", self.power_text)
        return "  ".join(filter(None, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Figures of a running session; None or empty where the engine sent none.

    Attributes
    ----------
    frames, expected_frames : int
        Exposures of the camera so far, and of the whole acquisition.
    localized : int
        Frames whose localizations are in the table.
    localizations : int
        Rows in the table.
    fps : float
        Frames per second of late.
    lost : dict[str, int]
        Frames lost, by name.
    unexplained : int
        Frames that are neither localized nor lost, once the stream has ended.
    latency_ms, latency_p99_ms : float
        From frame arrival to published localizations, of late.
    density_per_um2 : float
        Emitters per um2 and frame of late.
    ended : str
        How the stream ended; empty while it runs.
    warnings : tuple[str, ...]
        Doubts about the camera's calibration.
    laser : dict
        State of the laser, see `LaserState`; None without one.
    alarms : tuple[str, ...]
        What the user should look after, oldest first.
    """

    frames: int | None = None
    expected_frames: int | None = None
    localized: int | None = None
    localizations: int | None = None
    fps: float | None = None
    lost: dict[str, int] = field(default_factory=dict)
    unexplained: int | None = None
    latency_ms: float | None = None
    latency_p99_ms: float | None = None
    density_per_um2: float | None = None
    ended: str = ""
    warnings: tuple[str, ...] = ()
    laser: dict[str, Any] | None = None
    alarms: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EngineStatus:
        """Read what is usable; anything odd is left out."""
        laser = values.get("laser")
        return cls(
            frames=_count(values.get("frames")),
            expected_frames=_count(values.get("expected_frames")),
            localized=_count(values.get("localized")),
            localizations=_count(values.get("localizations")),
            fps=finite(values.get("fps")),
            lost=_losses(values.get("lost")),
            unexplained=_count(values.get("unexplained")),
            latency_ms=finite(values.get("latency_ms")),
            latency_p99_ms=finite(values.get("latency_p99_ms")),
            density_per_um2=finite(values.get("density_per_um2")),
            ended=str(values.get("ended") or ""),
            warnings=_lines(values.get("warnings")),
            laser=laser if isinstance(laser, dict) else None,
            alarms=_lines(values.get("alarms")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values, in the order of the attributes."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def activation(self) -> Activation | None:
        """Density and activation laser; None without a laser."""
        return Activation.read(self.to_json())


def finite(value: Any) -> float | None:
    """Return a number as it is, and None for anything else or not finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def short(number: float) -> str:
    """Write a number >= 0 in few letters that keep their places while it changes."""
    if number < 0.1 or number >= 1e6:
        return f"{number:.2g}"
    return f"{number:.2f}" if number < 10 else f"{number:.{1 if number < 100 else 0}f}"


def _amount(value: Any) -> float | None:
    number = finite(value)
    return number if number is not None and 0 <= number < ABSURD else None


def _line(value: Any, letters: int) -> str:
    """Return a text on one line, without letters that cannot be shown."""
    text = value[:letters] if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _count(value: Any) -> int | None:
    number = finite(value)
    return None if number is None else int(number)


def _lines(value: Any) -> tuple[str, ...]:
    texts = value if isinstance(value, list | tuple) else []
    lines = [" ".join(text.split()) for text in texts if isinstance(text, str)]
    return tuple(line[:ALARM_LETTERS] for line in lines[-MOST_ALARMS:])


def _losses(value: Any) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    counted = {str(name): _count(frames) or 0 for name, frames in value.items()}
    return {name: frames for name, frames in counted.items() if frames}
