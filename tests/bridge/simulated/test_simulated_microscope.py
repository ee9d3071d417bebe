"""The simulated microscope: physics that can be checked, a truth that is exact."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.bridge.camera.sequence_source import MicroManagerSource
from liveloc.bridge.simulated import (
    CAMERA,
    LASER,
    POWER_PROPERTY,
    SIMULATED_PSF,
    SimulatedSettings,
    open_simulated,
)
from liveloc.bridge.simulated.microtubules import label, microtubules
from liveloc.bridge.simulated.photophysics import Fluorophores
from liveloc.bridge.simulated.sample import Sample
from liveloc.model.physics.psf import Defocus
from liveloc.stream.errors import SettingsError, SourceError

FAST = SimulatedSettings(shape=(64, 64), exposure_ms=1.0)
WHOLE = (0, 0, 64, 64)


@pytest.fixture
def microscope():
    opened = []

    def build(given=FAST):
        opened.append(open_simulated(given))
        opened[-1].core.setProperty(LASER, POWER_PROPERTY, given.power_mw)
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def movie(given, powers, roi=None):
    height, width = given.shape
    roi = roi or (0, 0, width, height)
    sample = Sample(given)
    frames = np.empty((len(powers), roi[3], roi[2]), np.uint16)
    for i, power in enumerate(powers):
        sample.expose(i, power, roi, frames[i])
    return frames, sample.truth(), sample


def test_the_same_seed_and_laser_trace_give_the_same_movie_and_truth():
    powers = np.linspace(0, 10, 60)
    frames, truth, _ = movie(FAST, powers)
    again, truth_again, _ = movie(FAST, powers)
    other, _, _ = movie(FAST.changed(seed=2), powers)
    np.testing.assert_array_equal(frames, again)
    np.testing.assert_array_equal(truth, truth_again)
    assert not np.array_equal(frames, other)


def test_the_camera_delivers_the_same_movie_as_the_sample_alone(microscope):
    scope = microscope()
    source = MicroManagerSource(
        scope.core, frames=80, pixel_size_nm=100.0, calibration=scope.calibration
    )
    frames = np.stack([f.pixels for f in source.frames()])
    alone, truth, _ = movie(FAST, [FAST.power_mw] * 80)
    np.testing.assert_array_equal(frames, alone)
    np.testing.assert_array_equal(scope.truth(), truth)
    assert source.start.camera_label == CAMERA
    assert len(scope.take_truth()) == len(truth)
    assert len(scope.truth()) == 0


def test_frames_hold_as_many_photons_as_the_truth_says():
    frames, truth, _ = movie(FAST, [20.0] * 300)
    photons = FAST.calibration.photons(frames).sum(axis=(1, 2))
    size = np.prod(FAST.shape)
    told = np.bincount(truth["frame"], truth["photons"], minlength=300)
    inside = np.all(
        [(truth[axis] > 400) & (truth[axis] < 5900) for axis in ("x_nm", "y_nm")], 0
    )
    assert inside.mean() > 0.6  # the others lose some light beyond the edge
    excess = photons - FAST.background * size
    slope = np.polyfit(told[50:], excess[50:], 1)[0]
    assert 0.85 < slope < 1.02
    dark, _, _ = movie(FAST, [0.0] * 50)
    assert FAST.calibration.photons(dark).mean() == pytest.approx(
        FAST.background, rel=0.01
    )


def test_a_spot_is_where_and_as_bright_as_the_truth_says():
    given = FAST.changed(density_per_um2=0.02)
    frames, truth, _ = movie(given, [given.power_mw] * 400)
    offsets, shares = [], []
    for row in truth:
        same = truth[truth["frame"] == row["frame"]]
        distance = np.hypot(same["x_nm"] - row["x_nm"], same["y_nm"] - row["y_nm"])
        column, line = (round(row[axis] / 100) for axis in ("x_nm", "y_nm"))
        alone = np.sum(distance < 1800) == 1 and row["photons"] > 1500
        if not (alone and 8 <= column < 56 and 8 <= line < 56):
            continue
        cut = np.s_[line - 8 : line + 9, column - 8 : column + 9]
        patch = given.calibration.photons(frames[row["frame"]][cut])
        patch -= row["background"]
        y, x = np.mgrid[-8:9, -8:9]
        offsets.append(
            [
                (patch * x).sum() / patch.sum() + column - row["x_nm"] / 100,
                (patch * y).sum() / patch.sum() + line - row["y_nm"] / 100,
            ]
        )
        shares.append(patch.sum() / row["photons"])
    assert len(offsets) > 30
    # Centroids of single spots scatter by about 0.35 px with this background.
    error = 0.35 / np.sqrt(len(offsets))
    assert np.abs(np.mean(offsets, axis=0)).max() < 4 * error
    assert np.mean(shares) == pytest.approx(1.0, abs=0.03)


def test_activation_is_proportional_to_power():
    physics = dataclasses.replace(FAST.photophysics, bleach_probability=0.0)
    begun = []
    for power in (0.0, 2.0, 4.0, 8.0):
        dyes = Fluorophores(200_000, physics, np.random.default_rng(3))
        seen = set()
        for _ in range(100):
            seen.update(dyes.expose(power)[0].tolist())
        begun.append(len(seen))
    assert begun[0] == 0
    expected = 200_000 * physics.activation_per_mw * 100 * np.array([2.0, 4.0, 8.0])
    np.testing.assert_allclose(begun[1:], expected, rtol=0.08)


def test_on_times_are_exponential_with_partial_first_and_last_frames():
    physics = dataclasses.replace(
        FAST.photophysics, bleach_probability=1.0, photon_spread=0.0
    )
    dyes = Fluorophores(40_000, physics, np.random.default_rng(4))
    light = np.zeros(40_000)
    for frame in range(150):
        index, photons = dyes.expose(20.0 if frame < 50 else 0.0)
        assert np.all(photons > 0)
        assert np.all(photons <= physics.photons * (1 + 1e-9))
        light[index] += photons
    on_time = light[light > 0] / physics.photons
    assert len(on_time) > 300
    assert on_time.mean() == pytest.approx(6.0, rel=0.15)
    assert (on_time > 6.0).mean() == pytest.approx(np.exp(-1), abs=0.08)
    assert (on_time > 12.0).mean() == pytest.approx(np.exp(-2), abs=0.06)


@settings(max_examples=30)
@given(
    powers=st.lists(st.floats(0, 1000), min_size=1, max_size=40),
    bleach=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_no_fluorophore_is_made_or_lost(powers, bleach, seed):
    physics = dataclasses.replace(FAST.photophysics, bleach_probability=bleach)
    dyes = Fluorophores(300, physics, np.random.default_rng(seed))
    bleached = 0
    for power in powers:
        index, photons = dyes.expose(power)
        assert len(set(index.tolist())) == len(index)
        assert np.all(np.isfinite(photons))
        assert dyes.dark + dyes.emitting + dyes.bleached == 300
        assert dyes.bleached >= bleached
        bleached = dyes.bleached


def test_a_default_run_keeps_its_density():
    given = SimulatedSettings()
    physics = given.photophysics
    dyes = Fluorophores(given.fluorophores, physics, np.random.default_rng(1))
    emitting = []
    for _ in range(3000):
        dyes.expose(given.power_mw)
        emitting.append(dyes.emitting / given.field_um2)
    assert np.mean(emitting[100:600]) == pytest.approx(0.2, rel=0.06)
    assert np.mean(emitting[-500:]) > 0.8 * np.mean(emitting[100:600])


def test_labels_sit_on_thin_tubes_within_the_field_and_the_depth():
    rng = np.random.default_rng(5)
    lines = microtubules(rng, 12_800, 12_800)
    places = label(rng, lines, 2000, 12_800, 12_800)
    assert len(lines) == 40
    assert np.abs(places[:, 2]).max() <= 350
    assert places[:, :2].min() >= 0
    assert places[:, :2].max() < 12_800
    axis = np.concatenate(lines)
    nearest = [np.linalg.norm(axis - place, axis=1).min() for place in places[:300]]
    assert max(nearest) < np.hypot(12.5, 25) + 1  # points of the axis are 50 nm apart
    assert np.ptp(places[:, 2]) > 500
    # Spread out: no quarter of the field is empty or has it all.
    share = np.histogram2d(*places[:, :2].T, bins=2, range=[[0, 12_800]] * 2)[0] / 2000
    assert share.min() > 0.1
    assert share.max() < 0.45


@pytest.mark.parametrize("shape", [(128, 128), (97, 131), (33, 57), (64, 64)])
def test_no_frame_is_lost_at_any_size(microscope, shape):
    given = SimulatedSettings(shape=shape, exposure_ms=4.0)
    scope = microscope(given)
    source = MicroManagerSource(
        scope.core,
        frames=200,
        pixel_size_nm=100.0,
        calibration=scope.calibration,
        buffer_mib=1,
    )
    seqs = [frame.header.seq for frame in source.frames()]
    assert seqs == list(range(200))
    assert source.missing == 0
    assert source.start.shape == shape
    assert set(scope.truth()["frame"]) <= set(seqs)


def test_nobody_fetching_ends_the_stream_cleanly(microscope):
    scope = microscope(FAST.changed(exposure_ms=0.2))
    source = MicroManagerSource(
        scope.core,
        frames=1000,
        pixel_size_nm=100.0,
        calibration=scope.calibration,
        buffer_mib=1,  # 128 frames
    )
    frames = source.frames()
    next(frames)
    while scope.core.isSequenceRunning():
        time.sleep(0.01)
    seqs = [0]
    with pytest.raises(SourceError, match="overflowed after frame"):
        seqs.extend(frame.header.seq for frame in frames)
    assert seqs == list(range(len(seqs)))
    assert len(seqs) >= 128


def test_a_roi_shows_its_part_of_the_chip_in_chip_coordinates(microscope):
    scope = microscope(SimulatedSettings(exposure_ms=2.0))
    source = MicroManagerSource(
        scope.core,
        frames=40,
        roi=(30, 70, 40, 32),
        pixel_size_nm=100.0,
        calibration=scope.calibration,
    )
    frames = np.stack([f.pixels for f in source.frames()])
    truth = scope.truth()
    assert frames.shape == (40, 32, 40)
    assert source.start.roi_origin == (30, 70)
    assert len(truth) > 10
    assert truth["x_nm"].min() >= 2950
    assert truth["x_nm"].max() <= 6950
    assert truth["y_nm"].min() >= 6950
    assert truth["y_nm"].max() <= 10_150
    bright = truth[truth["photons"] > 2000]
    at = np.rint(bright["y_nm"] / 100) - 70, np.rint(bright["x_nm"] / 100) - 30
    values = frames[(bright["frame"], *(index.astype(int) for index in at))]
    assert np.median(values) > np.median(frames) + 50


def test_the_optics_are_those_of_the_shipped_bundle():
    folder = Path(__file__).parents[3] / "model" / "bundles"
    trained = yaml.safe_load((folder / "simulated-microscope.yaml").read_text())
    assert trained["pixel_size_nm"] == SimulatedSettings().pixel_size_nm
    for axis in ("x", "y"):
        assert Defocus(**trained["psf"][axis]) == getattr(SIMULATED_PSF, axis)
    low, high = trained["emitters"]["photons"]
    assert low < SimulatedSettings().photons < high


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": (4, 128)}, r"shape is \(4, 128\)"),
        ({"photons": float("nan")}, "photons is nan: input should be"),
        (
            {"bleach_probability": 1.5},
            "bleach_probability is 1.5: input should be",
        ),
        ({"density_per_um2": -0.1}, "density_per_um2 is -0.1"),
        ({"power_mw": 80.0}, "power_mw is 80.0 but highest_mw is 50.0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_numbers_that_make_no_microscope_are_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        SimulatedSettings(**values)
