"""Steps up or down outside a band around the target, as AutoLase does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .controller import NotNegative, Options, Positive

if TYPE_CHECKING:
    from .controller import Reading


class DeadBandOptions(Options):
    """Options of `DeadBandLaw`.

    Attributes
    ----------
    band_percent : float
        Half width of the band in which the power stays, percent of the target.
    step_percent_per_s : float
        Change of the power per second outside it, percent of the laser's range.
        AutoLase makes one step of 0.05 V in 5 V every second.
    """

    band_percent: NotNegative = 10.0
    step_percent_per_s: Positive = 1.0


class DeadBandLaw:
    """Moves the power at a constant speed until the density is within the band.

    The speed does not depend on how often readings come. Unlike AutoLase, which
    ignores a step that would leave the range, it goes to the very limit.

    Parameters
    ----------
    options : DeadBandOptions, optional
        Band and speed.
    """

    def __init__(self, options: DeadBandOptions | None = None) -> None:
        self._options = options or DeadBandOptions()

    def control(self, reading: Reading) -> float | None:
        """Return the power to set; None within the band."""
        target, options = reading.target_per_um2, self._options
        if target <= 0:
            return reading.lowest
        away = reading.per_um2 / target - 1
        if abs(away) <= options.band_percent / 100:
            return None
        per_s = options.step_percent_per_s / 100 * (reading.highest - reading.lowest)
        step = per_s * reading.dt_s
        wanted = reading.power + (step if away < 0 else -step)
        return min(max(wanted, reading.lowest), reading.highest)
