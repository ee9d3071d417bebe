"""Backup shutter that blocks the beam when the laser's driver hangs."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AFTER_S = 0.4  # without an answer of the laser
CLOSE_TRIES = 3
WAIT_S = 1.0  # for a shutter
TOLERANCE = 1e-6  # between numbers as set and as read back

Value = str | int | float | bool

_log = logging.getLogger(__name__)


class Shutter(Protocol):
    """Anything that can keep the light of a laser from the sample."""

    @property
    def name(self) -> str:
        """Device and property, for people."""
        ...

    def close(self) -> None:
        """Keep the light off; raises what the device does if it is not off then."""
        ...

    def open(self) -> None:
        """Let the light through, if that is its business."""
        ...


class MicroManagerShutter:
    """A shutter, or what enables a laser, as one property of one device of a core.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded; any thread may use it.
    device, prop : str
        Labels of the device and of its property.
    closed : str or number
        Value that keeps the light off.
    opened : str or number, optional
        Value that lets it through; without one it is never opened.

    Raises
    ------
    SettingsError
        No such device or property, or a value that it does not take.
    """

    def __init__(
        self, core: Any, device: str, prop: str, closed: Value, opened: Value | None
    ) -> None:
        loaded = [str(name) for name in core.getLoadedDevices()]
        if device not in loaded:
            raise SettingsError(
                f"no shutter device '{device}' in the configuration. "
                f"Devices in it: {', '.join(sorted(loaded))}."
            )
        names = [str(name) for name in core.getDevicePropertyNames(device)]
        if prop not in names or core.isPropertyReadOnly(device, prop):
            raise SettingsError(
                f"shutter '{device}' has no writable property '{prop}'. "
                f"Its properties: {', '.join(names)}."
            )
        allowed = [str(one) for one in core.getAllowedPropertyValues(device, prop)]
        for value in (closed, opened):
            if value is not None and allowed and not _among(value, allowed):
                raise SettingsError(
                    f"shutter {device}.{prop} takes {', '.join(allowed)}, not {value}."
                )
        self._core, self._device, self._prop = core, device, prop
        self._closed, self._opened = closed, opened

    @property
    def name(self) -> str:
        """Device and property, for people."""
        return f"{self._device}.{self._prop}"

    def close(self) -> None:
        """Set the closed value and read it back."""
        self._set(self._closed)

    def open(self) -> None:
        """Set the open value, if there is one, and read it back."""
        if self._opened is not None:
            self._set(self._opened)

    def _set(self, value: Value) -> None:
        self._core.setProperty(self._device, self._prop, value)
        seen = self._core.getProperty(self._device, self._prop)
        if not _same(seen, value):
            raise OSError(f"it was set to {value} but reads {seen}.")


def _same(one: Any, other: Any) -> bool:
    """Compare values of a property: C++ devices answer in text."""
    try:
        return abs(float(one) - float(other)) <= TOLERANCE
    except ValueError:
        return str(one) == str(other)


def _among(value: Value, allowed: list[str]) -> bool:
    return any(_same(value, one) for one in allowed)


@dataclass(slots=True)
class Call:
    """A call to a device that may never return.

    Attributes
    ----------
    due_s : float
        Monotonic time by when it should have.
    late : bool
        It had not: the shutter was closed.
    """

    due_s: float
    late: bool = False


class ShutterWatch:
    """Closes a shutter when a laser does not answer in time, or on request.

    A thread of its own does, so that nothing that hangs can keep it. Once closed it
    stays closed until `open`.

    Parameters
    ----------
    shutter : Shutter
        What is closed.
    after_s : float
        Longest that a call to the laser may take.
    on_change : Callable[[bool, str], None], optional
        Called with whether it is closed, and why, in the thread of the watch.
    on_alarm : Callable[[str], None], optional
        Called with one line for the user.
    """

    def __init__(
        self,
        shutter: Shutter,
        after_s: float = AFTER_S,
        *,
        on_change: Callable[[bool, str], None] | None = None,
        on_alarm: Callable[[str], None] | None = None,
    ) -> None:
        self._shutter, self._after_s = shutter, after_s
        self._on_change = on_change
        self._on_alarm = on_alarm or _log.critical
        self._changed = threading.Condition()
        self._calls: list[Call] = []
        self._reason = ""  # to close it
        self._tried = self._planned = self._ending = False
        self.closed = False
        self._thread = threading.Thread(
            target=self._run, name="liveloc-shutter", daemon=True
        )
        self._thread.start()

    @property
    def name(self) -> str:
        """Name of the shutter."""
        return self._shutter.name

    @contextlib.contextmanager
    def watch(self) -> Iterator[Call]:
        """Watch the calls to a laser that are made in the block."""
        call = Call(time.monotonic() + self._after_s)
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()
        try:
            yield call
        finally:
            with self._changed:
                self._calls.remove(call)

    def close(self, reason: str, *, planned: bool = False) -> bool:
        """Close the shutter. Any thread; True if it read back closed in time.

        Parameters
        ----------
        reason : str
            For people.
        planned : bool
            Part of the normal course of a session: no alarm.
        """
        with self._changed:
            if not self.closed:
                self._reason, self._tried, self._planned = reason, False, planned
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._tried, WAIT_S)
            return self.closed

    def open(self) -> None:
        """Open the shutter; raises what the device does."""
        self._shutter.open()
        with self._changed:
            self._reason, self._tried, self.closed = "", False, False
        self._report("opened")

    def end(self) -> None:
        """End the thread; the shutter stays as it is. Idempotent."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(WAIT_S)

    def _due(self) -> bool:
        """Whether it has to be closed now; the lock is held."""
        now_s = time.monotonic()
        for call in self._calls:
            if now_s >= call.due_s and not call.late:
                call.late = True
                self._reason = self._reason or (
                    f"the laser did not answer for {self._after_s:g} s"
                )
        return bool(self._reason) and not self._tried

    def _pause_s(self) -> float | None:
        due = [call.due_s for call in self._calls if not call.late]
        return max(min(due) - time.monotonic(), 0.0) + 1e-3 if due else None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ending and not self._due():
                    self._changed.wait(self._pause_s())
                if not self._due():
                    return
                reason, planned = self._reason, self._planned
            problem = self._try_to_close()
            with self._changed:
                self.closed, self._tried = not problem, True
                self._changed.notify_all()
            if problem:
                self._on_alarm(
                    f"shutter {self.name} DOES NOT close ({problem}), although "
                    f"{reason}. Switch the laser off by hand."
                )
                continue
            if not planned:
                self._on_alarm(f"shutter {self.name} was closed: {reason}.")
            self._report(reason)

    def _try_to_close(self) -> str:
        """Close it; return what went wrong, or an empty string."""
        problem = ""
        for _ in range(CLOSE_TRIES):
            try:
                self._shutter.close()
                return ""
            except Exception as error:  # devices raise what they like
                problem = " ".join(str(error).split()) or repr(error)
        return problem

    def _report(self, reason: str) -> None:
        if self._on_change is not None:
            self._on_change(self.closed, reason)
