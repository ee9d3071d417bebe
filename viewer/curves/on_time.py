"""How long emitters stay on, from the rows as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.localizations import Flag

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_RADIUS_NM = 50.0
LARGEST_RADIUS_NM = 200.0
SIGMAS = 3.0  # of the distance between two rows of one emitter
FULL_SAMPLE = 1 << 17  # rows, of which all are looked at; then half of them, ...
LARGEST_FRAME = 20_000  # rows: denser frames say nothing of single emitters


class OnTimeSample:
    """Check for localizations whether the next frame has one at the same place.

    An emitter that stays on for n frames in a row has n localizations, and one of
    them, the last, is not followed by another. So the mean length of such runs is
    localizations / (localizations that are not followed): a count, without a model
    of the blinking. A frame in which an emitter is missed ends its run. At the same
    place means within three standard deviations of the distance, 50 to 200 nm, as
    such runs are found when molecules are counted (Annibale et al. 2011, PLoS ONE 6,
    e22678).

    Other emitters are there by chance, too. How often, the same question says at
    places that are shifted by three radii.

    Only whole frames are looked at: all of them first, then fewer and fewer, by a
    rule that depends on the rows alone and not on the pieces they come in.
    """

    def __init__(self) -> None:
        self._waiting: NDArray[Any] | None = None  # rows of the two newest frames
        self._rows_before = 0  # these

    def add(
        self, rows: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """Take rows in the order of their frames, none older than the last before.

        Returns
        -------
        NDArray[np.int64], shape (n,)
            Frames of the localizations that were looked at.
        NDArray[np.bool_], shape (n,)
            Whether another follows in the next frame.
        NDArray[np.bool_], shape (n,)
            Whether one was found at the shifted place.
        """
        if self._waiting is not None:
            rows = np.concatenate([self._waiting, rows])
        if not len(rows):
            nothing = np.zeros(0, np.bool_)
            return np.zeros(0, np.int64), nothing, nothing
        frames, first, counts = np.unique(
            rows["frame"], return_index=True, return_counts=True
        )
        newest = int(frames[-1])  # may still grow: so its predecessor waits, too
        kept = int(first[np.searchsorted(frames, newest - 1)])
        asked = self._chosen(frames, self._rows_before + first) & (frames < newest - 1)
        asked &= counts <= LARGEST_FRAME
        following = np.zeros(len(frames), np.bool_)
        following[1:] = asked[:-1] & (np.diff(frames) == 1)
        self._waiting = rows[kept:].copy()
        self._rows_before += kept
        too_dense = following & (counts > LARGEST_FRAME)
        asked[:-1] &= ~too_dense[1:]
        return _followed(rows, np.repeat(asked, counts), np.repeat(following, counts))

    def _chosen(
        self, frames: NDArray[np.int64], rows_before: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return which frames are sampled: all, half, a quarter, ... by a hash.

        Not every n-th one: lasers that alternate would be seen in one state only.
        """
        fold = np.ceil(np.log2(np.maximum(rows_before / FULL_SAMPLE, 1.0)))
        mixed = frames.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        share = (mixed >> np.uint64(40)).astype(np.float64) / (1 << 24)
        chosen: NDArray[np.bool_] = share < 0.5**fold
        return chosen


def _followed(
    rows: NDArray[Any], asked: NDArray[np.bool_], following: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Look for each row asked about among the rows of the next frame."""
    from scipy.spatial import cKDTree  # here: not every importer needs scipy

    placed = np.isfinite(rows["x_nm"]) & np.isfinite(rows["y_nm"])
    following = following & placed
    asked = asked & placed & (rows["flags"] & Flag.NO_NEXT == 0)  # lost: unknown
    queries, targets = rows[asked], rows[following]
    frame = queries["frame"].astype(np.int64)
    if not len(queries) or not len(targets):
        nothing = np.zeros(len(queries), np.bool_)
        return frame, nothing, nothing
    sigma = np.maximum(queries["x_sigma_nm"], queries["y_sigma_nm"])
    radius = np.nan_to_num(SIGMAS * np.sqrt(2.0) * sigma, nan=LEAST_RADIUS_NM)
    radius = np.clip(radius, LEAST_RADIUS_NM, LARGEST_RADIUS_NM).astype(np.float64)
    places = _in_space(queries, int(frame[0]), ahead=1)
    tree = cKDTree(_in_space(targets, int(frame[0]), ahead=0), balanced_tree=False)
    near = _has_neighbour(tree, places, radius)
    shift = np.where(frame % 2, 1.0, -1.0) * 3.0 * radius
    places[np.arange(len(places)), (frame >> 1) % 2] += shift  # +x, -x, +y, -y
    return frame, near, _has_neighbour(tree, places, radius)


def _in_space(rows: NDArray[Any], start: int, ahead: int) -> NDArray[np.float64]:
    """Put frames above each other, so far apart that only equal frames are near."""
    height = (rows["frame"].astype(np.int64) - start + ahead) * 1e3
    return np.column_stack([rows["x_nm"], rows["y_nm"], height])


def _has_neighbour(
    tree: Any, places: NDArray[np.float64], radius: NDArray[np.float64]
) -> NDArray[np.bool_]:
    distance, _ = tree.query(places, distance_upper_bound=LARGEST_RADIUS_NM)
    near: NDArray[np.bool_] = distance <= radius
    return near


def mean_on_time(
    asked: NDArray[np.floating],
    followed: NDArray[np.floating],
    by_chance: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean run in frames, and its range of one standard error.

    Parameters
    ----------
    asked, followed, by_chance : NDArray
        Counts of what `OnTimeSample.add` returns; `asked` is above 0. A run without
        any end among them is taken to have half an end.

    Returns
    -------
    tuple[NDArray, NDArray, NDArray]
        Low, middle, high; NaN where chance explains everything.
    """
    chance = by_chance / asked
    share = followed / asked
    # Not followed: neither by the same emitter nor by another one.
    with np.errstate(divide="ignore", invalid="ignore"):
        ended = np.maximum(1.0 - share, 0.5 / asked) / (1.0 - chance)
        error = np.sqrt(np.maximum(share * (1.0 - share), 0.25 / asked) / asked)
        error = error / (1.0 - chance)
        ends = [
            np.clip(ended + shift, 0.5 / asked, 1.0) for shift in (error, 0, -error)
        ]
        low, middle, high = (np.where(chance < 0.5, 1.0 / end, np.nan) for end in ends)
    return low, middle, high
