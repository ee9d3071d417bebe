"""Position, width and light of a PSF over depth."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...physics.psf import SplinePSF

    Floats = NDArray[np.float64]

MOST = 76  # depths in a table
LARGEST_STEP = 0.5  # px from depth to depth
FOCUSED = 0.6  # area of the spot in focus, relative to its median over depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """A Gaussian fitted to each of several depths of a PSF.

    Attributes
    ----------
    z_nm : NDArray[np.float64], shape (n,)
        Depths.
    dx_nm, dy_nm : NDArray[np.float64], shape (n,)
        Position that a Gaussian fit finds, relative to the true one: the lateral
        wobble. Subtract it from positions that were fitted with a Gaussian;
        positions fitted with this PSF itself have none.
    sigma_x_nm, sigma_y_nm : NDArray[np.float64], shape (n,)
        Standard deviations along columns and rows.
    amplitude : NDArray[np.float64], shape (n,)
        Sum over the window, photons per photon of the emitter.
    """

    z_nm: Floats
    dx_nm: Floats
    dy_nm: Floats
    sigma_x_nm: Floats
    sigma_y_nm: Floats
    amplitude: Floats

    def as_dict(self) -> dict[str, list[float]]:
        """Return plain lists for a file."""
        return {k: [round(float(x), 4) for x in v] for k, v in asdict(self).items()}


def render_slices(psf: SplinePSF, z_nm: Floats) -> Floats:
    """Return the images (n, window, window) with the emitter on the middle pixel."""
    window = psf.coefficients.shape[-1] - 4
    middle = np.full(len(z_nm), float(window // 2))
    images = psf.images(middle, middle, np.asarray(z_nm, float), (window, window))
    return np.asarray(images, np.float64)


def measure_slices(psf: SplinePSF, z_nm: Floats | None = None) -> Slices:
    """Fit a Gaussian to the PSF at each depth, from the middle one outwards.

    Parameters
    ----------
    psf : SplinePSF
    z_nm : NDArray, shape (n,), optional
        Rising; by default the calibrated range, every knot or up to 76 depths.
    """
    if z_nm is None:
        steps = min(MOST - 1, round((psf.z_high_nm - psf.z_low_nm) / psf.z_step_nm))
        z_nm = np.linspace(psf.z_low_nm, psf.z_high_nm, steps + 1)
    images = render_slices(psf, z_nm)
    fits = np.empty((len(images), 7))
    middle = int(np.argmin(np.abs(z_nm)))
    start = _moments(images[middle])
    fits[middle] = _fit_gaussian(images[middle], start)
    for order in (range(middle + 1, len(images)), range(middle - 1, -1, -1)):
        last = fits[middle]
        for k in order:
            last = fits[k] = _fit_gaussian(images[k], last)
    scale = psf.pixel_size_nm
    half = images.shape[-1] // 2
    return Slices(
        z_nm=np.asarray(z_nm, float),
        dx_nm=(fits[:, 1] - half) * scale,
        dy_nm=(fits[:, 2] - half) * scale,
        sigma_x_nm=np.sqrt(fits[:, 3]) * scale,
        sigma_y_nm=np.sqrt(fits[:, 4]) * scale,
        amplitude=images.sum((1, 2)),
    )


def focus_nm(slices: Slices) -> float | None:
    """Return the depth where the spot is smallest, to 1 nm; None if it has no focus.

    The area of the spot is that of the fitted Gaussian. A double helix keeps its
    area; the focus of an astigmatic PSF is between its two.
    """
    area = slices.sigma_x_nm * slices.sigma_y_nm
    best = int(np.argmin(area))
    if not 0 < best < len(area) - 1 or area[best] > FOCUSED * np.median(area):
        return None
    near = slice(max(0, best - 3), best + 4)
    curve = np.polyfit(slices.z_nm[near], area[near], 2)
    vertex = -curve[1] / (2 * curve[0]) if curve[0] > 0 else slices.z_nm[best]
    low, high = slices.z_nm[near][0], slices.z_nm[near][-1]
    return float(round(min(max(vertex, low), high)))


def _moments(image: Floats) -> Floats:
    """Start values: amplitude, x, y, variances, covariance, level."""
    level = float(np.median(image))
    light = np.clip(image - level - 0.1 * (image.max() - level), 0, None)
    rows, columns = np.indices(image.shape)
    total = light.sum()
    x, y = (light * columns).sum() / total, (light * rows).sum() / total
    xx = (light * (columns - x) ** 2).sum() / total
    yy = (light * (rows - y) ** 2).sum() / total
    return np.array([image.max() - level, x, y, xx + 0.3, yy + 0.3, 0.0, level])


def _fit_gaussian(image: Floats, start: Floats) -> Floats:
    """Fit an elliptical Gaussian near `start`."""
    from scipy.optimize import least_squares

    rows, columns = np.indices(image.shape)
    scale = float(image.max() - image.min()) or 1.0

    def gaussian(p: Floats) -> Any:
        dx, dy = columns - p[1], rows - p[2]
        cross = p[5] * np.sqrt(p[3] * p[4])
        form = p[4] * dx * dx - 2 * cross * dx * dy + p[3] * dy * dy
        spot = np.exp(-0.5 * form / (p[3] * p[4] - cross * cross))
        return (p[0] * scale * spot + p[6] * scale - image).ravel() / scale

    size = image.shape[-1]
    x, y = start[1:3]  # rings far from focus would lead it astray
    low = [0.0, x - LARGEST_STEP, y - LARGEST_STEP, 0.1, 0.1, -0.95, -1.0]
    high = [4.0, x + LARGEST_STEP, y + LARGEST_STEP, size**2, size**2, 0.95, 1.0]
    begin = start.copy()
    begin[[0, 6]] /= scale
    fit = least_squares(
        gaussian, np.clip(begin, np.add(low, 1e-3), np.subtract(high, 1e-3)),
        bounds=(low, high), x_scale=[1, 1, 1, 4, 4, 0.5, 0.1], max_nfev=60,
    )  # fmt: skip
    result = np.asarray(fit.x)
    result[[0, 6]] *= scale
    return result
