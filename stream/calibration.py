"""What turns camera counts into photons, and a guess for those who lack it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


LARGEST_E_PER_ADU = 50.0  # no camera has more: less noise is no shot noise


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCalibration:
    """``photons = (ADU - offset) * e_per_adu / em_gain / qe``.

    Attributes
    ----------
    offset_adu : float
        Counts of a dark pixel.
    e_per_adu : float
        Electrons per count, before EM gain is divided out.
    em_gain : float
        1 without electron multiplication.
    qe : float
        Quantum efficiency; 1 to count detected photons.
    read_noise_e : float
        Standard deviation of a dark pixel, electrons.
    estimated : bool
        Guessed from the frames themselves, not measured on the camera.
    """

    offset_adu: float = 100.0
    e_per_adu: float = 1.0
    em_gain: float = 1.0
    qe: float = 1.0
    read_noise_e: float = 1.6
    estimated: bool = False

    @property
    def photons_per_adu(self) -> float:
        """Photons that one count above the offset stands for."""
        return self.e_per_adu / self.em_gain / self.qe

    def photons(self, counts: NDArray[Any]) -> NDArray[np.float32]:
        """Convert counts to photons, float32, same shape, always a new array."""
        result = counts.astype(np.float32)
        result -= np.float32(self.offset_adu)
        result *= np.float32(self.photons_per_adu)
        return result


def estimate_calibration(
    frames: NDArray[Any], offset_adu: float = 100.0
) -> CameraCalibration:
    """Guess the gain from the shot noise of the background.

    The noise of a pixel is its response to the 3x3 mask
    ``(1 -2 1; -2 4 -2; 1 -2 1) / 6``, the second difference along x of the second
    difference along y (J. Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996)).
    White noise passes with unit gain; planes, and all that varies along one axis
    only, do not pass. The mean of a pixel is that of the same 3x3 pixels. Over the
    dimmer half of all pixels, where few emitters are,
    ``variance = (mean - offset) / e_per_adu``.

    Parameters
    ----------
    frames : NDArray, shape (n, height, width)
        Camera counts, a few frames are enough.
    offset_adu : float
        Counts of a dark pixel. Lowered to the dimmest pixel where that is less.

    Returns
    -------
    CameraCalibration
        Marked as estimated. Positions hardly depend on it; photon numbers,
        uncertainties and backgrounds are as good as the guess, which is as good
        as `offset_adu`. Read noise and EM excess noise count as shot noise. One
        electron per count where there is no noise to go by: constant or drawn
        frames, frames below 3x3 pixels, no frames.
    """
    x = frames.astype(np.float64)
    offset = min(offset_adu, float(x.min())) if x.size else offset_adu
    nothing = CameraCalibration(offset_adu=offset, estimated=True)
    if len(x) == 0 or min(x.shape[1:]) < 3:
        return nothing
    core = x[:, 1:-1, 1:-1]
    edges = x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
    corners = x[:, :-2, :-2] + x[:, :-2, 2:] + x[:, 2:, :-2] + x[:, 2:, 2:]
    noise = (4 * core - 2 * edges + corners) / 6.0
    mean = (core + edges + corners) / 9.0
    dim = mean <= np.median(mean)
    variance = _variance(np.abs(noise[dim]))
    signal = float(np.mean(mean[dim])) - offset
    if variance <= 0 or signal / variance > LARGEST_E_PER_ADU or signal <= 0:
        return nothing
    return CameraCalibration(
        offset_adu=offset,
        e_per_adu=signal / variance,
        read_noise_e=0.0,
        estimated=True,
    )


def _variance(noise: NDArray[np.float64]) -> float:
    """Give the variance of absolute deviations without the few that are structure.

    The median alone would do for Gaussian noise; that of a few counts is too
    coarse for it, so it only gives the first guess of what lies beyond four
    standard deviations.
    """
    sigma = float(np.median(noise)) / 0.6745
    for _ in range(3):
        within = noise[noise <= 4 * sigma] if sigma > 0 else noise
        sigma = float(np.sqrt(np.mean(within**2)))
    return sigma**2
