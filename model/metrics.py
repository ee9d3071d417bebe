"""How good a localization table is: the measures of the SMLM challenge.

Sage et al., Nature Methods 16, 387 (2019): greedy nearest-neighbour matching
within a frame, Jaccard index, RMSE, and efficiency.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ..stream.localizations import Localizations

LATERAL_NM = 250.0
AXIAL_NM = 500.0
LATERAL_PERCENT_PER_NM = 1.0  # weight of RMSE against Jaccard in the efficiency
AXIAL_PERCENT_PER_NM = 0.5


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
        Of the matched pairs; the lateral one is of the distance in the plane.
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
        """Give plain numbers for a report."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Field:
    """Rectangle that is evaluated, nm: (left, top) to (right, bottom)."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(
        cls,
        truth: Localizations,
        metadata: Mapping[str, str],
        pixel_size_nm: float = 100.0,
    ) -> Field:
        """Give the field of view that a table states, or that the truth fills.

        A table that does not state its camera's shape is taken to begin at the
        chip's first pixel and to end at the whole pixel after its last emitter.
        """
        pixel = float(metadata.get("pixel_size_nm", pixel_size_nm))
        x0, y0 = json.loads(metadata.get("roi_origin", "[0, 0]"))
        if "shape" in metadata:
            height, width = json.loads(metadata["shape"])
        else:
            ends = [float(truth[name].max(initial=0.0)) for name in ("x_nm", "y_nm")]
            width, height = (math.ceil(end / pixel + 0.5) for end in ends)
        return cls(
            (x0 - 0.5) * pixel,
            (y0 - 0.5) * pixel,
            (x0 + width - 0.5) * pixel,
            (y0 + height - 0.5) * pixel,
        )

    def inside(self, table: Localizations, border_nm: float) -> NDArray[np.bool_]:
        """Tell which rows are at least `border_nm` from the edge."""
        x, y = table["x_nm"], table["y_nm"]
        inside: NDArray[np.bool_] = (
            (x >= self.left + border_nm)
            & (x <= self.right - border_nm)
            & (y >= self.top + border_nm)
            & (y <= self.bottom - border_nm)
        )
        return inside


def evaluate(
    table: Localizations,
    truth: Localizations,
    *,
    field: Field | None = None,
    border_nm: float = 0.0,
    axial_nm: float | None = AXIAL_NM,
) -> Score:
    """Match a table to the truth and score it.

    Parameters
    ----------
    table, truth : Localizations
        Same coordinates, same frame numbers.
    field : Field, optional
        Field of view; needed where a border is left out.
    border_nm : float
        Rows of both tables closer than this to the field's edge are left out.
    axial_nm : float, optional
        Largest axial distance of a pair; None matches in the plane only.
    """
    if border_nm > 0:
        if field is None:
            raise ValueError("a border needs the field of view that it belongs to")
        table = table[field.inside(table, border_nm)]
        truth = truth[field.inside(truth, border_nm)]
    found, real = match(table, truth, axial_nm)
    dx = table["x_nm"][found].astype(float) - truth["x_nm"][real]
    dy = table["y_nm"][found].astype(float) - truth["y_nm"][real]
    dz = table["z_nm"][found].astype(float) - truth["z_nm"][real]
    pairs = len(found)
    jaccard = 100.0 * pairs / max(len(table) + len(truth) - pairs, 1)
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
        false_positives=len(table) - pairs,
        false_negatives=len(truth) - pairs,
        jaccard=jaccard,
        precision=pairs / max(len(table), 1),
        recall=pairs / max(len(truth), 1),
        rmse_lateral_nm=lateral,
        rmse_axial_nm=axial,
        efficiency_lateral=efficiency[0],
        efficiency_axial=efficiency[1],
        efficiency_3d=sum(efficiency) / 2,
    )


def match(
    table: Localizations, truth: Localizations, axial_nm: float | None = AXIAL_NM
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pair rows of the two tables, nearest first, each row at most once.

    Returns
    -------
    (found, real) : NDArray[np.int64], shape (pairs,) each
        Row numbers in `table` and in `truth`.
    """
    found: list[int] = []
    real: list[int] = []
    for rows, others in _same_frame(table["frame"], truth["frame"]):
        for i, j in _nearest_first(table[rows], truth[others], axial_nm):
            found.append(rows[i])
            real.append(others[j])
    return np.array(found, np.int64), np.array(real, np.int64)


def _same_frame(
    a: NDArray[np.int64], b: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Row numbers of both tables for each frame that is in both."""
    order_a, order_b = np.argsort(a, kind="stable"), np.argsort(b, kind="stable")
    frames = np.intersect1d(a, b)
    bounds_a = [np.searchsorted(a[order_a], frames, s) for s in ("left", "right")]
    bounds_b = [np.searchsorted(b[order_b], frames, s) for s in ("left", "right")]
    return [
        (order_a[i:j], order_b[k:m])
        for i, j, k, m in zip(*bounds_a, *bounds_b, strict=True)
    ]


def _nearest_first(
    a: Localizations, b: Localizations, axial_nm: float | None
) -> list[tuple[int, int]]:
    """Greedy pairs of one frame."""

    def distances(name: str) -> NDArray[np.float64]:
        difference: NDArray[np.float64] = (
            a[name].astype(float)[:, None] - b[name].astype(float)[None]
        )
        return difference

    square = distances("x_nm") ** 2 + distances("y_nm") ** 2
    allowed = square <= LATERAL_NM**2
    if axial_nm is not None:
        dz = distances("z_nm")
        allowed &= np.abs(dz) <= axial_nm
        square = square + dz**2
    i, j = np.nonzero(allowed)
    pairs: list[tuple[int, int]] = []
    used_a, used_b = set[int](), set[int]()
    for k in np.argsort(square[i, j], kind="stable"):
        m, n = int(i[k]), int(j[k])
        if m not in used_a and n not in used_b:
            used_a.add(m)
            used_b.add(n)
            pairs.append((m, n))
    return pairs
