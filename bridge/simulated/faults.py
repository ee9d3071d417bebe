"""What goes wrong or changes in the simulated microscope, at once or on schedule.

Every name here is a property of the device ``Faults`` of the core, and the second part
of an entry of `SimulatedSettings.events`:

========================  ==========================================================
``camera``                ``stall``: it delivers nothing until ``none``;
                          ``overflow``: the circular buffer is full at once;
                          ``unplug``: its driver raises, also when started again
``stall_s``               stalls for so many seconds, then goes on; reads 0 again
``gap``                   so many exposures never come out; reads 0 again
``laser405``,             ``error``: every setting raises; ``error_once``: the next
``laser561``              does; ``wrong``, ``nan``: reads back another number, or none;
                          ``slow``: a setting takes ``laser_delay_s``; ``hang``: it
                          waits until ``none``
``laser_delay_s``         of ``slow``, seconds
``on_time``               on-times are so many times longer, at the same photons per
                          frame
``background``            so many times the background
========================  ==========================================================
"""

from __future__ import annotations

import difflib
import math
import threading
from collections import deque
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

NONE = "none"
LASER_FAULTS = (NONE, "error", "error_once", "wrong", "nan", "slow", "hang")
CHOICES = {
    "camera": (NONE, "stall", "overflow", "unplug"),
    "laser405": LASER_FAULTS,
    "laser561": LASER_FAULTS,
}
LIMITS = {  # lowest, highest
    "stall_s": (0.0, 3600.0),
    "gap": (0.0, 1e6),
    "laser_delay_s": (0.0, 60.0),
    "on_time": (0.01, 100.0),
    "background": (0.0, 100.0),
}
AT_FIRST = {"stall_s": 0.0, "gap": 0.0, "laser_delay_s": 0.2}  # the other numbers: 1

Event = tuple[int, str, float | str]  # exposure, name, value


def checked(name: str, value: float | str) -> float | str:
    """Return `value` as `name` has it: one of `CHOICES`, or a float within `LIMITS`.

    Raises
    ------
    SettingsError
        No such name, or a value that it does not take.
    """
    if name in CHOICES:
        if value in CHOICES[name]:
            return value
        needed = "one of " + ", ".join(CHOICES[name])
    elif name in LIMITS:
        low, high = LIMITS[name]
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if low <= number <= high and (name != "gap" or number.is_integer()):
            return number
        kind = "a whole number" if name == "gap" else "a number"
        needed = f"{kind} from {low:g} to {high:g}"
    else:
        known = [*CHOICES, *LIMITS]
        near = difflib.get_close_matches(str(name), known, 1)
        meant = f" Did you mean '{near[0]}'?" if near else ""
        raise SettingsError(
            f"simulated microscope: no fault '{name}'.{meant} Known: "
            f"{', '.join(known)}."
        )
    raise SettingsError(
        f"simulated microscope: fault {name} is {value!r}. Give {needed}."
    )


def checked_event(event: Event) -> Event:
    """Return an entry of the schedule, checked as `checked` does.

    Raises
    ------
    SettingsError
        Not (exposure, name, value), or one of them is not possible.
    """
    try:
        frame, name, value = event
        fits = int(frame) == frame >= 0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise SettingsError(
            f"simulated microscope: event {event!r}. Give [frame, name, value], the "
            "frame from 0: for example [1000, camera, stall]."
        )
    return int(frame), name, checked(name, value)


class Faults:
    """The present faults. Any thread may read, set and wait.

    Parameters
    ----------
    events : iterable of (int, str, float or str), optional
        Exposure, name and value: what is set just before that exposure. Exposures
        count from 0 when the microscope opens, through all sequences.

    Raises
    ------
    SettingsError
        See `checked_event`.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._changed = threading.Condition()
        self._values: dict[str, float | str] = dict.fromkeys(CHOICES, NONE)
        self._values |= {name: AT_FIRST.get(name, 1.0) for name in LIMITS}
        ordered = sorted(map(checked_event, events), key=lambda event: event[0])
        self._events = deque(ordered)
        self._closed = False

    def set(self, name: str, value: float | str) -> None:
        """Set one fault; see `checked` for what is possible."""
        value = checked(name, value)
        with self._changed:
            self._values[name] = value
            self._changed.notify_all()

    def choice(self, name: str) -> str:
        """Return the fault of a device; ``none`` is well."""
        return str(self._values[name])

    def number(self, name: str) -> float:
        """Return a number."""
        return float(self._values[name])

    def take(self, name: str) -> float:
        """Return a number and set it to 0: it happens once."""
        with self._changed:
            value, self._values[name] = self._values[name], 0.0
        return float(value)

    def reach(self, exposure: int) -> None:
        """Do what is scheduled up to `exposure`."""
        while self._events and self._events[0][0] <= exposure:
            _, name, value = self._events.popleft()
            self.set(name, value)

    def wait_while(self, name: str, value: str, timeout_s: float | None = None) -> bool:
        """Wait until a fault is not `value` any more, or for so long, or for `close`.

        Returns
        -------
        bool
            False after `close`: the caller must give up.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or self._values[name] != value, timeout_s
            )
            return not self._closed

    def close(self) -> None:
        """End every wait. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
