"""What one emitter looks like on the camera: pixel-integrated Gaussian PSFs.

Written once for NumPy (the simulated microscope) and torch (training): every
function takes its array library from its arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from array_api_compat import array_namespace

Array = Any  # NumPy array or torch tensor


class PSF(Protocol):
    """Widths of the spot as a function of defocus."""

    def sigmas_px(self, z_nm: Array) -> tuple[Array, Array]:
        """Return (sigma_x, sigma_y), camera pixels, same shape as `z_nm`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AstigmaticPSF:
    """Gaussian whose two widths have their foci at different depths.

    ``sigma_x(z) = sigma0 * sqrt(1 + ((z + separation) / depth)^2)``, y likewise
    with ``z - separation`` (Huang et al., Science 319, 810 (2008), eq. 1, without
    its cubic and quartic terms).

    Attributes
    ----------
    sigma0_px : float
        Standard deviation in focus, camera pixels.
    separation_nm : float
        Half the distance between the two foci.
    depth_nm : float
        Defocus at which a width has grown by sqrt(2).
    """

    sigma0_px: float
    separation_nm: float
    depth_nm: float

    def sigmas_px(self, z_nm: Array) -> tuple[Array, Array]:
        """Return (sigma_x, sigma_y), camera pixels, same shape as `z_nm`."""
        xp = array_namespace(z_nm)
        u = (z_nm + self.separation_nm) / self.depth_nm
        v = (z_nm - self.separation_nm) / self.depth_nm
        return self.sigma0_px * xp.sqrt(1 + u * u), self.sigma0_px * xp.sqrt(1 + v * v)


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianPSF:
    """Round Gaussian of one width: 2D imaging near focus.

    Attributes
    ----------
    sigma_px : float or Array
        Standard deviation, camera pixels; an array gives every emitter its own.
    """

    sigma_px: Any

    def sigmas_px(self, z_nm: Array) -> tuple[Array, Array]:
        """Return (sigma, sigma), camera pixels, same shape as `z_nm`."""
        xp = array_namespace(z_nm)
        sigma = xp.zeros_like(z_nm) + self.sigma_px
        return sigma, sigma


def render(
    psf: PSF,
    x_px: Array,
    y_px: Array,
    z_nm: Array,
    photons: Array,
    shape: tuple[int, int],
) -> Array:
    """Give the expected photons of all emitters on every pixel.

    A Gaussian is separable, so the image is one matrix product of the emitters'
    row and column profiles: no patches, no cut-off.

    Parameters
    ----------
    psf : PSF
        Gives the widths.
    x_px, y_px, z_nm, photons : Array, shape (..., n)
        Emitters; (0, 0) is the centre of the first pixel, x = column. Emitters of
        0 photons are padding.
    shape : tuple[int, int]
        (height, width) of the image.

    Returns
    -------
    Array, shape (..., height, width)
        Detected photons, without background.
    """
    xp = array_namespace(x_px)
    sigma_x, sigma_y = psf.sigmas_px(z_nm)
    columns = _pixel_integrals(x_px, sigma_x, shape[1])  # (..., n, width)
    rows = _pixel_integrals(y_px, sigma_y, shape[0])  # (..., n, height)
    weighted = rows * photons[..., None]
    return xp.matmul(xp.matrix_transpose(weighted), columns)


def _pixel_integrals(centre: Array, sigma: Array, pixels: int) -> Array:
    """Integrate unit Gaussians over each of `pixels` pixels: (..., n, pixels)."""
    xp = array_namespace(centre)
    edges = xp.arange(pixels + 1, dtype=centre.dtype) - 0.5
    if hasattr(centre, "device"):
        edges = xp.asarray(edges, device=centre.device)
    t = (edges - centre[..., None]) / (math.sqrt(2) * sigma[..., None])
    cumulative = erf(t)
    return 0.5 * (cumulative[..., 1:] - cumulative[..., :-1])


def erf(x: Array) -> Array:
    """Error function to 1.5e-7, the same arithmetic in every array library.

    Abramowitz and Stegun, Handbook of Mathematical Functions, eq. 7.1.26.
    """
    xp = array_namespace(x)
    t = 1 / (1 + 0.3275911 * xp.abs(x))
    series = t * (
        0.254829592
        + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    return xp.sign(x) * (1 - series * xp.exp(-x * x))
