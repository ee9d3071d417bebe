"""Bead stacks in which the stage did something else than one steady run."""

import numpy as np
import pytest

from liveloc.model.calibration.psf.bead_run import check_run
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF, DoubleHelixPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError

CAMERA = CameraCalibration(e_per_adu=0.5, read_noise_e=1.6)
WINDOW = 21
PSFS = {
    "astigmatic": AstigmaticPSF.symmetric(
        sigma0_px=1.3, separation_nm=250, depth_nm=400
    ),
    "helix": DoubleHelixPSF(
        sigma_px=1.3, separation_px=6.0, angle=0.2, turn_per_nm=0.0018
    ),
    "defocus": AstigmaticPSF.symmetric(sigma0_px=1.3, separation_nm=0, depth_nm=300),
}
UP = np.arange(-600, 601, 40.0)
STEADY = {
    "up": UP,
    "down": UP[::-1],
    "fine": np.arange(-500, 500, 10.0),
    "above the focus": np.arange(50, 900, 25.0),
    "with jitter": UP + np.random.default_rng(3).normal(0, 10, len(UP)),
}
OTHERS = {
    "up and down": (np.concatenate([UP, UP[::-1]]), "turned round near plane 3"),
    "up and half way down": (np.concatenate([UP, UP[:12:-1]]), "turned round"),
    "down and up": (np.concatenate([UP[::-1], UP[1:]]), "turned round|planes repeat"),
    "twice": (np.concatenate([UP, UP]), "repeat: plane 3. and|turned round"),
    "three times": (np.tile(UP[::2], 3), "planes repeat|turned round"),
    "waits for 5": (np.repeat(UP[::2], 5), "waited for 5 planes"),
    "waits for 2": (np.repeat(np.arange(-600, 601, 60.0), 2), "waited for 2 planes"),
}


def beads(psf, z_nm, photons=20000.0, count=3):
    z = np.repeat(np.asarray(z_nm)[:, None], 1, 1)
    noise = NumpyNoise(np.random.default_rng(7))
    stacks = []
    for k in range(count):
        at = np.full_like(z, WINDOW // 2 + 0.2 * k)
        light = psf.render(at, at, z, np.full_like(z, photons), (WINDOW, WINDOW)) + 20
        counts = expose(light.astype(np.float32), CAMERA, noise)
        stacks.append(CAMERA.photons(counts))
    return np.stack(stacks).astype(np.float64)


@pytest.mark.parametrize("run", STEADY)
@pytest.mark.parametrize("psf", PSFS)
def test_a_steady_run_is_taken(psf, run):
    check_run(beads(PSFS[psf], STEADY[run]))


@pytest.mark.parametrize("photons", [300.0, 1000.0])
@pytest.mark.parametrize("psf", PSFS)
def test_faint_beads_do_not_look_like_a_turn(psf, photons):
    check_run(beads(PSFS[psf], UP, photons, count=1))


@pytest.mark.parametrize("run", OTHERS)
@pytest.mark.parametrize("psf", PSFS)
def test_another_run_is_refused_with_its_planes(psf, run):
    z_nm, complaint = OTHERS[run]
    with pytest.raises(SettingsError, match=complaint):
        check_run(beads(PSFS[psf], z_nm))


def test_a_copied_plane_is_refused():
    images = beads(PSFS["astigmatic"], UP)
    images[:, 9] = images[:, 8]
    with pytest.raises(SettingsError, match="planes 8 and 9 are identical"):
        check_run(images)
