"""Brightness and range of z, chosen from what is in view."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..image.colouring import DEPTH_STEP_NM
from .scene import tile_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.document import Document
    from ..image.viewport import Viewport
    from .render_thread import RenderedView

SAMPLES = 40_000  # pixels looked at, about
SMALL_CHANGE = 0.04  # of the limit: not worth a flicker
FAINT = 0.02  # of the brightest: what a Gaussian's rim is at most


def view_limit(
    view: RenderedView, super_pixel_nm: float, percentile: float
) -> float | None:
    """Choose the localizations per super-pixel at full brightness; None if empty."""
    counts = _thinned(view.layers.counts)
    high = float(counts.max(initial=0.0))
    if not high > 0:
        return None
    bright = counts[counts > FAINT * high]
    per_um2 = float(np.percentile(bright, percentile)) * view.per_um2
    return per_um2 * (super_pixel_nm / 1e3) ** 2 / max(view.share, 1e-3)


def tile_limit(
    document: Document, viewport: Viewport, percentile: float
) -> float | None:
    """Choose the same from the tiles in view; None if they are empty."""
    wanted = tile_range(document, viewport)
    if wanted is None:
        return None
    values = visible_counts(document, viewport)
    values = values[values > 0]
    if not values.size:
        return None
    return float(np.percentile(values, percentile)) / 4.0**wanted.level


def visible_counts(document: Document, viewport: Viewport) -> NDArray[np.float32]:
    """Return the counts of some of the pixels that the tiles in view show."""
    wanted = tile_range(document, viewport)
    if wanted is None:
        return np.zeros(0, np.float32)
    left, right, top, bottom = viewport.rect
    texel_nm = wanted.texel_nm
    with document.lock:
        counts = document.image.tiles.counts(wanted.level)
        height, width = counts.shape
        first_x, last_x = (
            min(max(int((edge - document.rect[0]) / texel_nm), 0), width)
            for edge in (left, right)
        )
        first_y, last_y = (
            min(max(int((edge - document.rect[2]) / texel_nm), 0), height)
            for edge in (top, bottom)
        )
        part = counts[first_y : last_y + 1, first_x : last_x + 1]
        return _thinned(part).astype(np.float32)


def depth_range(document: Document) -> tuple[float, float] | None:
    """Choose the ends of the colours of z: nearly all rows, at round numbers.

    From the whole table, not from what is in view: a colour is to mean the same
    depth wherever one looks. None for a table without z.
    """
    if not document.image.has_depth:
        return None
    first = document.columns.percentile("z_nm", 2.0)
    last = document.columns.percentile("z_nm", 98.0)
    if not (math.isfinite(first) and math.isfinite(last)):
        return None
    low = math.floor(first / DEPTH_STEP_NM)
    high = max(math.ceil(last / DEPTH_STEP_NM), low + 1)
    return low * DEPTH_STEP_NM, high * DEPTH_STEP_NM


def steadied(shown: float, wanted: float | None) -> float:
    """Return the limit to show: the wanted one where that differs to the eye."""
    if wanted is None or not (math.isfinite(wanted) and wanted > 0):
        return shown
    return shown if abs(wanted - shown) < SMALL_CHANGE * shown else wanted


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    step = max(1, math.isqrt(values.size // SAMPLES))
    return values[::step, ::step]
