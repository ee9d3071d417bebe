"""How many emitters are on in a block of frames, as the engine sends it."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_FRAMES = 2  # least frames between two measurements, unless a session says more


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDensity:
    """Expected emitters of a block of consecutive frames.

    Attributes
    ----------
    stream_id : bytes
        The stream.
    first_seq, last_seq : int
        Frames of the block, both included.
    frames : int
        Localized frames among them.
    t_ns : int
        Monotonic clock of the bridge when the last of them was read out: its header's.
    per_um2 : float
        Expected emitters per square micrometre and frame: the sum of the network's
        probabilities, not a count of peaks.
    sigma_per_um2 : float
        Standard error of `per_um2` from these probabilities.
    area_um2 : float
        Of the region that counts.
    precision_nm : float
        Median predicted lateral standard deviation of the block's localizations; 0
        where there are none.
    """

    stream_id: bytes
    first_seq: int
    last_seq: int
    frames: int
    t_ns: int
    per_um2: float
    sigma_per_um2: float
    area_um2: float
    precision_nm: float
