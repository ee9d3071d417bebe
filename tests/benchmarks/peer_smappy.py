"""SMAPpy (PyPI: smappy-smlm) as a peer: its own programs, our tables.

It fits single emitters with a cubic-spline PSF by maximum likelihood (Li et al.,
Nature Methods 15, 367 (2018)). Installed apart from liveloc, it is run through its
commands ``smappy-calibrate`` and ``smappy-fit``, whose folder the caller names.
"""

import subprocess
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import h5py
import numpy as np
import tifffile
import yaml

from liveloc.model.evaluation.metrics import match
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty

# Its fit box is dropped where it leaves the frame. Frames are continued by their
# mirror image, and what it finds outside is dropped, so that it may try the rim.
PADDING_PX = 16


@dataclass(frozen=True)
class Tried:
    """One way of running it, and what came of it."""

    cutoff: float
    sigma_px: float
    roi_px: int
    largest_misfit: float
    padded: bool
    score: object

    def __str__(self):
        rim = "mirrored rim" if self.padded else "as is"
        return (
            f"cutoff {self.cutoff:g}, sigma {self.sigma_px:g}, ROI {self.roi_px}, "
            f"misfit to {self.largest_misfit:.2f}, {rim}"
        )


def render_beads(psf, path, *, z_nm, spacing_px=70, beads_per_side=3, photons=2e5):
    """Write a bead stack of a PSF; its objective rises, so the emitters' z falls."""
    side = spacing_px * beads_per_side
    rng = np.random.default_rng(7)
    centres = (np.arange(beads_per_side) + 0.5) * spacing_px
    x, y = (c.ravel() for c in np.meshgrid(centres, centres))
    x, y = (v + rng.uniform(-0.5, 0.5, v.shape) for v in (x, y))
    camera = CameraCalibration(offset_adu=100, e_per_adu=10, read_noise_e=1.0)
    planes = [
        expose(
            psf.render(x, y, np.full_like(x, z), np.full_like(x, photons), (side, side))
            + 20,
            camera,
            NumpyNoise(rng),
        )
        for z in sorted(z_nm, reverse=True)
    ]
    tifffile.imwrite(path, np.stack(planes).astype(np.uint16), photometric="minisblack")


def calibrate(programs, beads, out, dz_nm, roi_px=27):
    """Run ``smappy-calibrate`` on a bead stack."""
    command = [Path(programs) / "smappy-calibrate", beads, "--out", out]
    command += ["--dz", str(dz_nm), "--roi-size", str(roi_px)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[-1]


def localize(
    programs, frames, spline, camera, *, pixel_nm, cutoff, sigma_px, roi_px, padded
):
    """Run ``smappy-fit`` on frames; give our table and its misfit per pixel."""
    margin = PADDING_PX if padded else 0
    around = ((0, 0), (margin, margin), (margin, margin))
    with tempfile.TemporaryDirectory() as folder:
        movie, out = Path(folder) / "movie.tif", Path(folder) / "out.h5"
        tifffile.imwrite(
            movie, np.pad(frames, around, mode="symmetric"), photometric="minisblack"
        )
        facts = Path(folder) / "camera.yaml"
        facts.write_text(yaml.safe_dump(_camera(camera, pixel_nm)))
        command = [Path(programs) / "smappy-fit", movie, out, "--cal", spline]
        command += ["--camera", facts, "--cutoff", str(cutoff), "--raw-frames", "0"]
        command += ["--cutoff-mode", "absolute", "--roisize", str(roi_px)]
        command += ["--sigma", str(sigma_px)]
        subprocess.run(command, check=True, capture_output=True)
        with h5py.File(out) as file:
            columns = {name: file["locs"][name][:] for name in file["locs"]}
    rows = empty(len(columns["frame"]))
    for name in ("frame", "x_nm", "y_nm", "z_nm", "photons", "background"):
        rows[name] = columns[name]
    for axis in "xyz":
        rows[f"{axis}_sigma_nm"] = columns[f"{axis}_err_nm"]
    rows["x_nm"] -= margin * pixel_nm
    rows["y_nm"] -= margin * pixel_nm
    height, width = frames.shape[1:]
    inside = (rows["x_nm"] > -0.5 * pixel_nm) & (rows["y_nm"] > -0.5 * pixel_nm)
    inside &= rows["x_nm"] < (width - 0.5) * pixel_nm
    inside &= rows["y_nm"] < (height - 0.5) * pixel_nm
    return rows[inside], -columns["logl"][inside] / roi_px**2


def best(programs, frames, truth, spline, camera, *, pixel_nm, z_range_nm, score):
    """Try thresholds, boxes and filters against the truth; give the best of them.

    Also takes out constant shifts against the truth (calibrations of SMAPpy put the
    origin where its beads' images correlate best). All of this favours the peer.
    """
    tried = []
    for padded, sigma_px, roi_px, cutoff in product(
        (False, True), (1.2, 1.8), (7, 9, 13), (2, 6, 18)
    ):
        rows, misfit = localize(
            programs,
            frames,
            spline,
            camera,
            pixel_nm=pixel_nm,
            cutoff=cutoff,
            sigma_px=sigma_px,
            roi_px=roi_px,
            padded=padded,
        )
        within = np.abs(rows["z_nm"]) <= z_range_nm
        rows, misfit = rows[within], misfit[within]
        _take_out_shifts(rows, truth)
        for percent in (60, 80, 90, 100) if len(rows) else ():
            limit = float(np.percentile(misfit, percent))
            result = score(rows[misfit <= limit])
            tried.append(Tried(cutoff, sigma_px, roi_px, limit, padded, result))
    return max(tried, key=lambda one: one.score.efficiency_3d), tried


def _take_out_shifts(rows, truth):
    """Bring the median error of the matched rows to 0 along each axis, in place."""
    found, real = match(rows, truth)
    for name in ("x_nm", "y_nm", "z_nm"):
        if len(found):
            rows[name] -= np.median(rows[name][found] - truth[name][real])


def _camera(camera, pixel_nm):
    facts = {
        "conversion": float(camera.e_per_adu),
        "offset": float(camera.offset_adu),
        "pixelsize_um": pixel_nm / 1000,
        "em_on": camera.em_gain > 1,
        "emgain": float(camera.em_gain),
    }
    if camera.em_gain == 1:
        facts["read_noise_e"] = float(camera.read_noise_e)
    return facts
