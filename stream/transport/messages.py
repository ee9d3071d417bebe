"""What a sender of frames and its engine say to each other.

========== ====== ====================================================
message    goes   says
========== ====== ====================================================
Start      up     which stream, and how far it is
FrameUp    up     one exposure; its pixels follow
End        up     there will be no more, and where all of them went
Laser      up     what the laser does (since 1.2)
Alarm      up     what a person should look after, at the camera (since 1.3)
Heartbeat  both   still there, and how far
HelloOk    down   START is accepted: the next exposure wanted, credit
Credit     down   you may send up to this exposure and so many bytes
Ack        down   every exposure up to this one is dealt with
Localized  down   the newest frame whose emitters are published (since 1.3)
Density    down   so many emitters were on in a block of frames (since 1.2)
Reject     down   a message was refused, why
========== ====== ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..density import BlockDensity
    from ..frames import FrameHeader, PixelType, StreamEnd, StreamStart
    from ..laser_state import LaserState


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far one side has come.

    Attributes
    ----------
    next_seq : int
        Every exposure before this one was sent, shed or missing; nothing
        before it will follow.
    sent : int
        Frames among them that were sent (by an engine: localized).
    dropped_total, missing_total : int
        Exposures among them that the sender shed, that the camera lost.
    """

    next_seq: int
    sent: int
    dropped_total: int
    missing_total: int


@dataclass(frozen=True, slots=True)
class Start:
    """First message of a stream, and of every connection.

    Attributes
    ----------
    start : StreamStart
        The stream.
    sender : bytes
        16 random bytes that distinguish one sender from another of the same stream.
    mark : Mark
        How far the sender is.
    maps : dict[str, int]
        Maps of the calibration that are in the parts to come, and their checksums;
        see `start_maps`.
    proof : bytes or None
        That the sender knows the session's key, bound to sender and stream: the
        `SENDER_PROOF` of a `SessionKey`.
    """

    start: StreamStart
    sender: bytes
    mark: Mark
    maps: dict[str, int] = field(default_factory=dict)
    proof: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameUp:
    """Describes the pixels in the message's second part.

    Attributes
    ----------
    stream_id : bytes
        The stream that START named.
    header : FrameHeader
        The exposure.
    dropped_total : int
        Exposures before this one that the sender shed.
    shape, dtype, nbytes : tuple[int, int], {"u1", "u2"}, int
        Of the pixels.
    crc32c : int or None
        Checksum of the pixels; None: not computed.
    """

    stream_id: bytes
    header: FrameHeader
    dropped_total: int
    shape: tuple[int, int]
    dtype: PixelType
    nbytes: int
    crc32c: int | None


@dataclass(frozen=True, slots=True)
class End:
    """Last message of a stream."""

    end: StreamEnd


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sent by both sides twice a second.

    Attributes
    ----------
    stream_id : bytes
        The stream.
    mark : Mark
        How far this side is.
    """

    stream_id: bytes
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloOk:
    """START is accepted.

    Attributes
    ----------
    stream_id : bytes
        The stream.
    next_seq : int
        First exposure that the engine wants; those before it are dealt with.
    credit_seq, credit_bytes : int
        As in `Credit`.
    proof : bytes or None
        That the engine knows the session's key, bound to sender and stream: the
        `ENGINE_PROOF`, which no START reveals.
    """

    stream_id: bytes
    next_seq: int
    credit_seq: int
    credit_bytes: int
    proof: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """Absolute: a repeated or lost one does no harm.

    Attributes
    ----------
    stream_id : bytes
        The stream.
    credit_seq : int
        Exposures up to this one may be sent; -1: none.
    credit_bytes : int
        Pixel bytes that may have been sent since this connection's START.
    """

    stream_id: bytes
    credit_seq: int
    credit_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Every exposure up to `seq` is dealt with; with `end`, the stream is."""

    stream_id: bytes
    seq: int
    end: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Localized:
    """Frame `seq` is the newest whose emitters are published; a laser rests on it."""

    stream_id: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class Density:
    """How many emitters were on: what a laser is steered by. May get lost."""

    block: BlockDensity


@dataclass(frozen=True, slots=True)
class Laser:
    """What the laser does: for those who watch. May get lost."""

    state: LaserState


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What a person should look after, in one line: for viewers."""

    stream_id: bytes
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A message was refused.

    Attributes
    ----------
    reason : str
        Short name, as counted by the engine.
    detail : str
        What was seen and what is needed, for people.
    proof : bytes or None
        As in `HelloOk`, once a START has been believed.
    """

    reason: str
    detail: str
    proof: bytes | None = None


Message = (
    Start
    | FrameUp
    | End
    | Laser
    | Alarm
    | Heartbeat
    | HelloOk
    | Credit
    | Ack
    | Localized
    | Density
    | Reject
)
