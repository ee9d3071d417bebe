"""The loop: densities from the engine in, powers for the laser out."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .laws.controller import join
from .laws.registry import close_law

if TYPE_CHECKING:
    from collections.abc import Callable

    from liveloc.stream.density import BlockDensity
    from liveloc.stream.session.settings import ControlSection

    from ..laser.interlock import LaserInterlock
    from ..laser.laser import GuardedLaser
    from .guard import GuardedPower
    from .laws.controller import Controller, Reading
    from .stop_rules import StopRules
    from .target import Target

JOIN_S = 2.0
SEND_EVERY_S = 0.25
MEASURING = "measuring the present density"

_log = logging.getLogger(__name__)


class Feedback:
    """Decides about the power of a laser, in a thread of its own.

    Whenever densities have come, at most `ticks_per_s` times a second, all of them
    since the last decision make one reading. A law answers it, a guard limits the
    answer, the interlock takes it to the laser and keeps it there for the length of its
    lease. Without usable readings the lease runs out and the laser goes safe.

    Parameters
    ----------
    law : Controller
        What decides.
    guard : GuardedPower
        Limits of what it decides.
    interlock : LaserInterlock
        Drives the laser.
    laser : GuardedLaser
        Read only: its present power.
    settings : ControlSection
        Pace, dry run.
    target : Target
        Density to hold.
    rules : StopRules
        When to end.
    power : float
        Power where no law decides, in the laser's unit: in a dry run, and while the
        present density is measured.
    stop : Callable[[str], None]
        Called once, with the rule that is met.
    log : Callable[[dict], None]
        Called with every decision.

    Attributes
    ----------
    send_state : Callable[[], None] or None
        Called after a decision, a few times a second.
    stopped_by : str
        Rule that ended it, with its evidence; empty if none did.
    """

    def __init__(
        self,
        law: Controller,
        guard: GuardedPower,
        interlock: LaserInterlock,
        laser: GuardedLaser,
        settings: ControlSection,
        target: Target,
        rules: StopRules,
        *,
        power: float,
        stop: Callable[[str], None],
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        self._law, self._guard, self._interlock = law, guard, interlock
        self._laser, self._settings, self._rules = laser, settings, rules
        self._power, self._stop, self._log = power, stop, log
        self.send_state: Callable[[], None] | None = None
        self._target = target
        self._wake = threading.Condition()
        self._blocks: list[BlockDensity] = []
        self._closing = False
        self._last_s: float | None = None  # time of the newest reading
        self._sent_s = 0.0
        self.decisions = 0
        self.held = 0
        self.reason = ""
        self.stopped_by = ""
        self._thread = threading.Thread(
            target=self._run, name="liveloc-control", daemon=True
        )
        self._thread.start()

    @property
    def law_name(self) -> str:
        """Name of the law."""
        return self._settings.law

    @property
    def target_per_um2(self) -> float:
        """Density that is to be held; 0 while it is not known."""
        return self._target.per_um2

    def take(self, block: BlockDensity) -> None:
        """Take a density. Any thread; returns at once."""
        with self._wake:
            self._blocks.append(block)
            self._wake.notify()

    def close(self) -> None:
        """End the thread. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(JOIN_S)
        close_law(self._law)

    def report(self) -> dict[str, Any]:
        """Return a summary for the report."""
        interlock = self._interlock
        return {
            "law": self._settings.law,
            "dry_run": self._settings.dry_run,
            "target_per_um2": self.target_per_um2 or None,
            "target_since_frame": self._target.since_frame,
            "decisions": self.decisions,
            "held": self.held,
            "stopped_by": self.stopped_by,
            "dose_uj": round(self._guard.dose_uj, 6),
            "frame_to_laser_ms": interlock.frame_to_laser.as_dict(),
            "later_than_100_ms": interlock.late,
        }

    def _run(self) -> None:
        next_s = 0.0
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._blocks or self._closing)
                while not self._closing and (wait_s := next_s - time.monotonic()) > 0:
                    self._wake.wait(wait_s)
                if self._closing:
                    return
                blocks, self._blocks = self._blocks, []
            next_s = time.monotonic() + 1 / self._settings.ticks_per_s
            try:
                self._decide(blocks)
            except Exception:  # the laser goes safe when the lease runs out
                _log.exception("feedback failed")

    def _decide(self, blocks: list[BlockDensity]) -> None:
        """Make one decision."""
        reading = self._read(blocks)
        now_s = time.monotonic()
        settling = self._target.settle(reading)
        if self._target.apply_request(reading, now_s):
            reading = replace(reading, target_per_um2=self.target_per_um2)
        elif settling:
            self._interlock.want(self._power, MEASURING)
            given, reason = self._as_set(self._power, MEASURING)
            self._log(decision(reading, None, given, reason))
            return
        verdict = self._guard.step(self._law, reading, now_s)
        self.decisions += 1
        self.held += verdict.held
        self.reason = verdict.reason or "set by the law"
        if verdict.usable:  # else the lease is not renewed
            power = self._power if self._settings.dry_run else verdict.power
            exposed_ns = round(reading.t_s * 1e9)
            self._interlock.want(power, self._settings.law, exposed_ns)
        given, reason = verdict.power, verdict.reason
        if not self._settings.dry_run:
            given, reason = self._as_set(verdict.power, verdict.reason)
        self._log(decision(reading, verdict.wanted, given, reason))
        if evidence := self._rules.met(reading, blocks[-1].precision_nm):
            self._end(evidence)
        if self.send_state is not None and now_s - self._sent_s > SEND_EVERY_S:
            self._sent_s = now_s
            self.send_state()

    def _as_set(self, decided: float, reason: str) -> tuple[float, str]:
        """Return the power that the laser is given, and why if it is another one."""
        given = self._interlock.power
        if given == decided:
            return given, reason
        why = self._interlock.obstacle or "the power stays as set"
        return given, f"{reason}; {why}" if reason else why

    def _read(self, blocks: list[BlockDensity]) -> Reading:
        power = self._laser.last_power
        reading = join(
            blocks,
            self._last_s,
            power=self._laser.safe if power is None else power,
            limits=self._laser.limits,
            target_per_um2=self._target.at(blocks[-1].last_seq),
        )
        self._last_s = reading.t_s
        return reading

    def _end(self, evidence: str) -> None:
        if not self.stopped_by:
            self.stopped_by = evidence
            self._log(
                {"kind": "stop", "t_ns": time.monotonic_ns(), "evidence": evidence}
            )
            self._stop(evidence)


def decision(
    reading: Reading, wanted: float | None, given: float, reason: str
) -> dict[str, Any]:
    """Return a line for ``control.jsonl``: a decision with what it rests on.

    Parameters
    ----------
    reading : Reading
        What it rests on; its `power` is that of the laser before.
    wanted : float or None
        Power that the law returned, in the laser's unit; None if it was not called.
    given : float
        What the laser was given, or in a dry run would have been.
    reason : str
        Why `given` is not `wanted`.
    """
    return {
        "kind": "decision",
        "t_ns": time.monotonic_ns(),
        "frames": [reading.first_seq, reading.last_seq],
        "exposed_ns": round(reading.t_s * 1e9),
        "per_um2": round(reading.per_um2, 5),
        "sigma_per_um2": round(reading.sigma_per_um2, 5),
        "area_um2": round(reading.area_um2, 3),
        "target_per_um2": reading.target_per_um2,
        "power": reading.power,
        "wanted": wanted,
        "given": given,
        "reason": reason,
    }
