"""What a picture file holds: sums over pixels, where they lie, what they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .colouring import DisplaySettings, Picture, mean_depth, picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .layers import Layers
    from .viewport import Viewport

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
    look : DisplaySettings
        With limit and range of z as they are for these pixels; None where they are
        to be chosen.
    about : dict[str, str]
        What the file has to say, by name.
    """

    layers: Layers
    viewport: Viewport
    look: DisplaySettings
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


def about_field(
    viewport: Viewport,
    pixel_size_nm: float,
    roi_origin: tuple[int, int],
    localizations: int,
) -> dict[str, str]:
    """Return where a picture lies on the chip, by name, as files say it."""
    column, row = roi_origin
    return {
        "pixel_nm": f"{viewport.pixel_nm:g}",
        "camera_pixel_nm": f"{pixel_size_nm:g}",
        "roi_origin_px": f"{column}, {row}",
        "upper_left_corner_nm": f"{viewport.left_nm:g}, {viewport.top_nm:g}",
        "axes": "x = column, y = row",
        "localizations": str(localizations),
    }
