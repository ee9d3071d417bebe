"""Pictures and images as files: PNG with scale bar, TIFF and OME-TIFF with 32 bits.

Each file appears whole or not at all.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError

from ..data.document import Document
from ..views.document_sheet import sheet_of
from .colouring import depth_table
from .lettering import draw_colour_bar, draw_scale_bar
from .png import encode_png
from .viewport import Viewport

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..views.document_sheet import Sheet
    from .colouring import Look
    from .reconstruction import Reconstruction

SMALLEST_PICTURE = 900  # pixels on the longer side: smaller images are enlarged
SUFFIXES = (".png", ".ome.tif", ".ome.tiff", ".tif", ".tiff")


def save_picture(
    path: str | Path,
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> None:
    """Write PNG, TIFF or OME-TIFF, by the end of the file's name.

    Raises
    ------
    SettingsError
        Another end, or more pixels than fit.
    """
    name = Path(path).name.lower()
    if name.endswith(".png"):
        save_png(path, shown, look, viewport)
    elif name.endswith((".ome.tif", ".ome.tiff")):
        save_ome_tiff(path, shown, look, viewport)
    elif name.endswith((".tif", ".tiff")):
        save_tiff(path, shown, look, viewport)
    else:
        raise SettingsError(
            f"{path}: cannot tell what to write. Let the name end in one of "
            f"{', '.join(SUFFIXES)}."
        )


def save_png(
    path: str | Path,
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> None:
    """Write `picture_png`."""
    png = picture_png(shown, look, viewport)
    write_whole(Path(path), lambda part: part.write_bytes(png))


def picture_png(
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> bytes:
    """Make a picture with scale bar, and colour bar for z, as PNG.

    Parameters
    ----------
    shown : Document or Reconstruction
        Rows as shown.
    look : Look, optional
        Contrast that it does not say is chosen as in the window.
    viewport : Viewport, optional
        Of a document: exactly these pixels. Without it the whole field, enlarged by
        a whole factor until the longer side has at least 900 pixels.
    """
    zoom = 1
    if viewport is None:
        shape = _image_shape(shown)
        zoom = max(1, math.ceil(SMALLEST_PICTURE / max(shape)))
        viewport = _enlarged(shown, zoom)
    sheet = sheet_of(shown, look, viewport)
    made = sheet.picture(zoom if viewport is None else 1)
    draw_scale_bar(made.rgb, made.pixel_nm)
    if made.depth_range_nm is not None:
        draw_colour_bar(
            made.rgb, depth_table(sheet.look.depth_map), made.depth_range_nm
        )
    left_nm, top_nm = sheet.viewport.left_nm, sheet.viewport.top_nm
    text = {
        "Software": "liveloc",
        "Description": (
            f"{sheet.about['localizations']} localizations, pixel "
            f"{made.pixel_nm:g} nm, upper left corner at x {left_nm:g} nm, "
            f"y {top_nm:g} nm"
        ),
        "Comment": _lines(sheet, but=("pixel_nm", "localizations")),
    }
    return encode_png(made.rgb, pixel_nm=made.pixel_nm, text=text)


def _image_shape(shown: Document | Reconstruction) -> tuple[int, ...]:
    image = shown.image if isinstance(shown, Document) else shown
    return image.counts.shape


def _enlarged(shown: Document | Reconstruction, zoom: int) -> Viewport | None:
    """Give a document's field with finer pixels, which it can draw itself."""
    if not isinstance(shown, Document):
        return None
    return Viewport.covering(shown.rect, shown.image.super_pixel_nm / zoom)


def save_tiff(
    path: str | Path,
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> None:
    """Write the counts as 32-bit floats, as ImageJ reads them with its scale.

    With depths a second channel holds the mean z in nm (NaN where there is none).
    The same image gives the same bytes. Without a look: the bare histogram.
    """
    import tifffile

    sheet = sheet_of(shown, look, viewport)
    planes, pixel_um = sheet.planes, sheet.viewport.pixel_nm / 1000.0
    metadata = {
        "axes": "CYX",
        "unit": "um",
        "Labels": list(planes),
        "Info": _lines(sheet),
    }
    write_whole(
        Path(path),
        lambda part: tifffile.imwrite(
            part,
            np.stack(list(planes.values())),
            imagej=True,
            resolution=(1.0 / pixel_um, 1.0 / pixel_um),
            metadata=metadata,
        ),
    )


def save_ome_tiff(
    path: str | Path,
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> None:
    """Write the same planes as `save_tiff` as OME-TIFF.

    ``PositionX`` and ``PositionY`` are the centre of the first pixel on the chip.
    """
    import tifffile

    sheet = sheet_of(shown, look, viewport)
    planes, view = sheet.planes, sheet.viewport
    pixel_um = view.pixel_nm / 1000.0
    across_um = (view.left_nm + view.pixel_nm / 2) / 1000.0
    down_um = (view.top_nm + view.pixel_nm / 2) / 1000.0
    metadata = {
        "axes": "CYX",
        "Name": Path(path).name,
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
        Path(path),
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
    told = {name: text for name, text in sheet.about.items() if name not in but}
    return "".join(f"{name}: {text}\n" for name, text in told.items())


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside `path` and move into place: nobody ever reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
