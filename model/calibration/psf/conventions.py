"""Conventions for what bead images leave open.

Images alone do not show what is background and what is the PSF's own far light, which
depth is 0, where in its image an emitter is, and how bright it is. Each has one rule.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...physics.psf import SplinePSF, spline_kernel
from .beads import frame_of
from .shape import focus_nm, measure_slices, render_slices

if TYPE_CHECKING:
    from .bead_model import Background, BeadModel


def spline_of(model: BeadModel, pixel_size_nm: float) -> SplinePSF:
    """Return the fitted shape as a PSF."""
    knots = model.knots
    return SplinePSF(
        coefficients=model.coefficients.astype(np.float32),
        z_first_nm=knots.z_first_nm,
        z_step_nm=knots.z_step_nm,
        centre_px=knots.centre_px,
        z_low_nm=float(model.z_nm.min()),
        z_high_nm=float(model.z_nm.max()),
        pixel_size_nm=pixel_size_nm,
    )


def settle_background(model: BeadModel, background: Background) -> None:
    """Separate PSF and background, which images alone cannot.

    A constant in the window can be either. The edge of the window is dark in every
    plane where each has its background, or else in the darkest plane.
    """
    if background == "none":
        return
    along = spline_kernel(model.knots.along(model.z_nm))  # (planes, knots)
    images = render_slices(spline_of(model, 1.0), model.z_nm)
    level = np.median(frame_of(images), -1)
    knots = np.linalg.lstsq(along, level, rcond=None)[0]
    if background == "bead":
        knots = np.full_like(knots, (along @ knots).min())
    model.coefficients = model.coefficients - knots[:, None, None]
    share = model.photons[:, None] * np.exp(model.jitter[:, 3])
    model.background += share * (along @ knots)


def settle_depth(model: BeadModel, z_start_nm: float | None) -> str:
    """Put z = 0 at the focus unless the first plane's depth is stated; return which."""
    if z_start_nm is not None:
        return "as stated by the depth of the first plane"
    psf = spline_of(model, 1.0)
    focus = focus_nm(measure_slices(psf))
    if focus is None:
        return "the middle plane"
    model.z_nm = model.z_nm - focus
    model.knots = replace(model.knots, z_first_nm=model.knots.z_first_nm - focus)
    return "best focus: the smallest area of a fitted Gaussian"


def settle_place(model: BeadModel) -> None:
    """Put the emitter where a Gaussian fit finds it at z = 0."""
    psf = spline_of(model, 1.0)
    zero = float(np.clip(0.0, psf.z_low_nm, psf.z_high_nm))
    there = measure_slices(psf, np.array([zero]))
    x, y = float(there.dx_nm[0]), float(there.dy_nm[0])  # px, as pixels are 1 nm here
    row, column = model.knots.centre_px
    model.knots = replace(model.knots, centre_px=(row + y, column + x))
    model.x_px += x
    model.y_px += y


def settle_scale(model: BeadModel) -> None:
    """Scale the PSF to sum to 1 over the window at z = 0."""
    psf = spline_of(model, 1.0)
    zero = float(np.clip(0.0, psf.z_low_nm, psf.z_high_nm))
    light = float(render_slices(psf, np.array([zero])).sum())
    model.coefficients = model.coefficients / light
    model.photons = model.photons * light
