"""Messages between an engine and its viewers.

Every message has two parts, a header and a payload, and is checked like those of
the frame stream::

    type     from        header besides proto, type, run   payload
    state    engine PUB  rows, port                        empty
    begin    both        rows, port, stream_id             metadata, msgpack
    rows     both        first, rows, crc                  Arrow record batch
    status   engine PUB                                    msgpack map
    preview  second PUB  seq, shape, dtype, binning,       Arrow record batch,
                         rows, crc                         then pixels
    fetch    viewer      first, count                      empty

``run`` is random and names one table of one engine: rows are numbered within it. An
engine of a session that has a key makes its second half from the first, so that
viewers of that session believe no other engine.

Version 1.1 added ``preview`` and two entries that may be absent: ``preview_port`` in
``state`` and ``begin``, where the second PUB socket is, and ``published_ns`` in
``rows``, the engine's monotonic clock when they were first sent. An older viewer does
not look at the entries and never connects to the second socket.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any

import msgpack
import numpy as np
import pyarrow as pa
from crc32c import crc32c

from ..errors import MessageError
from ..preview import PREVIEW_PIXELS, Preview
from ..tables.arrow import from_batch, table_schema, to_batch

if TYPE_CHECKING:
    from ..localizations import Localizations
    from ..sockets.session_key import SessionKey

PROTO = (1, 1)
HEADER_BYTES = 4_096
FETCH_ROWS = 65_536  # rows of one answer to a fetch
METADATA_BYTES = 65_536
PAYLOAD_BYTES = 8 << 20
STATUS_BYTES = 4_096
LARGEST_BINNING = 1_024

_SCHEMA = table_schema()
_FIELDS: dict[str, dict[str, type]] = {
    "state": {"rows": int, "port": int},
    "begin": {"rows": int, "port": int, "stream_id": bytes},
    "rows": {"first": int, "rows": int, "crc": int},
    "status": {},
    "preview": {
        "seq": int,
        "shape": list,
        "dtype": str,
        "binning": int,
        "rows": int,
        "crc": int,
    },
    "fetch": {"first": int, "count": int},
}
_RUN = "run"
_RUN_BYTES = 16
_OPTIONAL = ("port", "preview_port", "published_ns")  # all of them int
_PIXELS = np.dtype("<u2")


def name_run(key: SessionKey | None) -> bytes:
    """Return a new random name of 16 bytes, which only a holder of `key` can make."""
    half = _RUN_BYTES // 2
    nonce = secrets.token_bytes(half)
    return nonce + (key.proof(_RUN, nonce)[:half] if key else secrets.token_bytes(half))


def named_by(run: bytes, key: SessionKey) -> bool:
    """Whether a holder of `key` made this name."""
    half = _RUN_BYTES // 2
    return hmac.compare_digest(run[half:], key.proof(_RUN, run[:half])[:half])


def pack(kind: str, run: bytes, payload: bytes = b"", **fields: Any) -> list[bytes]:
    """Build a message."""
    header = {"proto": PROTO, "type": kind, "run": run, **fields}
    return [msgpack.packb(header), payload]


def pack_rows(
    run: bytes, first: int, rows: Localizations, **times_ns: int
) -> list[bytes]:
    """Build a ROWS message; `first` is the number of the first row."""
    payload = to_batch(rows).serialize().to_pybytes()
    header = {"first": first, "rows": len(rows), "crc": crc32c(payload), **times_ns}
    return pack("rows", run, payload, **header)


def pack_preview(run: bytes, preview: Preview) -> list[bytes]:
    """Build a PREVIEW message."""
    rows = preview.localizations
    payload = to_batch(rows).serialize().to_pybytes()
    payload += np.ascontiguousarray(preview.pixels, _PIXELS).tobytes()
    return pack(
        "preview",
        run,
        payload,
        seq=preview.seq,
        shape=list(preview.pixels.shape),
        dtype="u2",
        binning=preview.binning,
        rows=len(rows),
        crc=crc32c(payload),
    )


def unpack(parts: list[bytes], known: tuple[str, ...]) -> tuple[dict[str, Any], bytes]:
    """Check a message up to its payload.

    Raises
    ------
    MessageError
        Named as the frame stream names them.
    """
    if len(parts) != 2:
        raise MessageError("parts", f"{len(parts)} parts, 2 are needed")
    if len(parts[0]) > HEADER_BYTES:
        raise MessageError("header_size", f"{len(parts[0])} bytes of header")
    header = unpack_map(parts[0], "msgpack")
    proto = header.get("proto")
    if not isinstance(proto, list) or proto[:1] != [PROTO[0]]:
        raise MessageError("version", f"protocol {proto!r}, this is {PROTO}")
    kind = header.get("type")
    if kind not in known:
        raise MessageError("type", f"{kind!r}, expected one of {known}")
    optional = {name: int for name in _OPTIONAL if name in header}
    for name, wanted in {**optional, "run": bytes, **_FIELDS[kind]}.items():
        value = header.get(name)
        if type(value) is not wanted or (isinstance(value, int) and value < 0):
            raise MessageError("field", f"{kind}.{name} is {value!r}")
    return header, parts[1]


def unpack_map(data: bytes, reason: str) -> dict[str, Any]:
    """Decode a map of bounded size; `reason` names it in the MessageError."""
    if len(data) > METADATA_BYTES:
        raise MessageError(reason, f"{len(data)} bytes, {METADATA_BYTES} are allowed")
    try:
        found = msgpack.unpackb(data, strict_map_key=True)
    except Exception as error:  # msgpack documents that many kinds may come
        raise MessageError(reason, f"is not msgpack: {error!r}") from error
    if not isinstance(found, dict):
        raise MessageError(reason, f"is a {type(found).__name__}, not a map")
    return found


def unpack_rows(header: dict[str, Any], payload: bytes) -> Localizations:
    """Decode and check the payload of a ROWS message, or raise MessageError."""
    _check_sum(header, payload)
    return _read_batch(header, pa.py_buffer(payload))


def unpack_preview(header: dict[str, Any], payload: bytes) -> Preview:
    """Decode and check the payload of a PREVIEW message, or raise MessageError."""
    shape, binning, seq = header["shape"], header["binning"], header["seq"]
    whole = len(shape) == 2 and all(type(side) is int and side > 0 for side in shape)
    if not whole or shape[0] * shape[1] > PREVIEW_PIXELS:
        raise MessageError("field", f"preview.shape is {shape!r:.60}")
    if header["dtype"] != "u2" or not 1 <= binning <= LARGEST_BINNING or seq >= 1 << 63:
        raise MessageError(
            "field",
            f"preview of frame {seq}: {header['dtype']!r:.60} binned by {binning}",
        )
    pixel_bytes = shape[0] * shape[1] * _PIXELS.itemsize
    row_bytes = len(payload) - pixel_bytes
    if row_bytes < 0:
        raise MessageError("payload", f"{len(payload)} bytes for {shape} pixels")
    _check_sum(header, payload)
    rows = _read_batch(header, pa.py_buffer(payload).slice(0, row_bytes))
    pixels = np.frombuffer(payload[row_bytes:], _PIXELS).reshape(shape)
    return Preview(seq=seq, pixels=pixels, binning=binning, localizations=rows)


def _check_sum(header: dict[str, Any], payload: bytes) -> None:
    if crc32c(payload) != header["crc"]:
        raise MessageError("crc", f"of {len(payload)} bytes differs from the header's")


def _read_batch(header: dict[str, Any], payload: pa.Buffer) -> Localizations:
    try:
        batch = pa.ipc.read_record_batch(payload, _SCHEMA)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise MessageError(
            "arrow", f"is not a batch of localizations: {error}"
        ) from error
    if batch.num_rows != header["rows"]:
        raise MessageError("rows", f"{batch.num_rows}, the header says otherwise")
    return from_batch(batch)
