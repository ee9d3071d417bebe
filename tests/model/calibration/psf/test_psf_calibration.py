"""PSFs measured from beads: known ones are found again, and faults are named."""

import json
import re

import numpy as np
import pytest
import tifffile
from scipy.sparse import csr_array
from typer.testing import CliRunner

from liveloc.__main__ import app
from liveloc.model.calibration.psf.bead_stack import read_stack
from liveloc.model.calibration.psf.beads import choose_beads, find_spots
from liveloc.model.calibration.psf.calibration import BeadSettings, calibrate_psf
from liveloc.model.calibration.psf.record import describe, metadata_of, remarks
from liveloc.model.calibration.psf.shape import render_slices
from liveloc.model.calibration.psf.spline_equations import (
    Knots,
    gathered,
    spline_slope,
    spot,
)
from liveloc.model.evaluation.wobble import read_wobble
from liveloc.model.physics.camera import NumpyNoise, expose
from liveloc.model.physics.psf import (
    AstigmaticPSF,
    DoubleHelixPSF,
    GaussianPSF,
    spline_kernel,
)
from liveloc.model.physics.psf_file import load_psf
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError

CAMERA = CameraCalibration(e_per_adu=0.5, qe=0.9, read_noise_e=1.6)
PLACES = np.array([(14.3, 15.1), (41.8, 14.6), (15.0, 43.7), (42.4, 42.9)])
SHAPE = (58, 58)
Z_NM = np.linspace(-600, 600, 31)  # 40 nm
HELIX = DoubleHelixPSF(sigma_px=1.3, separation_px=6.0, angle=0.2, turn_per_nm=0.0018)
ASTIGMATIC = AstigmaticPSF.symmetric(sigma0_px=1.3, separation_nm=250, depth_nm=400)
PIXEL_NM = 100.0


def bead_stack(psf, *, places=PLACES, z_nm=Z_NM, photons=20000.0, shift=None, rng=1):
    """Take a stack of beads; `shift` (planes, 2) moves all of them, px."""
    n = len(places)
    moved = places[None] + (0 if shift is None else np.asarray(shift)[:, None])
    light = np.broadcast_to(np.reshape(photons, (-1, 1)), (len(z_nm), n))
    x, y = np.broadcast_to(moved, (len(z_nm), n, 2)).transpose(2, 0, 1)
    z = np.repeat(z_nm[:, None], n, 1)
    expected = psf.render(x, y, z, light, SHAPE) + 20.0
    noise = NumpyNoise(np.random.default_rng(rng))
    return np.asarray(expose(expected.astype(np.float32), CAMERA, noise), np.uint16)


def settings(**changed):
    """Give the settings of the stacks above."""
    chosen = {
        "pixel_size_nm": PIXEL_NM,
        "z_step_nm": 40.0,
        "z_start_nm": -600.0,
        "camera": CAMERA,
        "window_px": 19,
        "jitter": False,
    }
    return BeadSettings(**(chosen | changed))


def truth(psf, z_nm, window):
    """Render a PSF on the middle pixel of a window: (depths, window, window)."""
    middle = np.full((len(z_nm), 1), window // 2, float)
    z = np.asarray(z_nm, float)[:, None]
    return psf.render(middle, middle, z, np.ones_like(z), (window, window))


def relative_error(found, true):
    """Compare two PSFs over depth: root mean square over root mean square."""
    z = np.linspace(-550, 550, 23)  # between the planes, too
    images = render_slices(found, z)
    expected = truth(true, z, images.shape[-1])
    return np.sqrt(np.mean((images - expected) ** 2) / np.mean(expected**2))


@pytest.fixture(scope="module")
def helix():
    return calibrate_psf(
        bead_stack(HELIX), settings(positions_px=PLACES, bead_photons=20000.0)
    )


def test_a_double_helix_is_found_again_within_the_noise(helix):
    assert relative_error(helix.psf, HELIX) < 0.02
    assert 0.95 < helix.fit.chi2_signal < 1.05
    assert 0.95 < helix.fit.chi2_all < 1.05
    assert helix.fit.chi2_planes.max() < 1.3


def test_positions_of_beads_are_found_as_well_as_noise_allows(helix):
    found = np.array([(b.x_px, b.y_px) for b in helix.beads])
    nearest = np.linalg.norm(found[:, None] - PLACES, axis=-1)
    # 31 planes of 20000 photons: about 2 nm / sqrt(31), relative to the mean bead
    assert nearest.min(1).max() < 0.02
    assert np.abs(helix.model.dz_nm).max() < 3
    photons = [b.brightness for b in helix.beads]
    assert photons == pytest.approx([20000] * 4, rel=0.01)


def test_background_is_not_taken_for_psf(helix):
    assert helix.model.background.mean() == pytest.approx(20, abs=1)


def test_wobble_and_light_along_z_stay_in_the_psf():
    shift = np.stack([0.4 * np.sin(Z_NM / 300), -0.3 * (Z_NM / 600) ** 2], 1)
    light = 20000 * (1 - 0.3 * Z_NM / 600)
    done = calibrate_psf(bead_stack(ASTIGMATIC, shift=shift, photons=light), settings())
    s = done.slices
    inside = np.abs(s.z_nm) < 500
    dx = 100 * 0.4 * np.sin(s.z_nm / 300)
    dy = -100 * 0.3 * (s.z_nm / 600) ** 2
    assert np.abs(s.dx_nm - dx)[inside].max() < 3
    assert np.abs(s.dy_nm - dy)[inside].max() < 3
    expected = 1 - 0.3 * s.z_nm / 600
    zero = np.interp(0, s.z_nm, s.amplitude)
    assert s.amplitude / zero == pytest.approx(expected, rel=0.04)
    assert zero == pytest.approx(1, rel=0.01)


def test_stated_positions_put_the_constant_offset_into_the_wobble():
    beside = PLACES - (0.25, -0.4)
    chosen = settings(positions_px=beside)
    slices = calibrate_psf(bead_stack(ASTIGMATIC), chosen).slices
    middle = np.abs(slices.z_nm) < 300
    assert slices.dx_nm[middle] == pytest.approx(25, abs=2)
    assert slices.dy_nm[middle] == pytest.approx(-40, abs=2)


def test_a_stack_taken_downwards_gives_the_same_psf(helix):
    down = settings(
        positions_px=PLACES, bead_photons=2e4, z_step_nm=-40.0, z_start_nm=600.0
    )
    again = calibrate_psf(bead_stack(HELIX)[::-1], down)
    assert np.abs(again.psf.coefficients - helix.psf.coefficients).max() < (
        0.02 * helix.psf.coefficients.max()
    )


def test_depth_zero_is_the_focus_where_there_is_one():
    psf = AstigmaticPSF.symmetric(sigma0_px=1.2, separation_nm=0, depth_nm=350)
    done = calibrate_psf(bead_stack(psf, z_nm=Z_NM - 160), settings(z_start_nm=None))
    assert "focus" in done.zero
    assert done.model.z_nm[0] == pytest.approx(-760, abs=15)


def test_depth_zero_of_a_double_helix_is_the_middle_plane():
    one = bead_stack(HELIX, places=PLACES[:1])
    done = calibrate_psf(one, settings(z_start_nm=None))
    assert done.zero == "the middle plane"
    assert done.model.z_nm[15] == 0


def test_what_stage_and_lamp_do_is_fitted_apart_from_the_shape():
    rng = np.random.default_rng(5)
    z = np.linspace(-600, 600, 61)  # planes closer than knots
    shift = 0.06 * rng.standard_normal((61, 2))
    light = 20000 * (1 + 0.03 * rng.standard_normal(61))
    stack = bead_stack(ASTIGMATIC, z_nm=z, shift=shift, photons=light)
    chosen = settings(z_step_nm=20.0, knots_nm=80.0, jitter=True, window_px=17)
    done = calibrate_psf(stack, chosen)
    assert done.fit.chi2_signal < 1.1
    # What the knots follow belongs to the shape: compare with the rest.
    slow = spline_kernel(done.model.knots.along(z))
    fast = shift - slow @ np.linalg.lstsq(slow, shift, rcond=None)[0]
    for axis in range(2):
        found = done.model.jitter[:, axis]
        assert np.corrcoef(found, fast[:, axis])[0, 1] > 0.95
    fast = np.log(light) - slow @ np.linalg.lstsq(slow, np.log(light), rcond=None)[0]
    assert np.corrcoef(done.model.jitter[:, 3], fast)[0, 1] > 0.95


def test_a_double_bead_is_refused_with_its_chi2_or_likeness():
    places = np.concatenate([PLACES, [PLACES[3] + (1.5, 1.0)]])
    done = calibrate_psf(bead_stack(ASTIGMATIC, places=places), settings())
    assert len(done.beads) == 3
    assert any(
        "does not match" in r.reason or "looks different" in r.reason
        for r in done.refused
    )


def test_beads_too_close_or_at_the_edge_are_refused_with_the_distance():
    places = np.array([(14.0, 14.0), (29.0, 14.0), (15.0, 43.0), (52.0, 44.0)])
    stack = bead_stack(GaussianPSF(sigma_px=1.4), places=places)
    spots = find_spots(CAMERA.photons(stack), 21)
    beads, refused = choose_beads(spots, CAMERA.photons(stack), 21)
    assert [(round(b.x_px), round(b.y_px)) for b in beads] == [(15, 43)]
    close, other, edge = sorted(r.reason for r in refused)
    for reason in (close, other):  # each shines into the other: not exactly 15
        assert re.fullmatch(r"1[45]\.\d px from another, must be 21 or more", reason)
    assert edge == "5 px from the edge, must be 10 or more"


def test_lobes_taken_for_beads_are_told_to_need_a_larger_window():
    helix = DoubleHelixPSF(sigma_px=1.2, separation_px=6.0, angle=0.0, turn_per_nm=0.0)
    with pytest.raises(SettingsError, match=r"2 beads can.*lobes.*larger --window"):
        calibrate_psf(bead_stack(helix, places=PLACES[:1]), settings(window_px=13))


def test_a_stack_without_beads_says_so():
    dark = np.random.default_rng(0).poisson(20, (31, 64, 64)).astype(np.uint16)
    with pytest.raises(SettingsError, match="no beads found: over 31 planes"):
        calibrate_psf(dark, settings())


def test_saturated_beads_are_refused_with_what_to_do():
    stack = np.minimum(bead_stack(ASTIGMATIC, photons=60000.0), 4095)
    with pytest.raises(SettingsError, match=r"saturated in \d+ pixels.*dimmer"):
        calibrate_psf(stack, settings())


@pytest.mark.parametrize("step", [0.04, 0.0, 4000.0])
def test_a_z_step_of_the_wrong_unit_is_refused(step):
    with pytest.raises(SettingsError, match=r"31 planes span .* in nanometres"):
        calibrate_psf(bead_stack(HELIX), settings(z_step_nm=step))


@pytest.mark.parametrize(
    ("stack", "changed", "message"),
    [
        (np.zeros((31, 2, 40, 40)), {}, r"\(31, 2, 40, 40\).*multi-page TIFF"),
        (np.zeros((3, 40, 40)), {}, "at least 5 planes"),
        (np.zeros((31, 40, 40)), {"background": "ring"}, "'ring' is unknown"),
        (
            np.zeros((31, 40, 40)),
            {"camera": CameraCalibration(read_noise_e=np.ones((8, 8)))},
            r"maps have \(8, 8\).*same ROI",
        ),
    ],
)
def test_settings_that_do_not_fit_the_stack_are_named(stack, changed, message):
    with pytest.raises(SettingsError, match=message):
        calibrate_psf(stack, settings(**changed))


def test_positions_of_another_stack_are_refused():
    with pytest.raises(SettingsError, match="stated positions are not those"):
        calibrate_psf(bead_stack(HELIX), settings(positions_px=PLACES + 300))


def test_a_wrong_gain_is_told_with_the_gain_that_fits():
    camera = CameraCalibration(e_per_adu=5.0, qe=0.9, read_noise_e=16.0)
    done = calibrate_psf(bead_stack(ASTIGMATIC), settings(camera=camera))
    (note,) = [r for r in remarks(done) if "noise per photon" in r]
    found = float(note.split("averaged. ")[1].split()[0])
    assert found == pytest.approx(0.5, rel=0.15)


def test_images_without_noise_and_camera_are_reproduced():
    z = np.linspace(-500, 500, 21)
    images = truth(ASTIGMATIC, z, 31)
    done = calibrate_psf(
        (images / images.max()).astype(np.float32),
        BeadSettings(pixel_size_nm=72.0, z_step_nm=50.0),
    )
    assert metadata_of(done, "x")["residual_of_peak"] < 1e-3
    assert metadata_of(done, "x")["chi2"] is None
    assert "no camera given" in describe(done)


def test_the_command_writes_psf_picture_and_report(tmp_path):
    stack = bead_stack(ASTIGMATIC, places=PLACES[:1])[:, :30, :30]
    tifffile.imwrite(tmp_path / "beads.tif", stack)
    command = [
        "calibrate", "psf", str(tmp_path / "beads.tif"),
        "--pixel-size", "100", "--z-step", "40", "--offset", "100", "--gain", "0.5",
        "--qe", "0.9", "--out", str(tmp_path / "mine.psf.npz"),
        "--json", str(tmp_path / "mine.json"),
    ]  # fmt: skip
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0, ran.output
    psf, metadata = load_psf(tmp_path / "mine.psf.npz")
    assert json.loads((tmp_path / "mine.json").read_text()) == metadata
    assert (tmp_path / "mine.png").read_bytes()[:4] == b"\x89PNG"
    assert metadata["source"] == "beads.tif"
    assert 0.9 < metadata["chi2_signal"] < 1.1
    wobble = read_wobble(tmp_path / "mine.psf.npz")
    assert np.abs(wobble.dx_nm).max() < 10
    assert psf.z_high_nm - psf.z_low_nm == pytest.approx(1200)
    with pytest.raises(SettingsError, match="exists and is not overwritten"):
        CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_bead_stack_may_hold_any_numbers_but_not_oblong_pixels(tmp_path):
    planes = np.linspace(0, 1, 5 * 12 * 9).reshape(5, 12, 9).astype(np.float32)
    tifffile.imwrite(tmp_path / "beads.tif", planes, photometric="minisblack")
    assert (read_stack(tmp_path / "beads.tif") == planes).all()
    tifffile.imwrite(tmp_path / "beads.tif", planes, imagej=True, resolution=(10, 5))
    with pytest.raises(SettingsError, match="2 times as high as wide"):
        read_stack(tmp_path / "beads.tif")
    (tmp_path / "beads.tif").write_bytes(b"II*\0" + bytes(20))
    with pytest.raises(SettingsError, match=r"beads\.tif: is a TIFF without any image"):
        read_stack(tmp_path / "beads.tif")


@pytest.mark.parametrize("places", [1, 7])
def test_gathering_is_the_transpose_of_rendering(places):
    rng = np.random.default_rng(0)
    knots = Knots.over(-200, 200, 50, 9)
    depths = csr_array(spline_kernel(knots.along(np.linspace(-200, 200, 7))))
    rows = spline_kernel(knots.across(rng.normal(size=places) / 5, 0, 4))
    columns = spline_kernel(knots.across(rng.normal(size=places) / 5, 1, 4))
    profiles = depths, rows, columns
    shape = rng.normal(size=knots.shape)
    image = rng.normal(size=(7, 9, 9))
    one = np.sum(spot(shape, profiles) * image)
    other = np.sum(shape * gathered(image, profiles))
    assert one == pytest.approx(other)


def test_the_slope_of_the_spline_is_its_derivative():
    t = np.linspace(-2.5, 2.5, 101)
    numeric = (spline_kernel(t + 1e-5) - spline_kernel(t - 1e-5)) / 2e-5
    assert spline_slope(t) == pytest.approx(numeric, abs=1e-8)


@pytest.mark.data
@pytest.mark.parametrize("modality", ["AS", "DH", "2D"])
def test_challenge_beads_fit_within_their_noise(data, modality):
    folder = data / "smlm2016_beads"
    stack = tifffile.imread(folder / f"beads_{modality}.tif")[25:126:5]
    stack = stack[:, :, :75]
    camera = CameraCalibration(e_per_adu=45.0, em_gain=300.0, qe=0.9, read_noise_e=74.4)
    chosen = settings(
        camera=camera, z_step_nm=50.0, z_start_nm=-500.0, window_px=25,
        background="none",
    )  # fmt: skip
    done = calibrate_psf(stack, chosen)
    assert len(done.beads) == 3
    assert 0.9 < done.fit.chi2_signal < 1.2


@pytest.mark.data
def test_a_real_bead_says_that_the_documented_gain_is_not_its_own(data):
    path = data / "bead_stacks_real" / "fit3Dcspline_single_bead_astig.tif"
    stack = tifffile.imread(path)[::4]
    camera = CameraCalibration(offset_adu=400.0, e_per_adu=0.2, read_noise_e=0.8)
    done = calibrate_psf(
        stack, BeadSettings(pixel_size_nm=130.0, z_step_nm=40.0, camera=camera)
    )
    assert done.fit.noise < 0.3
    assert any("noise per photon" in r for r in remarks(done))


@pytest.mark.data
@pytest.mark.parametrize("name", ["PYME_psf_astig", "PYME_beads1"])
def test_normalised_measured_psfs_are_taken_as_they_are(data, name):
    stack = tifffile.imread(data / "bead_stacks_real" / f"{name}.tif")[18:43, 17:44]
    stack = stack[:, :, 17:44]
    done = calibrate_psf(stack, BeadSettings(pixel_size_nm=73.0, z_step_nm=50.0))
    assert metadata_of(done, name)["residual_of_peak"] < 5e-3
