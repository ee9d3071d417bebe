"""Messages between a sender of frames and its engine, as msgpack maps.

Every message is one map whose first field is ``proto``, the version, and whose
second is ``type``. A FRAME has a second part: its pixels, C order, little
endian. A START has one more part for each map of its camera's calibration:
float32, C order, little endian (since 1.1). Another major version is refused;
fields unknown to this version are ignored when a higher minor version sent them
and refused otherwise.

========== ====== ====================================================
message    goes   says
========== ====== ====================================================
Start      up     which stream, and how far it is
FrameUp    up     one exposure; its pixels follow
End        up     there will be no more, and where all of them went
Heartbeat  both   still there, and how far
HelloOk    down   START is accepted: the next exposure wanted, credit
Credit     down   you may send up to this exposure and so many bytes
Ack        down   every exposure up to this one is dealt with
Density    down   so many emitters were on in a block of frames (since 1.2)
Reject     down   a message was refused, why
========== ====== ====================================================
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

import msgpack

from . import fields as check
from .camera_maps import PIXEL, from_plain, to_plain
from .density import BlockDensity
from .errors import MessageError
from .frames import FrameHeader, PixelType, StreamEnd, StreamStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from .limits import Limits

PROTO = (1, 2)


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
        16 random bytes that tell one sender from another with the same stream.
    mark : Mark
        How far the sender is.
    maps : dict[str, int]
        Maps of the calibration that are in the parts to come, and their checksums;
        see `start_maps`.
    """

    start: StreamStart
    sender: bytes
    mark: Mark
    maps: dict[str, int] = field(default_factory=dict)


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
    """

    stream_id: bytes
    next_seq: int
    credit_seq: int
    credit_bytes: int


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


@dataclass(frozen=True, slots=True)
class Density:
    """How many emitters were on: what a laser is steered by. May get lost."""

    block: BlockDensity


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A message was refused.

    Attributes
    ----------
    reason : str
        Short name, as counted by the engine.
    detail : str
        What was seen and what is needed, for people.
    """

    reason: str
    detail: str


Message = Start | FrameUp | End | Heartbeat | HelloOk | Credit | Ack | Density | Reject

_COUNT = check.integer()
_EDGE = check.integer(1, 65_536)
_SEQ_OR_NONE = check.integer(-1)
_TIME = check.integer(-check.INT64_MAX)
_AMOUNT = check.number(0.0, 1e6)

_MARK: dict[str, check.Check] = {
    "next_seq": _COUNT,
    "sent": _COUNT,
    "dropped_total": _COUNT,
    "missing_total": _COUNT,
}
STREAM_START: dict[str, check.Check] = {
    "stream_id": check.uuid,
    "incarnation": _COUNT,
    "shape": check.pair(_EDGE),
    "dtype": check.one_of("u1", "u2"),
    "roi_origin": check.pair(check.integer(0, 2**31)),
    "pixel_size_nm": check.number(0.0, 1e5, above=True),
    "exposure_ms": check.number(0.0, 1e7),
    "interval_ms": check.number(0.0, 1e7),
    "expected_frames": _COUNT,
    "calibration": from_plain,
    "policy": check.one_of("block", "drop_block", "stop"),
    "t0_ns": _TIME,
    "t0_utc": check.text(64),
    "producer": check.text(),
    "camera_label": check.text(),
    "camera_serial": check.text(),
    "metadata": check.text_map(256, 65_536),
}
_FRAME_HEADER: dict[str, check.Check] = {
    "seq": _COUNT,
    "camera_frame": _TIME,
    "t_ns": _TIME,
    "missing_total": _COUNT,
    "laser_seq": _COUNT,
}
STREAM_END: dict[str, check.Check] = {
    "stream_id": check.uuid,
    "last_seq": _SEQ_OR_NONE,
    "sent": _COUNT,
    "dropped": _COUNT,
    "missing": _COUNT,
    "status": check.one_of("ok", "aborted", "failed"),
    "reason": check.text(1024),
}
_FIELDS: dict[str, dict[str, check.Check]] = {
    "start": {**STREAM_START, "sender": check.uuid, **_MARK},
    "frame": {
        "stream_id": check.uuid,
        **_FRAME_HEADER,
        "dropped_total": _COUNT,
        "shape": check.pair(_EDGE),
        "dtype": check.one_of("u1", "u2"),
        "nbytes": _COUNT,
        "crc32c": check.optional(check.integer(0, 2**32 - 1)),
    },
    "end": STREAM_END,
    "heartbeat": {"stream_id": check.uuid, **_MARK},
    "hello_ok": {
        "stream_id": check.uuid,
        "next_seq": _COUNT,
        "credit_seq": _SEQ_OR_NONE,
        "credit_bytes": _COUNT,
    },
    "credit": {
        "stream_id": check.uuid,
        "credit_seq": _SEQ_OR_NONE,
        "credit_bytes": _COUNT,
    },
    "ack": {"stream_id": check.uuid, "seq": _SEQ_OR_NONE, "end": check.flag},
    "density": {
        "stream_id": check.uuid,
        "first_seq": _COUNT,
        "last_seq": _COUNT,
        "frames": check.integer(1),
        "t_ns": _TIME,
        "per_um2": _AMOUNT,
        "sigma_per_um2": _AMOUNT,
        "area_um2": check.number(0.0, 1e9, above=True),
        "precision_nm": _AMOUNT,
    },
    "reject": {"reason": check.text(32), "detail": check.text(2048)},
}


def _take(values: dict[str, Any], names: dict[str, check.Check]) -> dict[str, Any]:
    return {name: values.pop(name) for name in names}


def _start(values: dict[str, Any]) -> Start:
    calibration, maps = values.pop("calibration")
    values = values | {"calibration": calibration}
    start = StreamStart(**_take(values, STREAM_START))
    return Start(start, values["sender"], Mark(**_take(values, _MARK)), maps)


_BUILD: dict[str, Callable[[dict[str, Any]], Message]] = {
    "start": _start,
    "frame": lambda v: FrameUp(header=FrameHeader(**_take(v, _FRAME_HEADER)), **v),
    "end": lambda v: End(StreamEnd(**v)),
    "heartbeat": lambda v: Heartbeat(v["stream_id"], Mark(**_take(v, _MARK))),
    "hello_ok": lambda v: HelloOk(**v),
    "credit": lambda v: Credit(**v),
    "ack": lambda v: Ack(**v),
    "density": lambda v: Density(BlockDensity(**v)),
    "reject": lambda v: Reject(**v),
}


def encode(message: Message) -> bytes:
    """Pack a message, for a FRAME without its pixels, for a START without maps."""
    match message:
        case Start():
            name, body = "start", _start_fields(message)
        case FrameUp():
            name, body = "frame", _frame_fields(message)
        case End():
            name, body = "end", asdict(message.end)
        case Heartbeat():
            name = "heartbeat"
            body = {"stream_id": message.stream_id, **asdict(message.mark)}
        case Density():
            name, body = "density", asdict(message.block)
        case HelloOk() | Credit() | Ack() | Reject():
            name = _NAMES[type(message)]
            body = {f.name: getattr(message, f.name) for f in fields(message)}
    packed: bytes = msgpack.packb({"proto": PROTO, "type": name, **body})
    return packed


_NAMES: dict[type, str] = {
    HelloOk: "hello_ok",
    Credit: "credit",
    Ack: "ack",
    Reject: "reject",
}


def _start_fields(message: Start) -> dict[str, Any]:
    start = message.start
    body = {f.name: getattr(start, f.name) for f in fields(start)}
    calibration = to_plain(start.calibration)
    calibration["maps"] = calibration["maps"] or message.maps
    body["calibration"] = calibration
    return body | {"sender": message.sender} | asdict(message.mark)


def _frame_fields(message: FrameUp) -> dict[str, Any]:
    """Spell out what is packed a thousand times a second."""
    header = message.header
    return {
        "stream_id": message.stream_id,
        "seq": header.seq,
        "camera_frame": header.camera_frame,
        "t_ns": header.t_ns,
        "missing_total": header.missing_total,
        "laser_seq": header.laser_seq,
        "dropped_total": message.dropped_total,
        "shape": message.shape,
        "dtype": message.dtype,
        "nbytes": message.nbytes,
        "crc32c": message.crc32c,
    }


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """Build a map, unless a key is there twice: readers would not agree on it."""
    unique = dict(pairs)
    if len(unique) != len(pairs):
        raise ValueError("a field is there twice")
    return unique


def decode(data: bytes | memoryview, limits: Limits) -> Message:
    """Unpack and check a message of unknown origin.

    Parameters
    ----------
    data : bytes or memoryview
        The header part. Its length is checked before anything is decoded.
    limits : Limits
        Bounds; those of a START are wider.

    Raises
    ------
    MessageError
        The only exception. Reason ``header_size``, ``msgpack``, ``version``,
        ``type``, ``shape`` or ``field``.
    """
    if not 0 < len(data) <= limits.start_bytes:
        raise MessageError(
            "header_size",
            f"header of {len(data)} bytes, needs 1 to {limits.start_bytes}",
        )
    raw = _unpack(data)
    minor = _minor_version(raw)
    name = raw.get("type")
    if type(name) is not str or name not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise MessageError("type", f"type is {check.show(name)}, needs one of {known}")
    if len(data) > limits.header_bytes and name != "start":
        raise MessageError(
            "header_size",
            f"{name} of {len(data)} bytes, needs at most {limits.header_bytes}",
        )
    ignore = None if minor > PROTO[1] else ("proto", "type")
    values = check.record(raw, _FIELDS[name], name, ignore)
    message = _BUILD[name](values)
    if isinstance(message, Start):
        _check_size(message, limits)
    return message


def _unpack(data: bytes | memoryview) -> dict[Any, Any]:
    """Turn bytes into a map of plain values."""
    try:
        raw = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=_unique,
            max_str_len=len(data),
            max_bin_len=16,
            max_array_len=16,
            max_map_len=1024,
            max_ext_len=0,
        )
    # ValueError covers msgpack's own errors and broken UTF-8.
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        detail = f"{type(error).__name__} {error}"[:200]
        raise MessageError("msgpack", f"header cannot be unpacked: {detail}") from None
    if type(raw) is not dict:
        raise MessageError("msgpack", f"header is a {type(raw).__name__}, needs a map")
    return raw


def _minor_version(raw: dict[Any, Any]) -> int:
    """Check the first field and return the peer's minor version."""
    ours = f"{PROTO[0]}.{PROTO[1]}"
    proto = raw.get("proto")
    if next(iter(raw), None) != "proto" or not (
        type(proto) is list
        and len(proto) == 2
        and all(type(part) is int and 0 <= part < 2**16 for part in proto)
    ):
        raise MessageError(
            "version",
            f"no protocol version in the first field; this side speaks {ours}",
        )
    if proto[0] != PROTO[0]:
        raise MessageError(
            "version",
            f"the peer speaks protocol {proto[0]}.{proto[1]}, this side speaks {ours}. "
            "Install the same major version of liveloc on both sides.",
        )
    minor: int = proto[1]
    return minor


def _check_size(message: Start, limits: Limits) -> None:
    """Refuse frames and maps that no limit allows."""
    start = message.start
    if max(start.shape) > limits.edge_px:
        raise MessageError(
            "shape",
            f"frames of {start.shape} pixels, needs edges up to {limits.edge_px}",
        )
    if start.frame_nbytes > limits.payload_bytes:
        raise MessageError(
            "shape",
            f"frames of {start.frame_nbytes} bytes, "
            f"needs at most {limits.payload_bytes}. Choose a smaller ROI.",
        )
    nbytes = start.shape[0] * start.shape[1] * PIXEL.itemsize
    if message.maps and nbytes > limits.payload_bytes:
        raise MessageError(
            "shape",
            f"camera maps of {nbytes} bytes, needs at most {limits.payload_bytes}. "
            "Choose a smaller ROI, or a camera file without maps.",
        )
