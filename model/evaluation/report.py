"""The evaluation of a table: rule, scores and errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

from .curves import Curve, curves
from .matching import LATERAL_NM, Field, Matched, Rule, compare
from .metrics import Score, score
from .precision import (
    AXES,
    AxisPrecision,
    Reliability,
    limits_of,
    precision,
    reliability,
    within_reach,
)
from .subpixel import GRIDS, PhaseBias, phase_bias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from liveloc.stream.localizations import Localizations

    from ..physics.crlb import Limits
    from .imaging import Imaging

FEWEST_PAIRS = 200  # to measure sub-pixel bias


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Everything measured of the quality of a table.

    Attributes
    ----------
    rule : Rule
        Matching rule.
    matched : Matched
        The pairs.
    score : Score
        Challenge measures.
    precision : dict[str, AxisPrecision]
        By axis: x, y, z, photons.
    reliability : dict[str, Reliability]
        By axis, where the table predicts sigmas.
    curves : dict[str, Curve]
        By property of the emitters.
    bias : dict[str, PhaseBias]
        By axis and grid, such as ``x in a pixel``.
    limits : Limits or None
        Limits of all rows of the truth.
    """

    rule: Rule
    matched: Matched
    score: Score
    precision: dict[str, AxisPrecision]
    reliability: dict[str, Reliability]
    curves: dict[str, Curve]
    bias: dict[str, PhaseBias]
    limits: Limits | None

    @property
    def rule_in_words(self) -> str:
        """The matching rule in words, to be printed with the scores."""
        rule, threshold = self.rule, self.matched.photon_threshold
        words = ["greedy nearest neighbour "]
        if rule.axial_nm is None:
            words[0] += f"in the plane, {LATERAL_NM:g} nm"
        else:
            words[0] += (
                f"in 3D, {LATERAL_NM:g} nm laterally and {rule.axial_nm:g} nm axially"
            )
        words.append(
            f"border of {rule.border_nm:g} nm left out"
            if rule.border_nm > 0
            else "no border left out"
        )
        words.append(
            f"emitters up to {threshold:.0f} photons, the dimmest "
            f"{100 * rule.photon_quantile:g} %, and their partners not counted"
            if rule.photon_quantile > 0
            else "no photon threshold"
        )
        words.append(
            "wobble added to the truth" if rule.wobble else "no wobble correction"
        )
        return "; ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a report: the scores on top, the rest by name."""
        bias = {
            name: {
                "pull_nm": found.pull_nm,
                "pull_error_nm": found.pull_error_nm,
                "rms_nm": found.rms_nm,
            }
            for name, found in self.bias.items()
        }
        return {
            **self.score.as_dict(),
            "rule": self.rule_in_words,
            "photon_threshold": self.matched.photon_threshold,
            "axes": {k: v.as_dict() for k, v in self.precision.items()},
            "reliability": {
                axis: {
                    "predicted_nm": found.predicted.tolist(),
                    "actual_nm": found.actual.tolist(),
                    "robust_nm": found.robust.tolist(),
                    "pairs": found.pairs.tolist(),
                }
                for axis, found in self.reliability.items()
            },
            "curves": {k: v.as_dict() for k, v in self.curves.items()},
            "subpixel": bias,
        }


def assess(
    table: Localizations,
    truth: Localizations,
    rule: Rule,
    metadata: Mapping[str, str],
    *,
    pixel_size_nm: float = 100.0,
    imaging: Imaging | None = None,
) -> Evaluation:
    """Evaluate a table in every way that the data allow.

    Parameters
    ----------
    table, truth : Localizations
        Same coordinates, same frame numbers.
    rule : Rule
        Matching rule.
    metadata : Mapping[str, str]
        Metadata of either table: field of view and pixel size, if present.
    pixel_size_nm : float
        Used if the metadata do not state it.
    imaging : Imaging, optional
        For the Cramér-Rao limits.

    Raises
    ------
    SettingsError
        A photon threshold, or limits, for a truth that does not state its photons.
    """
    pixel = float(metadata.get("pixel_size_nm", pixel_size_nm))
    origin = json.loads(metadata.get("roi_origin", "[0, 0]"))
    field = Field.of(truth, metadata, pixel)
    if rule.photon_quantile > 0 or imaging is not None:
        _check_photons(truth)
    matched = compare(table, truth, rule, field)
    limits = None
    if imaging is not None:
        ground = table["background"][matched.found]
        ground = ground[np.isfinite(ground) & (ground > 0)]
        of_each = limits_of(
            matched.truth,
            imaging.psf,
            imaging.camera,
            pixel,
            background=float(np.median(ground)) if len(ground) else 0.0,
            overlap=imaging.overlap,
        )
        limits = within_reach(of_each)
    axes = {axis: reliability(matched, axis) for axis in "xyz"}
    return Evaluation(
        rule=rule,
        matched=matched,
        score=score(matched),
        precision=precision(matched, limits),
        reliability={axis: r for axis, r in axes.items() if r is not None},
        curves=curves(matched, field, limits),
        bias=_subpixel(matched, pixel, origin),
        limits=limits,
    )


def _subpixel(
    matched: Matched, pixel_size_nm: float, origin_px: list[int]
) -> dict[str, PhaseBias]:
    """Measure bias within pixels and cells, where there are enough pairs."""
    bias: dict[str, PhaseBias] = {}
    for axis, first in zip("xy", origin_px, strict=True):
        error = matched.error(AXES[axis])
        if len(error) < FEWEST_PAIRS or not np.any(error):
            continue
        real = matched.truth[AXES[axis]][matched.real] / pixel_size_nm - first
        for name, period in GRIDS.items():
            bias[f"{axis} in a {name}"] = phase_bias(real, error, period)
    return bias


def _check_photons(truth: Localizations) -> None:
    photons = truth["photons"]
    if len(photons) and not (np.isfinite(photons).all() and photons.max() > 0):
        raise SettingsError(
            "the truth does not state the photons of its emitters: photon thresholds "
            "and Cramér-Rao limits need them. Leave out --photon-quantile, --psf and "
            "--model."
        )
