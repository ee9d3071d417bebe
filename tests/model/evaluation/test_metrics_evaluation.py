import json

import numpy as np
import pytest

from liveloc.model.evaluation.imaging import Imaging, imaging_for
from liveloc.model.evaluation.matching import Rule
from liveloc.model.evaluation.plots import write_plots
from liveloc.model.evaluation.report import assess
from liveloc.model.evaluation.tables import tables
from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import empty

PSF = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
CAMERA = CameraCalibration(read_noise_e=1.6)
IMAGING = Imaging(psf=PSF, camera=CAMERA)
METADATA = {"pixel_size_nm": "100", "roi_origin": "[4, 6]", "shape": "[64, 64]"}


def scene(n=900):
    """Three emitters to a frame, found at 1.5 times their limit."""
    rng = np.random.default_rng(1)
    truth = empty(n)
    truth["frame"] = np.arange(n) // 3
    truth["x_nm"] = rng.uniform(350, 6700, n)
    truth["y_nm"] = rng.uniform(550, 6900, n)
    truth["z_nm"] = rng.uniform(-300, 300, n)
    truth["photons"] = rng.uniform(1000, 4000, n)
    truth["background"] = 10
    found = truth.copy()
    limits = assess(truth, truth, Rule(), METADATA, imaging=IMAGING).limits
    for name in ("x_nm", "y_nm", "z_nm", "photons"):
        sigma = 1.5 * getattr(limits, name)
        found[name] += sigma * rng.standard_normal(n)
        found[f"{name[0]}_sigma_nm" if name.endswith("nm") else "photons_sigma"] = sigma
    return found, truth


@pytest.fixture(scope="module")
def full():
    return assess(*scene(), Rule(border_nm=450), METADATA, imaging=IMAGING)


def test_an_evaluation_holds_everything_that_the_data_allow(full):
    assert set(full.precision) == {"x", "y", "z", "photons"}
    for one in full.precision.values():
        assert one.rmse_over_limit == pytest.approx(1.5, abs=0.15)
        assert one.normalised == pytest.approx(1.5, abs=0.15)
        assert one.sigma_over_rmse == pytest.approx(1, abs=0.1)
    assert set(full.reliability) == set("xyz")
    assert set(full.curves) == {"distance", "photons", "depth", "snr"}
    assert set(full.bias) == {f"{a} in a {g}" for a in "xy" for g in ("pixel", "cell")}
    plain = json.loads(json.dumps(full.as_dict(), allow_nan=False))
    assert plain.items() >= full.score.as_dict().items()
    assert plain["axes"]["z"]["rmse_over_limit"] == pytest.approx(1.5, abs=0.15)
    titles = [str(table.title) for table in tables(full)]
    assert len(titles) == 3 + len(full.curves)


def test_figures_are_written_for_everything_that_is_known(full, tmp_path):
    written = write_plots(full, tmp_path / "figures")
    names = ["curves.png", "errors.png", "sigmas.png", "subpixel.png"]
    assert [path.name for path in written] == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_little_data_give_a_score_and_no_more(tmp_path):
    found, truth = scene(12)
    truth["photons"] = found["photons"] = np.nan
    found["x_sigma_nm"] = found["y_sigma_nm"] = found["z_sigma_nm"] = np.nan
    result = assess(found, truth, Rule(), {})
    assert result.score.true_positives == 12
    assert (result.reliability, result.curves, result.bias) == ({}, {}, {})
    assert [p.name for p in write_plots(result, tmp_path)] == ["errors.png"]
    json.dumps(result.as_dict(), allow_nan=False)


def test_an_empty_table_is_evaluated_without_a_warning(tmp_path):
    _, truth = scene(90)
    result = assess(
        empty(), truth, Rule(photon_quantile=0.25), METADATA, imaging=IMAGING
    )
    assert result.score.jaccard == 0
    json.dumps(result.as_dict(), allow_nan=False)
    assert tables(result)
    for path in write_plots(result, tmp_path):
        assert path.exists()


def test_the_rule_is_said_in_words():
    found, truth = scene(90)
    strict = assess(found, truth, Rule(border_nm=450, photon_quantile=0.25), METADATA)
    words = strict.rule_in_words
    assert "250 nm laterally and 500 nm axially" in words
    assert "border of 450 nm" in words
    assert f"up to {strict.matched.photon_threshold:.0f} photons" in words
    assert "dimmest 25 %" in words
    plain = assess(found, truth, Rule(axial_nm=None), METADATA).rule_in_words
    assert "in the plane" in plain
    assert "no border" in plain and "no photon threshold" in plain


def test_places_within_pixels_are_those_of_the_camera_not_of_the_chip():
    found, truth = scene()
    found["x_nm"], found["y_nm"] = truth["x_nm"], truth["y_nm"]
    odd = METADATA | {
        "roi_origin": "[5, 6]"
    }  # cells begin with the frame, not the chip
    true_px = truth["x_nm"] / 100 - 5 + 0.5
    found["x_nm"] += 20 * np.cos(np.pi * true_px)
    found["y_nm"] += 0.1
    shifted = [
        assess(found, truth, Rule(), metadata).bias["x in a cell"].pull_nm
        for metadata in (odd, METADATA)
    ]
    found["x_nm"] = truth["x_nm"] + 20 * np.sin(np.pi * true_px)
    pulled = [
        assess(found, truth, Rule(), metadata).bias["x in a cell"].pull_nm
        for metadata in (odd, METADATA)
    ]
    assert shifted == pytest.approx([0, 0], abs=2)
    assert pulled == pytest.approx([20, -20], abs=2)


@pytest.mark.parametrize("rule", [Rule(photon_quantile=0.25), Rule()])
def test_a_truth_without_photons_has_neither_threshold_nor_limits(rule):
    found, truth = scene(30)
    truth["photons"] = np.nan
    imaging = None if rule.photon_quantile else IMAGING
    with pytest.raises(SettingsError, match="does not state the photons"):
        assess(found, truth, rule, METADATA, imaging=imaging)


def test_imaging_comes_from_the_model_and_the_tables_own_camera():
    camera = {"offset_adu": 100.0, "e_per_adu": 0.5, "em_gain": 1.0, "qe": 0.8}
    camera |= {"read_noise_e": 2.5, "estimated": False}
    imaging = imaging_for(
        None, "simulated-microscope", None, {"calibration": json.dumps(camera)}
    )
    assert imaging.camera.read_noise_e == 2.5
    assert imaging.psf.x.focus_nm == -200
    trained = imaging_for(None, "simulated-microscope", None, {"calibration": "{"})
    assert trained.camera.read_noise_e == 1.6
    assert imaging_for(None, None, None, {}) is None


def test_a_psf_without_a_camera_asks_for_one(tmp_path):
    from liveloc.model.physics.psf import SplinePSF
    from liveloc.model.physics.psf_file import save_psf

    psf = SplinePSF(
        coefficients=np.ones((4, 8, 8), np.float32),
        z_first_nm=-150,
        z_step_nm=100,
        centre_px=(3.5, 3.5),
        z_low_nm=-100,
        z_high_nm=100,
        pixel_size_nm=100,
    )
    save_psf(tmp_path / "a.psf.npz", psf, {})
    with pytest.raises(SettingsError, match="--camera FILE"):
        imaging_for(tmp_path / "a.psf.npz", None, None, {})
