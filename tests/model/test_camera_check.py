"""Frames that contradict their calibration are noticed; others raise no alarm."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from liveloc.bridge.simulated import (
    SIMULATED_CAMERA,
    SIMULATED_EMCCD,
    SimulatedSettings,
    simulated_camera,
)
from liveloc.bridge.simulated.sample import Sample
from liveloc.model.camera_check import FRAMES, CameraCheck, camera_report
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.stream.calibration import CameraCalibration

SHAPE = (72, 72)
CHIP = simulated_camera("scmos_maps", SHAPE, seed=2)


def blinking(calibration, frames=60, *, shape=SHAPE, density=0.5, background=10.0):
    """Counts of the simulated microscope, its fluorophores in equilibrium."""
    settings = SimulatedSettings(
        shape=shape,
        density_per_um2=density,
        background=background,
        calibration=calibration,
        photons=2500.0 if background > 1 else 1000.0,
    )
    sample, image = Sample(settings), np.empty(shape, np.uint16)
    for seq in range(30 + frames):
        sample.expose(seq, settings.power_mw, (0, 0, shape[1], shape[0]), image)
        if seq >= 30:
            yield image.copy()


def structured(calibration, photons, frames=60, seed=1):
    """Counts of a still scene."""
    noise = NumpyNoise(np.random.default_rng(seed))
    image = np.asarray(photons, np.float32)
    for _ in range(frames):
        yield expose(image, calibration, noise).astype(np.uint16)


def verdict_of(frames, calibration):
    check = CameraCheck(calibration)
    given = [check.add([frame]) for frame in frames]
    assert not any(given[: FRAMES - 1])
    check.finish()
    return check.verdict


CAMERAS = {"scmos": SIMULATED_CAMERA, "maps": CHIP, "emccd": SIMULATED_EMCCD}


# No false alarm


@pytest.mark.parametrize("background", [0.2, 20.0])
@pytest.mark.parametrize("density", [0.1, 2.0])
@pytest.mark.parametrize("name", CAMERAS)
def test_the_right_calibration_raises_no_alarm(name, density, background):
    camera = CAMERAS[name]
    frames = blinking(camera, density=density, background=background)
    verdict = verdict_of(frames, camera)
    assert verdict.warnings == ()
    assert verdict.frames == 60
    assert verdict.noise is None or 0.8 < verdict.noise < 1.1


@pytest.mark.parametrize("name", CAMERAS)
def test_structured_backgrounds_raise_no_alarm(name):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    for photons in (
        40 + 60 * np.sin(x / 9 + y / 15) ** 4,
        np.where(x < 48, 20.0, 300.0),
        10 + 400 * np.exp(-((x - 40) ** 2 + (y - 50) ** 2) / 18),  # a bead
        np.random.default_rng(1).uniform(5, 50, SHAPE),
    ):
        verdict = verdict_of(structured(CAMERAS[name], photons), CAMERAS[name])
        assert verdict.warnings == ()
        assert 0.8 < verdict.noise < 1.1


def test_single_numbers_for_a_chip_with_noisy_pixels_raise_no_alarm():
    verdict = verdict_of(blinking(CHIP, background=3.0), CHIP.typical)
    assert verdict.warnings == ()


def test_complete_darkness_raises_no_alarm():
    for camera in CAMERAS.values():
        dark = structured(camera, np.zeros(SHAPE))
        assert verdict_of(dark, camera).warnings == ()


def test_a_guessed_calibration_is_not_held_against_the_frames():
    guess = replace(SIMULATED_CAMERA, e_per_adu=7.0, estimated=True)
    assert verdict_of(blinking(SIMULATED_CAMERA), guess) is None


def test_too_few_frames_say_nothing():
    wrong = replace(SIMULATED_CAMERA, e_per_adu=5.0)
    assert verdict_of(blinking(SIMULATED_CAMERA, frames=19), wrong) is None


def test_small_frames_say_what_they_can():
    frames = list(blinking(SIMULATED_CAMERA, 100, shape=(32, 40), density=0.2))
    assert verdict_of(frames, SIMULATED_CAMERA).warnings == ()
    tiny = [frame[:8, :8] for frame in frames]
    assert verdict_of(tiny, SIMULATED_CAMERA).noise is None
    line = [frame[:1] for frame in frames]
    assert verdict_of(line, SIMULATED_CAMERA).noise is None


# Contradictions


@pytest.mark.parametrize(
    ("true", "change", "words"),
    [
        (SIMULATED_CAMERA, {"e_per_adu": 2.0}, "more noise .* is it 0.5"),
        (SIMULATED_CAMERA, {"e_per_adu": 0.1}, "less noise"),
        (SIMULATED_CAMERA, {"offset_adu": 0.0}, "less noise .* another offset"),
        (SIMULATED_CAMERA, {"offset_adu": 150.0}, "below the offset of 150 ADU"),
        (
            SIMULATED_CAMERA,
            {"saturation_adu": 255.0},
            "above the saturation of 255 ADU",
        ),
        (SIMULATED_EMCCD, {"em_gain": 1.0}, "more noise .* is there EM gain"),
        (SIMULATED_EMCCD, {"em_gain": 1000.0}, "less noise .* EM gain than 1000"),
    ],
)
def test_a_wrong_number_is_noticed_and_named(true, change, words):
    verdict = verdict_of(blinking(true), replace(true, **change))
    assert len(verdict.warnings) >= 1
    assert re.search(words, verdict.warnings[0]), verdict.warnings


def test_a_wrong_read_noise_is_noticed_in_the_dark():
    wrong = replace(SIMULATED_CAMERA, read_noise_e=4.0)
    (warning,) = verdict_of(
        structured(SIMULATED_CAMERA, np.zeros(SHAPE)), wrong
    ).warnings
    assert "less noise" in warning
    assert "is the read noise 1.6 electrons, not 4?" in warning


def test_saturated_pixels_are_counted():
    camera = replace(SIMULATED_CAMERA, saturation_adu=600)
    verdict = verdict_of(blinking(camera, density=2.0), camera)
    assert verdict.saturated > 1e-3
    assert "% of the counts are saturated" in verdict.warnings[0]


def test_counts_that_pile_up_below_the_stated_saturation_are_noticed():
    camera = replace(SIMULATED_CAMERA, saturation_adu=1023)
    (warning,) = verdict_of(
        blinking(camera, density=3.0, background=40.0), SIMULATED_CAMERA
    ).warnings
    assert "counts pile up at 1023" in warning and "65535" in warning


@pytest.mark.parametrize(
    "move", [lambda m: np.roll(m, 2, 0), np.flipud, lambda m: m.T, np.rot90]
)
def test_maps_of_other_pixels_are_noticed(move):
    moved = replace(CHIP, **{name: move(m) for name, m in CHIP.maps.items()})
    (warning,) = verdict_of(blinking(CHIP, background=2.0), moved).warnings
    assert "pixels that the camera maps call noisy are not" in warning


# How it is reported


def test_the_verdict_is_given_once_and_reported(caplog):
    wrong = replace(SIMULATED_CAMERA, e_per_adu=2.0)
    check = CameraCheck(wrong)
    frames = list(blinking(SIMULATED_CAMERA, FRAMES))
    assert check.warnings == []
    assert check.add(frames[:50]) is None
    verdict = check.add(frames[50:])
    assert verdict is not None and verdict.frames == FRAMES
    assert check.add(frames) is None and check.finish() is None
    assert check.warnings == list(verdict.warnings)
    assert [record.getMessage() for record in caplog.records] == [
        f"the camera's calibration may be wrong: {verdict.warnings[0]}"
    ]
    report = camera_report(check)
    assert report["e_per_adu"] == 2.0
    assert report["warnings"] == check.warnings
    assert report["check"]["noise_over_calibration"] == round(verdict.noise, 3)
    assert "\n" not in verdict.warnings[0] and len(verdict.warnings[0]) < 250


def test_a_report_without_a_verdict_says_so():
    report = camera_report(CameraCheck(CHIP))
    assert report["check"] == {"frames": 0}
    assert report["warnings"] == []
    assert report["maps"] == ["e_per_adu", "offset_adu", "read_noise_e"]


@pytest.mark.data
@pytest.mark.parametrize("name", ["LD", "MD"])
def test_a_movie_with_a_known_camera_agrees_with_it(data, name):
    path = data / "nairr_3das_train" / f"3DAS_{name}_Validate_frames.tif"
    frames = tifffile.imread(path)[:100]
    true = CameraCalibration(offset_adu=500, e_per_adu=1, read_noise_e=20**0.5)
    verdict = verdict_of(frames, true)
    assert verdict.warnings == ()
    assert verdict.noise == pytest.approx(0.95, abs=0.06)
    for e_per_adu, words in ((3.0, "more noise"), (0.33, "less noise")):
        (warning,) = verdict_of(frames, replace(true, e_per_adu=e_per_adu)).warnings
        assert words in warning
