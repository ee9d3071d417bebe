"""The simulated microscope as a twin to tune on: physics in closed form."""

import dataclasses
import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.bridge.camera.sequence_source import MicroManagerSource
from liveloc.bridge.simulated import (
    EXCITATION,
    FAULTS,
    LASER,
    POWER_PROPERTY,
    SIMULATED_CAMERA,
    SimulatedSettings,
    open_simulated,
)
from liveloc.bridge.simulated.noise import TableNoise
from liveloc.bridge.simulated.photophysics import Fluorophores, Photophysics
from liveloc.bridge.simulated.sample import Sample
from liveloc.bridge.simulated.surroundings import Drift
from liveloc.stream.errors import SettingsError

PHYSICS = Photophysics(
    activation_per_mw=1e-4,
    on_time_frames=6.0,
    bleach_probability=0.0,
    photons=1000.0,
    photon_spread=0.0,
    reference_mw=50.0,
)
SMALL = SimulatedSettings(shape=(64, 64), exposure_ms=10.0)
WHOLE = (0, 0, 64, 64)
COUNT = 100_000


def fluorophores(seed=1, count=COUNT, **changes):
    physics = dataclasses.replace(PHYSICS, **changes)
    return Fluorophores(count, physics, np.random.default_rng(seed))


def settled(dyes, power, excitation, frames=300, settle=300, **more):
    """Mean numbers of emitting and resting fluorophores once both are steady."""
    seen = []
    for frame in range(settle + frames):
        dyes.expose(power, excitation, **more)
        if frame >= settle:
            seen.append((dyes.emitting, dyes.resting, dyes.dark))
    return np.mean(seen, axis=0)


def light_of_each(dyes, frames=400, lit_frames=5, excitation=50.0, power=50.0):
    """Activate some, then wait in darkness: photons per fluorophore and frame."""
    light = np.zeros((frames, COUNT), np.float32)
    for frame in range(frames):
        index, photons = dyes.expose(power if frame < lit_frames else 0.0, excitation)
        assert len(np.unique(index)) == len(index)
        light[frame, index] = photons
    return light[:, light.any(axis=0)]


@pytest.mark.parametrize("excitation", [12.5, 50.0, 150.0])
@pytest.mark.parametrize("blink", [0.0, 0.6])
def test_density_is_activation_times_reservoir_times_on_time(excitation, blink):
    dyes = fluorophores(blink_probability=blink, blink_frames=3.0)
    on_frames = 6.0 * 50 / excitation
    emitting, resting, dark = settled(dyes, 2.0, excitation)
    expected = 1e-4 * 2.0 * dark * on_frames / (1 - blink)
    assert emitting == pytest.approx(expected, rel=0.05)
    # As many go to the short dark state in a frame as come back from it.
    assert resting == pytest.approx(emitting / on_frames * blink * 3.0, rel=0.05)


def test_half_the_excitation_gives_half_the_photons_for_twice_as_long():
    whole, half = (
        light_of_each(fluorophores(bleach_probability=1.0), excitation=mw)
        for mw in (50.0, 25.0)
    )
    assert whole.max() == pytest.approx(1000, rel=1e-5)
    assert half.max() == pytest.approx(500, rel=1e-5)
    n = min(whole.shape[1], half.shape[1])
    assert n > 2000
    for light, on_time in ((whole, 6.0), (half, 12.0)):
        total = light.sum(0)
        error = 6000 / math.sqrt(n)  # photons per emission are exponential
        assert total.mean() == pytest.approx(6000, abs=4 * error)
        assert np.mean(total > 6000) == pytest.approx(math.exp(-1), abs=0.04)
        frames_lit = (light > 0).sum(0).mean()  # one more than the on-time: two partly
        assert frames_lit == pytest.approx(on_time + 1, rel=0.08)


def test_without_excitation_nothing_shines_and_nothing_ends():
    dyes = fluorophores(bleach_probability=1.0)
    for _ in range(20):
        index, photons = dyes.expose(5.0, 0.0)
        assert photons.sum() == 0
    waiting = dyes.emitting
    assert waiting == len(index) == COUNT - dyes.dark > 500
    total = sum(dyes.expose(0.0, 50.0)[1].sum() for _ in range(150))
    assert dyes.bleached == waiting
    assert total / waiting == pytest.approx(6000, rel=0.15)


def test_excitation_alone_activates_and_its_density_is_the_same_at_any_power():
    for excitation in (25.0, 100.0):
        dyes = fluorophores(spontaneous_per_mw=1e-5)
        emitting, _, dark = settled(dyes, 0.0, excitation)
        assert emitting == pytest.approx(1e-5 * 50 * dark * 6.0, rel=0.05)
    assert settled(fluorophores(), 0.0, 100.0)[0] == 0


def test_a_blinking_emission_is_several_on_times_with_short_dark_ones_between():
    light = light_of_each(
        fluorophores(blink_probability=0.5, blink_frames=20.0, bleach_probability=1.0)
    )
    n = light.shape[1]
    assert n > 2000
    on_times = light.sum(0) / 1000  # frames, all on-times of an emission
    assert on_times.mean() == pytest.approx(12.0, abs=4 * 12 / math.sqrt(n))
    lit = light > 0
    began = lit.argmax(0)
    ended = len(lit) - lit[::-1].argmax(0)
    dark = ended - began - lit.sum(0)
    # One dark time of 20 frames on average; those under a frame do not show, and the
    # frames in which it begins and ends are partly lit.
    assert dark.mean() == pytest.approx(20 - 1, rel=0.1)
    assert np.mean(dark == 0) == pytest.approx(0.5 + 0.25 * 2 / 20, abs=0.05)


def test_the_reservoir_bleaches_by_emissions():
    dyes = fluorophores(bleach_probability=0.25)
    activated = 0
    for _ in range(400):
        dark = dyes.dark
        dyes.expose(4.0)
        activated += 4e-4 * dark
    emitted = activated - dyes.emitting
    assert dyes.bleached == pytest.approx(0.25 * emitted, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(
    powers=st.lists(
        st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0.05, 20)),
        min_size=1,
        max_size=30,
    ),
    blink=st.floats(0, 0.99),
    bleach=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_no_fluorophore_is_made_or_lost_by_any_light(powers, blink, bleach, seed):
    dyes = fluorophores(
        seed, 300, blink_probability=blink, bleach_probability=bleach, blink_frames=0.5
    )
    for power, excitation, factor in powers:
        index, photons = dyes.expose(power, excitation, factor)
        assert len(set(index.tolist())) == len(index)
        assert np.all(np.isfinite(photons))
        assert np.all(photons >= 0)
        assert np.all(photons <= 1000 * excitation / 50 * (1 + 1e-6) + 1e-6)
        assert dyes.dark + dyes.emitting + dyes.resting + dyes.bleached == 300


def test_default_settings_give_the_same_truth_as_ever():
    """The numbers come from the version before the excitation laser."""
    sample = Sample(SMALL)
    for frame in range(300):
        sample.expose(frame, 5.0, WHOLE, None)
    truth = sample.truth()
    assert len(truth) == 2908
    assert truth["photons"].sum(dtype=float) == pytest.approx(6235111.074, rel=1e-6)
    assert truth["x_nm"].sum(dtype=float) == pytest.approx(8694478.156, rel=1e-6)
    assert truth["background"].sum(dtype=float) == pytest.approx(29131.2203, rel=1e-6)


def exposed(given, frames, power=0.0, **more):
    sample, out = Sample(given), np.empty((frames, 64, 64), np.uint16)
    for frame in range(frames):
        sample.expose(frame, power, WHOLE, out[frame], **more)
    return SIMULATED_CAMERA.photons(out), sample


def test_truth_and_beads_follow_the_drift_that_the_camera_saw():
    given = SMALL.changed(
        drift_nm_per_s=(100.0, -60.0, 40.0),
        density_per_um2=1.0,
        fiducials=1,
        fiducial_photons=50_000.0,
    )
    sample, out = Sample(given), np.empty((64, 64), np.uint16)
    bead = sample.fixtures.beads_nm[0] / 100
    y, x = np.mgrid[:64, :64]
    near = np.hypot(x - bead[0], y - bead[1]) < 7
    places, seen = [], []
    for frame in range(400):
        sample.expose(frame, 5.0, WHOLE, out if frame in (0, 399) else None)
        rows = sample.take_truth()
        moved = np.column_stack([rows[axis] for axis in ("x_nm", "y_nm", "z_nm")])
        moved = moved - np.array([1.0, -0.6, 0.4]) * frame  # nm per 10 ms
        places.append(moved)
        if frame in (0, 399):
            photons = np.clip(SIMULATED_CAMERA.photons(out) - 12, 0, None) * near
            seen.append([(photons * x).sum(), (photons * y).sum()] / photons.sum())
    everywhere = np.concatenate(places)[::97]
    distance = [np.abs(sample.places_nm - at).max(1).min() for at in everywhere]
    assert max(distance) < 0.01  # without its drift everyone is where it was labelled
    shift_nm = 100 * (seen[1] - np.array(seen[0]))
    np.testing.assert_allclose(shift_nm, [399, -239.4], atol=60)
    np.testing.assert_allclose(sample.drift_nm, [400, -240, 160], rtol=1e-9)


def test_a_random_walk_spreads_with_the_square_root_of_time():
    given = SMALL.changed(drift_walk_nm=(20.0, 0.0, 5.0))
    ends = []
    for seed in range(200):
        drift = Drift(given, np.random.default_rng(seed))
        for _ in range(100):
            drift.advance(0.04)
        ends.append(drift.nm)
    assert np.std(ends, axis=0) == pytest.approx([40.0, 0.0, 10.0], rel=0.2)


def test_background_follows_lasers_time_and_schedule():
    given = SMALL.changed(density_per_um2=0.0, background=20.0, background_rise=0.5)
    flat = given.changed(background_rise=0.0)
    assert exposed(flat, 20)[0].mean() == pytest.approx(20.0, rel=0.01)
    half, _ = exposed(flat, 20, excitation_mw=25.0)
    assert half.mean() == pytest.approx(10.0, rel=0.01)
    lit, _ = exposed(flat.changed(background_per_mw=0.3), 20, power=40.0)
    assert lit.mean() == pytest.approx(32.0, rel=0.01)
    risen = exposed(given, 400)[0].mean((1, 2))
    assert risen[:20].mean() == pytest.approx(20.0 * 1.005, rel=0.01)
    assert risen[-20:].mean() == pytest.approx(20.0 * 1.195, rel=0.01)
    event = flat.changed(events=((12, "background", 2.0),))
    stepped = exposed(event, 24)[0].mean((1, 2))
    np.testing.assert_allclose(stepped, np.repeat([20.0, 40.0], 12), rtol=0.02)


def test_beads_and_hot_pixels_shine_and_are_in_no_truth():
    given = SMALL.changed(
        density_per_um2=0.0,
        fiducials=3,
        fiducial_photons=5000.0,
        hot_pixels=4,
        hot_pixel_photons=300.0,
    )
    photons, sample = exposed(given, 50)
    plain, _ = exposed(given.changed(fiducials=0, hot_pixels=0), 50)
    added = photons.mean(0) - plain.mean(0)
    for x, y, _ in sample.fixtures.beads_nm / 100:
        assert added[round(float(y)), round(float(x))] > 200
    rows, columns = sample.fixtures.hot
    assert np.all(added[rows, columns] > 270)
    # Beads lie 5 % within the edge; a little of their light may fall beyond it.
    assert added.sum() == pytest.approx(3 * 5000 + 4 * 300, rel=0.04)
    assert len(sample.truth()) == 0
    dim = exposed(given, 50, excitation_mw=25.0)[0].mean(0) - plain.mean(0) / 2
    assert dim.sum() == pytest.approx(3 * 2500 + 4 * 300, rel=0.06)


def test_a_hot_pixel_stays_at_its_place_on_the_chip():
    given = SMALL.changed(hot_pixels=40, hot_pixel_photons=2000.0, density_per_um2=0.0)
    whole, sample = exposed(given, 1)
    part = np.empty((20, 30), np.uint16)
    sample.expose(1, 0.0, (10, 40, 30, 20), part)
    hot = SIMULATED_CAMERA.photons(part) > 1000
    np.testing.assert_array_equal(hot, whole[0, 40:60, 10:40] > 1000)
    assert hot.any()


@pytest.fixture
def microscope():
    opened = []

    def build(given):
        opened.append(open_simulated(given))
        return opened[-1]

    yield build
    for one in opened:
        one.close()


def run(scope, frames):
    source = MicroManagerSource(
        scope.core, frames=frames, pixel_size_nm=100.0, calibration=scope.calibration
    )
    assert [frame.header.seq for frame in source.frames()] == list(range(frames))
    return scope.truth()


def test_both_lasers_of_the_core_light_the_sample(microscope):
    given = SMALL.changed(exposure_ms=0.5, density_per_um2=3.0, photon_spread=0.0)
    scope = microscope(given)
    assert scope.core.getProperty(EXCITATION, POWER_PROPERTY) == 50.0
    assert scope.core.getProperty(LASER, POWER_PROPERTY) == 0.0
    scope.core.setProperty(LASER, POWER_PROPERTY, 5.0)
    brightest = []
    for power in (50.0, 25.0, 100.0):
        scope.core.setProperty(EXCITATION, POWER_PROPERTY, power)
        brightest.append(run(scope, 30)["photons"].max())
    np.testing.assert_allclose(brightest, [2500, 1250, 5000], rtol=1e-5)


def test_on_time_and_background_step_on_schedule_through_the_core(microscope):
    given = SMALL.changed(
        exposure_ms=0.5,
        density_per_um2=1.0,
        bleach_probability=0.0,
        photon_spread=0.0,
        events=((300, "on_time", 3.0), (300, "background", 2.0)),
    )
    scope = microscope(given)
    scope.core.setProperty(LASER, POWER_PROPERTY, 5.0)
    truth = run(scope, 700)
    lit = np.bincount(truth["frame"], minlength=700)
    photons = np.bincount(truth["frame"], truth["photons"], 700) / 2500  # fully lit
    before, after = slice(60, 300), slice(400, 700)
    field = given.field_um2
    assert photons[before].mean() == pytest.approx(field, rel=0.15)
    assert photons[after].mean() == pytest.approx(3 * field, rel=0.15)
    # Those on in a part of the frame count, too: one more frame per emission.
    assert lit[before].mean() / photons[before].mean() == pytest.approx(7 / 6, rel=0.03)
    assert lit[after].mean() / photons[after].mean() == pytest.approx(19 / 18, rel=0.02)
    assert truth["photons"].max() == pytest.approx(2500)
    haze = truth["background"] / np.where(truth["frame"] < 300, 10.0, 20.0)
    assert haze.min() > 0.8
    assert haze.max() < 1.2
    assert scope.core.getProperty(FAULTS, "on_time") == 3.0


@pytest.mark.parametrize("mean", [0.0, 0.03, 0.9, 3.3, 10.03, 31.97, 47.99, 48.5])
def test_counts_from_tables_are_poisson(mean):
    noise, draws = TableNoise(np.random.default_rng(7)), 400_000
    counts = noise.poisson(np.full((400, 1000), mean, np.float32))
    assert counts.dtype == np.float32
    mean = float(np.float32(mean))
    if mean == 0:
        assert not counts.any()
        return
    k = np.arange(int(mean + 12 * math.sqrt(mean) + 12))
    logs = k * math.log(mean) - mean - np.array([math.lgamma(n + 1) for n in k])
    expected = draws * np.exp(logs)
    seen = np.bincount(counts.astype(int).ravel(), minlength=len(k))[: len(k)]
    assert seen.sum() == draws
    often = expected > 20
    chi2 = np.sum((seen - expected)[often] ** 2 / expected[often])
    freedom = often.sum()
    assert chi2 < freedom + 4 * math.sqrt(2 * freedom) + 4
    assert seen[~often].sum() < expected[~often].sum() + 40


def test_normal_numbers_from_tables_are_normal_to_their_tails():
    noise = TableNoise(np.random.default_rng(9))
    drawn = np.sort(noise.normal(np.empty((2000, 1001), np.float32)).ravel())
    n = len(drawn)
    assert drawn.dtype == np.float32
    distance = np.abs(
        np.array([NormalDist().cdf(x) for x in drawn[::500]]) - np.arange(0, n, 500) / n
    )
    assert distance.max() < 1.95 / math.sqrt(n)  # Kolmogorov: one in a thousand
    assert drawn.mean() == pytest.approx(0, abs=4 / math.sqrt(n))
    assert np.mean(drawn.astype(float) ** 2) == pytest.approx(1, abs=0.005)
    for sigma in (4.0, 4.3, 4.6):
        expected = 2 * n * NormalDist().cdf(-sigma)
        assert abs(np.sum(np.abs(drawn) > sigma) - expected) < 4 * math.sqrt(expected)
    assert 4.6 < np.abs(drawn).max() < 7


def test_table_counts_follow_any_image_and_are_independent():
    rng = np.random.default_rng(3)
    image = rng.uniform(5, 12, (60, 70)).astype(np.float32)
    image[10:20, 30:40] += rng.uniform(0, 300, (10, 10)).astype(np.float32)
    image[:5] = 0.02
    noise = TableNoise(np.random.default_rng(8))
    counts = np.stack([noise.poisson(image) for _ in range(1500)])
    off = (counts.mean(0) - image) / np.sqrt(image / len(counts))
    assert np.abs(off).max() < 5.5
    assert off.std() == pytest.approx(1, abs=0.05)
    ratio = counts.var(0) / image
    assert ratio.mean() == pytest.approx(1, abs=0.01)
    normal = (counts - image) / np.sqrt(image)
    assert np.mean(normal[:, :, 1:] * normal[:, :, :-1]) == pytest.approx(0, abs=0.003)
    assert np.mean(normal[1:] * normal[:-1]) == pytest.approx(0, abs=0.003)
    bright = noise.poisson(np.full((50, 50), 500.0, np.float32))
    assert bright.mean() == pytest.approx(500, rel=0.01)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"excitation_mw": 0.0}, "excitation_mw is 0.0: input should be greater"),
        ({"excitation_mw": 300.0}, "excitation_mw is 300.0 but highest_excitation_mw"),
        ({"blink_probability": 1.0}, "blink_probability is 1.0: input should be less"),
        ({"blink_frames": 0.0}, "blink_frames is 0.0"),
        (
            {"drift_nm_per_s": (1.0, 2.0)},
            "drift_nm_per_s.2' is missing",
        ),
        ({"drift_walk_nm": (0.0, math.inf, 0.0)}, "drift_walk_nm.1 is inf"),
        ({"background_rise": -0.1}, "background_rise is -0.1"),
        ({"hot_pixels": -1}, "hot_pixels is -1"),
        ({"fiducials": 1.5}, "fiducials is 1.5: input should be a valid integer"),
    ],
)
def test_a_twin_that_cannot_be_is_refused(values, message):
    with pytest.raises(SettingsError, match=message):
        SimulatedSettings(**values)
