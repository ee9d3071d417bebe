"""Lasers that never leave their limits and go to their safe level.

::

    LivelocError
    └── LaserError (OSError)    a laser that refuses, fails, or reads back nonsense
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pymmcore_plus import DeviceType, PropertyType

from liveloc.stream.errors import LivelocError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .shutter import ShutterWatch

SAFE_TRIES = 3
LOCK_TIMEOUT_S = 1.0
HANGS_S = 2.0  # without an answer to the safe level
KEPT_CHANGES = 1000
TOLERANCE = 0.01  # of the range, between a setting and what is read back

_log = logging.getLogger(__name__)


class LaserError(LivelocError, OSError):
    """A laser that refuses a setting, fails, or reads back nonsense."""


class Laser(Protocol):
    """Anything whose light can be set by one number."""

    @property
    def name(self) -> str:
        """Device and property, for people."""
        ...

    @property
    def unit(self) -> str:
        """Unit of the number: mW, percent, us of a pulse."""
        ...

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest setting of the device; infinite where it has none."""
        ...

    @property
    def whole(self) -> bool:
        """Whether it takes whole numbers only."""
        ...

    def power(self) -> float:
        """Read the setting back from the device. May raise what the device does."""
        ...

    def set(self, power: float) -> float:
        """Set the device; return what it was given. May raise what it does."""
        ...


class MicroManagerLaser:
    """A laser as one numeric property of one device of a core.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded; any thread may use it.
    device, prop : str
        Labels of the device and of its property.
    unit : str
        Unit of the property.

    Raises
    ------
    SettingsError
        No such device or property, a camera, or one that is no writable number.
    """

    def __init__(self, core: Any, device: str, prop: str, unit: str = "mW") -> None:
        loaded = [str(name) for name in core.getLoadedDevices()]
        if device not in loaded:
            raise SettingsError(
                f"no laser device '{device}' in the configuration. "
                f"Devices in it: {', '.join(sorted(loaded))}."
            )
        if core.getDeviceType(device) == DeviceType.Camera:
            raise SettingsError(
                f"laser device '{device}' is a camera. Querying a running camera from "
                "another thread would crash the process. Name the device of the light "
                "source."
            )
        numbers = _writable_numbers(core, device)
        if prop not in numbers:
            known = ", ".join(f"'{name}'" for name in numbers) or "none"
            raise SettingsError(
                f"device '{device}' has no writable number '{prop}' to set the laser "
                f"with. Its writable numbers: {known}."
            )
        self._core, self._device, self._prop, self._unit = core, device, prop, unit
        self._whole = core.getPropertyType(device, prop) == PropertyType.Integer
        self._limits = (-math.inf, math.inf)
        if core.hasPropertyLimits(device, prop):
            self._limits = (
                float(core.getPropertyLowerLimit(device, prop)),
                float(core.getPropertyUpperLimit(device, prop)),
            )

    @property
    def name(self) -> str:
        """Device and property, for people."""
        return f"{self._device}.{self._prop}"

    @property
    def unit(self) -> str:
        """Unit of the property."""
        return self._unit

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of the property, infinite where the device has none."""
        return self._limits

    @property
    def whole(self) -> bool:
        """Whether the property is an integer."""
        return bool(self._whole)

    def power(self) -> float:
        """Read the property back."""
        # C++ devices answer in text, Python devices in numbers.
        return float(self._core.getProperty(self._device, self._prop))

    def set(self, power: float) -> float:
        """Set the property; an integer property is given the whole part."""
        value = float(int(power)) if self._whole else float(power)
        self._core.setProperty(
            self._device, self._prop, int(value) if self._whole else value
        )
        return value


def _writable_numbers(core: Any, device: str) -> list[str]:
    """Name the properties of a device that could steer a laser."""
    kinds = (PropertyType.Float, PropertyType.Integer)
    return [
        str(name)
        for name in core.getDevicePropertyNames(device)
        if not core.isPropertyReadOnly(device, name)
        and core.getPropertyType(device, name) in kinds
    ]


@dataclass(frozen=True, slots=True)
class LaserChange:
    """One setting that the laser took.

    Attributes
    ----------
    seq : int
        Counts the settings; frames carry it as `laser_seq`.
    t_ns : int
        Monotonic clock when the device had taken it.
    power : float
        As set, in the laser's unit.
    reason : str
        For people.
    """

    seq: int
    t_ns: int
    power: float
    reason: str


class GuardedLaser:
    """A laser with a safe level, between limits that cannot be widened.

    Any thread may call it. The device is not touched before the first call.

    Parameters
    ----------
    laser : Laser
        The device.
    lowest, highest : float, optional
        Working range; the device's own limits if not given.
    safe : float, optional
        Safe level; the device's lowest, or 0 if it has none, if not given. It may
        lie below `lowest`.
    on_change : Callable[[LaserChange], None], optional
        Called after every change, from the thread that made it.
    shutter : ShutterWatch, optional
        Closed when the device does not answer in time or does not go safe.

    Raises
    ------
    SettingsError
        Limits that are missing, not finite, the wrong way round, or wider than
        the device's.
    """

    def __init__(
        self,
        laser: Laser,
        *,
        lowest: float | None = None,
        highest: float | None = None,
        safe: float | None = None,
        on_change: Callable[[LaserChange], None] | None = None,
        shutter: ShutterWatch | None = None,
    ) -> None:
        low, high = laser.limits
        self._laser = laser
        self._lowest = self._within("lowest", low if lowest is None else lowest)
        self._highest = self._within("highest", high if highest is None else highest)
        default_safe = low if math.isfinite(low) else 0.0
        self._safe = self._within("safe", default_safe if safe is None else safe)
        if not self._safe <= self._highest or self._lowest > self._highest:
            raise SettingsError(
                f"laser {laser.name}: safe {self._safe:g}, lowest {self._lowest:g} and "
                f"highest {self._highest:g} {laser.unit} are in the wrong order. "
                "Neither safe nor lowest may lie above highest."
            )
        self._on_change, self._shutter = on_change, shutter
        self._aside: threading.Thread | None = None  # tries while another one hangs
        self._lock = threading.RLock()
        self._noting = threading.Lock()  # held for a moment only, never in the device
        self._changes: deque[LaserChange] = deque(maxlen=KEPT_CHANGES)
        self._fault = ""
        self._power: float | None = None

    def _within(self, what: str, value: float) -> float:
        low, high = self._laser.limits
        if not (math.isfinite(value) and low <= value <= high):
            raise SettingsError(
                f"laser {self._laser.name}: {what} is {value} {self._laser.unit}, the "
                f"device allows {low:g} to {high:g}. Set {what} to a number in there."
            )
        return float(value)

    @property
    def name(self) -> str:
        """Device and property, for people."""
        return self._laser.name

    @property
    def unit(self) -> str:
        """Unit of the power."""
        return self._laser.unit

    @property
    def whole(self) -> bool:
        """Whether the device takes whole numbers only."""
        return self._laser.whole

    @property
    def limits(self) -> tuple[float, float]:
        """Working range."""
        return self._lowest, self._highest

    @property
    def safe(self) -> float:
        """Safe level."""
        return self._safe

    @property
    def last_power(self) -> float | None:
        """What was set last; None before the first setting and after a fault."""
        return self._power

    @property
    def fault(self) -> str:
        """Why the laser takes no more settings; empty when all is well."""
        return self._fault

    @property
    def shutter_closed(self) -> bool | None:
        """Whether its shutter is closed; None without one."""
        return None if self._shutter is None else self._shutter.closed

    @property
    def laser_seq(self) -> int:
        """Number of the present setting; 0 before the first."""
        return self._changes[-1].seq if self._changes else 0

    @property
    def changes(self) -> list[LaserChange]:
        """The newest changes, at most 1,000, oldest first."""
        with self._noting:
            return list(self._changes)

    def seq_at(self, t_ns: int) -> int:
        """Return the number of the setting in force at a monotonic time; at once."""
        with self._noting:
            for change in reversed(self._changes):
                if change.t_ns <= t_ns:
                    return change.seq
            return self._changes[0].seq - 1 if self._changes else 0

    def set(self, power: float, reason: str = "set") -> float:
        """Set the power, clamped to the working range.

        Returns
        -------
        float
            The power that the device was given.

        Raises
        ------
        LaserError
            `power` is not a finite number, or an earlier fault was not cleared with
            `rearm`: the device is not touched. Or the device failed or read back
            something else: the laser is at its safe level, as far as it obeys.
        """
        if not math.isfinite(power):
            raise LaserError(
                f"laser {self.name}: refused {power} {self.unit}, which is not a "
                f"power; it stays at {self._power} {self.unit}. Correct what sends it."
            )
        value = min(max(float(power), self._lowest), self._highest)
        with self._lock:
            if self._fault:
                raise LaserError(
                    f"laser {self.name}: refused {power:g} {self.unit} after a fault "
                    f"({self._fault}). Check the laser, then rearm it."
                )
            if value != self._power:
                try:
                    self._write(value, reason)
                except Exception as error:  # devices raise what they like
                    self._fault = " ".join(str(error).split()) or repr(error)
                    self.to_safe("fault")
                    raise LaserError(
                        f"laser {self.name}: setting {value:g} {self.unit} failed: "
                        f"{self._fault} It was sent to its safe level "
                        f"{self._safe:g} {self.unit}."
                    ) from error
        return value

    def to_safe(self, reason: str = "safe") -> bool:
        """Bring the laser to its safe level. Idempotent; does not raise.

        Tried three times, also after a fault and when another thread hangs in the
        device. A failure is logged as critical and kept in `fault`, and the shutter is
        closed if there is one.

        Returns
        -------
        bool
            Whether the device read back its safe level.
        """
        if self._hangs:
            return False
        locked = self._lock.acquire(timeout=LOCK_TIMEOUT_S)
        try:
            if locked and self._power == self._safe:  # read back, not touched since
                return True
            return self._try_aside(reason)
        finally:
            if locked:
                self._lock.release()

    @property
    def _hangs(self) -> bool:
        """Whether a try to make it safe hangs in the device."""
        return self._aside is not None and self._aside.is_alive()

    def _try_aside(self, reason: str) -> bool:
        """Try in a thread that is left alone if it hangs, so that all else can end."""
        done: list[bool] = []
        self._aside = threading.Thread(
            target=lambda: done.append(self._try_safe(reason)),
            name="liveloc-laser-safe",
            daemon=True,
        )
        self._aside.start()
        self._aside.join(HANGS_S)
        if not done:
            self._not_safe("its driver hangs")
        return done == [True]

    def _try_safe(self, reason: str) -> bool:
        """Set the safe level, three times at most."""
        for _ in range(SAFE_TRIES):
            try:
                self._write(self._safe, reason)
                return True
            except Exception as error:  # the next try may succeed
                problem = " ".join(str(error).split()) or repr(error)
        self._not_safe(problem)
        return False

    def _not_safe(self, problem: str) -> None:
        """Close the backup shutter, if there is one; else call for help."""
        self._fault = self._fault or problem
        dark = self._shutter is not None and self._shutter.close(problem.rstrip("."))
        _log.critical(
            "laser %s DOES NOT go to its safe level of %g %s (%s). %s",
            self.name,
            self._safe,
            self.unit,
            problem,
            "Its shutter is closed." if dark else "Switch it off by hand.",
        )

    def rearm(self) -> None:
        """Forget a fault, once the laser is at its safe level.

        Raises
        ------
        LaserError
            It does not go there.
        """
        with self._lock:
            fault, self._fault = self._fault, ""
            if fault and not self.to_safe("rearm"):
                raise LaserError(
                    f"laser {self.name} cannot be rearmed: {self._fault} "
                    "Check the device."
                )
            if self._shutter is not None and self._shutter.closed:
                self._shutter.open()

    def _write(self, value: float, reason: str) -> None:
        """Set the device, read it back, note the change."""
        self._power = None  # unknown until it is read back
        watch = self._shutter.watch() if self._shutter else contextlib.nullcontext()
        with watch as call:
            given = self._laser.set(value)
            seen = float(self._laser.power())
        if call is not None and call.late:
            raise LaserError("it did not answer in time; its shutter was closed.")
        allowed = TOLERANCE * (self._highest - min(self._lowest, self._safe)) + 1e-9
        if not abs(seen - given) <= allowed:  # also when it is not a number
            raise LaserError(
                f"it was set to {given:g} {self.unit} but reads {seen:g} {self.unit}."
            )
        self._power = value
        with self._noting:
            number = self.laser_seq + 1
            change = LaserChange(number, time.monotonic_ns(), given, reason)
            self._changes.append(change)
        _log.info("laser %s: %g %s (%s)", self.name, given, self.unit, reason)
        if self._on_change is not None:
            self._on_change(change)
