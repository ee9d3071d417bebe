"""Building the feedback of a session from its settings."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import RecordingError, SettingsError
from liveloc.stream.files.line_file import LineFile
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.laser_state import LaserState
from liveloc.stream.session.alarms import Alarm

from .control.feedback import Feedback
from .control.guard import GuardedPower
from .control.laws.registry import needs_target, open_law, uses_target
from .control.stop_rules import DISK_RULE, StopRules
from .control.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.frames import StreamStart
    from liveloc.stream.session.settings import LaserSection

    from .laser.interlock import LaserInterlock
    from .laser.laser import GuardedLaser, LaserChange
    from .settings import BridgeSettings

LEASE_S = 0.9  # without a decision, or
LEASE_BLOCKS = 3  # blocks of frames, if longer: then the laser goes safe

_log = logging.getLogger(__name__)


class ControlLog:
    """Appends lines to ``SESSION/control.jsonl``; without a session to nothing.

    Any thread may write. A full disk must not keep a laser on: it is only logged.

    Attributes
    ----------
    forward : Callable[[str], None] or None
        Called with every alarm, too: sends it to the viewers.
    """

    def __init__(self, session: Path | None, unit: str) -> None:
        self._unit = unit
        self.forward: Callable[[str], None] | None = None
        self._lock = threading.Lock()
        self._file: LineFile | None = None
        if session is not None:
            self._file = LineFile(SessionFolder(session).control)

    def write(self, line: dict[str, Any]) -> None:
        """Append one line."""
        try:
            with self._lock:
                if self._file is not None:
                    self._file.write(line)
        except RecordingError as error:
            _log.error("%s", error)

    def changed(self, change: LaserChange) -> None:
        """Append a setting that the laser took."""
        self.write({"kind": "laser", **asdict(change), "unit": self._unit})

    def shuttered(self, closed: bool, reason: str) -> None:
        """Append that the shutter was closed or opened."""
        now_ns = time.monotonic_ns()
        self.write(
            {"kind": "shutter", "t_ns": now_ns, "closed": closed, "reason": reason}
        )

    def alarm(
        self,
        text: str,
        *,
        frames: tuple[int, int] | None = None,
        serious: bool = True,
    ) -> None:
        """Append an alarm and log it; a running session shows it at once.

        Parameters
        ----------
        text : str
            One line: what happened, what it means, what to do.
        frames : (first, last), optional
            Frames concerned.
        serious : bool
            The session's exit code is not 0 because of it.
        """
        _log.warning("%s", text)
        now_ns = time.monotonic_ns()
        alarm = Alarm(text=text, t_ns=now_ns, frames=frames, serious=serious)
        self.write(alarm.line())
        if self.forward is not None:
            self.forward(text)

    def close(self) -> None:
        """Close the file. Idempotent."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None


def lease_s(settings: BridgeSettings, interval_ms: float) -> float | None:
    """Return how long a power holds without a decision, s; None if it is constant."""
    if settings.control.law == "constant":
        return None
    block_s = settings.control.block_frames * interval_ms / 1e3
    return max(LEASE_S, LEASE_BLOCKS * block_s)


def open_feedback(
    settings: BridgeSettings,
    laser_settings: LaserSection,
    laser: GuardedLaser,
    interlock: LaserInterlock,
    log: ControlLog,
    stop: Callable[[str], None],
) -> Feedback:
    """Start the feedback of a session.

    Raises
    ------
    SettingsError
        An unknown law, an option that it does not have, or a law without a target.
    """
    control = settings.control
    if needs_target(control.law) and control.target_per_um2 is None:
        raise SettingsError(
            f"control.law is {control.law} but there is no control.target_per_um2. "
            "Give a density, or 'present' to hold the present one."
        )
    law = open_law(
        control.law,
        control.options,
        power=laser_settings.start_power(),
        on_alarm=log.alarm,
    )
    low, high = laser.limits
    if laser.whole and laser_settings.quantum == 0:
        laser_settings = laser_settings.model_copy(update={"quantum": 1.0})
    power = laser_settings.start_power()
    guard = GuardedPower(low, high, power, laser_settings)
    rules = StopRules(control.stop, settings.session)
    target = Target(
        control,
        folder=settings.session,
        uses_target=uses_target(control.law),
        log=log.write,
        alarm=partial(log.alarm, serious=False),
    )

    def end(evidence: str) -> None:
        if evidence.startswith(DISK_RULE):  # unlike the other rules, a fault
            log.alarm(
                f"the acquisition was ended early. {evidence}. Free some disk space."
            )
        stop(evidence)

    return Feedback(
        law,
        guard,
        interlock,
        laser,
        control,
        target,
        rules,
        power=power,
        stop=end,
        log=log.write,
    )


def laser_state(
    start: StreamStart,
    laser: GuardedLaser,
    interlock: LaserInterlock,
    feedback: Feedback,
) -> LaserState:
    """Return the state of the laser, for the viewers."""
    power = laser.last_power
    times = interlock.frame_to_laser
    return LaserState(
        stream_id=start.stream_id,
        power=laser.safe if power is None else power,
        unit=laser.unit[:16],
        law=feedback.law_name[:32],
        target_per_um2=feedback.target_per_um2,
        reason=(interlock.problem or feedback.reason)[:256],
        frame_to_laser_p50_ms=times.percentile(50),
        frame_to_laser_p99_ms=times.percentile(99),
        late=interlock.late,
    )
