"""Sheets as files: PNG with scale bar, TIFF and OME-TIFF with 32 bits.

Each file appears whole or not at all.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from liveloc.stream.errors import SettingsError

from .colouring import depth_table
from .lettering import draw_colour_bar, draw_scale_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sheet import Sheet

SMALLEST_PICTURE = 900  # pixels on the longer side: smaller images are enlarged
SUFFIXES = (".png", ".ome.tif", ".ome.tiff", ".tif", ".tiff")


def write_picture(path: str | Path, make: Callable[[], Sheet]) -> None:
    """Write PNG, TIFF or OME-TIFF, by the end of the file's name.

    Parameters
    ----------
    path : str or Path
        The file.
    make : callable
        Returns the sheet; called only if the name's end is known.

    Raises
    ------
    SettingsError
        Another end.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise SettingsError(
            f"{path}: unknown kind of file. Use a name that ends in one of "
            f"{', '.join(SUFFIXES)}."
        )
    sheet = make()
    if name.endswith(".png"):
        png = picture_png(sheet)
        write_whole(path, lambda part: part.write_bytes(png))
    elif name.endswith((".ome.tif", ".ome.tiff")):
        write_ome_tiff(path, sheet)
    else:
        write_tiff(path, sheet)


def enlargement(shape: tuple[int, ...]) -> int:
    """Return the whole factor by which a small image is enlarged to be printed."""
    return max(1, math.ceil(SMALLEST_PICTURE / max(shape)))


def picture_png(sheet: Sheet, zoom: int = 1) -> bytes:
    """Make a picture with scale bar, and colour bar for z, as PNG.

    Parameters
    ----------
    sheet : Sheet
        Its pixels.
    zoom : int
        Each of them becomes `zoom` x `zoom` pixels.
    """
    made = sheet.picture(zoom)
    draw_scale_bar(made.rgb, made.pixel_nm)
    if made.depth_range_nm is not None:
        draw_colour_bar(
            made.rgb, depth_table(sheet.look.depth_map), made.depth_range_nm
        )
    left_nm, top_nm = sheet.viewport.left_nm, sheet.viewport.top_nm
    text = PngImagePlugin.PngInfo()
    for name, value in {
        "Software": "liveloc",
        "Description": (
            f"{sheet.about['localizations']} localizations, pixel "
            f"{made.pixel_nm:g} nm, upper left corner at x {left_nm:g} nm, "
            f"y {top_nm:g} nm"
        ),
        "Comment": _lines(sheet, but=("pixel_nm", "localizations")),
    }.items():
        text.add_text(name, value.encode("latin-1", "replace"))
    per_inch = 25.4e6 / made.pixel_nm
    out = io.BytesIO()
    Image.fromarray(made.rgb).save(out, "png", pnginfo=text, dpi=(per_inch, per_inch))
    return out.getvalue()


def write_tiff(path: Path, sheet: Sheet) -> None:
    """Write the counts as 32-bit floats, as ImageJ reads them with its scale.

    With depths a second channel holds the mean z in nm (NaN where there is none).
    Equal sheets make equal files.
    """
    import tifffile

    planes, pixel_um = sheet.planes, sheet.viewport.pixel_nm / 1000.0
    metadata = {
        "axes": "CYX",
        "unit": "um",
        "Labels": list(planes),
        "Info": _lines(sheet),
    }
    write_whole(
        path,
        lambda part: tifffile.imwrite(
            part,
            np.stack(list(planes.values())),
            imagej=True,
            resolution=(1.0 / pixel_um, 1.0 / pixel_um),
            metadata=metadata,
        ),
    )


def write_ome_tiff(path: Path, sheet: Sheet) -> None:
    """Write the same planes as `write_tiff` as OME-TIFF.

    ``PositionX`` and ``PositionY`` are the centre of the first pixel on the chip.
    """
    import tifffile

    planes, view = sheet.planes, sheet.viewport
    pixel_um = view.pixel_nm / 1000.0
    across_um = (view.left_nm + view.pixel_nm / 2) / 1000.0
    down_um = (view.top_nm + view.pixel_nm / 2) / 1000.0
    metadata = {
        "axes": "CYX",
        "Name": path.name,
        "Description": _lines(sheet),
        "PhysicalSizeX": pixel_um,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": pixel_um,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": list(planes)},
        "Plane": {
            "PositionX": [across_um] * len(planes),
            "PositionXUnit": ["µm"] * len(planes),
            "PositionY": [down_um] * len(planes),
            "PositionYUnit": ["µm"] * len(planes),
        },
    }
    write_whole(
        path,
        lambda part: tifffile.imwrite(
            part,
            np.stack(list(planes.values())),
            ome=True,
            photometric="minisblack",
            resolution=(1e4 / pixel_um, 1e4 / pixel_um),
            resolutionunit="CENTIMETER",
            metadata=metadata,
        ),
    )


def _lines(sheet: Sheet, but: tuple[str, ...] = ()) -> str:
    """Write what is to be said, a line each."""
    notes = {name: text for name, text in sheet.about.items() if name not in but}
    return "".join(f"{name}: {text}\n" for name, text in notes.items())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and move into place, so that half a file is never read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
