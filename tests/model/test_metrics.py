import json

import numpy as np
import pytest

from liveloc.model.metrics import Field, evaluate, match
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
