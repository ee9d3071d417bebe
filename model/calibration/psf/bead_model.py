"""Bead images as a spline seen from many positions: the model, and its two solvers.

A bead b in plane p is ``photons_b * PSF(pixel - position_b, z_p - z_b) +
background``. Given positions the coefficients of the spline are a linear weighted
least-squares problem whose matrix is a product of one matrix per axis: it is applied
with matrix products, never built, and solved by conjugate gradients. Given the shape,
each bead is a few Gauss-Newton steps. Weights are those of the camera's noise at the
*modelled* mean, so the solution is that of the quasi-likelihood (R. W. M. Wedderburn,
Biometrika 61, 439 (1974)): unbiased, where weights from noisy counts are not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.sparse import csr_array

from ...physics.psf import spline_kernel
from .spline_equations import Knots, NormalEquations, spline_slope, spot

if TYPE_CHECKING:
    from .spline_equations import Floats, Profiles

Background = Literal["bead", "plane", "none"]
_LARGEST_STEPS = np.array([1.0, 1.0, 150.0, 1.0])  # px, px, nm, logarithm
# Widths of the prior of the jitter of stage and lamp between planes.
_JITTER = np.array([0.2, 0.2, 20.0, 0.05])  # px, px, nm, of the intensity


@dataclass(slots=True, kw_only=True)
class BeadModel:
    """Images of beads, and everything that explains them. Changed by the solvers.

    Attributes
    ----------
    images : NDArray, shape (beads, planes, window, window)
        Photons.
    floor : float or NDArray
        Variance without light, photons squared; broadcasts with `images`.
    slope : float
        Variance per photon; 0 for images of unknown noise.
    z_nm : NDArray, shape (planes,)
    knots : Knots
    x_px, y_px, dz_nm, photons : NDArray, shape (beads,)
        Positions relative to each window's middle pixel, depths relative to the
        planes' (the bead is sharpest at z = dz), and intensities.
    background : NDArray, shape (beads, planes)
        Photons per pixel.
    jitter : NDArray, shape (planes, 4)
        Jitter of stage and lamp in each plane: x and y (px), z (nm), and the logarithm
        of the intensity.
    coefficients : NDArray, shape `knots.shape`
    roughness : tuple of float, optional
        Roughness of the shape along z, y and x, once measured; see `NormalEquations`.
    """

    images: Floats
    floor: Any
    slope: float
    z_nm: Floats
    knots: Knots
    x_px: Floats
    y_px: Floats
    photons: Floats
    dz_nm: Floats = field(default_factory=lambda: np.zeros(0))
    background: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    jitter: Floats = field(default_factory=lambda: np.zeros((0, 4)))
    coefficients: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))
    roughness: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        beads, planes = self.images.shape[:2]
        if not len(self.dz_nm):
            self.dz_nm = np.zeros(beads)
        if not len(self.background):
            self.background = np.zeros((beads, planes))
        if not len(self.jitter):
            self.jitter = np.zeros((planes, 4))
        if not len(self.coefficients):
            self.coefficients = np.zeros(self.knots.shape)

    @property
    def half(self) -> int:
        """Pixels from the middle to the edge of a window."""
        return int(self.images.shape[-1]) // 2

    def profiles(self, bead: int, along: int | None = None) -> Profiles:
        """Return the matrices of one bead along z, y and x; see `spot`.

        Parameters
        ----------
        bead : int
            Its number.
        along : int, optional
            Axis (0: z, 1: y, 2: x) along which to differentiate, per knot.
        """
        k = self.knots
        moved = self.jitter if self.jitter.any() else np.zeros((1, 4))
        distances = (
            k.along(self.z_nm - self.dz_nm[bead] - self.jitter[:, 2]),
            k.across(self.y_px[bead] + moved[:, 1], 0, self.half),
            k.across(self.x_px[bead] + moved[:, 0], 1, self.half),
        )
        z, y, x = (
            spline_slope(d) if axis == along else spline_kernel(d)
            for axis, d in enumerate(distances)
        )
        photons = self.photons[bead] * np.exp(self.jitter[:, 3])
        return csr_array(z * photons[:, None]), y, x

    def spots(self) -> Floats:
        """Return the modelled images without background, shape of `images`."""
        beads = range(len(self.images))
        return np.stack([spot(self.coefficients, self.profiles(b)) for b in beads])

    def expected(self) -> Floats:
        """Return the modelled images, photons, shape of `images`."""
        return self.spots() + self.background[:, :, None, None]

    def weights(self, expected: Floats) -> Floats:
        """Return one over the variance of each pixel."""
        return np.asarray(1 / (self.floor + self.slope * np.maximum(expected, 0.0)))

    def fit_shape(self, weights: Floats, rounds: int, tolerance: float = 1e-6) -> None:
        """Solve for the coefficients; everything else stays.

        Parameters
        ----------
        weights : NDArray, shape of `images`
        rounds : int
            Largest number of steps of conjugate gradients.
        tolerance : float
            Reached when the gradient is that much smaller than that of darkness.
        """
        equations = self._equations(weights)
        right = equations.right_side(self.images - self.background[:, :, None, None])
        self.coefficients = equations.solve(right, self.coefficients, rounds, tolerance)

    def measure_roughness(self, weights: Floats) -> None:
        """Set the allowed roughness from the present shape."""
        self.roughness = self._equations(weights).roughness(self.coefficients)

    def _equations(self, weights: Floats) -> NormalEquations:
        views = [self.profiles(bead) for bead in range(len(self.images))]
        return NormalEquations(views, weights, self.coefficients, self.roughness)

    def leverage(self, weights: Floats, rng: np.random.Generator) -> Floats:
        """Estimate how many degrees of freedom the shape takes from each pixel.

        The diagonal of the matrix that maps images to their fit, from one random
        vector (M. F. Hutchinson, Commun. Stat. Simul. Comput. 19, 433 (1990)): noisy
        for one pixel, good for sums over many.

        Returns
        -------
        NDArray, shape of `images`
        """
        sign = rng.choice([-1.0, 1.0], self.images.shape)
        scale = np.sqrt(weights)
        equations = self._equations(weights)
        right = equations.right_side(sign / scale)
        answer = equations.solve(right, np.zeros_like(right), 200, 1e-5)
        beads = range(len(self.images))
        image = np.stack([spot(answer, self.profiles(bead)) for bead in beads])
        return np.asarray(sign * scale * image)

    def fit_beads(
        self,
        weights: Floats,
        *,
        background: Background,
        depth: bool = True,
        place: bool = True,
    ) -> float:
        """Take one Gauss-Newton step for each bead; the shape stays.

        Parameters
        ----------
        weights : NDArray, shape of `images`
        background : {"bead", "plane", "none"}
            Fitted values: one per bead, one per plane of each, or none.
        depth, place : bool
            Whether z may move; whether anything but the background may change.

        Returns
        -------
        float
            Largest lateral movement, px.
        """
        free = np.array([place, place, place and depth, place])
        largest = 0.0
        for bead, image in enumerate(self.images):
            rates = self.rates(bead)
            residual = image - rates[3] - self.background[bead, :, None, None]
            rates, levels = _without_level(rates[free], weights[bead], background)
            residual, level = _without_level(residual[None], weights[bead], background)
            step = np.zeros(4)
            weighted = (rates * weights[bead]).reshape(len(rates), residual.size)
            matrix = weighted @ rates.reshape(len(rates), residual.size).T
            step[free] = _solve(matrix, weighted @ residual.ravel())
            step = np.clip(step, -_LARGEST_STEPS, _LARGEST_STEPS)
            self.x_px[bead] += step[0]
            self.y_px[bead] += step[1]
            self.dz_nm[bead] += step[2]
            self.photons[bead] *= np.exp(step[3])
            self.background[bead] += level[0] - step[free] @ levels
            largest = max(largest, float(np.abs(step[:2]).max()))
        return largest

    def fit_jitter(self, weights: Floats) -> None:
        """Take one step for the jitter of all beads together from plane to plane.

        Only what the knots cannot follow is kept: slow movement and slow changes of
        brightness belong to the shape.
        """
        planes = len(self.z_nm)
        matrix = np.tile(np.diag(_JITTER**-2.0), (planes, 1, 1))
        right = -self.jitter * _JITTER**-2.0
        for bead, image in enumerate(self.images):
            rates = self.rates(bead)
            residual = image - rates[3] - self.background[bead, :, None, None]
            weighted = rates * weights[bead]
            matrix += np.einsum("apij,bpij->pab", weighted, rates, optimize=True)
            right += np.einsum("apij,pij->pa", weighted, residual, optimize=True)
        self.jitter += np.linalg.solve(matrix, right[..., None])[..., 0]
        slow = spline_kernel(self.knots.along(self.z_nm))
        self.jitter -= slow @ np.linalg.lstsq(slow, self.jitter, rcond=None)[0]

    def rates(self, bead: int) -> Floats:
        """Return the changes of a bead's image: (4, planes, window, window).

        Per px of x and of y, per nm of depth, and per logarithm of the photons; the
        last is the image itself without background.
        """
        scales = {2: -1.0, 1: -1.0, 0: -1 / self.knots.z_step_nm, None: 1.0}
        return np.stack(
            [
                scale * spot(self.coefficients, self.profiles(bead, axis))
                for axis, scale in scales.items()
            ]
        )


def _without_level(
    images: Floats, weights: Floats, background: Background
) -> tuple[Floats, Floats]:
    """Take out what a fitted background would: the images, and the levels taken.

    Parameters
    ----------
    images : NDArray, shape (n, planes, window, window)
    weights : NDArray, shape (planes, window, window)

    Returns
    -------
    NDArray, shape of `images`; NDArray, shape (n, planes)
    """
    if background == "none":
        return images, np.zeros(images.shape[:2])
    axes = (1, 2, 3) if background == "bead" else (2, 3)
    total = np.sum(weights[None], axes, keepdims=True)
    level = np.sum(weights * images, axes, keepdims=True) / total
    levels = np.broadcast_to(level[..., 0, 0], images.shape[:2])
    return images - level, levels


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solve small normal equations; directions without information stay put."""
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    scaled = matrix * scale * scale[:, None] + 1e-9 * np.eye(len(right))
    return np.asarray(scale * np.linalg.solve(scaled, scale * right))
