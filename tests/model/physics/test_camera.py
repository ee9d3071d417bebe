import math

import numpy as np
import pytest

from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.stream.calibration import CameraCalibration

EMCCD = CameraCalibration(
    offset_adu=200, e_per_adu=10, em_gain=300, qe=0.9, read_noise_e=60
)


def test_electron_multiplication_doubles_the_variance_of_shot_noise():
    photons = np.full((600, 600), 20.0, np.float32)
    seen = EMCCD.photons(expose(photons, EMCCD, NumpyNoise(np.random.default_rng(2))))
    assert EMCCD.excess == 2
    assert seen.mean() == pytest.approx(20, rel=3e-3)
    expected = EMCCD.excess * 20 / 0.9 + EMCCD.read_variance_photons
    assert seen.var() == pytest.approx(expected, rel=0.02)


def test_without_light_an_emccd_shows_its_read_noise_only():
    dark = expose(
        np.zeros((300, 300), np.float32), EMCCD, NumpyNoise(np.random.default_rng(3))
    )
    assert dark.mean() == pytest.approx(200, abs=0.1)
    assert dark.std() == pytest.approx(60 / 10, rel=0.02)


def chip(height=24, width=20):
    rng = np.random.default_rng(4)
    return CameraCalibration(
        offset_adu=rng.normal(100, 3, (height, width)),
        e_per_adu=rng.normal(0.47, 0.02, (height, width)),
        read_noise_e=rng.lognormal(0.4, 0.4, (height, width)),
        qe=0.82,
    )


def test_each_pixel_of_a_chip_is_exposed_with_its_own_numbers():
    camera = chip()
    photons = np.full((20_000, 24, 20), 30.0, np.float32)
    counts = expose(photons, camera, NumpyNoise(np.random.default_rng(5)))
    mean = 30 * 0.82 / camera.e_per_adu + camera.offset_adu
    variance = (30 * 0.82 + camera.read_noise_e**2) / camera.e_per_adu**2 + 1 / 12
    assert np.abs(counts.mean(0) / mean - 1).max() < 4e-3
    assert np.abs(counts.var(0) / variance - 1).max() < 0.06
    seen = camera.photons(counts)
    assert seen.dtype == np.float32
    assert np.abs(seen.mean(0) - 30).max() < 0.3


def test_the_calibration_of_an_emccd_or_a_chip_says_where_it_saturates():
    camera = CameraCalibration(e_per_adu=0.5, saturation_adu=4095)
    photons = np.full((2, 8, 8), 1e5, np.float32)
    noise = NumpyNoise(np.random.default_rng(1))
    assert expose(photons, camera, noise).max() == 4095
    assert expose(photons, camera, noise, math.inf).min() > 100_000


def test_maps_expose_tensors_as_they_do_arrays():
    torch = pytest.importorskip("torch")
    from liveloc.model.training.simulation import TorchNoise

    camera = chip()
    photons = torch.full((4000, 24, 20), 30.0)
    noise = TorchNoise(torch.Generator().manual_seed(1))
    counts = expose(photons, camera, noise).numpy()
    mean = 30 * 0.82 / camera.e_per_adu + camera.offset_adu
    assert np.abs(counts.mean(0) / mean - 1).max() < 0.012
