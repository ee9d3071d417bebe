"""The laser is on while frames come and are localized, and safe otherwise."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError
from liveloc.stream.latency import Latency

from .laser import LOCK_TIMEOUT_S, LaserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .laser import GuardedLaser

LOOK_S = 0.25  # longest time between two checks
SOON_S = 0.001
NO_ENGINE = "no engine"
STALLED = "no frames from the camera"
NOT_LOCALIZED = "frames are not localized"
NO_LEASE = "no decision renewed the power"
DEADLINE_MS = 100.0  # from the end of an exposure to the laser

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A power, and why.

    Attributes
    ----------
    power : float
        In the laser's unit.
    reason : str
        For people.
    exposed_ns : int or None
        Monotonic clock when the newest frame that it rests on was read out.
    """

    power: float
    reason: str
    exposed_ns: int | None = None


class LaserInterlock:
    """Keeps a laser on while frames come and are localized, and safe otherwise.

    A thread of its own drives the laser, so that neither a slow device nor a
    frozen network can hold up the other. Of the powers that were wanted while it
    waited for the device only the newest counts.

    Parameters
    ----------
    laser : GuardedLaser
        Brought to its safe level at once, and again by `close`.
    power : float
        Power while the engine is connected, until another one is wanted.
    keep_without_engine : bool
        Keep the power without an engine: for a recording without localization.
    stall_s : float, optional
        The laser is on only while `camera_alive` is called at least this often;
        not watched if not given.
    lease_s : float, optional
        The laser is on only while `want` is called at least this often, counted
        from when engine and camera came; not watched if not given.
    settle_s : float
        Time that the device needs after a setting; no other power is set meanwhile. The
        safe level does not wait.

    Attributes
    ----------
    frame_to_laser : Latency
        From the end of the newest exposure that a power rests on until the device had
        taken the power.
    late : int
        How often that took longer than `DEADLINE_MS`.
    localizing : Callable[[], bool]
        Asked whether frames are localized; an engine that answers is not enough.

    Raises
    ------
    SettingsError
        `power` is not within the working range.
    LaserError
        The laser does not go to its safe level.
    """

    def __init__(
        self,
        laser: GuardedLaser,
        power: float,
        *,
        keep_without_engine: bool = False,
        stall_s: float | None = None,
        lease_s: float | None = None,
        settle_s: float = 0.0,
    ) -> None:
        low, high = laser.limits
        if not low <= power <= high:
            raise SettingsError(
                f"laser {laser.name}: power is {power} {laser.unit}, the limits are "
                f"{low:g} to {high:g}. Set the power within them."
            )
        if not laser.to_safe("opened"):
            raise LaserError(
                f"laser {laser.name} does not go to its safe level: {laser.fault} "
                "Nothing was started."
            )
        self.frame_to_laser = Latency()
        self.late = 0
        self.localizing: Callable[[], bool] = lambda: True
        self._laser = laser
        self._wanted = Wanted(power, "engine and camera are ready")
        self._keep = keep_without_engine
        self._stall_ns = None if stall_s is None else round(stall_s * 1e9)
        self._lease_ns = None if lease_s is None else round(lease_s * 1e9)
        self._settle_ns = round(settle_s * 1e9)
        self._settled_ns = 0  # from when on another power may be set
        self._alive_ns: int | None = None
        self._renewed_ns = 0
        self._wake = threading.Condition()
        self._connected = False
        self._closing = False
        self._done: Wanted | str = ""  # what the thread did last: a power, or safe
        self._thread = threading.Thread(
            target=self._run, name="liveloc-laser", daemon=True
        )
        self._thread.start()

    def peer(self, connected: bool) -> None:
        """Note that the engine connected or left. Any thread; returns at once."""
        with self._wake:
            self._connected = connected
            self._renewed_ns = time.monotonic_ns()
            self._wake.notify()

    def camera_alive(self) -> None:
        """Note that the camera starts, or delivered a frame. Returns at once."""
        dark = self.problem == STALLED
        self._alive_ns = time.monotonic_ns()
        if dark:
            with self._wake:
                self._renewed_ns = self._alive_ns
                self._wake.notify()

    def want(self, power: float, reason: str, exposed_ns: int | None = None) -> None:
        """Ask for a power and renew the lease. Any thread; returns at once.

        Parameters
        ----------
        power : float
            In the laser's unit; outside the working range its nearest end is set.
        reason : str
            For people.
        exposed_ns : int, optional
            See `Wanted`.
        """
        with self._wake:
            self._renewed_ns = time.monotonic_ns()
            if power != self._wanted.power:
                self._wanted = Wanted(power, reason, exposed_ns)
            self._wake.notify()

    @property
    def problem(self) -> str:
        """Why the laser may not be on; empty when it may."""
        if not (self._connected or self._keep):
            return NO_ENGINE
        if not self.localizing():
            return NOT_LOCALIZED
        now = time.monotonic_ns()
        if self._stall_ns is not None:
            alive = self._alive_ns
            if alive is None or now - alive > self._stall_ns:
                return STALLED
        if self._lease_ns is not None and now - self._renewed_ns > self._lease_ns:
            return NO_LEASE
        return ""

    @property
    def obstacle(self) -> str:
        """Why no power that is wanted reaches the laser now; empty when it does."""
        if self._closing:
            return "the session ends"
        fault = self._laser.fault
        return self.problem or (f"fault: {fault}" if fault else "")

    @property
    def power(self) -> float:
        """Power that the laser has, or gets as soon as the device is free."""
        return self._laser.safe if self.obstacle else self._wanted.power

    def close(self) -> bool:
        """Bring the laser to its safe level and end the thread. Idempotent.

        Returns
        -------
        bool
            Whether the device read back its safe level.
        """
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout=LOCK_TIMEOUT_S)
        return self._laser.to_safe("closed")

    def _has_work(self) -> bool:
        """Whether the laser is not as it should be."""
        problem = self.problem
        if self._closing or problem:
            return self._closing or self._done != problem
        settled = time.monotonic_ns() >= self._settled_ns
        return self._done != self._wanted and settled

    def _pause_s(self) -> float:
        """Time until the next check, or until something runs out."""
        now = time.monotonic_ns()
        ends = [LOOK_S]
        if self._done != self._wanted:
            ends.append((self._settled_ns - now) / 1e9)
        if self._lease_ns is not None:
            ends.append((self._renewed_ns + self._lease_ns - now) / 1e9)
        if self._stall_ns is not None and self._alive_ns is not None:
            ends.append((self._alive_ns + self._stall_ns - now) / 1e9)
        return min([end + SOON_S for end in ends if end > -SOON_S])

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_work, timeout=self._pause_s())
                if self._closing:
                    return
                problem, wanted = self.problem, self._wanted
            try:
                if problem:  # again and again: a laser may have refused before
                    self._done = problem
                    self._laser.to_safe(problem)
                elif self._has_work():
                    self._done = wanted
                    self._set(wanted)
            except LaserError as error:
                _log.error("%s", error)

    def _set(self, wanted: Wanted) -> None:
        """Set a power and take the time."""
        self._laser.set(wanted.power, wanted.reason)
        self._settled_ns = time.monotonic_ns() + self._settle_ns
        if wanted.exposed_ns is not None:
            took_ms = (time.monotonic_ns() - wanted.exposed_ns) / 1e6
            self.frame_to_laser.add(took_ms)
            self.late += took_ms > DEADLINE_MS
