import json

import numpy as np
import pytest

from liveloc.model.evaluation.matching import Field, Rule, compare, match
from liveloc.model.evaluation.metrics import evaluate
from liveloc.model.evaluation.wobble import Wobble, read_wobble
from liveloc.model.physics.psf import SplinePSF
from liveloc.model.physics.psf_file import save_psf
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import empty


def table(*rows):
    """Rows of (frame, x, y, z)."""
    result = empty(len(rows))
    columns = np.array(rows, float).reshape(-1, 4).T
    for name, column in zip(("frame", "x_nm", "y_nm", "z_nm"), columns, strict=True):
        result[name] = column
    return result


def read_challenge(path):
    data = np.genfromtxt(path, delimiter=",", names=True)
    result = empty(len(data))
    result["frame"] = data["frame"] - 1
    for ours, theirs in (("x_nm", "xnano"), ("y_nm", "ynano"), ("z_nm", "znano")):
        result[ours] = data[theirs]
    return result


@pytest.mark.data
def test_the_official_scores_are_reproduced(data):
    folder = data / "metrics_reference"
    truth = read_challenge(folder / "A_HD_gt.csv")
    found = read_challenge(folder / "A_HD_pred.csv")
    cases = json.loads((folder / "expected.json").read_text())
    assert len(cases) == 4
    for case in cases:
        score = evaluate(
            found,
            truth,
            field=Field(0, 0, 6400, 6400),
            border_nm=case["border_nm"],
            axial_nm=case["tol_ax_nm"],
        )
        expected = case["own_python_greedy"]
        for ours, theirs in {
            "true_positives": "tp",
            "false_positives": "fp",
            "false_negatives": "fn",
            "jaccard": "jaccard",
            "precision": "precision",
            "recall": "recall",
            "rmse_lateral_nm": "rmse_lat",
            "rmse_axial_nm": "rmse_ax",
            "efficiency_lateral": "eff_lat",
            "efficiency_axial": "eff_ax",
            "efficiency_3d": "eff_3d",
        }.items():
            assert getattr(score, ours) == pytest.approx(expected[theirs], abs=1e-3)


def test_a_perfect_table_scores_one_hundred():
    truth = table((0, 10, 10, 0), (0, 900, 900, 50), (3, 10, 10, 0))
    score = evaluate(truth, truth)
    assert (score.jaccard, score.efficiency_3d) == (100.0, 100.0)
    assert (score.rmse_lateral_nm, score.rmse_axial_nm) == (0.0, 0.0)


def test_pairs_stay_within_a_frame_and_within_the_tolerances():
    truth = table((0, 0, 0, 0))
    assert evaluate(table((1, 0, 0, 0)), truth).true_positives == 0
    assert evaluate(table((0, 251, 0, 0)), truth).true_positives == 0
    assert evaluate(table((0, 249, 0, 501)), truth).true_positives == 0
    assert evaluate(table((0, 249, 0, 501)), truth, axial_nm=None).true_positives == 1


def test_the_nearest_pair_is_matched_first():
    truth = table((0, 0, 0, 0), (0, 100, 0, 0))
    found, real = match(table((0, 90, 0, 0), (0, 180, 0, 0)), truth)
    assert dict(zip(found.tolist(), real.tolist(), strict=True)) == {0: 1, 1: 0}


def test_a_border_leaves_out_rows_of_both_tables():
    truth = table((0, 100, 3000, 0), (0, 3000, 3000, 0))
    score = evaluate(
        table((0, 100, 3000, 0)), truth, field=Field(0, 0, 6400, 6400), border_nm=450
    )
    assert (score.false_positives, score.false_negatives) == (0, 1)


def test_a_border_without_a_field_is_refused():
    with pytest.raises(ValueError, match="field of view"):
        evaluate(empty(), empty(), border_nm=1.0)


def test_empty_tables_score_nothing_without_dividing_by_zero():
    score = evaluate(empty(), empty())
    assert score.jaccard == 0.0
    assert np.isfinite(list(score.as_dict().values())).all()


def with_photons(rows, photons):
    rows["photons"] = photons
    return rows


def test_dim_emitters_and_what_is_paired_with_them_do_not_count():
    places = [(frame, 1000, 1000, 0) for frame in range(8)]
    truth = with_photons(table(*places), [100, 200, 300, 400, 500, 600, 700, 800])
    found = table(*places[:6], (0, 5000, 5000, 0))  # the two dimmest are among them
    score = evaluate(found, truth, photon_quantile=0.25)
    counts = score.true_positives, score.false_positives, score.false_negatives
    assert counts == (4, 1, 2)


def test_a_dim_emitter_keeps_its_localization_from_a_bright_one():
    """Pairing comes first, so the threshold does not hand partners on."""
    truth = with_photons(table((0, 0, 0, 0), (0, 200, 0, 0)), [100, 900])
    score = evaluate(table((0, 60, 0, 0)), truth, photon_quantile=0.5)
    counts = score.true_positives, score.false_positives, score.false_negatives
    assert counts == (0, 0, 1)


def test_the_photon_threshold_is_taken_within_the_border():
    truth = with_photons(
        table(*[(0, x, 3000, 0) for x in (10, 20, 1000, 2000, 3000, 4000)]),
        [1, 2, 100, 200, 300, 400],
    )
    rule = Rule(border_nm=450, photon_quantile=0.25)
    matched = compare(empty(), truth, rule, Field(0, 0, 6400, 6400))
    assert matched.photon_threshold == 150
    assert truth["photons"][matched.missed].tolist() == [200, 300, 400]


def test_a_threshold_needs_photons():
    truth = with_photons(table((0, 0, 0, 0)), np.nan)
    with pytest.raises(ValueError, match="does not state its photons"):
        evaluate(empty(), truth, photon_quantile=0.25)


def challenge_with_threshold(found, truth, quantile):
    """The assessment that was run for the challenge, written down step by step."""
    threshold = np.floor(np.quantile(truth["photons"], quantile, method="hazen"))
    partner = dict(zip(*(rows.tolist() for rows in match(found, truth)), strict=True))
    bright = truth["photons"] > threshold
    true_positives = sum(bright[j] for j in partner.values())
    dim_partners = len(partner) - true_positives
    return (
        true_positives,
        len(found) - true_positives - dim_partners,
        len(truth) - true_positives - int((~bright).sum()),
    )


@pytest.mark.data
def test_the_threshold_counts_as_the_challenge_does(data):
    folder = data / "metrics_reference"
    truth, found = (read_challenge(folder / f"A_HD_{n}.csv") for n in ("gt", "pred"))
    raw = np.genfromtxt(folder / "A_HD_gt.csv", delimiter=",", names=True)
    truth["photons"] = raw["intensity"]
    score = evaluate(found, truth, photon_quantile=0.25)
    counts = score.true_positives, score.false_positives, score.false_negatives
    assert counts == challenge_with_threshold(found, truth, 0.25)
    assert counts[2] < evaluate(found, truth).false_negatives


def test_wobble_moves_the_truth_to_where_it_appears():
    wobble = Wobble(
        z_nm=np.array([-100.0, 100.0]),
        dx_nm=np.array([-20.0, 40.0]),
        dy_nm=np.array([0.0, -10.0]),
    )
    truth = table((0, 1000, 1000, 0), (1, 1000, 1000, 100), (2, 1000, 1000, 900))
    found = table((0, 1010, 995, 0), (1, 1040, 990, 100), (2, 1040, 990, 900))
    matched = compare(found, truth, Rule(wobble=wobble))
    assert len(matched.found) == 3
    assert matched.error("x_nm") == pytest.approx(0, abs=1e-3)
    assert matched.error("y_nm") == pytest.approx(0, abs=1e-3)
    assert truth["x_nm"].tolist() == [1000, 1000, 1000]  # a copy was moved


def test_a_wobble_table_is_read_with_and_without_names(tmp_path):
    for k, names in enumerate(("", "dx,dy,z\n")):
        path = tmp_path / f"{k}.csv"
        path.write_text(names + "1,2,50\n3,4,-50\n")
        wobble = read_wobble(path)
        assert wobble.z_nm.tolist() == [-50, 50]
        assert (wobble.dx_nm.tolist(), wobble.dy_nm.tolist()) == ([3, 1], [4, 2])


@pytest.mark.parametrize("text", ["", "1,2\n3,4\n", "a,b,c\n1,2,x\n", "1,2,nan\n"])
def test_what_is_no_wobble_table_is_refused_with_what_is_needed(tmp_path, text):
    path = tmp_path / "wobble.csv"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"wobble\.csv.*dx, dy, z in nm"):
        read_wobble(path)
    with pytest.raises(SettingsError, match=r"missing\.csv"):
        read_wobble(tmp_path / "missing.csv")


def test_a_psf_file_gives_its_wobble_or_says_that_it_has_none(tmp_path):
    psf = SplinePSF(
        coefficients=np.ones((4, 8, 8), np.float32),
        z_first_nm=-150,
        z_step_nm=100,
        centre_px=(3.5, 3.5),
        z_low_nm=-100,
        z_high_nm=100,
        pixel_size_nm=100,
    )
    known = {"z_nm": [-100, 100], "dx_nm": [1, 2], "dy_nm": [3, 4]}
    save_psf(tmp_path / "a.psf.npz", psf, {"wobble": known})
    save_psf(tmp_path / "b.psf.npz", psf, {})
    assert read_wobble(tmp_path / "a.psf.npz").dy_nm.tolist() == [3, 4]
    with pytest.raises(SettingsError, match=r"b\.psf\.npz.*no wobble"):
        read_wobble(tmp_path / "b.psf.npz")
