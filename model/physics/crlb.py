"""The limit of every estimate: Cramér-Rao lower bounds of emitters in noise.

The Fisher information of position, photons and background is summed over pixels,
``F_ab = sum (d mu / d a) (d mu / d b) / v``, with the expected photons mu and the
variance v of the photons that the camera's calibration makes of its counts (R. J. Ober
et al., Biophys. J. 86, 1185 (2004); read noise added to v as in F. Huang et al., Nature
Methods 10, 653 (2013)). Electron multiplication doubles the shot noise in v, which is
slightly pessimistic below about one photon per pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration

    from .psf import PSF

WINDOW_PX = 33  # edge of what an emitter is estimated from, background included
SUBPIXEL = 4  # positions per axis within a pixel that limits are averaged over
STEP_PX, STEP_NM = 0.02, 2.0  # of the differences
_DISTANCES = 2 * STEP_PX, 2 * STEP_PX, 2 * STEP_NM
NOTHING = 1e-9  # relative: what changes less does not change
_CHUNK = 32  # emitters at a time: small enough for the cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Smallest standard deviations that an unbiased estimate can have.

    Attributes
    ----------
    x_nm, y_nm, z_nm : NDArray[np.float64]
        Limits of the position; z is NaN where the PSF does not change with depth.
    photons : NDArray[np.float64]
        Limit of the photons of the emitter.
    background : NDArray[np.float64]
        Limit of the background per pixel.
    """

    x_nm: NDArray[np.float64]
    y_nm: NDArray[np.float64]
    z_nm: NDArray[np.float64]
    photons: NDArray[np.float64]
    background: NDArray[np.float64]


def crlb(
    psf: PSF,
    z_nm: Any,
    photons: Any,
    background: Any,
    camera: CameraCalibration,
    pixel_size_nm: float,
    *,
    window_px: int = WINDOW_PX,
) -> Limits:
    """Return the limits for an isolated emitter anywhere within a pixel.

    Parameters
    ----------
    psf : PSF
        PSF in NumPy arrays.
    z_nm, photons, background : float or NDArray
        Depth, incident photons, incident photons per pixel; they broadcast, and
        their common shape is that of the limits.
    camera : CameraCalibration
        Camera; of maps the medians are used.
    pixel_size_nm : float
        Edge of a camera pixel.
    window_px : int
        Edge of the square of pixels that the information comes from.

    Returns
    -------
    Limits
        Root mean square over the emitter's place within the pixel: what the root
        mean square error of many emitters cannot fall below.
    """
    values = np.broadcast_arrays(
        *(np.asarray(v, np.float64) for v in (z_nm, photons, background))
    )
    shape = values[0].shape
    z, n, b = (np.repeat(v.reshape(-1), SUBPIXEL**2) for v in values)
    places = (np.arange(SUBPIXEL) + 0.5) / SUBPIXEL - 0.5
    y, x = (p.reshape(-1) for p in np.meshgrid(places, places))
    tiles = len(z) // SUBPIXEL**2
    limits = crlb_at(
        psf, np.tile(x, tiles), np.tile(y, tiles), z, n, b, camera, pixel_size_nm,
        window_px=window_px,
    )  # fmt: skip
    return _each(
        limits,
        lambda s: np.sqrt(np.mean(s.reshape(-1, SUBPIXEL**2) ** 2, 1)).reshape(shape),
    )


def crlb_at(
    psf: PSF,
    x_px: NDArray[Any],
    y_px: NDArray[Any],
    z_nm: NDArray[Any],
    photons: NDArray[Any],
    background: NDArray[Any],
    camera: CameraCalibration,
    pixel_size_nm: float,
    *,
    window_px: int = WINDOW_PX,
) -> Limits:
    """Return the limits of emitters where they are, each as if it were alone.

    Parameters
    ----------
    psf, camera, pixel_size_nm, window_px
        See `crlb`.
    x_px, y_px, z_nm, photons, background : NDArray, shape (n,)
        Positions, of which only the one within a pixel matters: the chip has no edges.
    """
    alone = x_px[:, None], y_px[:, None], z_nm[:, None], photons[:, None]
    return _of_groups(psf, alone, background, camera, pixel_size_nm, window_px)


def crlb_crowded(
    psf: PSF,
    x_px: NDArray[Any],
    y_px: NDArray[Any],
    z_nm: NDArray[Any],
    photons: NDArray[Any],
    background: NDArray[Any],
    camera: CameraCalibration,
    pixel_size_nm: float,
    *,
    reach_px: float = 8.0,
    window_px: int = WINDOW_PX,
) -> Limits:
    """Return the limits of all emitters of one frame, which light each other's pixels.

    Each emitter is estimated together with its neighbours, whose number is taken to
    be known: overlap costs precision, but no limit shows how often it is resolved.

    Parameters
    ----------
    psf, camera, pixel_size_nm, window_px
        See `crlb`.
    x_px, y_px, z_nm, photons, background : NDArray, shape (n,)
        Emitters that are on in the frame.
    reach_px : float
        Neighbours up to there are estimated, too; those beyond are left out.
    """
    from scipy.spatial import cKDTree

    if len(x_px) == 0:
        return crlb_at(
            psf, x_px, y_px, z_nm, photons, background, camera, pixel_size_nm
        )
    places = np.stack([x_px, y_px], 1)
    near = cKDTree(places).query_ball_point(places, reach_px)
    most = max(map(len, near))
    group = np.full((len(x_px), most), -1)
    for i, members in enumerate(near):
        others = [i, *(j for j in members if j != i)]
        group[i, : len(others)] = others
    light = np.where(group >= 0, photons[group], 0.0)  # padding is dark
    together = x_px[group], y_px[group], z_nm[group], light
    return _of_groups(psf, together, background, camera, pixel_size_nm, window_px)


def _of_groups(
    psf: PSF,
    emitters: tuple[NDArray[Any], ...],
    background: NDArray[Any],
    camera: CameraCalibration,
    pixel_size_nm: float,
    window_px: int,
) -> Limits:
    """Return the limits of the first of each group of k emitters.

    `emitters` are x_px, y_px, z_nm and photons, of shape (n, k) each.
    """
    middle = window_px // 2
    x, y, z, light = (np.asarray(v, np.float64) for v in emitters)
    x, y = x - np.round(x[:, :1]) + middle, y - np.round(y[:, :1]) + middle
    z = _within(psf, z)
    deep = depends_on_depth(psf)
    parts = [
        _deviations(
            psf,
            (x[i:j], y[i:j], z[i:j], light[i:j]),
            np.asarray(background[i:j], np.float64),
            camera.typical,
            (window_px, window_px),
            deep,
        )
        for i, j in ((i, i + _CHUNK) for i in range(0, max(len(x), 1), _CHUNK))
    ]
    found = np.concatenate(parts)  # (n, 5): x, y, z, photons, background
    scale = (pixel_size_nm, pixel_size_nm, 1.0, 1.0, 1.0)
    named = zip((f.name for f in fields(Limits)), found.T, scale, strict=True)
    return Limits(**{name: column * unit for name, column, unit in named})


def _deviations(
    psf: PSF,
    emitters: tuple[NDArray[np.float64], ...],
    background: NDArray[np.float64],
    camera: CameraCalibration,
    shape: tuple[int, int],
    deep: bool,
) -> NDArray[np.float64]:
    """Invert the Fisher matrices of m groups of k emitters: (m, 5)."""
    x, y, z, light = emitters
    unit, slopes = images_and_slopes(psf, x, y, z, shape, deep=deep)
    m, k = x.shape
    flat = m, k, shape[0] * shape[1]
    unit, *moved = (v.reshape(flat) for v in (unit, *slopes))
    light = light[..., None]
    slopes = [*(slope * light for slope in moved), np.where(light > 0, unit, 0.0)]
    ground = np.ones((m, 1, unit.shape[2]))
    slope = np.concatenate([*slopes, ground], axis=1)  # (m, 4 k + 1, pixels)
    mean = background[:, None] + np.sum(unit * light, 1)
    read = float(np.asarray(camera.read_variance_photons))
    variance = np.maximum(camera.excess * mean / camera.qe + read, 1e-9)
    fisher = (slope / variance[:, None]) @ np.swapaxes(slope, 1, 2)
    return _roots_of_inverse(fisher)[:, [0, k, 2 * k, 3 * k, 4 * k]]


def images_and_slopes(
    psf: PSF,
    x_px: NDArray[Any],
    y_px: NDArray[Any],
    z_nm: NDArray[Any],
    shape: tuple[int, int],
    *,
    deep: bool = True,
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return the image of each emitter, per photon, and its slopes.

    Parameters
    ----------
    psf : PSF
        PSF in NumPy arrays.
    x_px, y_px, z_nm : NDArray, shape (...)
        Positions on an image of its own for each.
    shape : tuple[int, int]
        (height, width) of those images.
    deep : bool
        Without it, slopes along z are 0.

    Returns
    -------
    images : NDArray, shape (..., height, width)
    slopes : list of NDArray, the same shape
        Along x and y per pixel, along z per nm: central differences.
    """
    steps = [(0.0, 0.0, 0.0), (STEP_PX, 0.0, 0.0), (0.0, STEP_PX, 0.0)]
    steps += [(0.0, 0.0, STEP_NM)] if deep else []
    moves = np.array([*steps, *(tuple(-d for d in step) for step in steps[1:])])
    place = np.stack(np.broadcast_arrays(x_px, y_px, z_nm))[:, None]
    x, y, z = place + moves.T.reshape(3, -1, *(1,) * x_px.ndim)  # (moves, ...)
    moved = x[..., None], y[..., None], z[..., None]
    images = np.asarray(psf.render(*moved, np.ones_like(moved[0]), shape), np.float64)
    ahead, behind = images[1 : len(steps)], images[len(steps) :]
    slopes = [
        (one - other) / distance
        for one, other, distance in zip(ahead, behind, _DISTANCES, strict=False)
    ]
    return images[0], slopes if deep else [*slopes, np.zeros_like(images[0])]


def _roots_of_inverse(fisher: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root of the inverse's diagonal; NaN for what has no information."""
    scale = np.sqrt(np.diagonal(fisher, axis1=1, axis2=2))  # (m, p)
    informed = scale > NOTHING
    scale = np.where(informed, scale, 1.0)
    matrix = fisher / (scale[:, :, None] * scale[:, None, :])
    matrix = np.where(informed[:, :, None] & informed[:, None, :], matrix, 0.0)
    matrix += np.eye(fisher.shape[1]) * ~informed[:, None, :]
    variance = np.diagonal(np.linalg.pinv(matrix, hermitian=True), axis1=1, axis2=2)
    return np.where(informed, np.sqrt(np.maximum(variance, 0.0)) / scale, np.nan)


def depends_on_depth(psf: PSF) -> bool:
    """Return whether the image of an emitter changes with its depth at all."""
    z = np.array([-300.0, -100.0, 0.0, 100.0, 300.0])[:, None]
    middle = np.full_like(z, 10.3)
    image = psf.render(middle, middle, z, np.ones_like(z), (21, 21))
    return bool(np.ptp(np.asarray(image), axis=0).max() > 1e-6)


def _within(psf: PSF, z_nm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep depths where a calibrated PSF still has a slope on both sides."""
    low, high = getattr(psf, "z_low_nm", -np.inf), getattr(psf, "z_high_nm", np.inf)
    return np.clip(z_nm, low + STEP_NM, high - STEP_NM)


def _each(
    limits: Limits, change: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Limits:
    return Limits(**{f.name: change(getattr(limits, f.name)) for f in fields(Limits)})
