"""Measure a PSF from a stack of beads: position, intensity and shape together.

The shape is a `SplinePSF`. It keeps the changes along z: of the light in the window (no
plane is normalised) and of the lateral position of the spot (the wobble).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.pixel_size import check_pixel_size

from .bead_fit import agreement, first_shape, fit_jointly, mean_squares, subset
from .bead_model import Background, BeadModel
from .bead_run import check_run
from .beads import (
    Refusal,
    Spot,
    choose_beads,
    cut,
    default_window,
    find_spots,
    frame_of,
    saturated_pixels,
)
from .conventions import (
    settle_background,
    settle_depth,
    settle_place,
    settle_scale,
    spline_of,
)
from .shape import measure_slices
from .spline_equations import Knots

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration

    from ...physics.psf import SplinePSF
    from .bead_fit import Agreement
    from .shape import Slices

    Floats = NDArray[np.float64]
    Progress = Callable[[int, float], None]

KNOTS_NM = 30.0  # along z, or the planes' distance where that is more
SPAN_NM = (100.0, 20_000.0)  # a stack covers; beyond it the z step has a wrong unit
FEWEST_PLANES = 5
WORSE = 1.3  # chi2 of a bead over the median: it is unlike the others
ROUNDING = 1 / 12  # variance of a count that was rounded


@dataclass(frozen=True, slots=True, kw_only=True)
class BeadSettings:
    """How a stack was recorded, and how it is to be fitted.

    Attributes
    ----------
    pixel_size_nm : float
    z_step_nm : float
        Distance between planes; negative if z decreases.
    z_start_nm : float, optional
        Depth of the first plane. By default z = 0 is the plane of best focus, or
        the middle one of a PSF without focus.
    camera : CameraCalibration, optional
        Without one the images are used as they are, and all pixels have equal weight.
    positions_px : NDArray, shape (n, 2), optional
        True (x, y) of the beads: the wobble then includes the constant offset.
    bead_photons : float, optional
        Photons that a bead emits per plane, for absolute amplitudes. By default the
        PSF sums to 1 over the window at z = 0.
    window_px : int, optional
        Odd edge of the fitted square; by default 3.3 um, or what fits a single bead.
    min_distance_px : float, optional
        Smallest distance between beads; by default the window.
    knots_nm : float, optional
        Spacing of the knots along z.
    background : {"bead", "plane", "none"}
        One value per bead, or per plane of each, or only the camera's offset.
    jitter : bool
        Fit the jitter of stage and lamp from plane to plane.
    """

    pixel_size_nm: float
    z_step_nm: float
    z_start_nm: float | None = None
    camera: CameraCalibration | None = None
    positions_px: Floats | None = None
    bead_photons: float | None = None
    window_px: int | None = None
    min_distance_px: float | None = None
    knots_nm: float | None = None
    background: Background = "bead"
    jitter: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PSFCalibration:
    """A fitted PSF and everything that it is based on.

    Attributes
    ----------
    psf : SplinePSF
    settings : BeadSettings
    beads : list of Spot
        Beads used, with their fitted positions and intensities.
    refused : list of Refusal
    model : BeadModel
        The fit; its coefficients are those of `psf` but for the scale of intensities.
    fit : Agreement
    slices : Slices
        Wobble, widths and amplitude at the depth of each plane.
    zero : str
        Meaning of z = 0, in words.
    """

    psf: SplinePSF
    settings: BeadSettings
    beads: list[Spot]
    refused: list[Refusal]
    model: BeadModel
    fit: Agreement
    slices: Slices
    zero: str


def calibrate_psf(
    stack: NDArray[Any], settings: BeadSettings, progress: Progress | None = None
) -> PSFCalibration:
    """Fit a PSF to all good beads of a stack.

    Parameters
    ----------
    stack : NDArray, shape (planes, height, width)
        Counts, or images in any unit of light where there is no camera.
    settings : BeadSettings
    progress : callable, optional
        Called with (round, chi2) now and then.

    Raises
    ------
    SettingsError
        Not a stack, no usable bead, planes that are not one steady run, or an
        impossible z step.
    """
    z_nm = _depths(stack, settings)
    _check(stack, settings)
    camera = settings.camera
    photons = stack.astype(np.float64) if camera is None else camera.photons(stack)
    beads, refused, window = _choose(stack, photons, settings)
    check_run(cut(photons, beads, window))
    model = _start(photons, beads, window, z_nm, settings)
    model, beads = _fit_without_odd(model, beads, refused, settings, progress)
    return _finish(model, beads, refused, settings)


def _depths(stack: NDArray[Any], settings: BeadSettings) -> Floats:
    """Return the depth of each plane; refuse what cannot be a stack."""
    if stack.ndim != 3 or len(stack) < FEWEST_PLANES:
        raise SettingsError(
            f"a bead stack has shape (planes, height, width) and at least "
            f"{FEWEST_PLANES} planes; this one has {stack.shape}. Save all planes of "
            "one channel as one multi-page TIFF."
        )
    span = abs(settings.z_step_nm) * (len(stack) - 1)
    if not SPAN_NM[0] <= span <= SPAN_NM[1]:
        raise SettingsError(
            f"a z step of {settings.z_step_nm:g} nm makes {len(stack)} planes span "
            f"{span:g} nm; the stack must span {SPAN_NM[0]:g} to {SPAN_NM[1]:g} nm. Is "
            "--z-step in nanometres?"
        )
    steps = np.arange(len(stack), dtype=np.float64)
    if settings.z_start_nm is None:
        return (steps - (len(stack) - 1) / 2) * settings.z_step_nm
    return settings.z_start_nm + steps * settings.z_step_nm


def _check(stack: NDArray[Any], settings: BeadSettings) -> None:
    """Refuse settings that do not fit each other or the stack."""
    if settings.background not in get_args(Background):
        choices = ", ".join(get_args(Background))
        raise SettingsError(
            f"background {settings.background!r} is unknown: use one of {choices}."
        )
    check_pixel_size(settings.pixel_size_nm, "--pixel-size")
    camera = settings.camera
    if camera is not None and camera.shape not in (None, stack.shape[1:]):
        raise SettingsError(
            f"the camera maps have {camera.shape} pixels, the stack has "
            f"{stack.shape[1:]}. Record the beads with the same ROI."
        )


def _choose(
    stack: NDArray[Any], photons: NDArray[Any], settings: BeadSettings
) -> tuple[list[Spot], list[Refusal], int]:
    """Return the beads to use, those refused, and the window."""
    largest = (min(stack.shape[1:]) - 1) // 2 * 2 + 1
    wanted = settings.window_px or default_window(settings.pixel_size_nm)
    window = min(wanted // 2 * 2 + 1, largest)
    spots = find_spots(photons, window)
    if len(spots) == 1 and not settings.window_px:  # a file with one bead, cut out
        x, y = round(spots[0].x_px), round(spots[0].y_px)
        height, width = stack.shape[1:]
        window = min(window, 2 * min(x, y, width - 1 - x, height - 1 - y) + 1)
    if settings.positions_px is not None:
        spots = _stated(spots, settings.positions_px, window)
    level = None if settings.camera is None else settings.camera.saturation_adu
    beads, refused = choose_beads(
        spots,
        photons,
        window,
        min_distance_px=settings.min_distance_px,
        saturated=saturated_pixels(stack, level),
    )
    if not beads:
        why = "; ".join(f"({r.x_px:.0f}, {r.y_px:.0f}) {r.reason}" for r in refused[:8])
        raise SettingsError(
            f"none of {len(refused)} beads can be used in a window of {window} px: "
            f"{why}. {_remedy(spots, window)}"
        )
    return beads, refused, window


def _remedy(spots: list[Spot], window: int) -> str:
    """Return what to do where no bead can be used."""
    places = np.array([(s.x_px, s.y_px) for s in spots])
    away = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(away, np.inf)
    if np.median(away.min(1)) < window / 2:  # most spots have one beside them
        return (
            "Are these the lobes of one PSF, each taken for a bead? Then use a "
            "larger --window; otherwise record beads farther apart."
        )
    return (
        "Record beads that are dimmer or farther apart, or use a smaller --window "
        "or --min-distance."
    )


def _stated(spots: list[Spot], positions_px: Floats, window: int) -> list[Spot]:
    """Use the stated positions of visible beads; others only count as light nearby."""
    places = np.array([(s.x_px, s.y_px) for s in spots])
    away = np.linalg.norm(positions_px[:, None] - places, axis=-1)
    nearest = away.argmin(1)
    if away.min() > window / 2:
        raise SettingsError(
            f"the stated positions are not those of the beads: the nearest is "
            f"{away.min():.1f} px from a bead, must be {window / 2:g} px or less. Are "
            "they in nanometres, x first, for the same pixel size?"
        )
    placed = [
        Spot(float(x), float(y), spots[n].brightness)
        for (x, y), n, distance in zip(positions_px, nearest, away.min(1), strict=True)
        if distance <= window / 2
    ]
    return placed + [s for n, s in enumerate(spots) if n not in nearest]


def _start(
    photons: NDArray[Any],
    beads: list[Spot],
    window: int,
    z_nm: Floats,
    settings: BeadSettings,
) -> BeadModel:
    """Cut out the beads and guess all parameters of the fit."""
    images = cut(photons, beads, window)
    border = np.median(frame_of(images), -1)  # (beads, planes)
    level = np.zeros_like(border)
    if settings.background == "bead":
        level += border.min(1, keepdims=True)
    elif settings.background == "plane":
        level += border
    x, y = np.array([(b.x_px - round(b.x_px), b.y_px - round(b.y_px)) for b in beads]).T
    light = np.maximum((images - level[:, :, None, None]).sum((2, 3)).mean(1), 1e-30)
    if settings.bead_photons:
        light *= settings.bead_photons / np.exp(np.log(light).mean())
    step = max(settings.knots_nm or KNOTS_NM, abs(settings.z_step_nm))
    floor, slope = _noise(settings.camera, beads, window)
    return BeadModel(
        images=images,
        floor=floor,
        slope=slope,
        z_nm=z_nm,
        knots=Knots.over(z_nm.min(), z_nm.max(), step, window, (y[0], x[0])),
        x_px=x.copy(),
        y_px=y.copy(),
        photons=light,
        background=level,
    )


def _noise(
    camera: CameraCalibration | None, beads: list[Spot], window: int
) -> tuple[Any, float]:
    """Return the variance without light, and per photon."""
    if camera is None:
        return 1.0, 0.0
    rounding = ROUNDING * np.asarray(camera.photons_per_adu) ** 2
    floor = np.asarray(camera.read_variance_photons + rounding, np.float64)
    if floor.ndim:
        floor = cut(floor[None], beads, window)
    return floor, camera.excess / camera.qe


def _fit_without_odd(
    model: BeadModel,
    beads: list[Spot],
    refused: list[Refusal],
    settings: BeadSettings,
    progress: Progress | None,
) -> tuple[BeadModel, list[Spot]]:
    """Fit; drop, one by one, beads that agree less than the others."""
    first_shape(model, 0)
    while True:
        fit_jointly(
            model, settings.background, jitter=settings.jitter, progress=progress
        )
        chi2 = mean_squares(model)
        worst, typical = int(chi2.argmax()), float(np.median(chi2))
        if len(beads) < 3 or chi2[worst] < WORSE * typical:
            return model, beads
        odd = beads[worst]
        reason = (
            f"does not match the others: chi2 {chi2[worst]:.3g}, theirs {typical:.3g}"
        )
        refused.append(Refusal(odd.x_px, odd.y_px, reason))
        kept = [k for k in range(len(beads)) if k != worst]
        model, beads = subset(model, kept), [beads[k] for k in kept]


def _finish(
    model: BeadModel, beads: list[Spot], refused: list[Refusal], settings: BeadSettings
) -> PSFCalibration:
    """Settle what the images leave open, and measure the result."""
    settle_background(model, settings.background)
    fit = agreement(model, settings.background, jitter=settings.jitter)
    zero = settle_depth(model, settings.z_start_nm)
    if settings.positions_px is None:
        settle_place(model)
    if settings.bead_photons is None:
        settle_scale(model)
    fitted = [
        Spot(round(bead.x_px) + float(x), round(bead.y_px) + float(y), float(n))
        for bead, x, y, n in zip(
            beads, model.x_px, model.y_px, model.photons, strict=True
        )
    ]
    psf = spline_of(model, settings.pixel_size_nm)
    return PSFCalibration(
        psf=psf,
        settings=settings,
        beads=fitted,
        refused=refused,
        model=model,
        fit=fit,
        slices=measure_slices(psf),
        zero=zero,
    )
