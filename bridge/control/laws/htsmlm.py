"""The activation law of htSMLM, number for number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .controller import NotNegative, Options

if TYPE_CHECKING:
    from .controller import Reading

CREEP = 0.1  # per tick, also on target: it is meant to follow bleaching


class HtsmlmOptions(Options):
    """Options of `HtsmlmLaw`; the defaults are the published ones.

    Attributes
    ----------
    feedback : float
        Growth of the increment per tick and relative lack of emitters.
    integer : bool
        Cut the power to a whole number, as for a device whose property is one.
    """

    feedback: NotNegative = 0.4
    integer: bool = False


class HtsmlmLaw:
    """Adds an increment to the power, which itself grows while emitters are missing.

    The original is kept, with what it does on purpose and what not: it acts per tick,
    whatever time that takes, so that its gain depends on the rate of readings; its
    power creeps up on target; it counts emitters per field of view. The original counts
    those that disappeared from one frame to the next, here it is those that are on.

    Parameters
    ----------
    options : HtsmlmOptions, optional
        Feedback parameter and kind of property.
    """

    def __init__(self, options: HtsmlmOptions | None = None) -> None:
        self._options = options or HtsmlmOptions()
        self._increment = 0.0

    def control(self, reading: Reading) -> float | None:
        """Return the power to set."""
        options = self._options
        wanted = reading.target_per_um2 * reading.area_um2
        if wanted <= 0:
            return reading.lowest
        missing = 1 - reading.per_um2 * reading.area_um2 / wanted
        self._increment += CREEP + reading.power * options.feedback * missing
        power = reading.power + self._increment
        if self._increment**2 > 1 or (power == 0 and self._increment < 0):
            self._increment = 0.0
        power = min(max(power, reading.lowest), reading.highest)
        return float(int(power)) if options.integer else power
