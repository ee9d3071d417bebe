"""PI control with anti-windup by back-calculation, as ALICA has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .controller import NotNegative, Options

if TYPE_CHECKING:
    from .controller import Reading


class PiOptions(Options):
    """Options of `PiLaw`; the defaults are the published ones.

    Attributes
    ----------
    proportional : float
        Power per unit of density that is missing.
    integral_per_s : float
        Power per unit of density that is missing and second.
    unit : {"per_100_um2", "per_um2", "counts"}
        What density is measured in: emitters per 100 um2, as the published defaults
        were, per um2, or in the whole region.
    """

    proportional: NotNegative = 1.0
    integral_per_s: NotNegative = 1.0
    unit: Literal["per_100_um2", "per_um2", "counts"] = "per_100_um2"


class PiLaw:
    """A PI controller; the integral never leads out of the laser's range.

    A target of 0 or less resets the integral.

    Parameters
    ----------
    options : PiOptions, optional
        Gains.
    """

    def __init__(self, options: PiOptions | None = None) -> None:
        self._options = options or PiOptions()
        self._integral = 0.0

    def control(self, reading: Reading) -> float | None:
        """Return the power to set."""
        options = self._options
        if reading.target_per_um2 <= 0:
            self._integral = 0.0
            return reading.lowest
        areas = {"per_um2": 1.0, "per_100_um2": 100.0, "counts": reading.area_um2}
        missing = reading.target_per_um2 - reading.per_um2
        missing *= areas[options.unit]
        proportional = options.proportional * missing
        integral = self._integral + options.integral_per_s * reading.dt_s * missing
        integral = min(integral, reading.highest - proportional)
        self._integral = max(integral, reading.lowest - proportional)
        return proportional + self._integral
