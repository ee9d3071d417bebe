"""When an acquisition ends by itself: rules, each with its evidence."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from liveloc.stream.session.settings import StopSection

    from .laws.controller import Reading

GIB = 2**30
FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))  # of a Gaussian, in standard deviations
DISK_EVERY_S = 5.0
DISK_RULE = "free_disk_gib"


class StopRules:
    """Watches readings until one of the rules is met.

    The rules are those of other systems: laser at its highest power for some time
    (htSMLM), resolution reached and nothing left to see (QC-STORM), and limits of
    time, dose and disk.

    Parameters
    ----------
    settings : StopSection
        The rules; those not given are off.
    folder : Path, optional
        Whose disk is watched.
    """

    def __init__(self, settings: StopSection, folder: Path | None = None) -> None:
        self._rules, self._folder = settings, folder
        self._began_s: float | None = None
        self._highest_since_s: float | None = None
        self._empty_since_s: float | None = None
        self._disk_at_s = -math.inf
        self._dose = 0.0
        self._seen_per_um2 = 0.0

    @property
    def dose(self) -> float:
        """Power times seconds so far."""
        return self._dose

    def met(self, reading: Reading, precision_nm: float) -> str:
        """Return the rule that is met, with its evidence; empty if none is.

        Parameters
        ----------
        reading : Reading
            The newest.
        precision_nm : float
            Median predicted lateral standard deviation; 0 if not known.
        """
        if self._began_s is None:
            self._began_s = reading.t_s - reading.dt_s
        self._dose += reading.power * reading.dt_s
        self._seen_per_um2 += reading.per_um2 * reading.frames
        checks = (
            self._time(reading),
            self._highest(reading),
            self._empty(reading),
            self._spent(),
            self._resolved(precision_nm),
            self._full(reading),
        )
        return next(filter(None, checks), "")

    def _time(self, reading: Reading) -> str:
        minutes = self._rules.minutes
        passed = (reading.t_s - (self._began_s or 0.0)) / 60
        if minutes is None or passed < minutes:
            return ""
        return f"minutes: {passed:.1f} have passed, limit {minutes:g}"

    def _highest(self, reading: Reading) -> str:
        limit_s = self._rules.at_highest_s
        if reading.power < reading.highest:
            self._highest_since_s = None
        elif self._highest_since_s is None:
            self._highest_since_s = reading.t_s
        if limit_s is None or self._highest_since_s is None:
            return ""
        lasted_s = reading.t_s - self._highest_since_s
        if lasted_s < limit_s:
            return ""
        return (
            f"at_highest_s: the laser has been at its highest power of "
            f"{reading.highest:g} for {lasted_s:.1f} s, limit {limit_s:g} s"
        )

    def _empty(self, reading: Reading) -> str:
        floor = self._rules.density_below_per_um2
        if floor is None or reading.per_um2 >= floor:
            self._empty_since_s = None
            return ""
        if self._empty_since_s is None:
            self._empty_since_s = reading.t_s
        lasted_s = reading.t_s - self._empty_since_s
        if lasted_s < self._rules.density_below_s:
            return ""
        return (
            f"density_below_per_um2: {reading.per_um2:.3g} per um2, below {floor:g} "
            f"for {lasted_s:.1f} s"
        )

    def _spent(self) -> str:
        limit = self._rules.dose
        if limit is None or self._dose < limit:
            return ""
        return f"dose: {self._dose:.4g} of {limit:g} (power times seconds)"

    def _resolved(self, precision_nm: float) -> str:
        wanted = self._rules.resolution_nm
        if wanted is None or precision_nm <= 0 or self._seen_per_um2 <= 0:
            return ""
        spacing_nm = 1e3 / math.sqrt(self._seen_per_um2)
        resolution = math.hypot(FWHM * precision_nm, 2 * spacing_nm)
        if resolution > wanted:
            return ""
        return (
            f"resolution_nm: {resolution:.1f} nm reached, {wanted:g} nm wanted "
            f"(precision {precision_nm:.1f} nm, {self._seen_per_um2:.0f} localizations "
            "per um2)"
        )

    def _full(self, reading: Reading) -> str:
        due = reading.t_s - self._disk_at_s >= DISK_EVERY_S
        if self._folder is None or self._rules.free_disk_gib == 0 or not due:
            return ""
        self._disk_at_s = reading.t_s
        free = shutil.disk_usage(self._folder).free / GIB
        if free >= self._rules.free_disk_gib:
            return ""
        return (
            f"{DISK_RULE}: {free:.2f} GiB are left in {self._folder}, less than "
            f"{self._rules.free_disk_gib:g}"
        )
