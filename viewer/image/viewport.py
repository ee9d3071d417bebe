"""The part of the sample that is looked at, and how finely."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rect = tuple[float, float, float, float]  # left, right, top, bottom: edges in nm


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """A rectangle of square pixels laid over the sample.

    Attributes
    ----------
    left_nm, top_nm : float
        Outer edges of the first pixel: camera pixel (0, 0) reaches from -0.5 to
        0.5 camera pixels.
    pixel_nm : float
        Edge of a pixel.
    shape : tuple[int, int]
        (height, width) in these pixels.
    """

    left_nm: float
    top_nm: float
    pixel_nm: float
    shape: tuple[int, int]

    @classmethod
    def covering(cls, rect: Rect, pixel_nm: float) -> Viewport:
        """Return the smallest viewport from the rectangle's upper left corner on."""
        left, right, top, bottom = rect
        height = max(1, math.ceil((bottom - top) / pixel_nm - 1e-6))
        width = max(1, math.ceil((right - left) / pixel_nm - 1e-6))
        return cls(left_nm=left, top_nm=top, pixel_nm=pixel_nm, shape=(height, width))

    @property
    def rect(self) -> Rect:
        """Its outer edges."""
        height, width = self.shape
        return (
            self.left_nm,
            self.left_nm + width * self.pixel_nm,
            self.top_nm,
            self.top_nm + height * self.pixel_nm,
        )

    def columns(self, x_nm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return positions along x in pixels, 0 at the left edge."""
        return (np.asarray(x_nm, np.float64) - self.left_nm) / self.pixel_nm

    def rows(self, y_nm: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return positions along y in pixels, 0 at the top edge."""
        return (np.asarray(y_nm, np.float64) - self.top_nm) / self.pixel_nm
