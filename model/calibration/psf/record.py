"""The record of a PSF calibration: metadata of its file, summary and warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc import __version__

if TYPE_CHECKING:
    from .calibration import PSFCalibration

WRONG_NOISE = (0.7, 1.5)  # noise per photon found over noise expected
ODD_PLANE = 3.0  # chi2 of a plane over the median
FEW_BEADS = 3


def metadata_of(calibration: PSFCalibration, source: str) -> dict[str, Any]:
    """Return what the PSF file records of its origin, as plain JSON data.

    Parameters
    ----------
    calibration : PSFCalibration
    source : str
        Name of the stack.
    """
    settings, model = calibration.settings, calibration.model
    fit = calibration.fit
    has_noise = settings.camera is not None
    slices = calibration.slices.as_dict()
    return {
        "source": source,
        "program": f"liveloc {__version__}",
        "planes": len(model.z_nm),
        "z_step_nm": settings.z_step_nm,
        "z_first_plane_nm": float(model.z_nm[0]),
        "z_zero": calibration.zero,
        "position": (
            "as stated for each bead"
            if settings.positions_px is not None
            else "where a Gaussian fit finds the bead at z = 0"
        ),
        "scale": (
            f"photons of {settings.bead_photons:g} emitted by a bead"
            if settings.bead_photons
            else "the window holds 1 at z = 0"
        ),
        "window_px": int(model.images.shape[-1]),
        "background": settings.background,
        "camera": _camera(calibration),
        "chi2": round(fit.chi2_all, 4) if has_noise else None,
        "chi2_signal": round(fit.chi2_signal, 4) if has_noise else None,
        "chi2_planes": _rounded(fit.chi2_planes) if has_noise else None,
        "noise_over_expected": round(fit.noise, 3) if has_noise else None,
        "residual_of_peak": float(f"{_residual(calibration):.3g}"),
        "pixels": fit.pixels,
        "parameters": round(fit.parameters),
        "beads": _beads(calibration),
        "refused": [
            {"x_px": round(r.x_px, 1), "y_px": round(r.y_px, 1), "reason": r.reason}
            for r in calibration.refused
        ],
        "jitter": _jitter(calibration),
        "wobble": {name: slices[name] for name in ("z_nm", "dx_nm", "dy_nm")},
        "widths": {name: slices[name] for name in ("sigma_x_nm", "sigma_y_nm")},
        "amplitude": slices["amplitude"],
        "remarks": remarks(calibration),
    }


def remarks(calibration: PSFCalibration) -> list[str]:
    """Return what a user should know before trusting the calibration."""
    fit, settings = calibration.fit, calibration.settings
    found = []
    if settings.camera is None:
        found.append(
            "no camera given: all pixels weigh the same and the noise is taken from "
            "the residuals, so chi2 means nothing. Use --camera or --offset and --gain."
        )
    elif not WRONG_NOISE[0] <= fit.noise <= WRONG_NOISE[1]:
        found.append(
            f"the noise per photon is {fit.noise:.2g} times that of the stated camera: "
            "a gain, an EM gain or a quantum efficiency is wrong, or the planes were "
            f"averaged. {_gain(calibration):.3g} electrons per count would fit."
        )
    if len(calibration.beads) < FEW_BEADS:
        beads = beads_in_words(len(calibration.beads))
        found.append(
            f"only {beads}: the PSF at other positions within a pixel is "
            "interpolated. Use ten beads if you can."
        )
    odd = fit.chi2_planes > ODD_PLANE * np.median(fit.chi2_planes)
    if settings.camera is not None and odd.any():
        planes = ", ".join(str(k) for k in np.flatnonzero(odd)[:8])
        found.append(
            f"planes {planes} (from 0) do not fit their neighbours: the stage moved "
            "or the lamp changed during the exposure."
        )
    return found


def describe(calibration: PSFCalibration) -> str:
    """Return a summary of a few lines for the terminal."""
    fit, slices, model = calibration.fit, calibration.slices, calibration.model
    lines = [
        f"{beads_in_words(len(calibration.beads))}, {len(model.z_nm)} planes from "
        f"{model.z_nm[0]:.0f} to {model.z_nm[-1]:.0f} nm; z = 0 is {calibration.zero}"
    ]
    lines += [
        f"not used: bead at ({r.x_px:.0f}, {r.y_px:.0f}): {r.reason}"
        for r in calibration.refused
    ]
    if calibration.settings.camera is not None:
        worst = int(fit.chi2_planes.argmax())
        lines.append(
            f"chi2 per pixel {fit.chi2_signal:.3f} where the beads are, "
            f"{fit.chi2_all:.3f} overall; worst plane {worst} (from 0): "
            f"{fit.chi2_planes[worst]:.2f}"
        )
    else:
        lines.append(f"residual {100 * _residual(calibration):.2g} % of the peak")
    lines.append(
        f"wobble x {np.ptp(slices.dx_nm):.0f} nm, y {np.ptp(slices.dy_nm):.0f} nm over "
        f"the range; light in the window {slices.amplitude.min():.2f} to "
        f"{slices.amplitude.max():.2f}"
    )
    return "\n".join([*lines, *(f"note: {r}" for r in remarks(calibration))])


def beads_in_words(beads: int) -> str:
    """Return a number of beads with its noun."""
    return "1 bead" if beads == 1 else f"{beads} beads"


def _beads(calibration: PSFCalibration) -> list[dict[str, float]]:
    model = calibration.model
    return [
        {
            "x_px": round(bead.x_px, 4),
            "y_px": round(bead.y_px, 4),
            "dz_nm": round(float(model.dz_nm[k]), 2),
            "photons": float(f"{bead.brightness:.6g}"),
            "background": float(f"{model.background[k].mean():.4g}"),
            "chi2": round(float(calibration.fit.chi2_beads[k]), 3),
        }
        for k, bead in enumerate(calibration.beads)
    ]


def _camera(calibration: PSFCalibration) -> dict[str, float] | None:
    camera = calibration.settings.camera
    if camera is None:
        return None
    names = ("offset_adu", "e_per_adu", "em_gain", "qe", "read_noise_e")
    return {name: float(getattr(camera.typical, name)) for name in names}


def _jitter(calibration: PSFCalibration) -> dict[str, float] | None:
    """Return the standard deviations of the jitter from plane to plane."""
    if not calibration.settings.jitter:
        return None
    x, y, z, light = calibration.model.jitter.std(0)
    scale = calibration.settings.pixel_size_nm
    return {
        "x_nm": round(float(x) * scale, 3),
        "y_nm": round(float(y) * scale, 3),
        "z_nm": round(float(z), 3),
        "light_percent": round(100 * float(light), 3),
    }


def _residual(calibration: PSFCalibration) -> float:
    """Return the root mean square residual relative to the brightest pixel."""
    model = calibration.model
    left = np.sqrt(np.mean((model.images - model.expected()) ** 2))
    return float(left / np.abs(model.images).max())


def _gain(calibration: PSFCalibration) -> float:
    """Return the electrons per count that would explain the measured noise."""
    camera = calibration.settings.camera
    return float(camera.typical.e_per_adu) / calibration.fit.noise if camera else 0.0


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 3) for value in values]
