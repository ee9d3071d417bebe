"""The field of a table that does not say it: around its rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from liveloc.stream.localizations import Localizations

ASSUMED_PIXEL_NM = 100.0  # of a camera, for tables that do not say it
WIDEST_PX = 8_192  # from the middle of the first rows: no camera reaches farther


def field_of(
    pieces: Iterable[Localizations], metadata: Mapping[str, str]
) -> dict[str, str]:
    """Complete a table's metadata by the field that all its rows lie in.

    The field is the smallest whole number of camera pixels around all rows with
    finite positions, but for single rows so far off that no camera sees both.

    Parameters
    ----------
    pieces : iterable of Localizations
        All rows, in pieces; none of them is kept.
    metadata : Mapping[str, str]
        ``pixel_size_nm`` is taken from it, 100 nm assumed without.
    """
    text = metadata.get("pixel_size_nm", "")
    size = float(text) if text else ASSUMED_PIXEL_NM
    lowest = np.full(2, np.inf)
    highest = np.full(2, -np.inf)
    middle: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None
    for rows in pieces:
        px = np.stack([rows["x_nm"], rows["y_nm"]]).astype(np.float64) / size
        px = px[:, np.isfinite(px).all(axis=0)]
        if not px.size:
            continue
        if middle is None:
            middle = np.median(px, axis=1)
        px = px[:, (np.abs(px - middle[:, None]) < WIDEST_PX).all(axis=0)]
        if px.size:
            lowest = np.minimum(lowest, px.min(axis=1))
            highest = np.maximum(highest, px.max(axis=1))
    if not np.isfinite(lowest).all():
        lowest = highest = np.zeros(2)
    left, top = (math.floor(edge + 0.5) for edge in lowest.tolist())
    right, bottom = (math.floor(edge + 0.5) for edge in highest.tolist())
    return {
        **metadata,
        "pixel_size_nm": repr(size),
        "roi_origin": f"[{left}, {top}]",
        "shape": f"[{bottom - top + 1}, {right - left + 1}]",
    }
