"""Emitters fitted again: to the limit where it can be reached, never off the rails."""

import numpy as np
import pytest

from liveloc.model import refinement as module
from liveloc.model.bundle import load_bundle
from liveloc.model.emitters import Geometry
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.crlb import crlb_at, crlb_crowded
from liveloc.model.physics.psf import AstigmaticPSF, GaussianPSF
from liveloc.model.refinement import LARGEST_GROUP, Refinement
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import empty

SIDE, PIXEL_NM, BACKGROUND = 60, 100.0, 20.0
CAMERA = CameraCalibration(offset_adu=100, e_per_adu=0.5)
PSF = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
Z_RANGE = (-480.0, 480.0)
GEOMETRY = Geometry(shape=(SIDE, SIDE), pixel_size_nm=PIXEL_NM, roi_origin=(7, 3))
AXES = ("x_nm", "y_nm", "z_nm")


def emitters(x_px, y_px, z_nm, photons=2500.0):
    """Give the truth of one frame."""
    rows = empty(len(x_px))
    rows["x_nm"] = (np.asarray(x_px) + GEOMETRY.roi_origin[0]) * PIXEL_NM
    rows["y_nm"] = (np.asarray(y_px) + GEOMETRY.roi_origin[1]) * PIXEL_NM
    rows["z_nm"], rows["photons"], rows["background"] = z_nm, photons, BACKGROUND
    return rows


def on_frame(rows):
    """Give x, y (px), z and photons of rows on the frame."""
    x = rows["x_nm"].astype(float) / PIXEL_NM - GEOMETRY.roi_origin[0]
    y = rows["y_nm"].astype(float) / PIXEL_NM - GEOMETRY.roi_origin[1]
    return x, y, rows["z_nm"].astype(float), rows["photons"].astype(float)


def take(rows, rng, psf=PSF):
    """Take one frame, photons."""
    mean = psf.render(*on_frame(rows), (SIDE, SIDE)) + BACKGROUND
    return CAMERA.photons(expose(mean, CAMERA, NumpyNoise(rng)).astype(np.uint16))


def guessed(rows, rng, *, off_nm=15.0):
    """Give what a network might say: near the truth, with true sigmas."""
    guess = rows.copy()
    for axis, sigma in zip(AXES, (off_nm, off_nm, 3 * off_nm), strict=True):
        guess[axis] += rng.normal(0, sigma, len(rows))
        guess[f"{axis[0]}_sigma_nm"] = sigma
    guess["photons"] *= rng.normal(1, 0.1, len(rows))
    guess["photons_sigma"] = 0.1 * guess["photons"]
    guess["background"] *= rng.normal(1, 0.1, len(rows))
    return guess


def rms(values):
    return float(np.sqrt(np.mean(np.square(values, dtype=float))))


@pytest.fixture(scope="module")
def refinement():
    return Refinement(PSF, CAMERA, GEOMETRY, Z_RANGE)


def chessboard(rng):
    """Nine emitters too far apart to disturb each other."""
    x, y = np.meshgrid((10, 30, 50), (10, 30, 50))
    wander = rng.uniform(-3, 3, (2, 9))
    z = rng.uniform(-400, 400, 9)
    return emitters(x.ravel() + wander[0], y.ravel() + wander[1], z)


def test_isolated_emitters_reach_the_limit_and_say_so(refinement):
    rng = np.random.default_rng(1)
    errors, limits, sigmas = [], [], []
    for _ in range(60):
        truth = chessboard(rng)
        guess = guessed(truth, rng, off_nm=8)
        fitted = refinement.refine(guess, take(truth, rng))
        x, y, z, photons = on_frame(truth)
        ground = np.full(len(truth), BACKGROUND)
        limit = crlb_at(PSF, x, y, z, photons, ground, CAMERA, PIXEL_NM)
        errors.append([fitted[a].astype(float) - truth[a] for a in AXES])
        limits.append([limit.x_nm, limit.y_nm, limit.z_nm])
        sigmas.append([fitted[f"{a[0]}_sigma_nm"] for a in AXES])
    for error, limit, sigma in zip(
        *(np.swapaxes(v, 0, 1) for v in (errors, limits, sigmas)), strict=True
    ):
        assert rms(error) < 1.25 * rms(limit)
        assert rms(sigma) == pytest.approx(rms(limit), rel=0.15)


def test_two_that_overlap_are_fitted_together(refinement):
    rng = np.random.default_rng(2)
    found, guess_errors, limits = [], [], []
    for _ in range(80):
        truth = emitters([30.2, 33.6], [30.4, 31.7], [-150, 200])
        guess = guessed(truth, rng)
        fitted = refinement.refine(guess, take(truth, rng))
        found.append(fitted["x_nm"].astype(float) - truth["x_nm"])
        guess_errors.append(guess["x_nm"].astype(float) - truth["x_nm"])
        ground = np.full(2, BACKGROUND)
        limit = crlb_crowded(PSF, *on_frame(truth), ground, CAMERA, PIXEL_NM)
        limits.append(limit.x_nm)
    assert rms(found) < 1.25 * rms(limits)
    assert rms(found) < 0.7 * rms(guess_errors)
    assert abs(np.mean(found)) < 0.3 * rms(limits)


def test_an_emitter_that_nobody_saw_does_not_drag_its_neighbour_away(refinement):
    rng = np.random.default_rng(3)
    moved, before = [], []
    for _ in range(40):
        truth = emitters([30.0, 32.5], [30.0, 30.0], [0, 300])
        guess = guessed(truth[:1], rng)
        fitted = refinement.refine(guess, take(truth, rng))
        moved.append(fitted["x_nm"].astype(float) - truth["x_nm"][:1])
        before.append(guess["x_nm"].astype(float) - truth["x_nm"][:1])
    assert rms(moved) < 60  # the centre of both is 125 nm away
    assert rms(moved) < 4 * rms(before)


def test_a_frame_full_of_emitters_is_solved_in_groups_of_bounded_size(refinement):
    rng = np.random.default_rng(4)
    x, y = rng.uniform(5, 35, (2, 150))
    truth = emitters(x, y, rng.uniform(-400, 400, 150))
    guess = guessed(truth, rng)
    start, _ = refinement._prior(guess)
    squares = refinement._squares(start, take(truth, rng))
    neighbours = module._neighbours(start[:, :2], squares.corner, refinement._half)
    members = np.concatenate([group.ravel() for group in neighbours.groups])
    assert sorted(members) == list(range(150))
    assert max(group.shape[1] for group in neighbours.groups) <= LARGEST_GROUP
    fitted = refinement.refine(guess, take(truth, rng))
    for axis in AXES:
        assert np.isfinite(fitted[axis]).all()
        assert (fitted[f"{axis[0]}_sigma_nm"] > 0).all()


def test_information_of_pairs_is_that_of_the_whole_design(refinement):
    """The blocks, put together, are the matrix that a dense solver would take."""
    rng = np.random.default_rng(5)
    truth = emitters([20.2, 23.1, 22.0], [30.4, 31.7, 35.2], [-150, 200, 0])
    start, _ = refinement._prior(guessed(truth, rng))
    photons = take(truth, rng)
    squares = refinement._squares(start, photons)
    neighbours = module._neighbours(start[:, :2], squares.corner, refinement._half)
    assert [group.shape for group in neighbours.groups] == [(1, 3)]
    information, score = refinement._equations(squares, neighbours, start, 0)
    weight = np.ones_like(start)
    step, _ = module._solve(information, score, weight, neighbours)
    fisher = np.zeros((3, 5, 3, 5))
    for k in range(3):
        fisher[k, :, k] = information[k]
    pairs = zip(neighbours.first, neighbours.second, information[3:], strict=True)
    for a, b, block in pairs:
        fisher[a, :, b], fisher[b, :, a] = block, block.T
    matrix = fisher.reshape(15, 15)
    assert np.linalg.eigvalsh(matrix).min() > -1e-6 * np.abs(matrix).max()
    expected = np.linalg.solve(matrix + np.eye(15), score.ravel())
    np.testing.assert_allclose(step.ravel(), expected, rtol=1e-6, atol=1e-9)


def test_edges_and_nothing_at_all(refinement):
    rng = np.random.default_rng(6)
    assert len(refinement.refine(empty(), take(empty(0), rng))) == 0
    truth = emitters([0.1, SIDE - 1.2], [0.3, SIDE - 1.4], [0, 100])
    fitted = refinement.refine(guessed(truth, rng), take(truth, rng))
    for axis in AXES[:2]:
        assert np.abs(fitted[axis] - truth[axis]).max() < 60


def test_depth_stays_in_the_range_of_the_network(refinement):
    rng = np.random.default_rng(7)
    truth = emitters([30.0], [30.0], [475.0], photons=300)
    for _ in range(20):
        fitted = refinement.refine(guessed(truth, rng, off_nm=60), take(truth, rng))
        assert Z_RANGE[0] <= fitted["z_nm"][0] <= Z_RANGE[1]


def test_what_is_not_fitted_stays_as_it_was(refinement):
    rng = np.random.default_rng(8)
    truth = chessboard(rng)
    guess = guessed(truth, rng)
    guess["flags"], guess["probability"], guess["frame"] = 3, 0.7, 41
    fitted = refinement.refine(guess, take(truth, rng))
    for name in ("flags", "probability", "frame"):
        assert (fitted[name] == guess[name]).all()
    assert (guess["x_nm"] != fitted["x_nm"]).all()


def test_in_2d_there_is_no_depth():
    rng = np.random.default_rng(9)
    psf = GaussianPSF(sigma_px=1.3)
    flat = Refinement(psf, CAMERA, GEOMETRY, None)
    truth = emitters([30.3], [29.6], [0.0])
    guess = guessed(truth, rng, off_nm=20)
    guess["z_nm"], guess["z_sigma_nm"] = 0, 0
    fitted = flat.refine(guess, take(truth, rng, psf))
    assert fitted["z_nm"][0] == fitted["z_sigma_nm"][0] == 0
    assert abs(fitted["x_nm"][0] - truth["x_nm"][0]) < 20


def test_a_network_for_any_width_cannot_be_refined():
    with pytest.raises(SettingsError, match="cannot refine"):
        load_bundle("gaussian-2d", refine=True)
    assert load_bundle("simulated-microscope", refine=True).refine
