"""How photons become counts: shot and EM noise, read noise, gain, offset, saturation.

The way back, counts to photons, is ``CameraCalibration.photons``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from array_api_compat import array_namespace, device

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration

Array = Any  # NumPy array or torch tensor


class Noise(Protocol):
    """A seeded source of random numbers in one array library."""

    def poisson(self, mean: Array) -> Array:
        """Draw Poisson counts, same shape and kind as `mean`."""
        ...

    def normal(self, like: Array) -> Array:
        """Draw standard normal numbers, same shape and kind as `like`."""
        ...

    def gamma(self, shape: Array) -> Array:
        """Draw Gamma numbers of scale 1, same kind as `shape`; 0 where that is 0."""
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

    def gamma(self, shape: NDArray[Any]) -> NDArray[np.float32]:
        """Draw Gamma numbers of scale 1 as float32, 0 where `shape` is 0."""
        return self._rng.standard_gamma(shape).astype(np.float32)


def expose(
    photons: Array,
    calibration: CameraCalibration,
    noise: Noise,
    saturation_adu: float | None = None,
) -> Array:
    """Take one exposure of a scientific CMOS or an EMCCD camera.

    An electron that enters the multiplication register leaves it as exponentially
    many, n of them as a Gamma distribution of shape n: the mean grows by `em_gain`,
    the variance by twice its square (A. G. Basden et al., Mon. Not. R. Astron. Soc.
    345, 985 (2003)).

    Parameters
    ----------
    photons : Array, shape (..., height, width)
        Expected photons per pixel, background included. Below 0, where a fitted
        PSF can be, is dark.
    calibration : CameraCalibration
        Quantum efficiency, EM gain, read noise, gain, offset. Maps, if any, are of
        shape (height, width).
    noise : Noise
        Noise source in the same array library as `photons`.
    saturation_adu : float, optional
        Largest count, if not the calibration's.

    Returns
    -------
    Array
        Whole counts (ADU) as floating-point numbers, 0 to `saturation_adu`.
    """
    xp = array_namespace(photons)
    largest = calibration.saturation_adu if saturation_adu is None else saturation_adu
    electrons = noise.poisson(xp.clip(photons * calibration.qe, 0.0, None))
    if calibration.em_gain > 1:
        electrons = noise.gamma(electrons) * calibration.em_gain
    read_noise_e = _like(calibration.read_noise_e, photons)
    if not isinstance(read_noise_e, float) or read_noise_e > 0:
        electrons = electrons + read_noise_e * noise.normal(electrons)
    gain, offset = calibration.e_per_adu, calibration.offset_adu
    counts = xp.round(electrons / _like(gain, photons) + _like(offset, photons))
    return xp.clip(counts, 0.0, largest)


def _like(value: Array, photons: Array) -> Array:
    """Return a number as it is, a map as an array of the kind that `photons` is."""
    if not isinstance(value, np.ndarray):
        return value if hasattr(value, "shape") else float(value)
    if isinstance(photons, np.ndarray):
        return value
    xp = array_namespace(photons)
    return xp.asarray(value.copy(), dtype=photons.dtype, device=device(photons))
