"""Pictures of a document or of a saved view, as sheets and as files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

from ..image.colouring import DisplaySettings
from ..image.picture_file import enlargement, write_picture
from ..image.sheet import Sheet, about_field
from ..image.super_pixels import LARGEST_SIDE
from ..image.viewport import Viewport
from ..sessions.opened import open_session
from .contrast import depth_range, view_limit
from .render_thread import RenderedView, render_whole

if TYPE_CHECKING:
    from ..data.document import Document
    from ..view_file import View


def save_picture(
    path: str | Path,
    document: Document,
    look: DisplaySettings | None = None,
    viewport: Viewport | None = None,
) -> None:
    """Write PNG, TIFF or OME-TIFF, by the end of the file's name.

    Parameters
    ----------
    path : str or Path
        The file; it appears whole or not at all.
    document : Document
        Its rows as shown, selected and corrected for drift.
    look : DisplaySettings, optional
        Contrast that it leaves out is chosen as in the window. Default: the usual
        look for a PNG, the bare histogram for a TIFF.
    viewport : Viewport, optional
        Exactly these pixels. Default: the whole field, in a PNG enlarged by a whole
        factor until the longer side has at least 900 pixels.

    Raises
    ------
    SettingsError
        Another end, or more pixels than fit.
    """
    if viewport is None and Path(path).name.lower().endswith(".png"):
        zoom = enlargement(document.image.counts.shape)
        viewport = Viewport.covering(
            document.rect, document.image.super_pixel_nm / zoom
        )
    write_picture(path, lambda: sheet_of(document, look, viewport))


def render_view(view: View, out: str | Path) -> str:
    """Make the picture of a view: PNG, TIFF or OME-TIFF by the end of its name.

    Needs no display. Blocks until the whole table is read and drawn.

    Returns
    -------
    str
        What was left out of the table, in words; empty for nothing.

    Raises
    ------
    SettingsError
        The table cannot be read, or the name ends in something else.
    """
    with open_session(
        view.source,
        pixel_size_nm=view.pixel_size_nm,
        super_pixel_nm=view.super_pixel_nm,
    ) as session:
        session.wait()
        document = session.document
        assert document is not None  # or wait() would have raised
        document.select(view.selection)
        document.correct(view.drift)
        save_picture(out, document, view.look, view.viewport)
        return session.remarks


def sheet_of(
    document: Document,
    look: DisplaySettings | None = None,
    viewport: Viewport | None = None,
) -> Sheet:
    """Draw what is to be written.

    Parameters
    ----------
    document : Document
        Its rows as shown, selected and corrected for drift.
    look : DisplaySettings, optional
        Default: the histogram.
    viewport : Viewport, optional
        Default: the whole field at the pixels of its histogram.

    Raises
    ------
    SettingsError
        More pixels than fit.
    """
    look = look or DisplaySettings(mode="histogram")
    super_nm = document.image.super_pixel_nm
    viewport = viewport or Viewport.covering(document.rect, super_nm)
    if max(viewport.shape) > LARGEST_SIDE:
        raise SettingsError(
            f"a picture of {viewport.shape[1]} x {viewport.shape[0]} pixels, at most "
            f"{LARGEST_SIDE} a side can be made. Use larger pixels or a smaller part."
        )
    while document.work(1.0):  # a selection that was just changed
        pass
    layers = render_whole(document, look, viewport)
    view = RenderedView(viewport, layers, 1.0, document.revision, look.mode)
    limit = look.limit or view_limit(view, super_nm, look.percentile) or 1.0
    per_um2 = limit / (super_nm / 1e3) ** 2
    ends = look.depth_range_nm or depth_range(document)
    look = replace(look, limit=per_um2 / view.per_um2, depth_range_nm=ends, smooth=0.0)
    about = about_field(
        viewport, document.pixel_size_nm, document.roi_origin, document.image.counted
    )
    about |= {"drawn_as": look.mode, "rows_of_the_table": str(len(document.store))}
    if look.mode in ("fixed", "density"):
        about["gaussian_sigma_nm"] = f"{look.width_nm:g}"
    return Sheet(
        layers=layers, viewport=viewport, look=look, about=about | shown_as(document)
    )


def shown_as(document: Document) -> dict[str, str]:
    """Return which rows are shown and which drift was subtracted."""
    drift = document.drift
    said = "not corrected"
    if drift is not None:
        said = f"corrected, up to {drift.largest_nm:.1f} nm"
    ranges = document.selection.as_dict().items()
    shown = {name: [_plain(end) for end in ends] for name, ends in ranges}
    return {"selection": json.dumps(shown), "drift": said}


def _plain(end: float | None) -> float | None:
    """Write whole numbers as such, whatever they came from."""
    return int(end) if end is not None and float(end).is_integer() else end
