"""The laser is on while engine and camera are there, and safe otherwise."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from ..stream.errors import SettingsError
from .laser import LOCK_TIMEOUT_S, LaserError

if TYPE_CHECKING:
    from .laser import GuardedLaser

LOOK_S = 0.25  # how often the laser is looked after without news
STALLED = "no frames from the camera"

_log = logging.getLogger(__name__)


class LaserInterlock:
    """Keeps a laser on while engine and camera are there, and safe otherwise.

    A thread of its own drives the laser, so that neither a slow device nor a
    frozen network can hold up the other.

    Parameters
    ----------
    laser : GuardedLaser
        Brought to its safe level at once, and again by `close`.
    power : float
        Power while the engine is connected.
    keep_without_engine : bool
        Keep the power without an engine: for a recording that nobody watches.
    stall_s : float, optional
        The laser is on only while `camera_alive` is called at least this often;
        not watched if not given.

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
        self._laser = laser
        self._power = power
        self._keep = keep_without_engine
        self._stall_ns = None if stall_s is None else round(stall_s * 1e9)
        self._alive_ns: int | None = None
        self._wake = threading.Condition()
        self._connected = False
        self._closing = False
        self._lit = False  # what the thread did last
        self._thread = threading.Thread(
            target=self._run, name="liveloc-laser", daemon=True
        )
        self._thread.start()

    def peer(self, connected: bool) -> None:
        """Take note that the engine came or went. Any thread; returns at once."""
        with self._wake:
            self._connected = connected
            self._wake.notify()

    def camera_alive(self) -> None:
        """Take note that the camera starts, or gave a frame. Returns at once."""
        dark = self._problem() == STALLED
        self._alive_ns = time.monotonic_ns()
        if dark:
            with self._wake:
                self._wake.notify()

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

    def _problem(self) -> str:
        """Say why the laser may not be on; empty when it may."""
        if not (self._connected or self._keep):
            return "no engine"
        if self._stall_ns is not None:
            alive = self._alive_ns
            if alive is None or time.monotonic_ns() - alive > self._stall_ns:
                return STALLED
        return ""

    def _has_news(self) -> bool:
        """Whether the laser is not as engine and camera would have it."""
        return self._closing or self._lit == bool(self._problem())

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(self._has_news, timeout=LOOK_S)
                if self._closing:
                    return
                problem = self._problem()
            try:
                if problem:  # also without news: a laser that refused is told again
                    self._lit = False
                    self._laser.to_safe(problem)
                elif not self._lit:
                    self._lit = True
                    self._laser.set(self._power, "engine and camera are there")
            except LaserError as error:
                _log.error("%s", error)
