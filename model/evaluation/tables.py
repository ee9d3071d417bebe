"""An evaluation as tables in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

if TYPE_CHECKING:
    from .curves import Curve
    from .report import Evaluation

UNKNOWN = "-"


def tables(evaluation: Evaluation) -> list[Table]:
    """Return the tables of scores, axes, curves and sub-pixel bias that have rows."""
    made = [_scores(evaluation), _axes(evaluation)]
    made += [_curve(curve) for curve in evaluation.curves.values()]
    made += [_subpixel(evaluation)]
    return [table for table in made if table.row_count]


def _scores(evaluation: Evaluation) -> Table:
    score = evaluation.score
    deep = evaluation.rule.axial_nm is not None
    table = _table("scores", "measure", "value")
    found = score.true_positives + score.false_negatives
    rows = {
        "true emitters found": f"{score.true_positives} of {found}",
        "false positives": f"{score.false_positives}",
        "Jaccard index": f"{score.jaccard:.2f} %",
        "precision": f"{100 * score.precision:.2f} %",
        "recall": f"{100 * score.recall:.2f} %",
        "RMSE lateral": f"{score.rmse_lateral_nm:.2f} nm",
        "RMSE axial": f"{score.rmse_axial_nm:.2f} nm" if deep else UNKNOWN,
        "efficiency lateral": f"{score.efficiency_lateral:.2f} %",
        "efficiency axial": f"{score.efficiency_axial:.2f} %" if deep else UNKNOWN,
        "efficiency 3D": f"{score.efficiency_3d:.2f} %" if deep else UNKNOWN,
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _axes(evaluation: Evaluation) -> Table:
    table = _table(
        "errors of the matched pairs",
        "axis", "RMSE", "bias", "CRLB", "RMSE /CRLB", "error /CRLB", "sigma /RMSE",
        "error /sigma",
        "robust", "within 1s", "2s",
    )  # fmt: skip
    for axis, found in evaluation.precision.items():
        unit = "" if axis == "photons" else " nm"
        table.add_row(
            axis,
            _number(found.rmse, 1) + unit,
            _number(found.bias, 1),
            _number(found.limit, 1),
            _number(found.rmse_over_limit),
            _number(found.normalised),
            _number(found.sigma_over_rmse),
            _number(found.score),
            _number(found.score_robust),
            _number(100 * found.within_1_sigma, 0),
            _number(100 * found.within_2_sigma, 0),
        )
    return table


def _curve(curve: Curve) -> Table:
    """Return a table with one row per bin."""
    over = [f"{axis} /CRLB" for axis in curve.over_limit]
    table = _table(
        f"by {curve.property}",
        "median",
        "emitters",
        "Jaccard",
        "lateral",
        "axial",
        *over,
    )
    digits = 3 if curve.centre.max() < 10 else 0
    for k, centre in enumerate(curve.centre):
        table.add_row(
            f"{centre:.{digits}f}",
            f"{curve.emitters[k]:d}",
            f"{curve.jaccard[k]:.1f}",
            _number(curve.rmse_lateral_nm[k], 1),
            _number(curve.rmse_axial_nm[k], 1),
            *(_number(ratio[k]) for ratio in curve.over_limit.values()),
        )
    return table


def _subpixel(evaluation: Evaluation) -> Table:
    names = "place", "pull to the centre", "bias rms", "RMSE"
    table = _table("sub-pixel bias", *names)
    for name, bias in evaluation.bias.items():
        table.add_row(
            name,
            f"{bias.pull_nm:+.2f} ± {bias.pull_error_nm:.2f} nm",
            f"{bias.rms_nm:.2f} nm",
            f"{evaluation.precision[name[0]].rmse:.2f} nm",
        )
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    for k, name in enumerate(columns):
        table.add_column(name, justify="right" if k else "left", min_width=4)
    return table


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else UNKNOWN
