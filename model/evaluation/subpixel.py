"""Whether positions are pulled to the centres of pixels, or of cells of the maps.

With the truth, the mean error is followed over the true place within a pixel or cell.
Without it, emitters that lie anywhere with equal probability must be found anywhere
with equal probability: a population shows it by how unevenly its positions are spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..maps import CELLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 20
GRIDS = {"pixel": 1, "cell": CELLS.cell_px}  # periods, camera pixels


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PhaseBias:
    """Mean error over the true place within a pixel or cell.

    Attributes
    ----------
    phase_px : NDArray[np.float64]
        Middle of each bin, from the centre of the pixel or cell.
    mean_nm, standard_error_nm : NDArray[np.float64]
        Error in each bin beyond the mean of all.
    pull_nm : float
        Amplitude of the error's sine over the period: positive where found positions
        lie nearer to the centre than the true ones.
    pull_error_nm : float
        Its standard error.
    rms_nm : float
        Root mean square over the bins, less what their noise adds.
    """

    phase_px: NDArray[np.float64]
    mean_nm: NDArray[np.float64]
    standard_error_nm: NDArray[np.float64]
    pull_nm: float
    pull_error_nm: float
    rms_nm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evenness:
    """How evenly positions are spread within a pixel or cell.

    Attributes
    ----------
    contrast : float
        Amplitude of the density's first harmonic over its mean, positive where the
        centre has more.
    contrast_error : float
        Its standard error.
    p_value : float
        P value of the chi-squared test against equal numbers in 20 bins.
    """

    contrast: float
    contrast_error: float
    p_value: float


def phase(position_px: NDArray[Any], period_px: int) -> NDArray[np.float64]:
    """Return the place within a pixel or cell: from its centre, -1/2 to 1/2 periods.

    Pixel 0 has its centre at 0; cells begin with pixel 0.
    """
    start = position_px.astype(np.float64) + 0.5
    inside: NDArray[np.float64] = np.mod(start, period_px) - period_px / 2
    return inside


def phase_bias(
    true_px: NDArray[Any], error_nm: NDArray[Any], period_px: int
) -> PhaseBias:
    """Follow the error over the true place.

    Parameters
    ----------
    true_px : NDArray, shape (n,)
        True positions along one axis, (0) being the centre of the frame's first pixel.
    error_nm : NDArray, shape (n,)
        Found minus true. Errors beyond five robust standard deviations are
        confusions with another emitter and are left out.
    period_px : int
        1 for pixels, 2 for cells.
    """
    error = error_nm.astype(np.float64)
    usual = np.abs(error - np.median(error)) <= 5 * 1.4826 * _spread(error)
    place, error = phase(true_px[usual], period_px), error[usual]
    error = error - np.mean(error)
    edges = np.linspace(-period_px / 2, period_px / 2, BINS + 1)
    of = np.clip(np.searchsorted(edges, place, side="right") - 1, 0, BINS - 1)
    n = np.bincount(of, minlength=BINS)
    mean = np.bincount(of, error, minlength=BINS) / np.maximum(n, 1)
    square = np.bincount(of, error**2, minlength=BINS) / np.maximum(n, 1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0) / np.maximum(n - 1, 1))
    wave = np.sin(2 * np.pi * place / period_px)
    noise = float(np.mean(deviation[n > 1] ** 2)) if (n > 1).any() else 0.0
    return PhaseBias(
        phase_px=(edges[1:] + edges[:-1]) / 2,
        mean_nm=mean,
        standard_error_nm=deviation,
        pull_nm=float(-2 * np.mean(error * wave)),
        pull_error_nm=math.sqrt(2 / len(error)) * float(np.std(error)),
        rms_nm=math.sqrt(max(float(np.mean(mean**2)) - noise, 0.0)),
    )


def evenness(found_px: NDArray[Any], period_px: int) -> Evenness:
    """Test whether positions along one axis fall evenly within pixels or cells."""
    from scipy.stats import chisquare

    place = phase(found_px, period_px)
    counts, _ = np.histogram(place, BINS, (-period_px / 2, period_px / 2))
    return Evenness(
        contrast=float(2 * np.mean(np.cos(2 * np.pi * place / period_px))),
        contrast_error=float(np.sqrt(2 / len(place))),
        p_value=float(chisquare(counts).pvalue),
    )


def _spread(values: NDArray[Any]) -> float:
    return max(float(np.median(np.abs(values - np.median(values)))), 1e-9)
