"""Do fitted PSFs agree with beads? Chi2 per pixel, also where nothing was fitted.

python tests/benchmarks/psf_chi2.py [STACK ...]

Stacks are the beads of the SMLM 2016 challenge (Sage et al., Nature Methods 16, 387
(2019)), whose camera is known, and real ones, whose camera is not (the data folder is
that of LIVELOC_DATA). Chi2 is the sum of squared residuals in units of the camera's
noise over the pixels where a bead gives more than one photon, divided by their degrees
of freedom: 1 where only noise is left.

"fitted" uses all planes and beads, as `liveloc calibrate psf` does. "other planes" is
of the planes that a fit to every second plane has not seen: shape, places and
intensities are those of the seen planes, nothing is fitted again. "other bead" is of
beads that took no part in the shape (each in turn, every fifth plane): their five
numbers - place, depth, photons, background - are fitted, the shape is not.

Where the camera is not known, the noise is measured in the stack itself: the variance
of p[k-1] - 2 p[k] + p[k+1] over three successive planes, a sixth of which is that of
one plane, in bins of brightness, and a line through it. Chi2 is then relative to that
estimate, which contains what stage and lamp do from plane to plane. Stacks that were
normalised and averaged have no such noise; of these only the residual is given, root
mean square over all pixels in percent of the brightest one.
"""

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from liveloc.model.calibration.psf.bead_fit import fit_jointly, refit_places, subset
from liveloc.model.calibration.psf.beads import Spot, cut
from liveloc.model.calibration.psf.calibration import BeadSettings, calibrate_psf
from liveloc.stream.calibration import CameraCalibration

EMCCD = CameraCalibration(
    offset_adu=100, e_per_adu=45, em_gain=300, qe=0.9, read_noise_e=74.4
)
BINS, SIGNAL, SPARSE = 24, 1.0, 5


@dataclass(frozen=True)
class Stack:
    """A bead stack and what its source says of it."""

    path: str
    pixel_nm: float
    z_step_nm: float
    camera: CameraCalibration | None = None
    offset_adu: float | None = None  # known, but not the gain


STACKS = {
    "AS": Stack("smlm2016_beads/beads_AS.tif", 100, 10, camera=EMCCD),
    "DH": Stack("smlm2016_beads/beads_DH.tif", 100, 10, camera=EMCCD),
    "2D": Stack("smlm2016_beads/beads_2D.tif", 100, 10, camera=EMCCD),
    "fit3Dcspline": Stack(
        "bead_stacks_real/fit3Dcspline_single_bead_astig.tif", 130, 10, offset_adu=400
    ),
    "PYME_psf_astig": Stack("bead_stacks_real/PYME_psf_astig.tif", 73, 50),
    "PYME_beads1": Stack("bead_stacks_real/PYME_beads1.tif", 73, 50),
}


def camera_of(pixels, offset_adu):
    """Measure variance over brightness in a stack; give a camera that has it."""
    light = pixels.astype(float) - offset_adu
    mean = (light[:-2] + light[1:-1] + light[2:]) / 3
    squares = (light[:-2] - 2 * light[1:-1] + light[2:]) ** 2 / 6
    edges = np.quantile(mean, np.linspace(0, 1, BINS + 1)[1:-1])
    which = np.digitize(mean.ravel(), edges)
    count = np.bincount(which)
    x, y = (np.bincount(which, v.ravel()) / count for v in (mean, squares))
    slope, floor = np.polyfit(x, y, 1, w=1 / y)
    read = np.sqrt(max(floor, 0.0)) / slope
    return CameraCalibration(
        offset_adu=offset_adu, e_per_adu=1 / slope, read_noise_e=read
    )


def fit(stack, pixels, every=1):
    """Fit every so-manieth plane."""
    span = (len(pixels) - 1) * stack.z_step_nm
    settings = BeadSettings(
        pixel_size_nm=stack.pixel_nm,
        z_step_nm=stack.z_step_nm * every,
        z_start_nm=-span / 2,
        camera=stack.camera,
    )
    return calibrate_psf(pixels[::every], settings)


def compare(model, fitted=0):
    """Give chi2 per signal pixel and the residual in percent of the peak."""
    spots = model.spots()
    expected = spots + model.background[:, :, None, None]
    left = model.images - expected
    signal = spots > SIGNAL
    squares = (model.weights(expected) * left**2)[signal]
    chi2 = squares.sum() / max(1, squares.size - fitted) if model.slope else np.nan
    return chi2, 100 * np.sqrt(np.mean(left**2)) / np.abs(model.images).max()


def other_planes(stack, pixels):
    """Fit every second plane; compare the others, with nothing fitted again."""
    done = fit(stack, pixels, every=2)
    model = done.model
    unseen = pixels[1::2][: len(model.z_nm) - 1]  # between two that were seen
    light = (
        unseen.astype(float) if stack.camera is None else stack.camera.photons(unseen)
    )
    corners = [
        Spot(round(b.x_px - x), round(b.y_px - y), 1.0)  # as they were cut out
        for b, x, y in zip(done.beads, model.x_px, model.y_px, strict=True)
    ]
    middle = (model.z_nm[1:] + model.z_nm[:-1]) / 2
    return compare(
        replace(
            model,
            images=cut(light, corners, model.images.shape[-1]),
            z_nm=middle,
            jitter=np.zeros((len(middle), 4)),
            background=np.repeat(model.background[:, :1], len(middle), 1),
        )
    )


def other_beads(stack, pixels):
    """Leave each bead out of the shape in turn: mean chi2 and residual."""
    whole = fit(stack, pixels, every=SPARSE).model
    beads = range(len(whole.images))
    if len(beads) < 2:
        return np.nan, np.nan
    found = []
    for left_out in beads:
        others = subset(whole, [b for b in beads if b != left_out])
        others.coefficients = np.zeros_like(others.coefficients)
        others.roughness = None
        fit_jointly(others, "bead", jitter=True)
        bead = replace(
            subset(whole, [left_out]),
            coefficients=others.coefficients,
            jitter=others.jitter,
        )
        refit_places(bead, "bead")
        found.append(compare(bead, fitted=5))
    return tuple(np.mean(found, 0))


def cell(value, form):
    """Write a number, or a dash where there is none."""
    return format(value, form) if np.isfinite(value) else "-"


def main():
    """Print one row for each stack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs="*", help=f"of {', '.join(STACKS)}")
    names = parser.parse_args().stacks or STACKS
    here = Path(__file__).resolve().parents[3]
    data = Path(os.environ.get("LIVELOC_DATA", here / "shared" / "data"))
    print(
        "| beads | planes | noise from | chi2 fitted | worst plane "
        "| other planes | other bead | residual fitted, other planes (% of peak) | s |"
    )
    print("|---|--:|---|--:|--:|--:|--:|--:|--:|")
    for name in names:
        stack, start = STACKS[name], time.process_time()
        pixels = tifffile.imread(data / stack.path)
        noise = "camera" if stack.camera else "-"
        if stack.offset_adu is not None:
            stack = replace(stack, camera=camera_of(pixels, stack.offset_adu))
            noise = f"stack: {1 / stack.camera.e_per_adu:.3g} ADU/photon"
        done = fit(stack, pixels)
        seconds = time.process_time() - start
        _, residual = compare(done.model)
        unseen, unseen_residual = other_planes(stack, pixels)
        strange, _ = other_beads(stack, pixels)
        chi2 = done.fit.chi2_signal if stack.camera else np.nan
        worst = done.fit.chi2_planes.max() if stack.camera else np.nan
        print(
            f"| {name}, {len(done.beads)} | {len(pixels)} | {noise} | "
            f"{cell(chi2, '.3f')} | {cell(worst, '.2f')} | {cell(unseen, '.3f')} | "
            f"{cell(strange, '.3f')} | {residual:.2f}, {unseen_residual:.2f} | "
            f"{seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
