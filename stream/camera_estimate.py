"""A guess of a camera's offset and gain for those who lack a calibration.

Shot noise grows with light: over pixels of different brightness the variance of the
noise is ``(mean - offset) / e_per_adu``, a line whose zero is the offset.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

from .calibration import CameraCalibration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

USUAL_OFFSET_ADU = 100.0  # of a dark pixel in most cameras
LARGEST_E_PER_ADU = 50.0  # no camera has more: less noise is no shot noise
ORDER = 6  # of the differences that pass noise and hardly any spot
FEWEST_FRAMES = 4  # to distinguish what stands still from noise
STILL = 0.5  # share of the squared response that stands still: more is a hot pixel
FEWEST = 100  # independent windows of similar brightness
BINS = 24  # of brightness, each half as many pixels as the one before
MOST = 4_000_000  # windows looked at
BEYOND = 3.0  # standard errors from the usual offset: it is another one
SURE = 1 / 3  # relative error of a gain that shows
TIES = 5  # pixels of one highest count: more are saturation
_MEDIAN_OF_SQUARES = 0.4549  # of normal numbers, over their variance


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraEstimate:
    """A guessed calibration, and how sure it is.

    Attributes
    ----------
    calibration : CameraCalibration
        Marked as estimated.
    offset_adu : float
        Where the frames say that the offset is; NaN where it does not show.
    offset_error_adu : float
        Standard error; NaN likewise.
    gain_error : float
        Standard error of the photons per count, relative; NaN likewise.
    """

    calibration: CameraCalibration
    offset_adu: float = np.nan
    offset_error_adu: float = np.nan
    gain_error: float = np.nan

    @property
    def in_words(self) -> str:
        """Offset and gain, and how wrong they may be."""
        taken = self.calibration
        gain = f"{taken.photons_per_adu:.3g} photons/ADU"
        if np.isnan(self.offset_adu):
            return (
                f"offset {taken.offset_adu:.0f} ADU and {gain} are a guess, because "
                "the frames do not reveal the offset; if it is wrong, photon numbers "
                "may be off by a factor of ten, and precision suffers"
            )
        shown = f"{self.offset_adu:.0f} ± {self.offset_error_adu:.0f} ADU"
        if taken.offset_adu == self.offset_adu:
            return (
                f"offset {shown} and {gain} ± {100 * self.gain_error:.0f} % estimated "
                "from the noise of dim and bright pixels"
            )
        return (
            f"offset {taken.offset_adu:.0f} ADU and {gain} estimated from the frames, "
            f"whose noise agrees with it ({shown})"
        )


def estimate_camera(
    frames: NDArray[Any], offset_adu: float = USUAL_OFFSET_ADU
) -> CameraEstimate:
    """Guess offset and gain from the noise of frames.

    The offset is where the line of variance against brightness is zero, if the frames
    show it and contradict `offset_adu`. Else it is `offset_adu`, and the gain that of
    the background.

    Parameters
    ----------
    frames : NDArray, shape (n, height, width)
        Camera counts, a few frames are enough.
    offset_adu : float
        Usual counts of a dark pixel. Lowered to the dimmest pixel where that is less.

    Returns
    -------
    CameraEstimate
        Read noise counts as shot noise: the offset is lower by its variance, counts
        squared, times electrons per count, and backgrounds are higher by as much. EM
        excess noise makes the photons half of what they are. One electron per count
        where there is no noise to go by: constant or drawn frames, frames below 3x3
        pixels, no frames.
    """
    if frames.dtype.kind == "f":
        frames = frames[np.isfinite(frames).all(axis=(1, 2))]
    line = _noise_line(frames)
    usual = _with_offset(frames, offset_adu)
    if line is None:
        return CameraEstimate(calibration=usual)
    known: dict[str, Any] = {
        "offset_adu": line.offset_adu,
        "offset_error_adu": line.offset_error_adu,
        "gain_error": line.gain_error,
    }
    away = abs(line.offset_adu - float(usual.typical.offset_adu))
    if away <= BEYOND * line.offset_error_adu:
        return CameraEstimate(calibration=usual, **known)
    found = CameraCalibration(
        offset_adu=line.offset_adu,
        e_per_adu=line.e_per_adu,
        read_noise_e=0.0,
        estimated=True,
    )
    return CameraEstimate(calibration=found, **known)


def estimate_calibration(
    frames: NDArray[Any], offset_adu: float = USUAL_OFFSET_ADU
) -> CameraCalibration:
    """Guess a calibration; see `estimate_camera`."""
    return estimate_camera(frames, offset_adu).calibration


def _with_offset(frames: NDArray[Any], offset_adu: float) -> CameraCalibration:
    """Guess the gain from the shot noise of the background.

    The noise of a pixel is its response to the 3x3 mask
    ``(1 -2 1; -2 4 -2; 1 -2 1) / 6``, the second difference along x of the second
    difference along y (J. Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996)).
    White noise passes with unit gain; planes, and all that varies along one axis
    only, do not pass. The mean of a pixel is that of the same 3x3 pixels. Over the
    dimmer half of all pixels, where few emitters are,
    ``variance = (mean - offset) / e_per_adu``.
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
    variance = _variance(noise[dim] ** 2)
    signal = float(np.mean(mean[dim])) - offset
    if variance <= 0 or signal / variance > LARGEST_E_PER_ADU or signal <= 0:
        return nothing
    return CameraCalibration(
        offset_adu=offset,
        e_per_adu=signal / variance,
        read_noise_e=0.0,
        estimated=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """Variance against brightness: ``(mean - offset_adu) / e_per_adu``."""

    offset_adu: float
    offset_error_adu: float
    e_per_adu: float
    gain_error: float


def _noise_line(frames: NDArray[Any]) -> _Line | None:
    """Fit a line to the noise of pixels over their brightness; None if none shows.

    The noise is the response to a 7x7 mask, the sixth difference along x of the sixth
    along y: of a spot with a sigma of 1 px or more next to nothing passes, so that
    bright pixels count, too. The brightness is the mean over the window, weighted as
    the noise is, so that the line is exact for any image.
    """
    if len(frames) == 0 or min(frames.shape[1:]) <= 2 * ORDER:
        return None
    mask = np.array([(-1.0) ** k * comb(ORDER, k) for k in range(ORDER + 1)])
    mask /= np.sqrt(np.sum(mask**2))
    overlap = float(np.sum(np.correlate(mask, mask, "full") ** 2)) ** 2  # windows
    mean, square = _windows(frames, mask)
    binned = _binned(mean, square, overlap)
    if binned is None:
        return None
    x, y, error = binned
    matrix = np.stack([x, np.ones_like(x)], axis=1)
    model = y.copy()
    for _ in range(5):  # the error of a variance is a share of the true one
        weight = 1 / (error * model) ** 2
        spread = np.linalg.inv(matrix.T @ (weight[:, None] * matrix))
        slope, zero = spread @ (matrix.T @ (weight * y))
        model = np.maximum(slope * x + zero, 0.05 * y)
    chi2 = float(np.sum(weight * (y - slope * x - zero) ** 2)) / max(len(x) - 2, 1)
    spread = spread * max(chi2, 1.0)
    if not slope > 0:
        return None
    offset = -zero / slope
    gain_error = float(np.sqrt(spread[0, 0]) / slope)
    if not (gain_error < SURE and offset < x[0] and slope * LARGEST_E_PER_ADU > 1):
        return None
    gradient = np.array([zero / slope**2, -1 / slope])
    return _Line(
        offset_adu=float(offset),
        offset_error_adu=float(np.sqrt(gradient @ spread @ gradient)),
        e_per_adu=float(1 / slope),
        gain_error=gain_error,
    )


def _windows(frames: NDArray[Any], mask: Floats) -> tuple[Floats, Floats]:
    """Return brightness and squared noise of windows that are not saturated.

    What stands still, such as hot pixels, is no noise.
    """
    top = frames.max()
    saturates = np.count_nonzero(frames == top) > TIES
    every = 1 + frames.size // MOST
    means, noises, good = [], [], []
    for frame in frames:
        counts = frame.astype(np.float64)
        means.append(_filtered(counts, mask**2)[::every])
        noises.append(_filtered(counts, mask)[::every])
        if saturates:
            hit = (frame == top).astype(np.float64)
            good.append(_filtered(hit, np.ones_like(mask))[::every] < 0.5)
    noise = np.stack(noises)
    kept = np.stack(good) if saturates else np.ones(noise.shape, np.bool_)
    if len(noise) >= FEWEST_FRAMES:
        still = noise.mean(axis=0) ** 2 > STILL * np.mean(noise**2, axis=0)
        kept &= ~still
    return np.stack(means)[kept], noise[kept] ** 2


def _filtered(image: Floats, mask: Floats) -> Floats:
    """Correlate with a mask along both axes, where it lies in the image; flat."""
    height, width = (side - len(mask) + 1 for side in image.shape)
    rows = sum(m * image[k : k + height] for k, m in enumerate(mask))
    found = sum(m * rows[:, k : k + width] for k, m in enumerate(mask))
    return np.ravel(np.asarray(found, np.float64))


def _binned(
    mean: Floats, square: Floats, overlap: float
) -> tuple[Floats, Floats, Floats] | None:
    """Return brightness, variance and its relative error in bins; None for too few.

    The dimmer half is the first bin, the dimmer half of what is left the next.
    """
    order = np.argsort(mean)
    mean, square = mean[order], square[order]
    edges = [0]
    while len(edges) <= BINS and (len(mean) - edges[-1]) / overlap > FEWEST:
        edges.append(edges[-1] + max((len(mean) - edges[-1]) // 2, 1))
    if len(edges) < 4:
        return None
    edges[-1] = len(mean)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    x = np.array([mean[part].mean() for part in parts])
    y = np.array([_variance(square[part]) for part in parts])
    error = np.sqrt(2 * overlap / np.diff(edges))
    if not (y > 0).all() or not x[-1] > x[0]:
        return None
    return x, y, error


def _variance(squares: Floats) -> float:
    """Return the mean of squared deviations without the few that are structure.

    The median alone would do for Gaussian noise; that of a few counts is too
    coarse for it, so it is only the first guess of what lies beyond four
    standard deviations.
    """
    variance = float(np.median(squares)) / _MEDIAN_OF_SQUARES
    for _ in range(3):
        within = squares[squares <= 16 * variance] if variance > 0 else squares
        variance = float(np.mean(within))
    return variance
