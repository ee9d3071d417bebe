"""How large errors are, compared with the limit and with the predicted sigma.

Errors are those of matched pairs. Divided by the Cramér-Rao limit of the emitter they
show what is left to gain, divided by the predicted sigma whether that can be trusted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..physics.crlb import Limits, crlb_at, crlb_crowded
from .matching import AXIAL_NM, LATERAL_NM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.localizations import Localizations

    from ..physics.psf import PSF
    from .matching import Matched

AXES = {"x": "x_nm", "y": "y_nm", "z": "z_nm", "photons": "photons"}
SIGMAS = {"x": "x_sigma_nm", "y": "y_sigma_nm", "z": "z_sigma_nm"} | {
    "photons": "photons_sigma"
}
NORMAL = 1.4826  # standard deviation of a normal distribution over its median of |x|


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisPrecision:
    """Errors along one axis, nm or photons; NaN for what is unknown.

    Attributes
    ----------
    rmse, bias : float
        Root mean square error, and mean error.
    limit : float
        Root mean square of the emitters' Cramér-Rao limits.
    rmse_over_limit : float
        Ratio of the two: 1 is the best that is possible.
    normalised : float
        Root mean square of error over limit, each emitter by its own.
    sigma : float
        Root mean square of the predicted uncertainty.
    sigma_over_rmse : float
        Ratio: below 1 the localizer is overconfident.
    score, score_robust : float
        Root mean square of error over predicted sigma, and 1.4826 times the median
        of its absolute value: 1 if the predictions are true.
    within_1_sigma, within_2_sigma : float
        Fraction of the pairs; 0.683 and 0.954 if errors are normal.
    """

    rmse: float
    bias: float
    limit: float
    rmse_over_limit: float
    normalised: float
    sigma: float
    sigma_over_rmse: float
    score: float
    score_robust: float
    within_1_sigma: float
    within_2_sigma: float

    def as_dict(self) -> dict[str, float | None]:
        """Return plain numbers for a report, None for what is unknown."""
        return {k: v if np.isfinite(v) else None for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reliability:
    """True errors of the pairs in bins of their predicted sigma, nm.

    Attributes
    ----------
    predicted : NDArray[np.float64]
        Root mean square of the predictions in each bin.
    actual : NDArray[np.float64]
        Root mean square error.
    robust : NDArray[np.float64]
        1.4826 times the median absolute error, which outliers do not affect.
    pairs : NDArray[np.int64]
        Number of pairs in each bin.
    """

    predicted: NDArray[np.float64]
    actual: NDArray[np.float64]
    robust: NDArray[np.float64]
    pairs: NDArray[np.int64]


def limits_of(
    truth: Localizations,
    psf: PSF,
    camera: CameraCalibration,
    pixel_size_nm: float,
    *,
    background: float = np.nan,
    overlap: bool = False,
) -> Limits:
    """Return the limit of each true emitter.

    Parameters
    ----------
    truth : Localizations
        True emitters; their positions, photons and background are used.
    psf, camera, pixel_size_nm
        See `crlb.crlb`.
    background : float
        Background of emitters that have none in the table.
    overlap : bool
        Limits of each together with the others in its frame, see `crlb.crlb_crowded`,
        instead of each by itself.
    """
    ground = truth["background"].astype(np.float64)
    ground = np.where(np.isfinite(ground) & (ground > 0), ground, background)
    x, y = truth["x_nm"] / pixel_size_nm, truth["y_nm"] / pixel_size_nm
    z, n = (truth[name].astype(np.float64) for name in ("z_nm", "photons"))
    if not overlap:
        return crlb_at(psf, x, y, z, n, ground, camera, pixel_size_nm)
    order = np.argsort(truth["frame"], kind="stable")
    _, firsts = np.unique(truth["frame"][order], return_index=True)
    names = [f.name for f in fields(Limits)]
    found = {name: np.full(len(truth), np.nan) for name in names}
    for rows in np.split(order, firsts[1:]):
        limits = crlb_crowded(
            psf, x[rows], y[rows], z[rows], n[rows], ground[rows], camera, pixel_size_nm
        )
        for name in names:
            found[name][rows] = getattr(limits, name)
    return Limits(**found)


def within_reach(limits: Limits) -> Limits:
    """Replace limits that are larger than the error of a pair can be.

    The limit of a hardly visible emitter may be micrometres, while a pair is never
    further apart than the matching distance: it is at most that of random places
    within it.
    """
    return replace(
        limits,
        x_nm=np.minimum(limits.x_nm, LATERAL_NM / 2),
        y_nm=np.minimum(limits.y_nm, LATERAL_NM / 2),
        z_nm=np.minimum(limits.z_nm, AXIAL_NM / np.sqrt(3)),
    )


def precision(
    matched: Matched, limits: Limits | None = None
) -> dict[str, AxisPrecision]:
    """Sum up the errors of the pairs along x, y, z and in photons.

    Parameters
    ----------
    matched : Matched
        Pairs.
    limits : Limits, optional
        Limits of all rows of its truth, see `limits_of`.

    Returns
    -------
    dict[str, AxisPrecision]
        Axes on which the errors, or all of them, are not finite are left out.
    """
    result = {}
    for axis, column in AXES.items():
        error = matched.error(column)
        if len(error) == 0 or not np.isfinite(error).all() or not np.any(error):
            continue
        sigma = matched.table[SIGMAS[axis]][matched.found].astype(np.float64)
        limit = np.full_like(error, np.nan)
        if limits is not None:
            limit = getattr(limits, column)[matched.real]
        result[axis] = _of_axis(error, sigma, limit)
    return result


def _of_axis(
    error: NDArray[Any], sigma: NDArray[Any], limit: NDArray[Any]
) -> AxisPrecision:
    sigma = np.where(sigma > 0, sigma, np.nan)
    ratio = np.abs(error) / sigma
    rmse = rms(error)
    return AxisPrecision(
        rmse=rmse,
        bias=float(np.mean(error)),
        limit=rms(limit),
        rmse_over_limit=rmse / rms(limit),
        normalised=rms(error / limit),
        sigma=rms(sigma),
        sigma_over_rmse=rms(sigma) / rmse,
        score=rms(ratio),
        score_robust=NORMAL * float(np.median(ratio)),
        within_1_sigma=_share(ratio, 1.0),
        within_2_sigma=_share(ratio, 2.0),
    )


def _share(ratio: NDArray[Any], most: float) -> float:
    return float(np.mean(ratio <= most)) if np.isfinite(ratio).all() else float("nan")


def rms(values: NDArray[Any]) -> float:
    """Return the root mean square; NaN where there is nothing or something is NaN."""
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def reliability(matched: Matched, axis: str, bins: int = 10) -> Reliability | None:
    """Compare predicted sigmas with true errors, in bins of as many pairs each.

    Returns
    -------
    Reliability or None
        None where the table predicts nothing, or for less than five pairs a bin.
    """
    error = matched.error(AXES[axis])
    sigma = matched.table[SIGMAS[axis]][matched.found].astype(np.float64)
    valid = np.isfinite(error) & (sigma > 0)
    if valid.sum() < 5 * bins:
        return None
    error, sigma = error[valid], sigma[valid]
    parts = np.array_split(np.argsort(sigma, kind="stable"), bins)
    return Reliability(
        predicted=np.array([rms(sigma[p]) for p in parts]),
        actual=np.array([rms(error[p]) for p in parts]),
        robust=np.array([NORMAL * np.median(np.abs(error[p])) for p in parts]),
        pairs=np.array([len(p) for p in parts]),
    )
