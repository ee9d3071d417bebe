import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_estimate import estimate_calibration, estimate_camera

Y, X = np.mgrid[:128, :128]


def spots(count, seed=5):
    rng = np.random.default_rng(seed)
    image = np.full(X.shape, 40.0)
    for x, y in rng.uniform(0, 128, (count, 2)):
        square = (X - x) ** 2 + (Y - y) ** 2
        image += 800 / (2 * np.pi * 1.3**2) * np.exp(-square / 2 / 1.3**2)
    return image


SCENES = {
    "flat": np.full(X.shape, 50.0),
    "ramp": 20 + 0.6 * X,
    "cell": 30 + 40 * np.exp(-((X - 64) ** 2 + (Y - 64) ** 2) / 2 / 25**2),
    "stripes": 60 + 30 * np.sin(X / 6),
    "dendrites": 40 + 60 * np.sin(X / 9 + Y / 15) ** 4,
    "edge": np.where(X < 64, 20.0, 90.0),
    "one photon": np.full(X.shape, 1.0),
    "40 emitters": spots(40),
    "400 emitters": spots(400),
}


def camera(photons, gain, offset=100.0, frames=10):
    """Counts of a camera with shot noise only."""
    rng = np.random.default_rng(7)
    electrons = rng.poisson(np.broadcast_to(photons, (frames, *photons.shape)))
    return np.round(electrons * gain + offset).astype(np.uint16)


@pytest.mark.parametrize("gain", [1.0, 2.0, 6.0])
@pytest.mark.parametrize("scene", SCENES)
def test_the_gain_is_found_whatever_the_background(scene, gain):
    found = estimate_calibration(camera(SCENES[scene], gain))
    assert found.estimated
    assert found.offset_adu == 100
    assert found.photons_per_adu == pytest.approx(1 / gain, rel=0.05)


def test_the_mask_is_blind_to_planes_and_to_what_varies_along_one_axis():
    rng = np.random.default_rng(1)
    image = 500 + 3 * X + 2 * Y + rng.integers(0, 200, 128) * 1.0
    found = estimate_calibration(np.stack([image, image.T]))
    assert found == CameraCalibration(offset_adu=100, estimated=True)


def test_white_noise_passes_the_mask_with_unit_gain():
    noise = np.random.default_rng(2).normal(1000, 30, (20, 64, 64))
    found = estimate_calibration(noise, offset_adu=100)
    # The dimmer half of a flat image is a little dimmer than its mean.
    assert found.e_per_adu == pytest.approx((1000 - 0.8 * 10 - 100) / 30**2, rel=0.02)


def test_a_wrong_offset_is_lowered_to_the_dimmest_pixel():
    frames = camera(SCENES["flat"], 2.0, offset=20)
    found = estimate_calibration(frames)
    assert found.offset_adu == frames.min() < 100
    assert estimate_calibration(frames, offset_adu=20).offset_adu == 20
    assert found.photons(frames).min() == 0


@pytest.mark.parametrize(
    "offset, gain", [(500, 1.0), (1000, 4.0), (200, 0.5), (20, 2.0)]
)
@pytest.mark.parametrize("scene", ["cell", "40 emitters", "400 emitters", "dendrites"])
def test_an_unusual_offset_shows_in_the_noise_of_bright_and_dim_pixels(
    scene, offset, gain
):
    frames = camera(SCENES[scene], gain, offset=offset)
    found = estimate_camera(frames)
    assert found.calibration.estimated
    assert found.calibration.photons_per_adu == pytest.approx(1 / gain, rel=0.3)
    away = abs(found.calibration.offset_adu - offset)
    assert away < 5 * found.offset_error_adu + 0.15 * 40 * gain
    assert f"offset {found.offset_adu:.0f} ± " in found.in_words


@pytest.mark.parametrize("scene", ["cell", "40 emitters", "400 emitters", "dendrites"])
def test_the_usual_offset_is_kept_where_the_noise_agrees(scene):
    found = estimate_camera(camera(SCENES[scene], 2.0))
    assert found.calibration.offset_adu == 100
    assert found.offset_adu == pytest.approx(100, abs=4 * found.offset_error_adu)
    assert "whose noise agrees with it" in found.in_words


def test_an_offset_that_does_not_show_is_called_a_guess():
    rng = np.random.default_rng(3)
    frames = np.round(rng.normal(500, 20, (10, 64, 64))).astype(np.uint16)
    found = estimate_camera(frames)
    assert found.calibration.offset_adu == 100
    assert "photon numbers may be off by a factor of ten" in found.in_words


def test_dead_hot_and_saturated_pixels_change_nothing():
    frames = camera(SCENES["40 emitters"], 2.0, offset=500)
    dead, hot = frames.copy(), frames.copy()
    dead[:, 60, 60] = 0
    hot[:, 5::31, 5::31] += 300
    clipped = np.minimum(frames, np.uint16(np.percentile(frames, 99.9)))
    for broken in (dead, hot, clipped):
        found = estimate_camera(broken)
        assert found.calibration.offset_adu == pytest.approx(500, abs=40)
        assert found.calibration.photons_per_adu == pytest.approx(0.5, rel=0.4)


def test_frames_that_are_not_finite_are_left_out():
    frames = camera(SCENES["40 emitters"], 2.0, offset=500).astype(np.float32)
    frames[3, 5, 5] = np.nan
    frames[4, 5, 5] = np.inf
    found = estimate_camera(frames)
    assert found.calibration.photons_per_adu == pytest.approx(0.5, rel=0.3)


def test_bytes_are_counts_too():
    frames = camera(SCENES["flat"], 2.0, offset=20).astype(np.uint8)
    found = estimate_calibration(frames, offset_adu=20)
    assert found.photons_per_adu == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("value", [0, 7, 100, 65_535])
def test_constant_frames_give_one_electron_per_count(value):
    found = estimate_calibration(np.full((3, 8, 8), value, np.uint16))
    assert found == CameraCalibration(offset_adu=min(value, 100), estimated=True)


@pytest.mark.parametrize("shape", [(3, 2, 8), (3, 8, 2), (1, 1, 1), (0, 8, 8)])
def test_frames_too_small_to_tell_give_one_electron_per_count(shape):
    found = estimate_calibration(np.full(shape, 150, np.uint16))
    assert found == CameraCalibration(estimated=True)


@settings(max_examples=100, deadline=None)
@given(
    frames=nps.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        nps.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=9),
    )
)
def test_any_frames_give_a_usable_calibration(frames):
    found = estimate_calibration(frames)
    assert found.estimated
    assert np.isfinite(found.photons_per_adu) and found.photons_per_adu > 0
    assert found.offset_adu <= 100
    assert np.isfinite(found.photons(frames)).all()


def test_photons_are_a_new_float32_array():
    counts = np.array([[100, 110]], np.uint16)
    calibration = CameraCalibration(e_per_adu=4, em_gain=2, qe=0.5)
    photons = calibration.photons(counts)
    assert photons.dtype == np.float32
    assert photons.tolist() == [[0, 40]]
    assert counts.tolist() == [[100, 110]]
