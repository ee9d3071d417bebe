"""The laser is on while the engine is there, and safe otherwise."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from ..stream.errors import SettingsError
from .laser import LOCK_TIMEOUT_S, LaserError

if TYPE_CHECKING:
    from .laser import GuardedLaser

RETRY_S = 1.0

_log = logging.getLogger(__name__)


class LaserInterlock:
    """Keeps a laser on while the engine is there, and safe otherwise.

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

    Raises
    ------
    SettingsError
        `power` is not within the working range.
    LaserError
        The laser does not go to its safe level.
    """

    def __init__(
        self, laser: GuardedLaser, power: float, *, keep_without_engine: bool = False
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
        self._wake = threading.Condition()
        self._connected = False
        self._news = keep_without_engine
        self._closing = False
        self._thread = threading.Thread(
            target=self._run, name="liveloc-laser", daemon=True
        )
        self._thread.start()

    def peer(self, connected: bool) -> None:
        """Take note that the engine came or went. Any thread; returns at once."""
        with self._wake:
            self._connected, self._news = connected, True
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

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._news or self._closing, timeout=RETRY_S
                )
                if self._closing:
                    return
                news, self._news = self._news, False
                on = self._connected or self._keep
            try:
                if not on:  # also without news: a laser that refused is told again
                    self._laser.to_safe("engine lost")
                elif news:
                    self._laser.set(self._power, "engine connected")
            except LaserError as error:
                _log.error("%s", error)
