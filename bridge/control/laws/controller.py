"""What every control law is given, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a decision may rest on.

    Attributes
    ----------
    t_s : float
        When the newest frame was read out, on a monotonic clock.
    dt_s : float
        Since the reading before it; 0 for the first.
    first_seq, last_seq : int
        Frames that the density rests on, both included.
    frames : int
        Localized frames among them.
    per_um2, sigma_per_um2 : float
        Density of emitters that are on, and its standard error.
    area_um2 : float
        Of the region that counts.
    power : float
        That the laser has now, in its unit.
    target_per_um2 : float
        Density that is wanted.
    lowest, highest : float
        Working range of the laser, same unit as `power`.
    age_s : float
        Of the newest frame when it is decided upon; 0 where nobody said.
    """

    t_s: float
    dt_s: float
    first_seq: int
    last_seq: int
    frames: int
    per_um2: float
    sigma_per_um2: float
    area_um2: float
    power: float
    target_per_um2: float
    lowest: float
    highest: float
    age_s: float = 0.0


class Controller(Protocol):
    """A control law: densities in, powers out.

    It never sees readings that are empty, stale or not finite, and whatever it answers
    is limited afterwards: see `control.guard`.
    """

    def control(self, reading: Reading) -> float | None:
        """Give the power wanted, in the laser's unit; None holds the present one."""
        ...
