"""Statistics of the rows in a part of the field."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..image.viewport import Rect
    from .document import Document

ROWS_SAMPLED = 500_000  # of more rows, medians are those of so many
NEIGHBOURS_SAMPLED = 200_000  # rows whose neighbours in the next frame are looked for
FARTHEST_NM = 150.0  # that such a neighbour may be away
FEWEST_NEIGHBOURS = 200  # for a precision
MEDIANS = ("photons", "background", "lateral_sigma_nm")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStatistics:
    """The rows in a rectangle, as shown (selection and drift applied).

    Medians are of rows that have the value; NaN where none has.

    Attributes
    ----------
    rows : int
        How many there are.
    sampled : int
        On how many of them medians, percentiles and precision rest.
    area_um2, per_um2 : float
        The rectangle, and rows per area of it.
    per_frame : float
        Rows per frame, from the first frame of the document to its last.
    photons, background, lateral_sigma_nm : float
        Medians; the sigma is the larger one of x and y.
    z_nm : tuple[float, float]
        5th and 95th percentile.
    precision_nm : float
        Lateral precision that positions were found to have, from the nearest
        neighbours in consecutive frames (NeNA, Endesfelder et al. 2014, Histochem.
        Cell Biol. 141, 629). NaN with fewer than 200 of those, or no clear answer.
    """

    rows: int
    sampled: int
    area_um2: float
    per_um2: float
    per_frame: float
    photons: float
    background: float
    lateral_sigma_nm: float
    z_nm: tuple[float, float]
    precision_nm: float


def region_statistics(
    document: Document, rect: Rect, *, limit: int = ROWS_SAMPLED
) -> RegionStatistics:
    """Describe the rows in a rectangle.

    Takes up to a second or two: not for the thread of a window. The document is
    locked for moments only.

    Parameters
    ----------
    document : Document
        Its rows, as shown.
    rect : Rect
        Edges in nm; the right and the lower one do not belong to it.
    limit : int
        Of more rows, medians are of so many, spread over time. All are counted.
    """
    left, right, top, bottom = rect
    rows = sampled = 0
    samples: list[dict[str, NDArray[Any]]] = []
    with document.lock:
        runs = document.store.runs(stored_rect(document, rect))
    for run in runs:
        shown, x_nm, y_nm = document.shown(run)
        inside = (x_nm >= left) & (x_nm < right) & (y_nm >= top) & (y_nm < bottom)
        found = int(np.count_nonzero(inside))
        rows += found
        if not found or sampled >= limit:
            continue
        which = np.flatnonzero(inside)[: limit - sampled]
        chosen = shown.chosen(which)
        sample = {name: chosen.column(name) for name in (*MEDIANS, "z_nm", "frame")}
        samples.append({**sample, "x_nm": x_nm[which], "y_nm": y_nm[which]})
        sampled += len(which)
    columns = {
        name: np.concatenate([sample[name] for sample in samples])
        for name in (samples[0] if samples else ())
    }
    area_um2 = max(0.0, right - left) * max(0.0, bottom - top) / 1e6
    with document.lock:
        frames = document.columns.last_frame - document.columns.first_frame + 1
    return RegionStatistics(
        rows=rows,
        sampled=sampled,
        area_um2=area_um2,
        per_um2=rows / area_um2 if area_um2 else 0.0,
        per_frame=rows / frames if frames else 0.0,
        **{name: _percentile(columns.get(name), 50.0) for name in MEDIANS},
        z_nm=(
            _percentile(columns.get("z_nm"), 5.0),
            _percentile(columns.get("z_nm"), 95.0),
        ),
        precision_nm=neighbour_precision(columns) if columns else float("nan"),
    )


def stored_rect(document: Document, rect: Rect) -> Rect:
    """Return the rectangle around where the rows shown in this one are stored."""
    if document.drift is None:
        return rect
    left, right, top, bottom = rect
    x, y = document.drift.x_nm, document.drift.y_nm
    return (left + x.min(), right + x.max(), top + y.min(), bottom + y.max())


def _percentile(values: NDArray[Any] | None, percent: float) -> float:
    if values is None:
        return float("nan")
    values = values[np.isfinite(values)]
    return float(np.percentile(values, percent)) if values.size else float("nan")


def neighbour_precision(columns: dict[str, NDArray[Any]]) -> float:
    """Return the lateral precision in nm from neighbours in consecutive frames.

    Of an emitter that is on in two successive frames the two positions differ by
    sqrt(2) times the precision along each axis; other neighbours are farther away.

    Parameters
    ----------
    columns : dict
        ``frame``, ``x_nm``, ``y_nm`` of rows, in any order; of many, the first
        200,000 are asked for their neighbours.
    """
    distances = _neighbour_distances(columns)
    if len(distances) < FEWEST_NEIGHBOURS:
        return float("nan")
    counts, edges = np.histogram(distances, 75, (0.0, FARTHEST_NM))
    return _fitted_precision(0.5 * (edges[1:] + edges[:-1]), counts)


def _neighbour_distances(columns: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Find each row's nearest one in the next frame: a search in (x, y, frame)."""
    from scipy.spatial import KDTree

    finite = np.isfinite(columns["x_nm"]) & np.isfinite(columns["y_nm"])
    frame = columns["frame"][finite]
    x, y = columns["x_nm"][finite], columns["y_nm"][finite]
    if not frame.size:
        return np.zeros(0)
    apart_nm = 4 * FARTHEST_NM  # frames, so that no other frame is within reach
    place = np.stack([x, y, (frame - frame.min()) * apart_nm], axis=1)
    asked = place[:NEIGHBOURS_SAMPLED] + np.array([0.0, 0.0, apart_nm])
    tree = KDTree(place, balanced_tree=False, compact_nodes=False)
    distances = tree.query(asked, distance_upper_bound=FARTHEST_NM)[0]
    return np.asarray(distances[np.isfinite(distances)], np.float64)


def _fitted_precision(
    distance: NDArray[np.float64], counts: NDArray[np.int64]
) -> float:
    """Fit the distances: the same emitter, its crowd, and the rest."""
    from scipy.optimize import curve_fit

    def model(
        r: NDArray[np.float64],
        same: float,
        s: float,
        crowd: float,
        far: float,
        wide: float,
        rest: float,
    ) -> NDArray[np.float64]:
        near = r / (2 * s**2) * np.exp(-(r**2) / (4 * s**2))
        around = np.exp(-0.5 * ((r - far) / wide) ** 2) / wide
        return np.asarray(same * near + crowd * around + rest * r)

    total = float(counts.sum())
    peak_nm = float(distance[int(np.argmax(counts[: len(counts) // 2]))])
    start = (2 * total, max(peak_nm / 2**0.5, 1.0), 0.1 * total, 80.0, 40.0, 0.01)
    ends = (
        (0.0, 0.5, 0.0, 30.0, 10.0, 0.0),
        (np.inf, 60.0, np.inf, 300.0, 150.0, np.inf),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the covariance is not used
            found = curve_fit(model, distance, counts, start, bounds=ends)[0]
    except (RuntimeError, ValueError):
        return float("nan")
    same, precision = float(found[0]), float(found[1])
    bin_nm = float(distance[1] - distance[0])
    clear = same / bin_nm >= 0.05 * total and precision < 59.0
    return precision if clear else float("nan")
