"""Pictures as PNG: no other library needed, the same picture gives the same bytes."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encode_png(
    rgb: NDArray[np.uint8], *, pixel_nm: float = 0.0, text: dict[str, str] | None = None
) -> bytes:
    """Encode an 8-bit RGB picture, shape (height, width, 3), as PNG.

    Parameters
    ----------
    rgb : NDArray[np.uint8]
        Row 0 on top.
    pixel_nm : float
        Edge of a pixel, written as pixels per metre; 0 leaves it out.
    text : dict[str, str], optional
        Latin-1 keys and values, for people and other programs.
    """
    height, width, channels = rgb.shape
    if channels != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"picture is {rgb.dtype} {rgb.shape}, needs uint8 RGB.")
    lines = np.zeros((height, 1 + width * 3), np.uint8)  # each line: filter 0, pixels
    lines[:, 1:] = rgb.reshape(height, width * 3)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [_chunk(b"IHDR", header)]
    if pixel_nm > 0:
        per_metre = min(round(1e9 / pixel_nm), 2**31 - 1)
        chunks.append(_chunk(b"pHYs", struct.pack(">IIB", per_metre, per_metre, 1)))
    for key, value in (text or {}).items():
        chunks.append(_chunk(b"tEXt", f"{key}\0{value}".encode("latin-1", "replace")))
    chunks.append(_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
