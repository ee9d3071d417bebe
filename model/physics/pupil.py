"""The PSF of a microscope from its optics: diffraction at a high numerical aperture.

A freely rotating dipole emits into the sample; its plane waves cross the coverslip
(from the sample's index to the immersion's), are collimated by an aplanatic objective,
get the phase of a mask or of aberrations in the pupil, and are focused on the camera:
vectorial diffraction after S. Stallinga and B. Rieger, Opt. Express 18, 24461 (2010),
with the light beyond the critical angle. z is measured from the coverslip into the
sample.

Phase masks are sums of Zernike polynomials (Noll's normalisation: a coefficient is the
root mean square of the path length over the pupil). A tetrapod, for example, is
astigmatism with secondary astigmatism of the opposite sign (Y. Shechtman et al., Phys.
Rev. Lett. 113, 133902 (2014)).

Written for NumPy and torch: with tensors all parameters have gradients, so that a mask
can be retrieved from images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from array_api_compat import array_namespace
from pydantic import BaseModel, ConfigDict, Field, model_validator

from liveloc.stream.files.yaml_file import load_yaml
from liveloc.stream.pixel_size import PixelSizeNm

from .psf import SplinePSF, spline_kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = Any  # NumPy array or torch tensor
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Index = Annotated[float, Field(ge=1, le=2)]

FIELD = 2.0  # widths of the window that the pupil's sampling resolves
LEAST_POINTS = 64  # across the pupil
EDGE = 8  # points per pupil point along its edge, for a round pupil on a square grid
FINE = 2  # positions per pixel to which the spline is fitted
# Gauss-Legendre points and weights that integrate over a pixel.
_NODES = (-math.sqrt(0.15), 0.0, math.sqrt(0.15))
_WEIGHTS = (5 / 18, 8 / 18, 5 / 18)


class Optics(BaseModel):
    """A microscope, as a validated YAML file.

    Attributes
    ----------
    pixel_size_nm : float
        Camera pixel in the sample.
    wavelength_nm : float
        Mean emission wavelength in vacuum.
    na : float
        Numerical aperture of the objective.
    immersion_index, sample_index : float
        Refractive indices; the coverslip has that of the immersion.
    focus_nm : float
        How far the objective was moved up from the focus on the coverslip's surface.
    z_range_nm : (low, high)
        Depths of emitters above the coverslip.
    zernike_nm : list of (n, m, nm)
        Path length added in the pupil: radial order, angular order (negative: sine),
        root mean square.
    blur_px : float
        Standard deviation of the blur beyond diffraction: emission bandwidth,
        motion, remaining aberrations.
    window_px : int
        Edge of the rendered image of an emitter, odd.
    z_step_nm : float
        Spacing of the spline's knots.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    pixel_size_nm: PixelSizeNm
    wavelength_nm: Positive
    na: Positive
    immersion_index: Index
    sample_index: Index
    focus_nm: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    z_range_nm: tuple[float, float]
    zernike_nm: list[tuple[int, int, float]] = []
    blur_px: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    window_px: Annotated[int, Field(ge=7, le=201)] = 41
    z_step_nm: Positive = 50.0

    @model_validator(mode="after")
    def _possible(self) -> Optics:
        if self.na >= self.immersion_index:
            raise ValueError(
                f"na is {self.na:g} in an immersion of index {self.immersion_index:g}: "
                "it must be less"
            )
        low, high = self.z_range_nm
        if not high - low >= 2 * self.z_step_nm:
            raise ValueError(
                f"z_range_nm is {[low, high]}: must be (low, high), at least two "
                f"steps of {self.z_step_nm:g} nm apart"
            )
        if self.window_px % 2 == 0:
            raise ValueError(f"window_px is {self.window_px}: it must be odd")
        for n, m, _ in self.zernike_nm:
            if n < 0 or abs(m) > n or (n - m) % 2:
                raise ValueError(
                    f"zernike_nm has (n, m) = ({n}, {m}): |m| must be at most n, and "
                    "n - m even"
                )
        return self

    @classmethod
    def load(cls, path: Path) -> Optics:
        """Read and check a YAML file.

        Raises
        ------
        SettingsError
            Missing file, unknown key (the nearest valid one is named), bad value.
        """
        return load_yaml(path, cls)


def zernike(n: int, m: int, radius: Floats, angle: Floats) -> Floats:
    """Return a Zernike polynomial of unit root mean square over the unit disk."""
    k = abs(m)
    radial = np.zeros_like(radius)
    for s in range((n - k) // 2 + 1):
        factor = (-1) ** s * math.factorial(n - s) / math.factorial(s)
        factor /= math.factorial((n + k) // 2 - s) * math.factorial((n - k) // 2 - s)
        radial = radial + factor * radius ** (n - 2 * s)
    azimuthal = np.cos(k * angle) if m >= 0 else np.sin(k * angle)
    return np.asarray(math.sqrt((n + 1) * (2 if m else 1)) * radial * azimuthal)


@dataclass(frozen=True, slots=True)
class Pupil:
    """The light of a dipole in the pupil, on a square grid of p x p points.

    Attributes
    ----------
    wavenumber : float
        2 pi / wavelength, 1/nm.
    direction : Array, shape (p,)
        Component of a unit wave vector along x (and y), times the index: -NA to NA.
    amplitudes : Array, shape (5, p, p)
        Complex fields on the coverslip, without any phase: two polarisations of three
        dipoles, of which two are the same.
    parts : Array, shape (5,)
        Weight of each in the intensity.
    sample, immersion : Array, shape (p, p)
        Axial components of the same unit wave vector, times the index; complex.
    modes : Array, shape (k, p, p)
        Zernike polynomials that the phase is a sum of.
    """

    wavenumber: float
    direction: Array
    amplitudes: Array
    parts: Array
    sample: Array
    immersion: Array
    modes: Array

    @classmethod
    def of(cls, optics: Optics, modes: list[tuple[int, int]]) -> Pupil:
        """Compute the pupil of a microscope, in NumPy."""
        field_nm = FIELD * optics.window_px * optics.pixel_size_nm
        points = math.ceil(2 * optics.na * field_nm / optics.wavelength_nm)
        points = max(points, LEAST_POINTS)
        direction = ((np.arange(points) + 0.5) / points * 2 - 1) * optics.na
        x, y = np.meshgrid(direction, direction)
        sine, angle = np.hypot(x, y), np.arctan2(y, x)
        within = _coverage(points) > 0
        s = np.where(within, np.minimum(sine, optics.na), 0.0)
        n1, n2 = optics.sample_index, optics.immersion_index
        q1, q2 = np.sqrt(n1**2 - s**2 + 0j), np.sqrt(n2**2 - s**2 + 0j)
        # Fresnel transmission over the sample's axial component, which is the density
        # of a dipole's plane waves; then the aplanatic factor.
        p = 2 * n1 * n2 / (n2**2 * q1 + n1**2 * q2) * np.sqrt(q2)
        t = 2 / (q1 + q2) * np.sqrt(q2)
        cos, sin, across = np.cos(angle), np.sin(angle), q1 / n1
        fields = [
            p * across * cos**2 + t * sin**2,  # dipole along x, field along x
            (p * across - t) * cos * sin,  # x to y, and the same y to x
            p * across * sin**2 + t * cos**2,  # y to y
            -p * s / n1 * cos,  # z to x
            -p * s / n1 * sin,  # z to y
        ]
        amplitudes = np.sqrt(_coverage(points)) * np.stack(fields)
        return cls(
            wavenumber=2 * math.pi / optics.wavelength_nm,
            direction=direction,
            amplitudes=amplitudes,
            parts=np.array([1.0, 2.0, 1.0, 1.0, 1.0]),
            sample=q1,
            immersion=q2,
            modes=np.array(
                [zernike(n, m, s / optics.na, angle) for n, m in modes]
            ).reshape(len(modes), points, points),
        )

    def converted(self, asarray: Callable[[Array], Array]) -> Pupil:
        """Return the same pupil in arrays of another kind, such as torch tensors."""
        names = ("direction", "amplitudes", "parts", "sample", "immersion", "modes")
        return replace(self, **{name: asarray(getattr(self, name)) for name in names})

    def images(
        self,
        x_nm: Array,
        y_nm: Array,
        z_nm: Array,
        zernike_nm: Array,
        focus_nm: Array,
        pixels: tuple[Floats, Floats],
        pixel_size_nm: float,
    ) -> Array:
        """Integrate the intensity over pixels.

        Parameters
        ----------
        x_nm, y_nm, z_nm : Array, shape (n,)
            Emitters; z above the coverslip.
        zernike_nm : Array, shape (k,)
            Coefficients of `modes`.
        focus_nm : Array or float
            See `Optics`.
        pixels : (rows, columns)
            Centres of the pixels, nm.
        pixel_size_nm : float
            Their size.

        Returns
        -------
        Array, shape (n, rows, columns)
            Fraction of the light through the pupil on each pixel.
        """
        xp = array_namespace(z_nm)
        path = xp.sum(zernike_nm[:, None, None] * self.modes, axis=0)
        path = path - focus_nm * self.immersion + z_nm[:, None, None] * self.sample
        phase = xp.exp(1j * self.wavenumber * path)  # (n, p, p)
        fields = self.amplitudes * phase[:, None]  # (n, 5, p, p)
        energy = xp.matmul(xp.sum(xp.abs(fields) ** 2, axis=(2, 3)), self.parts)
        across = self._waves(y_nm, pixels[0], pixel_size_nm)[:, None]  # (n, 1, 3 h, p)
        along = self._waves(x_nm, pixels[1], pixel_size_nm)[:, None]  # (n, 1, 3 w, p)
        image = xp.matmul(xp.matmul(across, fields), xp.matrix_transpose(along))
        weighted = self.parts[:, None, None] * xp.abs(image) ** 2
        intensity = xp.sum(weighted, axis=1)  # (n, 3 h, 3 w)
        n, h, w = intensity.shape[0], len(pixels[0]), len(pixels[1])
        weights = xp.asarray(_WEIGHTS, dtype=z_nm.dtype)
        parts = xp.reshape(intensity, (n, h, 3, w, 3))
        summed = xp.sum(parts * weights * weights[:, None, None], axis=(2, 4))
        step = (self.direction[1] - self.direction[0]) * pixel_size_nm
        scale = (self.wavenumber * step / (2 * math.pi)) ** 2
        return summed * scale / energy[:, None, None]

    def _waves(self, position: Array, pixels: Floats, size_nm: float) -> Array:
        """Return plane waves at the points of all pixels: (n, 3 pixels, p)."""
        xp = array_namespace(position)
        nodes = pixels[:, None] + size_nm * np.array(_NODES)
        points = xp.asarray(nodes.ravel(), dtype=position.dtype)
        distance = points - position[:, None]
        return xp.exp(1j * self.wavenumber * distance[..., None] * self.direction)


def _coverage(points: int) -> Floats:
    """Return the fraction of each point's square inside the round pupil."""
    fine = (np.arange(points * EDGE) + 0.5) / (points * EDGE) * 2 - 1
    inside = np.hypot(fine, fine[:, None]) <= 1
    parts = inside.reshape(points, EDGE, points, EDGE)
    return np.asarray(parts.mean(axis=(1, 3)), np.float64)


def optical_psf(optics: Optics) -> SplinePSF:
    """Compute the PSF of a microscope as a spline.

    The spline is the one that is closest, in the least-squares sense, at `FINE` x
    `FINE` positions of the emitter within a pixel and twice as many depths as it has
    knots.
    """
    half = optics.window_px // 2
    low, high = optics.z_range_nm
    steps = math.ceil((high - low) / optics.z_step_nm)
    step = (high - low) / steps
    depths = np.linspace(low, high, 2 * steps + 1)
    offsets = np.arange(-half * FINE, half * FINE + 1) / FINE  # px from the emitter
    volume = _volume(optics, depths, offsets)
    if optics.blur_px:
        from scipy.ndimage import gaussian_filter

        sigma = (0, optics.blur_px * FINE, optics.blur_px * FINE)
        volume = gaussian_filter(volume, sigma, mode="nearest")
    lateral = _closest(offsets + half + 1, 2 * half + 3)
    axial = _closest((depths - low) / step + 1, steps + 3)
    coefficients = np.einsum(
        "kz,jy,ix,zyx->kji", axial, lateral, lateral, volume, optimize=True
    )
    return SplinePSF(
        coefficients=np.ascontiguousarray(coefficients, np.float32),
        z_first_nm=low - step,
        z_step_nm=step,
        centre_px=(half + 1.0, half + 1.0),
        z_low_nm=low,
        z_high_nm=high,
        pixel_size_nm=optics.pixel_size_nm,
    )


def _volume(optics: Optics, depths: Floats, offsets: Floats) -> Floats:
    """Compute pixels at `offsets` (px) from emitters at `depths`, plane by plane."""
    pupil = Pupil.of(optics, [(n, m) for n, m, _ in optics.zernike_nm])
    strengths = np.array([nm for _, _, nm in optics.zernike_nm], float)
    places = offsets * optics.pixel_size_nm
    zero = np.zeros(1)
    planes = [
        pupil.images(
            zero,
            zero,
            np.array([z]),
            strengths,
            optics.focus_nm,
            (places, places),
            optics.pixel_size_nm,
        )[0]
        for z in depths
    ]
    return np.stack(planes)


def _closest(places: Floats, knots: int) -> Floats:
    """Return the matrix from values at `places` (knots) to the closest spline."""
    basis = np.asarray(spline_kernel(places[:, None] - np.arange(knots)), np.float64)
    # Slight smoothness fixes the outermost knots, which few values determine.
    rough = np.diff(np.eye(knots), 2, axis=0) * 1e-4
    return np.asarray(np.linalg.pinv(np.vstack([basis, rough]))[:, : len(places)])
