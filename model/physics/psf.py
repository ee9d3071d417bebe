"""What one emitter looks like on the camera: point spread functions (PSFs).

Written once for NumPy (the simulated microscope, calibration) and torch (training):
every method takes its array library from its arguments. All of them render by matrix
products of row and column profiles: no patches, no cut-off, no loops over emitters.

Images are (height, width), x = column, (0, 0) = centre of the first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from array_api_compat import array_namespace

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any  # NumPy array or torch tensor
ENCLOSED, HALF_WIDTHS_PX = 0.98, (4, 16)
SMALLEST_WIDENING = 0.05  # of a width squared: a defocus polynomial may dip below 0


class PSF(Protocol):
    """The image of a point at any position."""

    def render(
        self,
        x_px: Array,
        y_px: Array,
        z_nm: Array,
        photons: Array,
        shape: tuple[int, int],
    ) -> Array:
        """Return the expected photons of all emitters on every pixel.

        Parameters
        ----------
        x_px, y_px, z_nm : Array, shape (..., n)
            Positions of n emitters.
        photons : Array, shape (..., n)
            Broadcasts with the positions: one set of positions can serve several
            frames. Emitters of 0 photons are padding.
        shape : tuple[int, int]
            (height, width) of the image.

        Returns
        -------
        Array, shape (..., height, width)
            Detected photons, without background.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianPSF:
    """Pixel-integrated round Gaussian of one width: 2D imaging near focus.

    Attributes
    ----------
    sigma_px : float or Array
        Standard deviation, camera pixels; an array for a different one per emitter.
    """

    sigma_px: Any

    def render(
        self,
        x_px: Array,
        y_px: Array,
        z_nm: Array,
        photons: Array,
        shape: tuple[int, int],
    ) -> Array:
        """See `PSF.render`; z changes nothing."""
        sigma = array_namespace(z_nm).zeros_like(z_nm) + self.sigma_px
        return _gaussians(x_px, y_px, sigma, sigma, photons, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defocus:
    """How the width of a spot along one axis grows with the distance from its focus.

    ``sigma(z) = sigma * sqrt(1 + u^2 + cubic u^3 + quartic u^4)`` with
    ``u = (z - focus) / depth`` (Huang et al., Science 319, 810 (2008), eq. 1).

    Attributes
    ----------
    sigma_px : float
        Standard deviation in focus, camera pixels.
    focus_nm, depth_nm : float
        Depth of the focus, and defocus at which the width has grown by sqrt(2).
    cubic, quartic : float
        Deviations from the Gaussian beam.
    """

    sigma_px: float
    focus_nm: float
    depth_nm: float
    cubic: float = 0.0
    quartic: float = 0.0

    def width_px(self, z_nm: Array) -> Array:
        """Return the standard deviation at `z_nm`, camera pixels."""
        xp = array_namespace(z_nm)
        u = (z_nm - self.focus_nm) / self.depth_nm
        growth = 1 + u * u * (1 + u * (self.cubic + u * self.quartic))
        return self.sigma_px * xp.sqrt(xp.clip(growth, SMALLEST_WIDENING, None))


@dataclass(frozen=True, slots=True, kw_only=True)
class AstigmaticPSF:
    """Pixel-integrated Gaussian whose two widths have their foci at different depths.

    Attributes
    ----------
    x, y : Defocus
        Widths along columns and along rows.
    """

    x: Defocus
    y: Defocus

    @classmethod
    def symmetric(
        cls, *, sigma0_px: float, separation_nm: float, depth_nm: float
    ) -> AstigmaticPSF:
        """Return a PSF with foci at ``-separation_nm`` (x) and ``+`` (y)."""
        return cls(
            x=Defocus(sigma_px=sigma0_px, focus_nm=-separation_nm, depth_nm=depth_nm),
            y=Defocus(sigma_px=sigma0_px, focus_nm=separation_nm, depth_nm=depth_nm),
        )

    def render(
        self,
        x_px: Array,
        y_px: Array,
        z_nm: Array,
        photons: Array,
        shape: tuple[int, int],
    ) -> Array:
        """See `PSF.render`."""
        widths = self.x.width_px(z_nm), self.y.width_px(z_nm)
        return _gaussians(x_px, y_px, *widths, photons, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubleHelixPSF:
    """Two Gaussian lobes that rotate about their midpoint with depth.

    The angle from the columns' direction is ``angle + turn_per_nm * z`` (Pavani et
    al., PNAS 106, 2995 (2009)); the emitter is in the middle.

    Attributes
    ----------
    sigma_px : float
        Standard deviation of each lobe, camera pixels.
    separation_px : float
        Distance between the two lobes.
    angle, turn_per_nm : float
        Radians, and radians per nm; positive turns from x to y.
    """

    sigma_px: float
    separation_px: float
    angle: float
    turn_per_nm: float

    def render(
        self,
        x_px: Array,
        y_px: Array,
        z_nm: Array,
        photons: Array,
        shape: tuple[int, int],
    ) -> Array:
        """See `PSF.render`."""
        xp = array_namespace(z_nm)
        angle = self.angle + self.turn_per_nm * z_nm
        dx = 0.5 * self.separation_px * xp.cos(angle)
        dy = 0.5 * self.separation_px * xp.sin(angle)
        sigma = xp.zeros_like(z_nm) + self.sigma_px
        lobe = 0.5 * photons
        one = _gaussians(x_px + dx, y_px + dy, sigma, sigma, lobe, shape)
        return one + _gaussians(x_px - dx, y_px - dy, sigma, sigma, lobe, shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplinePSF:
    """A PSF of any shape: a uniform cubic B-spline through measured bead images.

    The tensor product of the kernel b3 (support of four knots, b3(0) = 2/3): a pixel
    whose centre is (dx, dy) px from an emitter at depth z receives, per photon, ::

        sum_kji C[k, j, i] b3((z - z_first) / z_step - k)
                           b3(dy + row - j) b3(dx + column - i)

    which is the piecewise cubic, twice continuously differentiable function of Babcock
    and Zhuang, Sci. Rep. 7, 552 (2017), held in 1/64 of the memory. What lies outside
    the coefficients is dark.

    Attributes
    ----------
    coefficients : NDArray[np.float32] or torch.Tensor, shape (nz, ny, nx)
        Knots every camera pixel laterally and every `z_step_nm` axially.
    z_first_nm, z_step_nm : float
        Depth of the first knot, and their distance.
    centre_px : tuple[float, float]
        (row, column) of the emitter among the knots.
    z_low_nm, z_high_nm : float
        Calibrated range; emitters beyond it are rendered as at its ends.
    pixel_size_nm : float
        Pixel size of the camera that recorded the beads.
    """

    coefficients: NDArray[Any]
    z_first_nm: float
    z_step_nm: float
    centre_px: tuple[float, float]
    z_low_nm: float
    z_high_nm: float
    pixel_size_nm: float

    def render(
        self,
        x_px: Array,
        y_px: Array,
        z_nm: Array,
        photons: Array,
        shape: tuple[int, int],
    ) -> Array:
        """See `PSF.render`; the arrays' library and device, and the coefficients'."""
        xp = array_namespace(x_px)
        images = self.images(x_px, y_px, z_nm, shape)  # (..., n, h, w)
        *frames, n, height, width = images.shape
        flat = xp.reshape(images, (*frames, n, height * width))
        summed = xp.matmul(photons[..., None, :], flat)[..., 0, :]  # (..., h w)
        return xp.reshape(summed, (*summed.shape[:-1], height, width))

    def images(
        self, x_px: Array, y_px: Array, z_nm: Array, shape: tuple[int, int]
    ) -> Array:
        """Return the image of each emitter by itself, per photon: (..., n, h, w)."""
        xp = array_namespace(x_px)
        c = self.coefficients
        nz, ny, nx = c.shape
        depth = xp.clip(z_nm, self.z_low_nm, self.z_high_nm)
        depth = (depth - self.z_first_nm) / self.z_step_nm
        slices = spline_kernel(depth[..., None] - _count(nz, depth))  # (..., n, nz)
        knots = xp.matmul(slices, xp.reshape(c, (nz, ny * nx)))
        knots = xp.reshape(knots, (*depth.shape, ny, nx))  # (..., n, ny, nx)
        row, column = self.centre_px
        rows = _profiles(y_px, row, shape[0], ny)  # (..., n, h, ny)
        columns = _profiles(x_px, column, shape[1], nx)  # (..., n, w, nx)
        return xp.matmul(xp.matmul(rows, knots), xp.matrix_transpose(columns))


def _profiles(position: Array, centre: float, pixels: int, knots: int) -> Array:
    """Weigh the knots on every pixel along one axis: (..., n, pixels, knots)."""
    pixel = _count(pixels, position)[:, None] + centre  # (pixels, 1)
    distance = pixel - position[..., None, None] - _count(knots, position)
    return spline_kernel(distance)


def half_width_px(psf: PSF, z_range_nm: tuple[float, float]) -> int:
    """Return the half edge of the square that holds an emitter's light, pixels.

    All but 2 % of it, at any depth, and 4 to 16 pixels.

    Parameters
    ----------
    psf : PSF
        PSF in NumPy arrays.
    z_range_nm : tuple[float, float]
        Depths that emitters have.
    """
    smallest, largest = HALF_WIDTHS_PX
    z = np.linspace(*z_range_nm, 9)[:, None]
    middle = np.full_like(z, largest)
    size = 2 * largest + 1
    images = psf.render(middle, middle, z, np.ones_like(z), (size, size))
    images = np.asarray(images, np.float64)
    total = images.sum((1, 2))
    for half in range(smallest, largest):
        inner = slice(largest - half, largest + half + 1)
        if (images[:, inner, inner].sum((1, 2)) >= ENCLOSED * total).all():
            return half
    return largest


def spline_kernel(t: Array) -> Array:
    """Evaluate the cubic B-spline of unit knots, same shape as `t`."""
    xp = array_namespace(t)
    a = xp.abs(t)
    outer = xp.clip(2 - a, 0, None)
    inner = xp.clip(1 - a, 0, None)
    return (outer * outer * outer - 4 * inner * inner * inner) / 6


def _count(n: int, like: Array) -> Array:
    """Return 0 to n - 1 in the library, type and device of `like`."""
    xp = array_namespace(like)
    numbers = xp.arange(n, dtype=like.dtype)
    return (
        xp.asarray(numbers, device=like.device) if hasattr(like, "device") else numbers
    )


def _gaussians(
    x_px: Array,
    y_px: Array,
    sigma_x: Array,
    sigma_y: Array,
    photons: Array,
    shape: tuple[int, int],
) -> Array:
    """Sum separable Gaussians: one product of row and column profiles."""
    xp = array_namespace(x_px)
    columns = _pixel_integrals(x_px, sigma_x, shape[1])  # (..., n, width)
    rows = _pixel_integrals(y_px, sigma_y, shape[0])  # (..., n, height)
    weighted = rows * photons[..., None]
    return xp.matmul(xp.matrix_transpose(weighted), columns)


def _pixel_integrals(centre: Array, sigma: Array, pixels: int) -> Array:
    """Integrate unit Gaussians over each of `pixels` pixels: (..., n, pixels)."""
    edges = _count(pixels + 1, centre) - 0.5
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
