"""From densities of blocks to one reading."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .controller import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from liveloc.stream.density import BlockDensity


def join(
    blocks: Sequence[BlockDensity],
    last_s: float | None,
    *,
    power: float,
    limits: tuple[float, float],
    target_per_um2: float,
) -> Reading:
    """Join blocks of consecutive frames.

    Parameters
    ----------
    blocks : sequence of BlockDensity
        At least one, in their order.
    last_s : float or None
        `Reading.t_s` of the reading before; None for the first.
    power : float
        That the laser has now.
    limits : (lowest, highest)
        Its working range.
    target_per_um2 : float
        0 if there is none.
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
