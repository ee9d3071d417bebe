"""Find what an ONNX graph reads from other files: nothing, in a bundle.

A graph may name other files that hold its weights. ONNX Runtime would read them from
the present folder, outside the hashes of the bundle. So the graph is searched
before it is run, in its wire format (protocol buffers), which needs no package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where messages lie within messages, by field number: the parts of onnx.proto that can
# hold a tensor.
_WITHIN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
}
_NODE_TYPE = 4
_TENSOR_NAME, _TENSOR_OUTSIDE, _TENSOR_LOCATION = 8, 13, 14
_READS_FILES = (b"EPContext",)  # nodes that name a file themselves
_DEEPEST = 64  # messages within messages
_LETTERS = 200


def reads_outside(graph: bytes) -> tuple[str, str] | None:
    """Find the first thing in a graph that is read from another file.

    Parameters
    ----------
    graph : bytes
        An ONNX model.

    Returns
    -------
    (name, file) or None
        Name of the tensor or type of the node, and the file that it names; None where
        the graph holds everything itself.

    Raises
    ------
    ValueError
        The bytes are not an ONNX model.
    """
    return _look(memoryview(graph), "model", _DEEPEST)


def _look(message: memoryview, kind: str, depth: int) -> tuple[str, str] | None:
    if depth == 0:
        raise ValueError("nested graphs without end")
    if kind == "tensor":
        return _tensor(message)
    within = _WITHIN[kind]
    for field, value in _fields(message):
        if isinstance(value, int):
            continue
        if kind == "node" and field == _NODE_TYPE and bytes(value) in _READS_FILES:
            return _text(value), "a file of its own"
        if field in within:
            found = _look(value, within[field], depth - 1)
            if found is not None:
                return found
    return None


def _tensor(message: memoryview) -> tuple[str, str] | None:
    """Return name and file of a tensor whose numbers lie elsewhere."""
    name, file, outside = "", "another file", False
    for field, value in _fields(message):
        if field == _TENSOR_LOCATION and value:
            outside = True
        elif isinstance(value, int):
            continue
        elif field == _TENSOR_NAME:
            name = _text(value)
        elif field == _TENSOR_OUTSIDE:
            outside = True
            entry = dict(_fields(value))
            key, where = entry.get(1), entry.get(2)
            if not isinstance(key, int | None) and not isinstance(where, int | None):
                file = _text(where) if bytes(key) == b"location" else file
    return (name, file) if outside else None


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field: a number, or the bytes of what it holds."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(message, place)
            yield field, value
            continue
        if wire == 2:
            size, place = _varint(message, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"field of the kind {wire}")
        if place + size > len(message):
            raise ValueError("the end is missing")
        yield field, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("the end is missing")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number without end")


def _text(value: memoryview) -> str:
    """Return a name on one line."""
    text = bytes(value[:_LETTERS]).decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)
