"""Cameras with maps and with electron multiplication, simulated and real cores."""

from dataclasses import replace

import numpy as np
import pytest

from liveloc.bridge.camera.python_core import close_core
from liveloc.bridge.camera.sequence_source import MicroManagerSource, open_core
from liveloc.bridge.settings import BridgeSettings
from liveloc.bridge.simulated import (
    SIMULATED_CAMERA,
    SIMULATED_EMCCD,
    SimulatedSettings,
    open_simulated,
    simulated_camera,
)
from liveloc.bridge.simulated.sample import Sample
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import Camera, CameraFile, save_camera
from liveloc.stream.errors import SettingsError
from liveloc.stream.session.settings import SessionSettings

SHAPE = (48, 64)
CHIP = simulated_camera("scmos_maps", SHAPE, seed=4)
ROI = (10, 6, 40, 32)  # x, y, width, height
DARK = SimulatedSettings(shape=SHAPE, background=0.0, density_per_um2=0.0)


@pytest.fixture(scope="module")
def demo():
    core = open_core("demo")
    core.setProperty("Camera", "FastImage", "1")
    yield core
    close_core(core)


def expose(settings, roi, frames):
    sample, out = Sample(settings), np.empty((frames, roi[3], roi[2]), np.uint16)
    for seq in range(frames):
        sample.expose(seq, 0.0, roi, out[seq])
    return out


def test_a_chip_of_a_seed_is_always_the_same_and_no_other():
    assert simulated_camera("scmos_maps", SHAPE, seed=4) == CHIP
    assert simulated_camera("scmos_maps", SHAPE, seed=5) != CHIP
    assert simulated_camera("scmos", SHAPE) is SIMULATED_CAMERA
    assert simulated_camera("emccd", SHAPE) is SIMULATED_EMCCD
    typical = CHIP.typical
    assert typical.offset_adu == pytest.approx(100, abs=1)
    assert typical.read_noise_e == pytest.approx(1.4, abs=0.1)
    assert 0.002 < (CHIP.read_noise_e > 4).mean() < 0.03


def test_each_pixel_of_a_region_shows_the_offset_and_noise_of_its_place():
    counts = expose(DARK.changed(calibration=CHIP), ROI, 500)
    part = CHIP.cropped(*ROI)
    sigma = part.read_noise_e / part.e_per_adu
    off = (counts.mean(0) - part.offset_adu) / sigma * np.sqrt(500)
    assert np.abs(off).max() < 6
    assert np.std(off) == pytest.approx(1, abs=0.1)
    assert np.allclose(counts.std(0) / np.hypot(sigma, 0.29), 1, atol=0.2)


def test_the_simulated_emccd_has_excess_noise():
    settings = DARK.changed(background=20.0, calibration=SIMULATED_EMCCD)
    counts = expose(settings, ROI, 200)
    photons = SIMULATED_EMCCD.photons(counts)
    expected = 2 * photons.mean(0).mean() + SIMULATED_EMCCD.read_variance_photons
    assert photons.var(0).mean() == pytest.approx(expected, rel=0.03)


def test_maps_of_another_shape_than_the_chip_are_refused():
    with pytest.raises(SettingsError, match=r"maps are of shape \(48, 64\) but shape"):
        SimulatedSettings(shape=(64, 64), calibration=CHIP)


@pytest.mark.parametrize("kind", ["scmos", "scmos_maps", "emccd"])
def test_a_session_chooses_its_simulated_camera(kind):
    settings = SessionSettings().changed(
        simulation__camera=kind, simulation__shape=SHAPE, simulation__seed=4
    )
    bridge = BridgeSettings.from_session(settings, None)
    assert bridge.simulated.calibration == simulated_camera(kind, SHAPE, 4)
    with pytest.raises(SettingsError, match="camera is 'ccd'"):
        settings.changed(simulation__camera="ccd")


def test_a_stream_starts_with_the_maps_of_its_region():
    scope = open_simulated(DARK.changed(calibration=CHIP))
    try:
        given = {"pixel_size_nm": 100.0, "calibration": scope.calibration}
        with_roi = MicroManagerSource(scope.core, frames=2, roi=ROI, **given)
        assert with_roi.start.calibration == CHIP.cropped(*ROI)
        assert with_roi.start.calibration.shape == with_roi.start.shape
        assert [f.pixels.shape for f in with_roi.frames()] == [(32, 40)] * 2
        with_roi.close()
        far = replace(CHIP, origin=(20, 0))
        with pytest.raises(SettingsError, match=r"camera maps cover .* whole chip"):
            MicroManagerSource(
                scope.core, frames=2, roi=ROI, pixel_size_nm=100.0, calibration=far
            )
    finally:
        scope.close()


def test_a_session_takes_calibration_and_pixel_size_from_its_camera_file(tmp_path):
    path = tmp_path / "orca.yaml"
    save_camera(path, Camera(CameraFile.of(CHIP, pixel_size_nm=117.0), CHIP))
    settings = SessionSettings().with_camera_file(path)
    camera = BridgeSettings.from_session(settings, None).camera
    assert camera.calibration == CHIP
    assert camera.pixel_size_nm == 117
    told = settings.changed(camera__pixel_size_nm=90.0)
    assert BridgeSettings.from_session(told, None).camera.pixel_size_nm == 90


def demo_source(core, calibration):
    return MicroManagerSource(
        core, frames=2, pixel_size_nm=100.0, calibration=calibration
    )


def test_no_count_is_above_the_bits_of_the_camera(demo):
    demo.clearROI()
    demo.setProperty("Camera", "Binning", "1")
    for bits, largest in (("8bit", 255), ("16bit", 65535)):
        demo.setProperty("Camera", "PixelType", bits)
        source = demo_source(demo, CameraCalibration())
        assert source.start.calibration.saturation_adu == largest
        source.close()
    lower = demo_source(demo, CameraCalibration(saturation_adu=4000))
    assert lower.start.calibration.saturation_adu == 4000
    lower.close()


def test_maps_of_single_pixels_are_not_used_for_binned_ones(demo):
    demo.clearROI()
    maps = CameraCalibration(offset_adu=np.full((512, 512), 100.0))
    demo.setProperty("Camera", "Binning", "1")
    demo_source(demo, maps).close()
    demo.setProperty("Camera", "Binning", "2")
    try:
        with pytest.raises(SettingsError, match=r"bins its pixels \(2\)"):
            demo_source(demo, maps)
        demo_source(demo, maps.typical).close()
    finally:
        demo.setProperty("Camera", "Binning", "1")
