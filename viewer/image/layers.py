"""Sums over the pixels of an image, at one scale: what every picture is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Mode = Literal["histogram", "fixed", "sigma", "density"]


@dataclass(frozen=True, slots=True)
class Layers:
    """What a picture is made of, at one scale.

    Attributes
    ----------
    counts : NDArray[np.float32], shape (height, width)
        Localizations in each pixel.
    depth_sum_nm : NDArray[np.float32], shape (height, width), or None
        Sum of their z; None for a table without depth.
    depth_counts : NDArray[np.float32], shape (height, width), or None
        How many of them have a z.
    pixel_nm : float
        Edge of a pixel.
    drawn_as : Mode
        What a row is in them (see `DisplaySettings`); in mode ``density`` all is per
        um2.
    """

    counts: NDArray[np.float32]
    depth_sum_nm: NDArray[np.float32] | None
    depth_counts: NDArray[np.float32] | None
    pixel_nm: float
    drawn_as: Mode = "histogram"


def binned(image: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Add up `factor` x `factor` pixels; the last ones may be cut off by the edge.

    No count is lost: the sum of the image stays what it was.
    """
    if factor == 1:
        return image.astype(np.float32)
    return _row_sums(_row_sums(image, factor).T, factor).T.astype(np.float32)


def _row_sums(image: NDArray[Any], factor: int) -> NDArray[np.int64]:
    out = np.zeros((-(-image.shape[0] // factor), image.shape[1]), np.int64)
    for first in range(min(factor, image.shape[0])):
        part = image[first::factor]
        out[: len(part)] += part
    return out
