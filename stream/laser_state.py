"""What the activation laser does and why: as the bridge sends it to the engine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LaserState:
    """The laser of a stream, at one time.

    Attributes
    ----------
    stream_id : bytes
        The stream.
    power : float
        Present power.
    unit : str
        Its unit.
    law : str
        What decides about it.
    target_per_um2 : float
        Density that is to be held; 0 without a target.
    reason : str
        Why the power is what it is, for people.
    frame_to_laser_p50_ms, frame_to_laser_p99_ms : float
        From the end of an exposure to the laser's answer to it; 0 before the first.
    late : int
        Answers that took longer than 100 ms.
    """

    stream_id: bytes
    power: float
    unit: str
    law: str = "constant"
    target_per_um2: float = 0.0
    reason: str = ""
    frame_to_laser_p50_ms: float = 0.0
    frame_to_laser_p99_ms: float = 0.0
    late: int = 0
