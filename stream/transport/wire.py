"""Messages between a sender of frames and its engine, as msgpack maps.

Every message is one map whose first field is ``proto``, the version, and whose
second is ``type``. A FRAME has a second part: its pixels, C order, little
endian. A START has one more part for each map of its camera's calibration:
float32, C order, little endian (since 1.1). The proof in START, HELLO_OK and
REJECT is 16 bytes or nil (since 1.3). Another major version is refused; fields
unknown to this version are ignored when a higher minor version sent them and
refused otherwise.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import msgpack

from .. import checks as check
from ..camera_maps import PIXEL, from_plain, to_plain
from ..density import BlockDensity
from ..errors import MessageError
from ..frames import FrameHeader, StreamEnd, StreamStart
from ..laser_state import LaserState
from .messages import (
    Ack,
    Alarm,
    Credit,
    Density,
    End,
    FrameUp,
    Heartbeat,
    HelloOk,
    Laser,
    Localized,
    Mark,
    Message,
    Reject,
    Start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..sockets.limits import Limits

PROTO = (1, 3)


_COUNT = check.integer()
_EDGE = check.integer(1, 65_536)
_SEQ_OR_NONE = check.integer(-1)
_TIME = check.integer(-check.INT64_MAX)
_AMOUNT = check.number(0.0, 1e6)
_PROOF = check.optional(check.uuid)

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
    "start": {**STREAM_START, "sender": check.uuid, **_MARK, "proof": _PROOF},
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
        "proof": _PROOF,
    },
    "credit": {
        "stream_id": check.uuid,
        "credit_seq": _SEQ_OR_NONE,
        "credit_bytes": _COUNT,
    },
    "ack": {"stream_id": check.uuid, "seq": _SEQ_OR_NONE, "end": check.flag},
    "localized": {"stream_id": check.uuid, "seq": _COUNT},
    "alarm": {"stream_id": check.uuid, "text": check.text(1024)},
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
    "laser": {
        "stream_id": check.uuid,
        "power": check.number(-1e9, 1e9),
        "unit": check.text(16),
        "law": check.text(32),
        "target_per_um2": _AMOUNT,
        "reason": check.text(),
        "frame_to_laser_p50_ms": _AMOUNT,
        "frame_to_laser_p99_ms": _AMOUNT,
        "late": _COUNT,
    },
    "reject": {"reason": check.text(32), "detail": check.text(2048), "proof": _PROOF},
}
_PROVEN_SINCE = 3  # minor version; messages before it have no field "proof"


def _take(values: dict[str, Any], names: dict[str, check.Check]) -> dict[str, Any]:
    return {name: values.pop(name) for name in names}


def _start(values: dict[str, Any]) -> Start:
    calibration, maps = values.pop("calibration")
    values = values | {"calibration": calibration}
    start = StreamStart(**_take(values, STREAM_START))
    mark = Mark(**_take(values, _MARK))
    return Start(start, values["sender"], mark, maps, values["proof"])


_BUILD: dict[str, Callable[[dict[str, Any]], Message]] = {
    "start": _start,
    "frame": lambda v: FrameUp(header=FrameHeader(**_take(v, _FRAME_HEADER)), **v),
    "end": lambda v: End(StreamEnd(**v)),
    "heartbeat": lambda v: Heartbeat(v["stream_id"], Mark(**_take(v, _MARK))),
    "hello_ok": lambda v: HelloOk(**v),
    "credit": lambda v: Credit(**v),
    "ack": lambda v: Ack(**v),
    "localized": lambda v: Localized(**v),
    "alarm": lambda v: Alarm(**v),
    "density": lambda v: Density(BlockDensity(**v)),
    "laser": lambda v: Laser(LaserState(**v)),
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
        case Laser():
            name, body = "laser", asdict(message.state)
        case HelloOk() | Credit() | Ack() | Localized() | Alarm() | Reject():
            name = _NAMES[type(message)]
            body = {f.name: getattr(message, f.name) for f in fields(message)}
    packed: bytes = msgpack.packb({"proto": PROTO, "type": name, **body})
    return packed


_NAMES: dict[type, str] = {
    HelloOk: "hello_ok",
    Credit: "credit",
    Ack: "ack",
    Localized: "localized",
    Alarm: "alarm",
    Reject: "reject",
}


def _start_fields(message: Start) -> dict[str, Any]:
    start = message.start
    body = {f.name: getattr(start, f.name) for f in fields(start)}
    calibration = to_plain(start.calibration)
    calibration["maps"] = calibration["maps"] or message.maps
    body["calibration"] = calibration
    sender = {"sender": message.sender, "proof": message.proof}
    return body | sender | asdict(message.mark)


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
    if minor < _PROVEN_SINCE and "proof" in _FIELDS[name]:
        raw.setdefault("proof", None)
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
