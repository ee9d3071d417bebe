"""Pictures and images as files: PNG with scale bar, 32-bit TIFF with pixel size."""

from __future__ import annotations

import math
import os
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .lettering import draw_colour_bar, draw_scale_bar
from .render import Look, depth_table, picture

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .reconstruction import Reconstruction

SMALLEST_PICTURE = 900  # pixels on the longer side: smaller images are enlarged


def save_png(
    path: str | Path, reconstruction: Reconstruction, look: Look | None = None
) -> None:
    """Write `picture_png`; the file appears whole or not at all."""
    png = picture_png(reconstruction, look)
    _write_whole(Path(path), lambda part: part.write_bytes(png))


def picture_png(reconstruction: Reconstruction, look: Look | None = None) -> bytes:
    """Make a picture with scale bar, and colour bar for z, as PNG.

    Small images are enlarged by a whole factor until the longer side has at least
    900 pixels. The picture states its pixel size.
    """
    look = look or Look()
    layers = reconstruction.layers()
    zoom = max(1, math.ceil(SMALLEST_PICTURE / max(layers.counts.shape)))
    made = picture(layers, look, zoom=zoom)
    draw_scale_bar(made.rgb, made.pixel_nm)
    if made.depth_range_nm is not None:
        draw_colour_bar(made.rgb, depth_table(look.depth_map), made.depth_range_nm)
    left, _, top, _ = reconstruction.extent_nm
    text = {
        "Software": "liveloc",
        "Description": (
            f"{reconstruction.counted} localizations, pixel {made.pixel_nm:g} nm, "
            f"upper left corner at x {left:g} nm, y {top:g} nm"
        ),
    }
    return encode_png(made.rgb, pixel_nm=made.pixel_nm, text=text)


def save_tiff(path: str | Path, reconstruction: Reconstruction) -> None:
    """Write the counts as 32-bit floats, as ImageJ reads them with its scale.

    With depths a second channel holds the mean z in nm (NaN where there is none).
    The same image gives the same bytes.
    """
    import tifffile

    planes = [reconstruction.counts.astype(np.float32)]
    if reconstruction.has_depth:
        planes.append(reconstruction.mean_depth_nm())
    left, _, top, _ = reconstruction.extent_nm
    pixel_um = reconstruction.super_pixel_nm / 1000.0
    column, row = reconstruction.roi_origin
    info = (
        f"pixel_nm: {reconstruction.super_pixel_nm:g}\n"
        f"camera_pixel_nm: {reconstruction.pixel_size_nm:g}\n"
        f"roi_origin_px: {column}, {row}\n"
        f"upper_left_corner_nm: {left:g}, {top:g}\n"
        "axes: x = column, y = row\n"
        f"localizations: {reconstruction.counted}\n"
    )
    metadata = {
        "axes": "CYX",
        "unit": "um",
        "Labels": ["localizations", "mean z in nm"][: len(planes)],
        "Info": info,
    }
    _write_whole(
        Path(path),
        lambda part: tifffile.imwrite(
            part,
            np.stack(planes),
            imagej=True,
            resolution=(1.0 / pixel_um, 1.0 / pixel_um),
            metadata=metadata,
        ),
    )


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


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and move into place: nobody ever reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
