"""How photons become counts: shot noise, read noise, gain, offset, saturation.

The way back, counts to photons, is ``CameraCalibration.photons``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from array_api_compat import array_namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..stream.calibration import CameraCalibration

Array = Any  # NumPy array or torch tensor


class Noise(Protocol):
    """A seeded source of random numbers in one array library."""

    def poisson(self, mean: Array) -> Array:
        """Draw Poisson counts, same shape and kind as `mean`."""
        ...

    def normal(self, like: Array) -> Array:
        """Draw standard normal numbers, same shape and kind as `like`."""
        ...


class NumpyNoise:
    """Noise for NumPy arrays.

    Parameters
    ----------
    rng : np.random.Generator
        Owned by the caller.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def poisson(self, mean: NDArray[Any]) -> NDArray[np.float32]:
        """Draw Poisson counts as float32."""
        return self._rng.poisson(mean).astype(np.float32)

    def normal(self, like: NDArray[Any]) -> NDArray[np.float32]:
        """Draw standard normal float32 numbers."""
        return self._rng.standard_normal(like.shape, dtype=np.float32)


def expose(
    photons: Array,
    calibration: CameraCalibration,
    noise: Noise,
    saturation_adu: float = 65535.0,
) -> Array:
    """Take one exposure of a scientific CMOS camera.

    Parameters
    ----------
    photons : Array, shape (..., height, width)
        Expected photons per pixel, background included.
    calibration : CameraCalibration
        Offset, gain, quantum efficiency and read noise. EM gain must be 1.
    noise : Noise
        Of the same array library as `photons`.
    saturation_adu : float
        Largest count.

    Returns
    -------
    Array
        Whole counts (ADU) as floating-point numbers, 0 to `saturation_adu`.
    """
    xp = array_namespace(photons)
    electrons = noise.poisson(photons * calibration.qe)
    if calibration.read_noise_e > 0:
        electrons = electrons + calibration.read_noise_e * noise.normal(electrons)
    counts = xp.round(electrons / calibration.e_per_adu + calibration.offset_adu)
    return xp.clip(counts, 0.0, saturation_adu)
