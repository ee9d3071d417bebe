import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import AstigmaticPSF, GaussianPSF, erf
from liveloc.stream.calibration import CameraCalibration

PSF = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)


def emitters(n=20, side=32):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(8, side - 8, (2, n)).astype(np.float32)
    z = rng.uniform(-400, 400, n).astype(np.float32)
    photons = rng.uniform(500, 3000, n).astype(np.float32)
    return x, y, z, photons


def test_the_error_function_is_good_to_two_in_ten_million():
    x = np.linspace(-5, 5, 2001)
    exact = np.array([math.erf(v) for v in x])
    assert np.abs(erf(x) - exact).max() < 2e-7


@given(x=st.floats(12, 20), y=st.floats(12, 20), z=st.floats(-400, 400))
def test_an_emitter_keeps_its_photons_and_its_place(x, y, z):
    one = (np.array([v]) for v in (x, y, z, 1000.0))
    image = PSF.render(*one, (33, 33))
    rows, columns = np.mgrid[:33, :33]
    assert image.sum() == pytest.approx(1000, rel=2e-3)
    assert (image * columns).sum() / image.sum() == pytest.approx(x, abs=0.02)
    assert (image * rows).sum() / image.sum() == pytest.approx(y, abs=0.02)


def test_defocus_above_widens_x_and_below_widens_y():
    z = np.array([-300.0, 0.0, 300.0])
    sigma_x, sigma_y = PSF.x.width_px(z), PSF.y.width_px(z)
    assert sigma_x[0] < sigma_y[0]
    assert sigma_x[1] == sigma_y[1]
    assert sigma_x[2] > sigma_y[2]


def test_torch_and_numpy_render_the_same_image():
    torch = pytest.importorskip("torch")
    arrays = emitters()
    image = PSF.render(*arrays, (32, 40))
    tensor = PSF.render(*map(torch.as_tensor, arrays), (32, 40))
    assert np.allclose(image, tensor.numpy(), atol=1e-3)


def test_rendering_is_a_sum_over_emitters_and_padding_adds_nothing():
    x, y, z, photons = emitters(5)
    together = PSF.render(x, y, z, photons, (32, 32))
    alone = sum(
        PSF.render(
            x[i : i + 1], y[i : i + 1], z[i : i + 1], photons[i : i + 1], (32, 32)
        )
        for i in range(5)
    )
    padded = PSF.render(x, y, z, np.where(np.arange(5) < 4, photons, 0), (32, 32))
    assert np.allclose(together, alone, atol=1e-3)
    assert np.allclose(
        padded, PSF.render(x[:4], y[:4], z[:4], photons[:4], (32, 32)), atol=1e-3
    )


def test_a_round_gaussian_ignores_z():
    x, y, z, photons = emitters(3)
    psf = GaussianPSF(sigma_px=1.3)
    assert np.array_equal(
        psf.render(x, y, z, photons, (32, 32)),
        psf.render(x, y, z * 0, photons, (32, 32)),
    )


def test_exposures_have_the_mean_and_variance_of_shot_and_read_noise():
    calibration = CameraCalibration(
        offset_adu=100, e_per_adu=0.5, qe=0.8, read_noise_e=2.0
    )
    photons = np.full((400, 400), 50.0, np.float32)
    counts = expose(photons, calibration, NumpyNoise(np.random.default_rng(1)))
    electrons = 50 * 0.8
    assert counts.mean() == pytest.approx(100 + electrons / 0.5, rel=2e-3)
    assert counts.var() == pytest.approx((electrons + 4) / 0.25, rel=0.02)
    assert calibration.photons(counts).mean() == pytest.approx(50, rel=2e-3)


def test_exposures_saturate_and_are_whole_counts():
    calibration = CameraCalibration(offset_adu=100, e_per_adu=0.01)
    photons = np.array([[0.0, 1e6]], np.float32)
    counts = expose(photons, calibration, NumpyNoise(np.random.default_rng(1)))
    assert counts[0, 1] == 65535
    assert np.array_equal(counts, np.round(counts))
    assert counts.min() >= 0
