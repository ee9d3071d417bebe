"""What every control law receives and returns, and what its options have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from liveloc.stream.density import BlockDensity

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Options(BaseModel):
    """Options of a control law, as a session file gives them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The measurement that a decision is based on.

    Attributes
    ----------
    t_s : float
        Readout time of the newest frame on a monotonic clock, s.
    dt_s : float
        Time since the previous reading, s; 0 for the first.
    first_seq, last_seq : int
        First and last frame of the density.
    frames : int
        Localized frames among them.
    per_um2, sigma_per_um2 : float
        Density of emitters that are on, and its standard error.
    area_um2 : float
        Area in which emitters are counted.
    power : float
        Present laser power, in the device's unit.
    target_per_um2 : float
        Density to hold; 0 without a target.
    lowest, highest : float
        Working range of the laser, in the unit of `power`.
    age_s : float
        Age of the newest frame when the decision is made, s; 0 if not known.
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

    It never receives readings that are empty, stale or not finite, and whatever it
    returns is limited afterwards: see `control.guard`.
    """

    def control(self, reading: Reading) -> float | None:
        """Return the power to set, in the laser's unit; None keeps the present one."""
        ...


def join(
    blocks: Sequence[BlockDensity],
    last_s: float | None,
    *,
    power: float,
    limits: tuple[float, float],
    target_per_um2: float,
) -> Reading:
    """Join the densities of consecutive blocks of frames to one reading.

    Parameters
    ----------
    blocks : sequence of BlockDensity
        One or more, in order.
    last_s : float or None
        `Reading.t_s` of the previous reading; None for the first.
    power, target_per_um2
        See `Reading`.
    limits : (lowest, highest)
        Working range of the laser, in the unit of `power`.
    """
    frames = sum(block.frames for block in blocks)
    shares = [block.frames / frames for block in blocks]

    def mean(values: Sequence[float]) -> float:
        return sum(share * value for share, value in zip(shares, values, strict=True))

    newest = blocks[-1]
    t_s = newest.t_ns / 1e9
    return Reading(
        t_s=t_s,
        dt_s=0.0 if last_s is None else max(t_s - last_s, 0.0),
        first_seq=blocks[0].first_seq,
        last_seq=newest.last_seq,
        frames=frames,
        per_um2=mean([block.per_um2 for block in blocks]),
        sigma_per_um2=math.hypot(
            *(s * b.sigma_per_um2 for s, b in zip(shares, blocks, strict=True))
        ),
        area_um2=mean([block.area_um2 for block in blocks]),
        power=power,
        target_per_um2=target_per_um2,
        lowest=limits[0],
        highest=limits[1],
    )
