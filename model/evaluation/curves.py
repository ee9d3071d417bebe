"""How accuracy changes with density, distance, brightness and depth.

Every curve counts emitters in bins of a property that the truth has, with as many
emitters in each; a localization without a partner is put where its own property, or
that of its surroundings, lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .precision import rms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.localizations import Localizations

    from ..physics.crlb import Limits
    from .matching import Field, Matched

FEWEST = 30  # emitters in a bin: fewer are not significant


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """Accuracy in bins of one property of the emitters.

    Attributes
    ----------
    property : str
        Its name and unit, for an axis.
    edges : NDArray[np.float64], shape (bins + 1,)
        Edges of the bins.
    centre : NDArray[np.float64], shape (bins,)
        Median of the property.
    emitters : NDArray[np.int64]
        True emitters.
    jaccard : NDArray[np.float64]
        Percent.
    rmse_lateral_nm, rmse_axial_nm : NDArray[np.float64]
        RMSE of the pairs, as in `metrics.Score`.
    over_limit : dict[str, NDArray[np.float64]]
        RMSE over the root mean square limit along x, y and z, where limits are known.
    """

    property: str
    edges: NDArray[np.float64]
    centre: NDArray[np.float64]
    emitters: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    rmse_lateral_nm: NDArray[np.float64]
    rmse_axial_nm: NDArray[np.float64]
    over_limit: dict[str, NDArray[np.float64]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain lists for a report, None for what is unknown."""
        lists = {
            name: _plain(getattr(self, name))
            for name in (
                "edges", "centre", "emitters", "jaccard", "rmse_lateral_nm",
                "rmse_axial_nm",
            )
        }  # fmt: skip
        limits = {axis: _plain(values) for axis, values in self.over_limit.items()}
        return {"property": self.property, **lists, "over_limit": limits}


def curves(
    matched: Matched, field: Field, limits: Limits | None = None, bins: int = 8
) -> dict[str, Curve]:
    """Return the curves that the data have a range for.

    Parameters
    ----------
    matched : Matched
        Pairs.
    field : Field
        Its area makes densities.
    limits : Limits, optional
        Limits of all rows of the truth. With them there is a curve over the
        signal-to-noise ratio: photons over their limit.
    bins : int
        Largest number of bins.

    Returns
    -------
    dict[str, Curve]
        ``density``, ``distance``, ``photons``, ``snr``, ``depth``; properties that
        are unknown or the same for all emitters are left out.
    """
    table, truth = matched.table, matched.truth
    nearest = _neighbour_nm(truth, truth, itself=True)
    properties = {
        "density": (
            "emitters per µm² in the frame",
            _density(truth, truth, field),
            _density(table, truth, field),
        ),
        "distance": (
            "distance to the next emitter, nm",
            nearest,
            _neighbour_nm(table, truth, itself=False),
        ),
        "photons": ("photons", truth["photons"], table["photons"]),
        "depth": ("z, nm", truth["z_nm"], table["z_nm"]),
    }
    if limits is not None and len(truth):
        order = np.argsort(truth["photons"], kind="stable")
        like = truth["photons"][order], limits.photons[order]  # of similar brightness
        properties["snr"] = (
            "signal-to-noise ratio",
            truth["photons"] / limits.photons,
            table["photons"] / np.interp(table["photons"], *like),
        )
    made = {
        name: _curve(matched, label, of_truth, of_table, limits, bins)
        for name, (label, of_truth, of_table) in properties.items()
    }
    return {name: curve for name, curve in made.items() if curve is not None}


def _curve(
    matched: Matched,
    label: str,
    of_truth: NDArray[Any],
    of_table: NDArray[Any],
    limits: Limits | None,
    bins: int,
) -> Curve | None:
    """Count in bins; None where there is only one."""
    values = of_truth[matched.counted].astype(np.float64)
    bins = min(bins, len(values) // FEWEST)
    if bins < 2 or not np.isfinite(values).all():
        return None
    edges = _edges(values, bins)
    if edges is None:
        return None
    inner = edges[1:-1]
    n = len(edges) - 1
    of_pair = np.searchsorted(inner, of_truth[matched.real], side="right")
    of_missed = np.searchsorted(inner, of_truth[matched.missed], side="right")
    of_false = np.searchsorted(inner, of_table[matched.false], side="right")
    of_counted = np.searchsorted(inner, values, side="right")
    pairs, missed, false = (
        np.bincount(of, minlength=n) for of in (of_pair, of_missed, of_false)
    )
    error = {axis: matched.error(f"{axis}_nm") for axis in "xyz"}
    lateral = np.hypot(error["x"], error["y"])

    def binned(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.array([rms(values[of_pair == k]) for k in range(n)])

    over = {}
    for axis in "xyz" if limits is not None else "":
        limit = getattr(limits, f"{axis}_nm")[matched.real]
        if np.isfinite(limit).all():
            over[axis] = binned(error[axis]) / binned(limit)
    return Curve(
        property=label,
        edges=edges,
        centre=np.array([np.median(values[of_counted == k]) for k in range(n)]),
        emitters=pairs + missed,
        jaccard=100 * pairs / np.maximum(pairs + missed + false, 1),
        rmse_lateral_nm=binned(lateral),
        rmse_axial_nm=binned(error["z"]),
        over_limit=over,
    )


def _edges(values: NDArray[np.float64], bins: int) -> NDArray[np.float64] | None:
    """Share values out evenly; a few different values get a bin each."""
    different = np.unique(values)
    if different[-1] - different[0] < 1e-3 * abs(different[-1]):
        return None
    if len(different) <= bins:
        between = (different[1:] + different[:-1]) / 2
        return np.concatenate([different[:1], between, different[-1:]])
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))


def _density(
    rows: Localizations, truth: Localizations, field: Field
) -> NDArray[np.float64]:
    """Return the density of true emitters in the frame of each row."""
    frames, counts = np.unique(truth["frame"], return_counts=True)
    if len(frames) == 0:
        return np.zeros(len(rows))
    place = np.minimum(np.searchsorted(frames, rows["frame"]), len(frames) - 1)
    counts = np.where(frames[place] == rows["frame"], counts[place], 0)
    density: NDArray[np.float64] = counts / field.area_um2
    return density


def _neighbour_nm(
    rows: Localizations, truth: Localizations, *, itself: bool
) -> NDArray[np.float64]:
    """Return the lateral distance from each row to the next true emitter of its frame.

    With `itself`, `rows` are `truth` and an emitter is not its own neighbour. Where
    there is none, the largest distance between two emitters at all stands in.
    """
    from scipy.spatial import cKDTree

    if len(truth) == 0:
        return np.zeros(len(rows))
    far = float(np.ptp(truth["x_nm"]) + np.ptp(truth["y_nm"])) + 1.0

    def places(table: Localizations) -> NDArray[np.float64]:
        layer = table["frame"].astype(np.float64) * 4 * far  # frames far apart
        return np.stack([layer, table["x_nm"], table["y_nm"]], axis=1)

    distance, _ = cKDTree(places(truth)).query(places(rows), k=2 if itself else 1)
    nearest: NDArray[np.float64] = distance[:, 1] if itself else distance
    return np.minimum(nearest, far)


def _plain(values: NDArray[Any]) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
