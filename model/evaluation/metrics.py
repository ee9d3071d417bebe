"""How good a localization table is: the measures of the SMLM challenge.

Sage et al., Nature Methods 16, 387 (2019): Jaccard index, RMSE, and efficiency of what
`matching` pairs.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from .matching import AXIAL_NM, LATERAL_NM, Field, Matched, Rule, compare, match

if TYPE_CHECKING:
    from liveloc.stream.localizations import Localizations

LATERAL_PERCENT_PER_NM = 1.0  # weight of RMSE against Jaccard in the efficiency
AXIAL_PERCENT_PER_NM = 0.5

__all__ = [
    "AXIAL_NM",
    "LATERAL_NM",
    "Field",
    "Score",
    "evaluate",
    "match",
    "score",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Agreement of a table with the truth.

    Attributes
    ----------
    true_positives, false_positives, false_negatives : int
        Matched pairs, localizations and emitters without a partner.
    jaccard : float
        TP / (TP + FP + FN), percent.
    precision, recall : float
        TP / (TP + FP) and TP / (TP + FN), 0 to 1.
    rmse_lateral_nm, rmse_axial_nm : float
        RMSE of the matched pairs; the lateral one is of the distance in the plane.
    efficiency_lateral, efficiency_axial, efficiency_3d : float
        ``100 - sqrt((100 - jaccard)^2 + (alpha rmse)^2)``, and the mean of both.
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    jaccard: float
    precision: float
    recall: float
    rmse_lateral_nm: float
    rmse_axial_nm: float
    efficiency_lateral: float
    efficiency_axial: float
    efficiency_3d: float

    def as_dict(self) -> dict[str, float]:
        """Return plain numbers for a report."""
        return asdict(self)


def evaluate(
    table: Localizations,
    truth: Localizations,
    *,
    field: Field | None = None,
    border_nm: float = 0.0,
    axial_nm: float | None = AXIAL_NM,
    photon_quantile: float = 0.0,
) -> Score:
    """Match a table to the truth and score it.

    Parameters
    ----------
    table, truth : Localizations
        Same coordinates, same frame numbers.
    field : Field, optional
        Field of view; needed where a border is left out.
    border_nm, axial_nm, photon_quantile
        See `matching.Rule`.
    """
    rule = Rule(border_nm=border_nm, axial_nm=axial_nm, photon_quantile=photon_quantile)
    return score(compare(table, truth, rule, field))


def score(matched: Matched) -> Score:
    """Score what was paired."""
    pairs, false, missed = (
        len(rows) for rows in (matched.found, matched.false, matched.missed)
    )
    dx, dy, dz = (matched.error(name) for name in ("x_nm", "y_nm", "z_nm"))
    jaccard = 100.0 * pairs / max(pairs + false + missed, 1)
    lateral = math.sqrt(float(np.mean(dx**2 + dy**2))) if pairs else 0.0
    axial = math.sqrt(float(np.mean(dz**2))) if pairs else 0.0
    efficiency = [
        100 - math.hypot(100 - jaccard, weight * rmse)
        for weight, rmse in (
            (LATERAL_PERCENT_PER_NM, lateral),
            (AXIAL_PERCENT_PER_NM, axial),
        )
    ]
    return Score(
        true_positives=pairs,
        false_positives=false,
        false_negatives=missed,
        jaccard=jaccard,
        precision=pairs / max(pairs + false, 1),
        recall=pairs / max(pairs + missed, 1),
        rmse_lateral_nm=lateral,
        rmse_axial_nm=axial,
        efficiency_lateral=efficiency[0],
        efficiency_axial=efficiency[1],
        efficiency_3d=sum(efficiency) / 2,
    )
