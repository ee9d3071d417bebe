"""What is written to a picture file: sums over pixels, where they lie, what they are.

Made of a `Document`, whichever part of it is to be seen, or of a `Reconstruction`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

from ..data.document import Document
from ..image.colouring import Look, mean_depth, picture
from ..image.reconstruction import LARGEST_SIDE
from ..image.viewport import Viewport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..image.colouring import Picture
    from ..image.reconstruction import Layers, Reconstruction

UNITS = {"density": "localizations per um2"}  # of the counts; else localizations


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Sums over the pixels of a viewport.

    Attributes
    ----------
    layers : Layers
        The sums.
    viewport : Viewport
        Where they lie.
    look : Look
        With limit and range of z as they are for these pixels; None where they are
        to be chosen.
    about : dict[str, str]
        What the file has to say, by name.
    """

    layers: Layers
    viewport: Viewport
    look: Look
    about: dict[str, str]

    def picture(self, zoom: int = 1) -> Picture:
        """Colour it."""
        return picture(self.layers, self.look, zoom=zoom)

    @property
    def planes(self) -> dict[str, NDArray[np.float32]]:
        """The counts and, where there is z, its mean (nm, NaN for none), by name."""
        planes = {UNITS.get(self.look.mode, "localizations"): self.layers.counts}
        if self.layers.depth_sum_nm is not None:
            counts = self.layers.depth_counts
            weight = self.layers.counts if counts is None else counts
            planes["mean z in nm"] = mean_depth(self.layers.depth_sum_nm, weight)
        return planes


def sheet_of(
    shown: Document | Reconstruction,
    look: Look | None = None,
    viewport: Viewport | None = None,
) -> Sheet:
    """Draw what is to be written.

    Parameters
    ----------
    shown : Document or Reconstruction
        Of a document the rows as shown, selected and corrected for drift.
    look : Look, optional
        Without one, of a document, the histogram.
    viewport : Viewport, optional
        Only of a document; its whole field at the pixels of its histogram without.

    Raises
    ------
    SettingsError
        More pixels than fit.
    """
    if isinstance(shown, Document):
        return _of_document(shown, look or Look(mode="histogram"), viewport)
    left, _, top, _ = shown.extent_nm
    pixel_nm = shown.super_pixel_nm
    whole = Viewport(
        left_nm=left, top_nm=top, pixel_nm=pixel_nm, shape=shown.counts.shape
    )
    about = _about(whole, shown.pixel_size_nm, shown.roi_origin, shown.counted)
    return Sheet(
        layers=shown.layers(), viewport=whole, look=look or Look(), about=about
    )


def _of_document(document: Document, look: Look, viewport: Viewport | None) -> Sheet:
    from .contrast import depth_range, view_limit
    from .render_thread import RenderedView, render_whole

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
    about = _about(
        viewport, document.pixel_size_nm, document.roi_origin, document.image.counted
    )
    about |= {"drawn_as": look.mode, "rows_of_the_table": str(len(document.store))}
    if look.mode in ("fixed", "density"):
        about["gaussian_sigma_nm"] = f"{look.width_nm:g}"
    return Sheet(
        layers=layers, viewport=viewport, look=look, about=about | shown_as(document)
    )


def shown_as(document: Document) -> dict[str, str]:
    """Say which rows are shown and what was taken off their positions."""
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


def _about(
    viewport: Viewport,
    pixel_size_nm: float,
    roi_origin: tuple[int, int],
    localizations: int,
) -> dict[str, str]:
    column, row = roi_origin
    return {
        "pixel_nm": f"{viewport.pixel_nm:g}",
        "camera_pixel_nm": f"{pixel_size_nm:g}",
        "roi_origin_px": f"{column}, {row}",
        "upper_left_corner_nm": f"{viewport.left_nm:g}, {viewport.top_nm:g}",
        "axes": "x = column, y = row",
        "localizations": str(localizations),
    }
