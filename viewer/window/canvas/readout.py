"""Words for the colour bar, the cursor, and an image that is not there yet."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...views.scene import value_at
from ..widgets.style import THIN, figure

if TYPE_CHECKING:
    from ...data.document import Document
    from ...image.viewport import Viewport
    from ...sessions.live import State
    from ...views.controller import Controller
    from ...views.scene import Colours
    from .overlay import Overlay

PER_UM2 = "/\u00b5m\u00b2"


def cursor_text(
    document: Document, viewport: Viewport, place: tuple[float, float]
) -> str:
    """Return a place and its localizations per um2, as text."""
    x, y = place
    text = f"x {x:,.0f}  y {y:,.0f} nm".replace(",", THIN)
    value = value_at(document, viewport, x, y)
    return text if math.isnan(value) else f"{text}   {figure(value)} {PER_UM2}"


def headline(
    state: State, failure: Exception | None, controller: Controller, address: str
) -> tuple[str, str, str]:
    """Return heading, message and note over the image; empty where all is well."""
    document = controller.document
    if failure is not None and document is None:
        return "Cannot be shown", str(failure), ""
    if failure is not None:
        return "", "", f"No longer updating: {failure}"
    if controller.fault is not None:
        return "", "", f"Could not draw: {controller.fault}"
    if document is None:
        return "Waiting for the engine", address, ""
    if not len(document.store) and state == "live":
        return "Connected", "waiting for the first localizations", ""
    return "", "", ""


def label_bar(overlay: Overlay, document: Document | None, colours: Colours) -> None:
    """Let the colour bar say what colours mean."""
    overlay.table = None
    if document is None:
        return
    overlay.table = colours.table
    if colours.depth_range_nm is not None:
        low, high = (
            f"{end:+.0f} nm" if end else "0 nm" for end in colours.depth_range_nm
        )
        overlay.bar_ends, overlay.bar_title = (low, high), "z"
    else:
        per_um2 = colours.limit / (document.image.super_pixel_nm / 1e3) ** 2
        overlay.bar_ends, overlay.bar_title = ("0", f"{figure(per_um2)} {PER_UM2}"), ""
