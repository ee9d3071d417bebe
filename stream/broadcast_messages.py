"""Messages between an engine and its viewers.

Every message has two parts, a header and a payload, and is checked like those of
the frame stream::

    type     from        header besides proto, type, run   payload
    state    engine PUB  rows, port                        empty
    begin    both        rows, port, stream_id             metadata, msgpack
    rows     both        first, rows, crc                  Arrow record batch
    status   engine PUB                                    msgpack map
    fetch    viewer      first, count                      empty

``run`` is random and names one table of one engine: rows are numbered within it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pyarrow as pa
from crc32c import crc32c

from .errors import MessageError
from .table import from_batch, table_schema, to_batch

if TYPE_CHECKING:
    from .localizations import Localizations

PROTO = (1, 0)
HEADER_BYTES = 4_096
METADATA_BYTES = 65_536
PAYLOAD_BYTES = 8 << 20
STATUS_BYTES = 4_096

_SCHEMA = table_schema()
_FIELDS: dict[str, dict[str, type]] = {
    "state": {"rows": int, "port": int},
    "begin": {"rows": int, "port": int, "stream_id": bytes},
    "rows": {"first": int, "rows": int, "crc": int},
    "status": {},
    "fetch": {"first": int, "count": int},
}


def pack(kind: str, run: bytes, payload: bytes = b"", **fields: Any) -> list[bytes]:
    """Build a message."""
    header = {"proto": PROTO, "type": kind, "run": run, **fields}
    return [msgpack.packb(header), payload]


def pack_rows(run: bytes, first: int, rows: Localizations) -> list[bytes]:
    """Build a ROWS message; `first` is the number of the first row."""
    payload = to_batch(rows).serialize().to_pybytes()
    return pack("rows", run, payload, first=first, rows=len(rows), crc=crc32c(payload))


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
    for name, wanted in {"run": bytes, **_FIELDS[kind]}.items():
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
    if crc32c(payload) != header["crc"]:
        raise MessageError("crc", f"of {len(payload)} bytes differs from the header's")
    try:
        batch = pa.ipc.read_record_batch(pa.py_buffer(payload), _SCHEMA)
        batch.validate(full=True)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise MessageError("arrow", f"is no batch of localizations: {error}") from error
    if batch.num_rows != header["rows"]:
        raise MessageError("rows", f"{batch.num_rows}, the header says otherwise")
    return from_batch(batch)
