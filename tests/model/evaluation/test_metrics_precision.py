import numpy as np
import pytest

from liveloc.model.evaluation.curves import curves
from liveloc.model.evaluation.matching import Field, Rule, compare
from liveloc.model.evaluation.precision import (
    limits_of,
    precision,
    reliability,
    within_reach,
)
from liveloc.model.evaluation.subpixel import evenness, phase, phase_bias
from liveloc.model.physics.crlb import Limits
from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.localizations import empty

FIELD = Field(0, 0, 20_000, 20_000)


def scene(n=4000, seed=0, per_frame=1):
    """True emitters far from each other, found with known sigmas."""
    rng = np.random.default_rng(seed)
    truth = empty(n)
    truth["frame"] = np.arange(n) // per_frame
    truth["x_nm"], truth["y_nm"] = rng.uniform(0, 20_000, (2, n))
    truth["z_nm"] = rng.uniform(-400, 400, n)
    truth["photons"], truth["background"] = rng.uniform(500, 5000, n), 10
    found = truth.copy()
    for axis, width in (("x", 10.0), ("y", 20.0), ("z", 40.0)):
        sigma = width * rng.uniform(0.5, 1.5, n)
        found[f"{axis}_nm"] += sigma * rng.standard_normal(n)
        found[f"{axis}_sigma_nm"] = sigma
    return found, truth


def constant_limits(n, nm=5.0):
    return Limits(**{name: np.full(n, nm) for name in Limits.__dataclass_fields__})


def test_true_sigmas_score_one_on_every_measure():
    found, truth = scene()
    errors = precision(compare(found, truth, Rule()))
    assert set(errors) == {"x", "y", "z"}  # photons are exact, so there is no error
    for axis, width in (("x", 10), ("y", 20), ("z", 40)):
        one = errors[axis]
        assert one.rmse == pytest.approx(width * np.sqrt(13 / 12), rel=0.05)
        assert one.bias == pytest.approx(0, abs=0.06 * width)
        for value in (one.sigma_over_rmse, one.score, one.score_robust):
            assert value == pytest.approx(1, abs=0.05)
        assert one.within_1_sigma == pytest.approx(0.683, abs=0.03)
        assert one.within_2_sigma == pytest.approx(0.954, abs=0.02)
        assert np.isnan(one.limit) and one.as_dict()["rmse_over_limit"] is None


def test_sigmas_that_are_too_small_by_two_are_seen_as_that():
    found, truth = scene()
    found["x_sigma_nm"] /= 2
    one = precision(compare(found, truth, Rule()))["x"]
    assert one.sigma_over_rmse == pytest.approx(0.5, abs=0.03)
    assert one.score == pytest.approx(2, abs=0.1)
    assert one.within_1_sigma < 0.42


def test_a_few_outliers_move_the_score_but_not_the_robust_one():
    found, truth = scene()
    found["x_nm"][:40] += 200
    one = precision(compare(found, truth, Rule()))["x"]
    assert one.score > 1.5
    assert one.score_robust == pytest.approx(1, abs=0.05)


def test_errors_are_divided_by_the_limit_of_each_emitter():
    found, truth = scene()
    limits = constant_limits(len(truth))
    limits.x_nm[:] = np.where(np.arange(len(truth)) % 2, 1.0, 1000.0)
    one = precision(compare(found, truth, Rule()), limits)
    assert one["y"].rmse_over_limit == pytest.approx(one["y"].rmse / 5.0)
    assert one["y"].normalised == pytest.approx(one["y"].rmse / 5.0)
    assert one["x"].rmse_over_limit < 0.02 < 5 < one["x"].normalised


def test_a_table_without_sigmas_has_errors_but_no_scores():
    found, truth = scene(300)
    found["x_sigma_nm"], found["y_sigma_nm"] = 0, np.nan
    matched = compare(found, truth, Rule())
    errors = precision(matched)
    for axis in "xy":
        assert errors[axis].rmse > 0 and np.isnan(errors[axis].score)
        assert reliability(matched, axis) is None
    assert reliability(matched, "z") is not None


def test_reliability_follows_the_diagonal_only_if_sigmas_are_true():
    found, truth = scene()
    good = reliability(compare(found, truth, Rule()), "x")
    assert good.actual == pytest.approx(good.predicted, rel=0.15)
    assert good.robust == pytest.approx(good.predicted, rel=0.2)
    assert good.pairs.sum() == len(truth)
    found["x_sigma_nm"] = found["x_sigma_nm"][::-1]  # of other emitters
    shuffled = reliability(compare(found, truth, Rule()), "x")
    assert shuffled.actual[-1] < 0.8 * shuffled.predicted[-1]


def test_limits_come_from_each_emitters_own_place_light_and_ground():
    psf = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
    camera = CameraCalibration(read_noise_e=1.6)
    truth = empty(4)
    truth["z_nm"], truth["photons"], truth["background"] = 100, 2000, [10, 40, 0, 10]
    truth["photons"][3] = 8000
    x = limits_of(truth, psf, camera, 100.0, background=40.0).x_nm
    assert x[3] < x[0] < x[1]
    assert x[2] == x[1]  # the table does not state it


def test_limits_with_overlap_are_those_of_the_frame_in_any_order_of_rows():
    psf = AstigmaticPSF.symmetric(sigma0_px=1.15, separation_nm=200, depth_nm=350)
    camera = CameraCalibration(read_noise_e=1.6)
    truth = empty(4)
    truth["frame"] = [7, 3, 7, 3]
    truth["x_nm"] = [1000, 1000, 1300, 4000]  # close in frame 7, far in frame 3
    truth["photons"], truth["background"] = 2000, 10
    alone = limits_of(truth, psf, camera, 100.0).x_nm
    together = limits_of(truth, psf, camera, 100.0, overlap=True).x_nm
    assert (together[[0, 2]] > 1.3 * alone[[0, 2]]).all()
    assert together[[1, 3]] == pytest.approx(alone[[1, 3]], rel=0.01)


def test_no_limit_is_larger_than_the_error_of_a_pair_can_be():
    limits = within_reach(constant_limits(3, nm=1e4))
    rng = np.random.default_rng(1)  # places within the matching distance
    x, y = rng.uniform(-250, 250, (2, 100_000))
    x = x[np.hypot(x, y) <= 250]
    z = rng.uniform(-500, 500, 100_000)
    assert limits.x_nm == pytest.approx(x.std(), rel=0.01)
    assert limits.y_nm.tolist() == limits.x_nm.tolist()
    assert limits.z_nm == pytest.approx(z.std(), rel=0.01)
    assert limits.photons.tolist() == [1e4] * 3
    assert within_reach(constant_limits(1)).x_nm == 5


def test_curves_find_where_emitters_are_missed_and_where_errors_are():
    found, truth = scene(8000)
    deep = truth["z_nm"] > 200
    found = found[~deep | (np.arange(len(truth)) % 2 == 0)]
    made = curves(compare(found, truth, Rule()), FIELD, constant_limits(len(truth)))
    assert set(made) == {"photons", "depth", "snr"}  # each is alone in its frame
    depth = made["depth"]
    assert depth.centre[0] == pytest.approx(-350, abs=10)
    assert depth.jaccard[-1] == pytest.approx(50, abs=5)
    assert depth.jaccard[:5] == pytest.approx(100)
    assert depth.emitters.sum() == len(truth)
    assert depth.over_limit["y"] == pytest.approx(20 * np.sqrt(13 / 12) / 5, rel=0.1)
    assert depth.rmse_axial_nm == pytest.approx(40 * np.sqrt(13 / 12), rel=0.1)


def test_a_few_brightnesses_get_a_bin_each():
    found, truth = scene()
    truth["photons"] = np.array([1000, 2500, 5000])[np.arange(len(truth)) % 3]
    curve = curves(compare(found, truth, Rule()), FIELD)["photons"]
    assert curve.centre.tolist() == [1000, 2500, 5000]
    assert curve.as_dict()["emitters"] == [1334, 1333, 1333]


def test_density_and_distance_are_those_of_the_emitters_own_frame():
    truth = empty(200)
    truth["frame"] = np.repeat([0, 1, 2], [100, 50, 50])
    truth["x_nm"][:100] = np.arange(100) * 200
    truth["x_nm"][100:150] = np.arange(50) * 400
    truth["x_nm"][150:] = np.arange(50) * 400
    truth["y_nm"] = np.repeat([0, 0, 10], [100, 50, 50])  # next to frame 1, not in it
    false = empty(10)
    false["frame"], false["x_nm"], false["y_nm"] = 1, 200, 2000
    table = np.concatenate([truth, false])
    made = curves(compare(table, truth, Rule()), FIELD)
    density, distance = made["density"], made["distance"]
    assert density.centre.tolist() == [0.125, 0.25]  # per um2: 50 and 100 in 400
    assert density.jaccard.tolist() == pytest.approx([100 * 100 / 110, 100])
    assert distance.centre.tolist() == [200, 400]
    assert distance.jaccard.tolist() == pytest.approx([100, 100 * 100 / 110])


def test_phases_are_counted_from_the_centres():
    places = np.array([0.0, 0.25, 0.5, 1.0, -0.5])
    assert phase(places, 1).tolist() == [0, 0.25, -0.5, 0, -0.5]
    assert phase(places, 2).tolist() == [-0.5, -0.25, 0, 0.5, -1]


@pytest.mark.parametrize(("period", "other"), [(1, 2), (2, 1)])
def test_a_pull_to_the_centre_is_found_with_its_size_and_its_grid(period, other):
    rng = np.random.default_rng(3)
    true = rng.uniform(0, 64, 20_000)
    angle = 2 * np.pi * phase(true, period) / period
    error = -3.0 * np.sin(angle) + 10 * rng.standard_normal(len(true)) + 7
    error[:100] = 250  # confusions
    bias = phase_bias(true, error, period)
    assert bias.pull_nm == pytest.approx(3, abs=0.4)
    assert bias.rms_nm == pytest.approx(3 / np.sqrt(2), abs=0.4)
    assert bias.pull_error_nm == pytest.approx(0.1, abs=0.01)
    assert abs(phase_bias(true, error, other).pull_nm) < 0.4
    found = true + error / 100
    assert evenness(found, period).contrast > 4 * evenness(found, period).contrast_error


def test_positions_that_lie_anywhere_are_even():
    rng = np.random.default_rng(4)
    even = evenness(rng.uniform(0, 100, 5000), 1)
    assert abs(even.contrast) < 3 * even.contrast_error
    assert even.p_value > 0.01
    drawn = evenness(np.round(rng.uniform(0, 100, 5000) * 4) / 4, 1)
    assert drawn.p_value < 1e-6
