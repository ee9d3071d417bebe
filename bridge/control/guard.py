"""Limits that every power passes before it reaches the laser."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.session.settings import LaserSection

if TYPE_CHECKING:
    from .laws.controller import Controller, Reading

HALF_LIFE_S = 1.0  # of the power, once readings are missing for too long
STALE_S = 1.0  # older readings are not acted on
HOLD_S = 5.0  # without a usable reading, before the power falls by half every second
FLOOR = 0.01  # of the highest power: where it may rise to at once
ELSEWHERE = 1e-3  # of the range: a laser read further off was set from elsewhere
_FINITE = (
    "t_s",
    "dt_s",
    "per_um2",
    "sigma_per_um2",
    "area_um2",
    "power",
    "target_per_um2",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of a decision.

    Attributes
    ----------
    power : float
        For the laser, in its unit.
    wanted : float, optional
        Power that the law returned; None if it returned none or was not called.
    held : bool
        The power stays as it was: nothing is written to the laser.
    usable : bool
        Whether the reading was one to act on.
    reason : str
        Why `power` is not `wanted`; empty if nothing stood in the way.
    dose_uj : float
        Spent so far; 0 without a calibration.
    """

    power: float
    wanted: float | None
    held: bool
    usable: bool
    reason: str
    dose_uj: float


class GuardedPower:
    """Calls a law, and lets through what is safe.

    Readings that are empty, older than a second or not finite hold the power, as
    does a law that fails or returns nothing. What passes is within the limits, rises no
    faster than allowed and is a whole number of the device's steps; what rounding
    leaves over is kept, so that small wishes add up. Not safe between threads.

    Parameters
    ----------
    lowest, highest : float
        Working range of the laser; that of a reading is ignored.
    power : float
        Present power of the laser, in its unit.
    laser : LaserSection, optional
        Slew, floor, quantum and dose.
    hold_s : float
        Time without a usable reading before the power falls, by half every second.

    Raises
    ------
    SettingsError
        A dose table that does not reach from `lowest` to `highest`.
    """

    def __init__(
        self,
        lowest: float,
        highest: float,
        power: float,
        laser: LaserSection | None = None,
        *,
        hold_s: float = HOLD_S,
    ) -> None:
        self._laser, self._hold_s = laser or LaserSection(), hold_s
        self._lowest, self._highest = lowest, highest
        floor = self._laser.floor
        if floor is None:
            floor = max(FLOOR * highest, self._laser.quantum)
        self._floor = floor
        self._exact = power  # before rounding
        self._left_over = 0.0
        self._given = self._brightest = power  # brightest since the dose was counted
        self._asked_s: float | None = None
        self._usable_s: float | None = None
        self._usable = False
        self._counted_seq = -1
        self.dose_uj = 0.0
        self._check_table()

    def _check_table(self) -> None:
        table = self._laser.uj_per_frame
        if isinstance(table, list):
            low, high = table[0][0], table[-1][0]
            if low > self._lowest or high < self._highest:
                raise SettingsError(
                    f"uj_per_frame is known from {low:g} to {high:g}, the laser goes "
                    f"from {self._lowest:g} to {self._highest:g}. Calibrate its whole "
                    "range."
                )

    @property
    def spent(self) -> bool:
        """Whether the dose budget is used up."""
        budget = self._laser.dose_budget_uj
        return budget is not None and self.dose_uj >= budget

    def step(self, law: Controller, reading: Reading | None, now_s: float) -> Verdict:
        """Decide once.

        Parameters
        ----------
        law : Controller
            Called if the reading is usable, with the power before rounding.
        reading : Reading or None
            The newest; None if there is none.
        now_s : float
            On the clock of `Reading.t_s`.
        """
        since = 0.0 if self._asked_s is None else now_s - self._asked_s
        dt_s = min(max(since, 0.0), STALE_S)
        self._asked_s = now_s
        unusable = self._problem(reading, now_s)
        self._usable = not unusable
        if reading is not None:
            self._look(reading)
        if self.spent:
            return self._lower(
                self._lowest,
                f"the dose budget of {self._laser.dose_budget_uj:g} uJ is spent",
            )
        if unusable or reading is None:
            return self._without_reading(unusable, now_s, dt_s)
        self._usable_s = now_s
        try:
            age_s = max(now_s - reading.t_s, 0.0)
            wanted = law.control(replace(reading, power=self._exact, age_s=age_s))
        except Exception as error:  # whatever a law does, the laser stays
            return self._hold(f"the law failed: {error!r}")
        if wanted is None:
            return self._hold("the law returned no power")
        if not math.isfinite(wanted):
            return self._hold(f"the law returned {wanted}")
        return self._pass(float(wanted), dt_s)

    def _problem(self, reading: Reading | None, now_s: float) -> str:
        """Return why a reading is not usable; empty if it is."""
        if reading is None:
            return "no reading"
        for name in _FINITE:
            if not math.isfinite(getattr(reading, name)):
                return f"the reading's {name} is {getattr(reading, name)}"
        if reading.frames <= 0 or reading.last_seq < reading.first_seq:
            return "the reading contains no localized frame"
        if reading.per_um2 < 0 or reading.area_um2 <= 0:
            return "the reading's density or area is negative"
        age_s = now_s - reading.t_s
        if not abs(age_s) <= STALE_S:
            return f"the reading is {age_s:.1f} s old"
        return ""

    def _look(self, reading: Reading) -> None:
        """Count the dose; notice a laser that was set from elsewhere."""
        self._count_dose(reading)
        off = abs(reading.power - self._given)
        allowed = max(self._laser.quantum, ELSEWHERE * (self._highest - self._lowest))
        if off > allowed:  # not so if it is no number
            self._exact = self._given = reading.power
            self._left_over = 0.0
            self._brightest = max(self._brightest, reading.power)

    def _count_dose(self, reading: Reading) -> None:
        table = self._laser.uj_per_frame
        new_stream = reading.last_seq < self._counted_seq
        before = reading.first_seq - 1 if new_stream else self._counted_seq
        frames = max(reading.last_seq - before, 0)
        self._counted_seq = reading.last_seq
        if table is None or frames == 0:
            return
        power = self._brightest
        if isinstance(table, list):
            powers, doses = zip(*table, strict=True)
            self.dose_uj += frames * float(np.interp(power, powers, doses))
        else:
            self.dose_uj += frames * power * table
        self._brightest = self._given

    def _without_reading(self, reason: str, now_s: float, dt_s: float) -> Verdict:
        """Hold for a while, then fall."""
        if self._usable_s is None:
            self._usable_s = now_s
        missing_s = now_s - self._usable_s
        if not missing_s > self._hold_s or self._given <= self._lowest:
            return self._hold(reason)
        power = self._exact * 0.5 ** (dt_s / HALF_LIFE_S)
        if power <= self._floor:
            power = self._lowest
        return self._lower(power, f"{reason}, for {missing_s:.1f} s")

    def _hold(self, reason: str) -> Verdict:
        return self._verdict(self._given, None, reason, held=True)

    def _lower(self, power: float, reason: str) -> Verdict:
        """Go down to a power; a laser that is lower already stays."""
        if self._given <= power:
            return self._hold(reason)
        self._exact, self._left_over = max(power, self._lowest), 0.0
        self._given = min(self._whole(self._exact), self._given)
        return self._verdict(self._given, None, reason)

    def _pass(self, wanted: float, dt_s: float) -> Verdict:
        """Keep the limits, the slew and the steps of the device."""
        reason = ""
        rate = self._laser.slew_percent_per_s / 100
        reachable = max(self._exact, self._floor) * (1 + rate * dt_s)
        power = min(max(wanted, self._lowest), self._highest)
        if power != wanted:
            reason = f"limits {self._lowest:g} to {self._highest:g}"
        if power > reachable:
            power = max(reachable, self._lowest)
            reason = f"rises by at most {self._laser.slew_percent_per_s:g} %/s"
        self._exact = power
        self._given = self._whole(power + self._left_over)
        self._left_over = power + self._left_over - self._given
        quantum = self._laser.quantum
        self._left_over = min(max(self._left_over, 0.0), quantum)
        self._brightest = max(self._brightest, self._given)
        return self._verdict(self._given, wanted, reason)

    def _whole(self, power: float) -> float:
        """Round down to a step of the device, within the limits."""
        quantum = self._laser.quantum
        if quantum == 0:
            return min(max(power, self._lowest), self._highest)
        steps = math.floor(power / quantum + 1e-9)
        least = math.ceil(self._lowest / quantum - 1e-9)
        most = math.floor(self._highest / quantum + 1e-9)
        return min(max(steps, least), most) * quantum

    def _verdict(
        self, power: float, wanted: float | None, reason: str, *, held: bool = False
    ) -> Verdict:
        return Verdict(
            power=power,
            wanted=wanted,
            held=held,
            usable=self._usable,
            reason=reason,
            dose_uj=self.dose_uj,
        )
