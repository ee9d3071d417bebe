"""Which localization is which emitter: the pairing rule of the SMLM challenge.

Sage et al., Nature Methods 16, 387 (2019), and the assessment that was run there:
greedy nearest neighbours within a frame, a border left out of both tables, dim emitters
that neither count as missed nor as found, and a correction for the lateral wobble.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

    from .wobble import Wobble

LATERAL_NM = 250.0
AXIAL_NM = 500.0


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
        """Return the field of view that a table states, or that the truth fills.

        A table that does not state its camera's shape is assumed to begin at the
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

    @property
    def area_um2(self) -> float:
        """Its area."""
        return (self.right - self.left) * (self.bottom - self.top) * 1e-6

    def inside(self, table: Localizations, border_nm: float) -> NDArray[np.bool_]:
        """Return which rows are at least `border_nm` from the edge."""
        x, y = table["x_nm"], table["y_nm"]
        inside: NDArray[np.bool_] = (
            (x >= self.left + border_nm)
            & (x <= self.right - border_nm)
            & (y >= self.top + border_nm)
            & (y <= self.bottom - border_nm)
        )
        return inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as found; to be stated next to every figure based on it.

    Attributes
    ----------
    border_nm : float
        Rows of both tables closer than this to the field's edge are left out.
    axial_nm : float or None
        Largest axial distance of a pair; None matches in the plane only.
    photon_quantile : float
        Fraction of the true emitters, the dimmest within the border, that is not
        counted, nor are the localizations paired with them. The challenge's
        leaderboard has 0.25.
    wobble : Wobble or None
        Added to the truth before anything else.
    """

    border_nm: float = 0.0
    axial_nm: float | None = AXIAL_NM
    photon_quantile: float = 0.0
    wobble: Wobble | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """Two tables, and which of their rows belong together.

    Attributes
    ----------
    table, truth : Localizations
        All rows; the wobble is in the truth.
    found, real : NDArray[np.int64], shape (pairs,)
        Rows of `table` and of `truth` that are the same emitter.
    false, missed : NDArray[np.int64]
        Rows of `table` and of `truth` without a partner. Rows that the rule leaves
        out are in none of the four.
    photon_threshold : float
        Emitters up to this brightness were not counted; 0 without a threshold.
    """

    table: Localizations
    truth: Localizations
    found: NDArray[np.int64]
    real: NDArray[np.int64]
    false: NDArray[np.int64]
    missed: NDArray[np.int64]
    photon_threshold: float = 0.0

    @property
    def counted(self) -> NDArray[np.int64]:
        """Rows of `truth` that count: found, then missed."""
        return np.concatenate([self.real, self.missed])

    def error(self, column: str) -> NDArray[np.float64]:
        """Return found minus real of every pair."""
        found = self.table[column][self.found].astype(np.float64)
        difference: NDArray[np.float64] = found - self.truth[column][self.real]
        return difference


def compare(
    table: Localizations, truth: Localizations, rule: Rule, field: Field | None = None
) -> Matched:
    """Pair a table with the truth.

    Parameters
    ----------
    table, truth : Localizations
        Same coordinates, same frame numbers.
    rule : Rule
        Matching rule.
    field : Field, optional
        Field of view; needed where a border is left out.

    Raises
    ------
    ValueError
        A border without a field, or a threshold on a truth without photons.
    """
    if rule.wobble is not None:
        truth = rule.wobble.added_to(truth)
    mine, theirs = np.arange(len(table)), np.arange(len(truth))
    if rule.border_nm > 0:
        if field is None:
            raise ValueError("a border needs the field of view that it belongs to")
        mine = mine[field.inside(table, rule.border_nm)]
        theirs = theirs[field.inside(truth, rule.border_nm)]
    found, real = match(table[mine], truth[theirs], rule.axial_nm)
    found, real = mine[found], theirs[real]
    false, missed = np.setdiff1d(mine, found), np.setdiff1d(theirs, real)
    threshold = 0.0
    if rule.photon_quantile > 0 and len(theirs):
        threshold = _threshold(truth["photons"][theirs], rule.photon_quantile)
        bright = truth["photons"] > threshold
        counts = bright[real]
        found, real, missed = found[counts], real[counts], missed[bright[missed]]
    return Matched(
        table=table,
        truth=truth,
        found=found,
        real=real,
        false=false,
        missed=missed,
        photon_threshold=threshold,
    )


def _threshold(photons: NDArray[Any], quantile: float) -> float:
    """Return the brightness that a fraction of the emitters does not exceed.

    In whole photons and by Hazen's rule for quantiles, as in the challenge.
    """
    if np.isnan(photons).any():
        raise ValueError(
            "the truth does not state its photons: no threshold is possible"
        )
    return float(np.floor(np.quantile(photons, quantile, method="hazen")))


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
