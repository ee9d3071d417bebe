"""Photon transfer: cameras whose numbers are known are measured as a user would."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from liveloc.bridge.simulated import (
    SIMULATED_CAMERA,
    SIMULATED_EMCCD,
    simulated_camera,
)
from liveloc.model.calibration.camera.calibration import (
    calibrate_camera,
    describe_camera,
)
from liveloc.model.calibration.camera.photon_transfer import photon_transfer
from liveloc.model.calibration.camera.stack_statistics import stack_statistics
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import load_camera
from liveloc.stream.errors import SettingsError

SHAPE = (72, 80)
LEVELS = (20, 100, 400, 1000)


def lamp(shape=SHAPE):
    """Light that falls off to the corners, mean 1."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    light = np.exp(-((x / shape[1] - 0.5) ** 2 + (y / shape[0] - 0.5) ** 2) / 0.72)
    return light / light.mean()


def exposures(camera, photons, frames, *, flicker=0.0, drift=0.0, seed=0, extra=0.0):
    """Counts of a lamp that flickers from frame to frame and drifts."""
    rng = np.random.default_rng([seed, round(photons), frames])
    noise = NumpyNoise(rng)
    for t in range(frames):
        level = 1 + flicker * rng.standard_normal() + drift * (t / frames - 0.5)
        image = (photons * level * lamp() + extra).astype(np.float32)
        yield expose(image, camera, noise).astype(np.uint16)


def dark_of(camera, frames=60, **light):
    return stack_statistics("dark", exposures(camera, 0.0, frames, **light))


def lit(camera, photons, frames=60, **light):
    return stack_statistics(f"{photons}", exposures(camera, photons, frames, **light))


def measure(camera, levels=LEVELS, frames=60, flicker=0.0, dark_frames=60, **options):
    stacks = [lit(camera, level, frames, flicker=flicker) for level in levels]
    return photon_transfer(dark_of(camera, dark_frames), stacks, **options)


# Stacks


def test_a_stack_is_described_in_one_pass():
    rng = np.random.default_rng(1)
    stack = rng.integers(90, 130, (25, 6, 7)).astype(np.uint16)
    found = stack_statistics("s", iter(stack))
    assert np.allclose(found.mean, stack.mean(0))
    assert np.allclose(found.variance, stack.var(0, ddof=1))
    means = stack.mean((1, 2))
    assert np.allclose(found.frame_means, means)
    covariance = [
        [np.cov(stack[:, y, x], means)[0, 1] for x in range(7)] for y in range(6)
    ]
    assert np.allclose(found.covariance, covariance)
    assert found.histogram.sum() == stack.size
    assert found.share_from(120) == (stack >= 120).mean()
    with pytest.raises(ValueError, match="1 frames, needs at least 2"):
        stack_statistics("s", stack[:1])


def test_only_counts_that_pile_up_are_saturation():
    rng = np.random.default_rng(1)
    counts = rng.poisson(50, (20, 40, 40))
    assert stack_statistics("s", counts.astype(np.uint16)).pile_up is None
    clipped = np.minimum(counts, 50).astype(np.uint16)
    assert stack_statistics("s", clipped).pile_up == 50
    stuck = counts.copy()
    stuck[:, 3, 3] = 4000  # one pixel is no saturation
    assert stack_statistics("s", stuck.astype(np.uint16)).pile_up is None


# What is found


@pytest.mark.parametrize("flicker", [0.0, 0.03])
def test_gain_offset_and_read_noise_are_found_within_a_percent(flicker):
    found = measure(SIMULATED_CAMERA, flicker=flicker)
    camera = found.calibration
    assert not camera.has_maps
    assert camera.e_per_adu == pytest.approx(0.5, rel=0.01)
    assert camera.offset_adu == pytest.approx(100, abs=0.1)
    assert camera.read_noise_e == pytest.approx(1.6, rel=0.01)
    assert found.residual < 0.01
    assert [level.used for level in found.levels] == [True] * 4
    assert found.levels[0].flicker == pytest.approx(flicker, abs=0.01)
    assert found.notes == ("no maps: they need 100 dark frames, dark has 60",)


def test_without_its_correction_flicker_would_spoil_the_gain():
    stack = lit(SIMULATED_CAMERA, 1000, flicker=0.03)
    dark = dark_of(SIMULATED_CAMERA)
    naive = (stack.mean - dark.mean).mean() / (stack.variance - dark.variance).mean()
    assert naive < 0.4  # electrons per count, 0.5 in truth


def test_the_gain_of_an_emccd_has_its_excess_noise_taken_out():
    found = measure(SIMULATED_EMCCD, levels=(5, 20, 80, 200), em_gain=300)
    camera = found.calibration
    assert camera.e_per_adu == pytest.approx(10, rel=0.01)
    assert camera.em_gain == 300
    assert camera.read_noise_e == pytest.approx(60, rel=0.01)
    assert camera.excess == 2
    assert "one amplifier" in found.notes[-1]


def test_a_chip_gets_offset_and_read_noise_of_each_pixel():
    chip = simulated_camera("scmos_maps", SHAPE, seed=3)
    found = measure(chip, dark_frames=400, qe=0.8, origin=(7, 9))
    camera = found.calibration
    assert camera.shape == SHAPE and camera.origin == (7, 9)
    assert camera.qe == 0.8
    sigma_adu = chip.read_noise_e / chip.e_per_adu
    off = (camera.offset_adu - chip.offset_adu) / (sigma_adu / np.sqrt(400))
    assert np.std(off) == pytest.approx(1, rel=0.05)
    assert np.abs(off).max() < 6
    off = np.log(camera.read_noise_e / chip.read_noise_e)
    assert np.std(off) == pytest.approx(1 / np.sqrt(2 * 400), rel=0.25)
    noisy = chip.read_noise_e > 8
    assert noisy.sum() > 20
    assert np.abs(off[noisy]).max() < 0.25
    # Gains of single pixels do not show in so few frames: one for all.
    assert isinstance(camera.e_per_adu, float)
    assert camera.e_per_adu == pytest.approx(0.5, rel=0.01)
    assert "one gain for all" in found.notes[0]


def test_gains_of_pixels_are_believed_as_far_as_they_show():
    rng = np.random.default_rng(5)
    gains = 0.5 * rng.normal(1, 0.08, SHAPE)
    chip = replace(SIMULATED_CAMERA, e_per_adu=gains)
    found = measure(chip, dark_frames=120, frames=100)
    camera = found.calibration
    off = camera.e_per_adu / gains - 1
    assert np.std(off) < 0.06 < 0.08  # 7 % of chance alone, 8 % with one number
    assert np.corrcoef(camera.e_per_adu.ravel(), gains.ravel())[0, 1] > 0.65
    assert "gains differ by 8" in found.notes[0]


def test_dead_pixels_are_counted_and_distrusted():
    chip = simulated_camera("scmos_maps", SHAPE, seed=3)

    def with_dead(photons, frames, seed):
        for frame in exposures(chip, photons, frames, seed=seed):
            frame[10, 10] = 100
            frame[20, 30] = 101
            yield frame

    found = photon_transfer(
        stack_statistics("dark", with_dead(0.0, 150, 1)),
        [stack_statistics("l", with_dead(200.0, 60, 2))],
    )
    noise = found.calibration.read_noise_e
    assert noise[10, 10] == noise[20, 30] == noise.max()
    assert any(note.startswith("2 pixels do not respond") for note in found.notes)
    assert any(note.startswith("one level of light") for note in found.notes)


def test_one_number_for_all_is_given_where_it_is_asked_for():
    found = measure(SIMULATED_CAMERA, dark_frames=120, maps=False)
    assert not found.calibration.has_maps
    assert found.notes == ()


# What is left out, and why


def test_a_saturated_level_is_left_out_and_gives_the_saturation():
    camera = replace(SIMULATED_CAMERA, saturation_adu=4095)
    found = measure(camera, levels=(50, 400, 3000))
    assert [level.used for level in found.levels] == [True, True, False]
    assert "saturated: " in found.levels[2].reason
    assert "4095" in found.levels[2].reason
    assert found.calibration.saturation_adu == 4095
    assert found.calibration.e_per_adu == pytest.approx(0.5, rel=0.01)


def test_a_level_where_the_camera_is_not_linear_is_left_out():
    def bent(photons):
        for frame in exposures(SIMULATED_CAMERA, photons, 60):
            x = frame - 100.0
            yield np.round(100 + x / (1 + x / 20_000)).clip(0).astype(np.uint16)

    stacks = [stack_statistics(f"{n}", bent(n)) for n in (20, 50, 100, 2000)]
    found = photon_transfer(dark_of(SIMULATED_CAMERA), stacks)
    assert [level.used for level in found.levels] == [True, True, True, False]
    assert "% from the others" in found.levels[3].reason


def test_a_level_no_brighter_than_the_dark_is_left_out():
    found = measure(SIMULATED_CAMERA, levels=(0, 100, 400))
    assert "no brighter than the dark frames" in found.levels[0].reason
    assert found.calibration.e_per_adu == pytest.approx(0.5, rel=0.01)


def test_a_lamp_that_drifts_is_named():
    dark = dark_of(SIMULATED_CAMERA)
    drifting = lit(SIMULATED_CAMERA, 300, drift=0.5)
    found = photon_transfer(dark, [lit(SIMULATED_CAMERA, 100), drifting])
    assert found.levels[1].reason.startswith("the lamp drifted: ")
    assert " by 4" in found.levels[1].reason
    with pytest.raises(SettingsError, match=r"no level .* can be used\. 300: the lamp"):
        photon_transfer(dark, [drifting])


def test_speckle_is_not_taken_for_shot_noise():
    rng = np.random.default_rng(7)
    noise = NumpyNoise(rng)

    def laser(photons):
        for _ in range(60):
            speckle = rng.normal(1, 0.1, SHAPE).clip(0.1)
            image = (photons * speckle).astype(np.float32)
            yield expose(image, SIMULATED_CAMERA, noise).astype(np.uint16)

    stacks = [stack_statistics(f"l{n}", laser(n)) for n in (100, 300, 900, 2700)]
    with pytest.raises(
        SettingsError, match=r"noise and brightness .* l100 0\..*speckle"
    ):
        photon_transfer(dark_of(SIMULATED_CAMERA), stacks)


def test_counts_that_were_processed_are_refused():
    smooth = [np.full(SHAPE, 200 + t % 2, np.uint16) for t in range(20)]
    with pytest.raises(SettingsError, match="as they came from the camera"):
        photon_transfer(dark_of(SIMULATED_CAMERA), [stack_statistics("avg", smooth)])


def test_light_that_leaks_into_the_dark_frames_is_noticed():
    y = np.linspace(0, 40, SHAPE[0])[:, None]  # from one side
    dark = dark_of(SIMULATED_CAMERA, extra=np.broadcast_to(y, SHAPE))
    lights = [lit(SIMULATED_CAMERA, level) for level in LEVELS]
    with pytest.raises(
        SettingsError, match=r"dark: light in the dark frames: .*7[0-9] cou"
    ):
        photon_transfer(dark, lights)


def test_an_uneven_offset_is_not_taken_for_light():
    offset = 100 + np.broadcast_to(np.linspace(0, 80, SHAPE[0])[:, None], SHAPE)
    chip = replace(SIMULATED_CAMERA, offset_adu=offset)
    found = measure(chip, dark_frames=150)
    assert found.calibration.e_per_adu == pytest.approx(0.5, rel=0.01)
    assert np.abs(found.calibration.offset_adu - offset).max() < 2


def test_dark_frames_that_change_together_are_refused():
    camera = SIMULATED_CAMERA
    frames = list(exposures(camera, 0.0, 60))
    warming = [frame + np.uint16(t // 5) for t, frame in enumerate(frames)]
    with pytest.raises(
        SettingsError, match=r"dark: the level of the dark frames drifts"
    ):
        photon_transfer(stack_statistics("dark", warming), [lit(camera, 100)])


def test_a_high_read_noise_is_remarked_on():
    camera = CameraCalibration(e_per_adu=2.0, read_noise_e=25.0)
    found = measure(camera)
    assert any("read noise of 25 electrons is high" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, lights: (d, []), "no lit frames"),
        (
            lambda d, lights: (dark_of(SIMULATED_CAMERA, 5), lights),
            "dark: 5 frames are",
        ),
        (
            lambda d, lights: (d, [lit(SIMULATED_CAMERA, 9, 9)]),
            "9: 9 frames are too few",
        ),
        (
            lambda d, lights: (
                d,
                [stack_statistics("x", [np.ones((4, 4), "u2")] * 20)],
            ),
            r"x: frames of \(4, 4\), the dark frames are \(72, 80\)",
        ),
    ],
)
def test_stacks_that_cannot_do_are_named(change, words):
    dark, lights = change(dark_of(SIMULATED_CAMERA), [lit(SIMULATED_CAMERA, 100)])
    with pytest.raises(SettingsError, match=words):
        photon_transfer(dark, lights)


# From files to a file


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    chip = simulated_camera("scmos_maps", SHAPE, seed=3)
    for name, photons, frames in [
        ("dark", 0.0, 150),
        ("l1", 50.0, 40),
        ("l2", 200.0, 40),
        ("l3", 800.0, 40),
    ]:
        counts = np.stack(list(exposures(chip, photons, frames, flicker=0.01)))
        tifffile.imwrite(folder / f"{name}.tif", counts, photometric="minisblack")
    return folder


def test_progress_is_told_frame_by_frame(stacks):
    calls = []
    camera = calibrate_camera(
        stacks / "dark.tif",
        [stacks / "l2.tif"],
        name="ORCA",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(n + 1, 190) for n in range(190)]
    text = describe_camera(camera)
    assert "l2.tif" in text and "1 levels agree" in text and "maps of 80x72" in text


def test_a_camera_is_calibrated_on_the_command_line(liveloc, stacks, tmp_path):
    out = tmp_path / "camera.yaml"
    command = ["calibrate", "camera", "--dark", "dark.tif", "--light", "l1.tif"]
    done = liveloc(*command, "l2.tif", "l3.tif", "--qe", 0.8, "--out", out, cwd=stacks)
    assert done.returncode == 0, done.stderr
    assert "3 levels agree to 0." in done.stdout
    assert f"wrote {out} and" in done.stdout.replace("\n", "")
    camera = load_camera(out)
    assert camera.calibration.shape == SHAPE
    assert camera.file.e_per_adu == pytest.approx(0.5, rel=0.01)
    assert camera.file.qe == 0.8
    assert [level.file for level in camera.file.measurement.levels] == [
        "l1.tif",
        "l2.tif",
        "l3.tif",
    ]
    again = liveloc(*command, "--out", out, cwd=stacks)
    assert again.returncode == 2
    assert "exists and is not overwritten" in again.stderr
    missing = liveloc(*command, "gone.tif", "--out", tmp_path / "b.yaml", cwd=stacks)
    assert missing.returncode == 2 and "gone.tif" in missing.stderr
    assert not (tmp_path / "b.yaml").exists()


# Counts that are not a camera's


def changed(how, photons, frames=60):
    from scipy import ndimage

    stack = np.stack(list(exposures(SIMULATED_CAMERA, photons, frames)))
    if how == "smoothed":
        stack = ndimage.uniform_filter(stack.astype(float), (0, 3, 3))
    elif how == "smoothed along rows":
        stack = ndimage.gaussian_filter(stack.astype(float), (0, 0, 0.6))
    elif how == "resized":
        stack = ndimage.zoom(stack.astype(float), (1, 2, 2), order=1)[:, :72, :80]
    elif how == "averaged while running":
        stack = ndimage.uniform_filter(stack.astype(float), (4, 0, 0))
    return stack_statistics(how, np.round(stack).astype(np.uint16))


@pytest.mark.parametrize(
    "how", ["smoothed", "smoothed along rows", "resized", "averaged while running"]
)
def test_filtered_counts_are_refused(how):
    dark = dark_of(SIMULATED_CAMERA)
    where = "successive frames" if "while" in how else "neighbouring pixels"
    with pytest.raises(
        SettingsError, match=rf"{how}: the noise of {where} is correlated"
    ):
        photon_transfer(dark, [changed(how, 300), changed(how, 600)])


@pytest.mark.parametrize("flicker", [0.0, 0.1])
def test_the_noise_of_a_cameras_counts_is_its_own(flicker):
    stack = lit(SIMULATED_CAMERA, 1000, flicker=flicker)
    assert abs(stack.like_neighbours) < 0.05
    assert abs(stack.like_next) < 0.05


def test_more_electrons_per_count_than_any_camera_has_are_refused():
    averaged = [
        np.mean(list(exposures(SIMULATED_CAMERA, 600.0, 120, seed=k)), axis=0)
        for k in range(10)
    ]
    counts = np.round(averaged).astype(np.uint16)
    with pytest.raises(SettingsError, match="electrons per count: no camera has more"):
        photon_transfer(dark_of(SIMULATED_CAMERA), [stack_statistics("mean", counts)])


def test_an_emccd_without_its_gain_is_remarked():
    found = measure(SIMULATED_EMCCD, levels=(20, 80))
    assert found.calibration.em_gain == 1
    (note,) = [note for note in found.notes if "EM gain" in note]
    assert "lower than any camera has: is EM gain on?" in note
