import numpy as np
import pytest

from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.crlb import crlb, crlb_at, crlb_crowded
from liveloc.model.physics.psf import (
    AstigmaticPSF,
    DoubleHelixPSF,
    GaussianPSF,
    SplinePSF,
)
from liveloc.stream.calibration import CameraCalibration

ROUND = GaussianPSF(sigma_px=1.3)
ASTIGMATIC = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
CMOS = CameraCalibration(offset_adu=100, e_per_adu=0.5, read_noise_e=1.6)


@pytest.mark.parametrize(
    ("photons", "expected"),
    [
        (500, (12.1, 15.9, 27.8)),
        (1000, (7.6, 9.3, 14.9)),
        (2000, (5.0, 5.7, 8.3)),
        (5000, (2.9, 3.2, 4.1)),
        (10000, (2.0, 2.1, 2.5)),
    ],
)
def test_the_limits_of_a_round_gaussian_are_those_computed_elsewhere(photons, expected):
    """Two-dimensional RMSE in nm at a background of 5, 20 and 100 photons."""
    found = crlb(ROUND, 0.0, photons, np.array([5.0, 20.0, 100.0]), CMOS, 100.0)
    assert np.hypot(found.x_nm, found.y_nm) == pytest.approx(expected, abs=0.06)
    assert np.isnan(found.z_nm).all()


def test_with_no_background_precision_is_the_width_over_the_root_of_the_photons():
    fine = GaussianPSF(sigma_px=4.0)  # so wide that pixels do not matter
    quiet = CameraCalibration(read_noise_e=0.0)
    found = crlb(fine, 0.0, 1000.0, 1e-6, quiet, 25.0, window_px=61)
    assert found.x_nm == pytest.approx(100 / np.sqrt(1000), rel=0.01)
    assert found.photons == pytest.approx(np.sqrt(1000), rel=0.01)


def maximum_likelihood(frames, start, psf, camera):
    """Fit (x, y, z, photons, background) to each frame by Fisher scoring."""
    theta = np.array(start, float)  # (n, 5)
    seen = frames.reshape(len(frames), -1)
    shape = frames.shape[1:]
    step = np.array([0.01, 0.01, 1.0, 1.0, 0.01])

    def model(theta):
        x, y, z, light = (theta[:, i : i + 1] for i in range(4))
        return psf.render(x, y, z, light, shape).reshape(seen.shape) + theta[:, 4:]

    for _ in range(20):
        mean = model(theta)
        slope = np.stack(
            [
                (model(theta + h) - model(theta - h)) / (2 * h.max())
                for h in np.diag(step)
            ],
            axis=1,
        )
        variance = camera.excess * mean / camera.qe + camera.read_variance_photons
        weighted = slope / variance[:, None]
        fisher = weighted @ np.swapaxes(slope, 1, 2)
        gradient = (weighted * (seen - mean)[:, None]).sum(2)
        theta += np.linalg.solve(fisher, gradient[..., None])[..., 0]
    return theta


@pytest.mark.parametrize(
    "camera",
    [
        CMOS,
        CameraCalibration(offset_adu=100, e_per_adu=0.5, read_noise_e=1.6, qe=0.7),
        CameraCalibration(
            offset_adu=100, e_per_adu=10, em_gain=100, read_noise_e=60, qe=0.9
        ),
    ],
    ids=["cmos", "cmos-qe", "emccd"],
)
def test_maximum_likelihood_reaches_the_limits(camera):
    n, side, rng = 600, 25, np.random.default_rng(5)
    x, y = rng.uniform(11.5, 12.5, (2, n))
    z = rng.uniform(-300, 300, n)
    light, ground = np.full(n, 3000.0), np.full(n, 15.0)
    truth = np.stack([x, y, z, light, ground], 1)
    mean = ASTIGMATIC.render(*truth.T[:4, :, None], (side, side)) + 15.0
    frames = camera.photons(expose(mean, camera, NumpyNoise(rng)))
    found = maximum_likelihood(frames, truth, ASTIGMATIC, camera)
    limits = crlb_at(ASTIGMATIC, *truth.T, camera, 100.0, window_px=side)
    error = (found - truth) * [100, 100, 1, 1, 1]
    for column, name in enumerate(("x_nm", "y_nm", "z_nm", "photons", "background")):
        normalised = error[:, column] / getattr(limits, name)
        assert np.sqrt(np.mean(normalised**2)) == pytest.approx(1.0, abs=0.09), name


def test_averaging_over_the_pixel_agrees_with_places_drawn_at_random():
    rng, n = np.random.default_rng(2), 400
    narrow = GaussianPSF(sigma_px=0.25)  # where the place within the pixel matters
    x, y = rng.uniform(-0.5, 0.5, (2, n))
    columns = x, y, np.zeros(n), np.full(n, 800.0), np.full(n, 5.0)
    each = crlb_at(narrow, *columns, CMOS, 100.0)
    mean = crlb(narrow, 0.0, 800.0, 5.0, CMOS, 100.0)
    assert np.ptp(each.x_nm) > 0.3 * mean.x_nm
    assert mean.x_nm == pytest.approx(np.sqrt(np.mean(each.x_nm**2)), rel=0.02)


def test_limits_have_the_shape_of_what_they_are_asked_for():
    z = np.linspace(-400, 400, 5)[:, None]
    found = crlb(ASTIGMATIC, z, np.array([1000.0, 4000.0]), 10.0, CMOS, 100.0)
    assert found.z_nm.shape == (5, 2)
    assert (found.z_nm[:, 1] < found.z_nm[:, 0]).all()
    assert found.x_nm[::-1] == pytest.approx(found.y_nm, rel=1e-6)


def test_a_double_helix_is_limited_in_depth_by_how_fast_it_turns():
    slow, fast = (
        DoubleHelixPSF(sigma_px=1.3, separation_px=7, angle=0.2, turn_per_nm=t)
        for t in (0.001, 0.002)
    )
    limits = [crlb(psf, 50.0, 3000.0, 10.0, CMOS, 100.0) for psf in (slow, fast)]
    assert limits[0].z_nm / limits[1].z_nm == pytest.approx(2.0, rel=0.01)


def test_a_spline_has_finite_limits_at_and_beyond_the_ends_of_its_depths():
    z = np.arange(-9, 10) * 50.0
    knots = np.arange(27.0)[:, None] - 13
    square = (knots**2 + knots.T**2)[None]
    width = 1.2 + (z[:, None, None] / 400 - 0.5) ** 2
    coefficients = np.exp(-square / (2 * width**2)) / (2 * np.pi * width**2)
    psf = SplinePSF(
        coefficients=coefficients.astype(np.float32),
        z_first_nm=-450.0,
        z_step_nm=50.0,
        centre_px=(13.0, 13.0),
        z_low_nm=-400.0,
        z_high_nm=400.0,
        pixel_size_nm=100.0,
    )
    z = np.array([-500.0, -400.0, 0.0, 400.0, 500.0])
    found = crlb(psf, z, 2000.0, 10.0, CMOS, 100.0)
    assert np.isfinite(found.z_nm).all() and (found.z_nm < 200).all()
    assert found.z_nm[0] == found.z_nm[1]


def test_a_distant_neighbour_costs_nothing_and_a_close_one_does():
    def limits(distance_px):
        x = np.array([10.0, 10.0 + distance_px, 60.0])  # the last one is alone
        rest = np.full((4, 3), [[10.0], [0.0], [2000.0], [20.0]])
        return crlb_crowded(ROUND, x, *rest, CMOS, 100.0)

    alone = float(crlb(ROUND, 0.0, 2000.0, 20.0, CMOS, 100.0).x_nm)
    assert limits(20.0).x_nm == pytest.approx([alone] * 3, rel=0.01)
    close, touching = limits(4.0), limits(2.0)
    assert alone * 1.01 < close.x_nm[0] < touching.x_nm[0]
    assert touching.x_nm[0] > 2 * alone
    assert touching.y_nm[0] < touching.x_nm[0]  # overlap is along x
    assert touching.x_nm[2] == pytest.approx(alone, rel=0.01)
    assert crlb_crowded(ROUND, *np.empty((5, 0)), CMOS, 100.0).x_nm.shape == (0,)
