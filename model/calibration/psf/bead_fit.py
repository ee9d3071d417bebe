"""Fit the shape of the PSF and the positions of all beads in turn until both settle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .bead_model import Background, BeadModel
    from .spline_equations import Floats

    Progress = Callable[[int, float], None]

REGISTERING = 6  # steps of placing beads on the image of one of them
FEWEST_ROUNDS, ROUNDS = 3, 15  # of shape and places in turn
FIRST_STEPS, STEPS = 80, 25  # of conjugate gradients
SETTLED_PX = 1e-3  # beads that move less have arrived
SETTLED_CHI2 = 1e-3
LEAST_NOISE = 1e-4  # of the brightest pixel, without a camera
BINS = 20  # of pixels of similar brightness
SIGNAL = 1.0  # photons of a bead on a pixel
LEAST_LEFT = 0.05  # share of degrees of freedom: fewer are not significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How well images agree with their model.

    All are squared residuals in units of the noise, their sum divided by the degrees of
    freedom that the fit left to just these pixels: 1 where only noise is left. A bright
    pixel adds more of them to the shape than a dim one.

    Attributes
    ----------
    chi2_all, chi2_signal : float
        Over all pixels, and over those where a bead contributes more than one photon.
    chi2_planes : NDArray, shape (planes,)
    chi2_beads : NDArray, shape (beads,)
        Over the signal pixels of one plane, of one bead.
    pixels : int
        Measured values.
    parameters : float
        Effective number of fitted parameters.
    noise : float
        Variance per photon that is left over, relative to the camera's.
    """

    chi2_all: float
    chi2_signal: float
    chi2_planes: Floats
    chi2_beads: Floats
    pixels: int
    parameters: float
    noise: float


def agreement(
    model: BeadModel, background: Background, *, jitter: bool, shape_fitted: bool = True
) -> Agreement:
    """Compare a fitted model with its images.

    Parameters
    ----------
    model : BeadModel
    background : {"bead", "plane", "none"}
    jitter, shape_fitted : bool
        Whether these took degrees of freedom, too.
    """
    spots = model.spots()
    expected = spots + model.background[:, :, None, None]
    weights = model.weights(expected)
    squares = weights * (model.images - expected) ** 2
    signal = spots > SIGNAL if model.slope else spots > 0.01 * spots.max()
    taken = _taken(model, background, signal, jitter=jitter)
    if shape_fitted:
        taken += model.leverage(weights, np.random.default_rng(0))
    left = np.maximum(1 - taken.sum() / taken.size, LEAST_LEFT)

    def mean(where: tuple[int, ...] | None = None) -> Floats:
        count = np.sum(signal, where)
        free = np.maximum(count - np.sum(taken * signal, where), LEAST_LEFT * count)
        return np.asarray(np.sum(squares * signal, where) / np.maximum(free, 1e-9))

    return Agreement(
        chi2_all=float(np.mean(squares) / left),
        chi2_signal=float(mean()),
        chi2_planes=mean((0, 2, 3)),
        chi2_beads=mean((1, 2, 3)),
        pixels=squares.size,
        parameters=float(taken.sum()),
        noise=_noise_per_photon(model, expected, taken),
    )


def _taken(
    model: BeadModel, background: Background, signal: NDArray[np.bool_], *, jitter: bool
) -> Floats:
    """Return the degrees of freedom that all but the shape took from each pixel."""
    beads, planes = model.images.shape[:2]
    levels = {"bead": beads, "plane": beads * planes, "none": 0}[background]
    places = 4.0 * beads
    if jitter:
        places += 4.0 * max(0, planes - model.knots.depths)
    taken = np.full(signal.shape, levels / signal.size)
    return np.asarray(taken + signal * (places / max(1, np.count_nonzero(signal))))


def mean_squares(model: BeadModel) -> Floats:
    """Return the mean weighted squared residual of each bead."""
    expected = model.expected()
    squares = model.weights(expected) * (model.images - expected) ** 2
    return np.asarray(squares.mean((1, 2, 3)))


def _noise_per_photon(model: BeadModel, expected: Floats, taken: Floats) -> float:
    """Fit a line to the squared residuals over the photons: its slope, relative."""
    if not model.slope:
        return 1.0
    squares = (model.images - expected) ** 2
    edges = np.unique(np.quantile(expected, np.linspace(0.02, 0.98, BINS + 1)))
    which = np.digitize(expected.ravel(), edges)
    count = np.maximum(np.bincount(which), 1)
    free = np.maximum(count - np.bincount(which, taken.ravel()), LEAST_LEFT * count)
    photons = (np.bincount(which, expected.ravel()) / count)[1:-1]
    variance = (np.bincount(which, squares.ravel()) / free)[1:-1]
    if len(photons) < 3 or not (variance > 0).all():
        return 1.0
    slope = np.polyfit(photons, variance, 1, w=1 / variance)[0]
    return float(max(slope, 0.0) / model.slope)


def first_shape(model: BeadModel, template: int) -> None:
    """Take the shape from one bead alone, and put the others where they fit to it."""
    home = _gauge(model)
    alone = subset(model, [template])
    alone.fit_shape(alone.weights(_smoothed(alone.images)), FIRST_STEPS, 1e-4)
    model.coefficients = alone.coefficients
    seen = _smoothed(model.images)
    for _ in range(REGISTERING):
        weights = model.weights(np.maximum(seen, model.expected()))
        model.fit_beads(weights, background="none", depth=False)
    _return(model, home)


def fit_jointly(
    model: BeadModel,
    background: Background,
    *,
    jitter: bool,
    progress: Progress | None = None,
) -> None:
    """Fit everything. The beads' mean place, depth and intensity stay what they are.

    Parameters
    ----------
    model : BeadModel
        Roughly placed beads and a first shape; changed.
    background : {"bead", "plane", "none"}
    jitter : bool
        Fit the jitter of stage and lamp from plane to plane, too.
    progress : callable, optional
        Called with the number of the round and chi2 over all pixels.
    """
    home = _gauge(model)
    several = len(model.images) > 1  # one bead's place is a matter of convention
    last = np.inf
    expected = np.maximum(_smoothed(model.images), 0.0)
    for number in range(ROUNDS):
        model.fit_shape(model.weights(expected), STEPS if number else FIRST_STEPS)
        if not model.slope and model.roughness is None:
            model.floor = _noise_floor(model)
        weights = model.weights(model.expected())
        if number == 1 and model.roughness is None:
            model.measure_roughness(weights)
        moved = model.fit_beads(weights, background=background, place=several)
        if jitter and number:
            model.fit_jitter(weights)
        _return(model, home)
        expected = model.expected()
        chi2 = float(np.mean(model.weights(expected) * (model.images - expected) ** 2))
        if progress:
            progress(number, chi2)
        at_rest = moved < SETTLED_PX and abs(chi2 - last) < SETTLED_CHI2 * chi2
        if at_rest and number >= FEWEST_ROUNDS:
            break
        last = chi2
    model.fit_shape(model.weights(expected), FIRST_STEPS)
    if not model.slope:
        model.floor = _noise_floor(model)


def refit_places(model: BeadModel, background: Background, rounds: int = 8) -> None:
    """Fit positions, intensities and backgrounds to a shape that is given."""
    for _ in range(rounds):
        weights = model.weights(model.expected())
        if model.fit_beads(weights, background=background) < SETTLED_PX:
            break


def subset(model: BeadModel, beads: list[int]) -> BeadModel:
    """Return a model of some of the beads; what is fitted is copied."""
    floor = model.floor
    return replace(
        model,
        images=model.images[beads],
        floor=floor[beads] if np.ndim(floor) else floor,
        x_px=model.x_px[beads],
        y_px=model.y_px[beads],
        dz_nm=model.dz_nm[beads],
        photons=model.photons[beads],
        background=model.background[beads],
        jitter=model.jitter.copy(),
        coefficients=model.coefficients.copy(),
    )


def _noise_floor(model: BeadModel) -> float:
    """Use the residuals as noise if there is no camera."""
    left = float(np.mean((model.images - model.expected()) ** 2))
    return max(left, (LEAST_NOISE * float(np.ptp(model.images))) ** 2)


def _gauge(model: BeadModel) -> Floats:
    """Return what the images do not determine: mean place, depth, log intensity."""
    return np.array(
        [
            model.x_px.mean(),
            model.y_px.mean(),
            0.0,
            np.log(model.photons).mean(),
        ]
    )


def _return(model: BeadModel, home: Floats) -> None:
    """Undo what a shifted or scaled shape would explain as well."""
    model.x_px -= model.x_px.mean() - home[0]
    model.y_px -= model.y_px.mean() - home[1]
    model.dz_nm -= model.dz_nm.mean()
    model.photons *= np.exp(home[3] - np.log(model.photons).mean())


def _smoothed(images: Floats) -> Floats:
    """Guess the mean of noisy images, for their first weights."""
    from scipy import ndimage

    return np.asarray(ndimage.gaussian_filter(images, (0, 1.0, 0.7, 0.7)))
