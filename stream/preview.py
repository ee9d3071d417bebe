"""A raw camera frame for the eye: sent now and then, lost without harm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .localizations import Localizations


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The newest localized frame and what was found in it.

    Attributes
    ----------
    seq : int
        Number of the frame in its stream, as in the table.
    pixels : NDArray[np.uint16], shape (height, width)
        Camera counts (ADU); where `binning` is above 1 the means of so many
        pixels in each direction.
    binning : int
        Camera pixels along an edge of one pixel here.
    localizations : Localizations
        The rows of this frame.
    """

    seq: int
    pixels: NDArray[np.uint16]
    binning: int
    localizations: Localizations
