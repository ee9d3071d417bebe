"""Localizations as Gaussians, integrated exactly over the pixels of a viewport.

A Gaussian is the product of its profiles along x and y, and a profile is the
differences of the normal distribution at the edges of the pixels. The rows in one
tile of the picture add up to the matrix product of their y profiles with their x
profiles, so the sum over rows, pixel by pixel, is left to the linear algebra library.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .viewport import Viewport

_Piece = tuple[int, int, int]  # rows of one tile: its number, first row, end

REACH = 4.0  # sigmas to either side; what lies beyond is put into what lies within
STEPS = 1024  # entries per sigma of the table of the normal distribution
SMALLEST_PX = 0.02  # a narrower Gaussian is a point
ROWS_OF_A_TILE = 64  # fewer are not worth a matrix product
ROWS_AT_ONCE = 4096  # of a portion: its factors stay in the cache
ROWS_OF_A_SUM = 128  # added in float32, by the processor's own order; then in float64
WINDOWS = (3, 5, 8, 13, 21, 34, 55, 97)  # pixels that a profile takes
FEW_ROWS = 8192  # go with those of the next windows
BROAD_PX = 12.0  # broader ones are drawn in larger pixels, good to 1e-4 of their peak


@dataclass(frozen=True, slots=True)
class _Rows:
    """Centres and sigmas in pixels of the viewport, and the weights."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    x_sigma: NDArray[np.float64]
    y_sigma: NDArray[np.float64]
    weights: list[NDArray[np.float32] | None]

    def chosen(self, which: NDArray[np.intp] | NDArray[np.bool_] | slice) -> _Rows:
        weights = [None if w is None else w[which] for w in self.weights]
        return _Rows(
            self.x[which],
            self.y[which],
            self.x_sigma[which],
            self.y_sigma[which],
            weights,
        )


def splat(
    viewport: Viewport,
    x_nm: NDArray[np.floating],
    y_nm: NDArray[np.floating],
    x_sigma_nm: NDArray[np.floating],
    y_sigma_nm: NDArray[np.floating],
    weights: Sequence[NDArray[np.floating] | None] = (None,),
    *,
    fallback_nm: float = 15.0,
    out: list[NDArray[np.float32]] | None = None,
) -> list[NDArray[np.float32]]:
    """Draw rows as Gaussians; each pixel gets the integral over it.

    Truncated at 4 sigma and normalised, so that a row adds its weight to the sum of
    the image, less what lies outside of the viewport.

    Parameters
    ----------
    viewport : Viewport
        Where the pixels lie.
    x_nm, y_nm : NDArray, shape (n,)
        Centres. Rows without a finite centre are left out.
    x_sigma_nm, y_sigma_nm : NDArray, shape (n,)
        Standard deviations along x and y.
    weights : sequence of NDArray or None
        One image is drawn for each; None weighs every row 1. Must be finite.
    fallback_nm : float
        Sigma of rows that have none (NaN or not above 0).
    out : list of NDArray[np.float32], optional
        Images to add to, one for each of the weights.

    Returns
    -------
    list of NDArray[np.float32], shape (height, width)
        The images, `out` if any.
    """
    if out is None:
        out = [np.zeros(viewport.shape, np.float32) for _ in weights]
    scale = 1.0 / viewport.pixel_nm
    rows = _Rows(
        viewport.columns(x_nm),
        viewport.rows(y_nm),
        _known(x_sigma_nm, fallback_nm) * scale,
        _known(y_sigma_nm, fallback_nm) * scale,
        [None if w is None else np.asarray(w, np.float32) for w in weights],
    )
    rows = rows.chosen(_visible(rows, viewport.shape))
    coarse_x, coarse_y = _coarseness(rows.x_sigma), _coarseness(rows.y_sigma)
    broad = (coarse_x > 0) | (coarse_y > 0)
    if not broad.any():
        _draw(out, rows)
        return out
    _draw(out, rows.chosen(~broad))
    for x_level, y_level in {*zip(coarse_x[broad], coarse_y[broad], strict=True)}:
        alike = rows.chosen((coarse_x == x_level) & (coarse_y == y_level))
        _draw_coarsely(out, alike, 2 ** int(x_level), 2 ** int(y_level))
    return out


def _coarseness(sigma: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return how often pixels are to be doubled until no sigma is above `BROAD_PX`."""
    return np.ceil(np.log2(np.maximum(sigma / BROAD_PX, 1.0))).astype(np.uint8)


def _draw_coarsely(
    out: list[NDArray[np.float32]], rows: _Rows, across: int, down: int
) -> None:
    """Draw broad Gaussians in pixels as many times larger, and interpolate."""
    height, width = out[0].shape
    margin = 3
    shape = (-(-height // down) + 2 * margin, -(-width // across) + 2 * margin)
    coarse = [np.zeros(shape, np.float32) for _ in out]
    # Integrating over larger pixels widens; so much narrower they are drawn.
    x_sigma = np.sqrt(rows.x_sigma**2 - (across**2 - 1) / 12.0) / across
    y_sigma = np.sqrt(rows.y_sigma**2 - (down**2 - 1) / 12.0) / down
    x, y = rows.x / across + margin, rows.y / down + margin
    _draw(coarse, _Rows(x, y, x_sigma, y_sigma, rows.weights))
    along_x = _interpolation(width, shape[1], across, margin)
    along_y = _interpolation(height, shape[0], down, margin)
    for image, sums in zip(out, coarse, strict=True):
        image += (along_x @ (along_y @ sums).T).T


def _interpolation(fine: int, coarse: int, factor: int, margin: int) -> Any:
    """Return the sparse matrix from coarse to fine pixels: a cubic through four."""
    from scipy.sparse import csr_matrix

    if factor == 1:
        return csr_matrix(np.eye(fine, coarse, margin, dtype=np.float32))
    place = (np.arange(fine) + 0.5) / factor + margin - 0.5
    first = np.floor(place).astype(np.int32) - 1
    t = place - first - 1
    weights = np.stack(
        [
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        ],
        axis=1,
    )
    columns = first[:, None] + np.arange(4)
    begins = np.arange(0, 4 * fine + 1, 4)
    values = (weights / factor).astype(np.float32).ravel()
    return csr_matrix((values, columns.ravel(), begins), (fine, coarse))


def _draw(out: list[NDArray[np.float32]], rows: _Rows) -> None:
    """Draw rows in groups whose profiles take about as many pixels."""
    need = np.ceil(2 * REACH * np.maximum(rows.x_sigma, rows.y_sigma)) + 1
    kinds = np.searchsorted(WINDOWS, need).astype(np.uint8)
    counts = np.bincount(kinds, minlength=len(WINDOWS)).tolist()
    group: list[int] = []
    for kind, count in enumerate(counts):
        if count:
            group.append(kind)
        if not group:
            continue
        few = sum(counts[k] for k in group) < FEW_ROWS and any(counts[kind + 1 :])
        if few and kind < group[0] + 2:
            continue  # the next, wider ones take them along
        whole = len(group) == 1 and count == len(kinds)
        _add(out, rows if whole else rows.chosen(np.isin(kinds, group)), WINDOWS[kind])
        group = []


def _known(sigma_nm: NDArray[np.floating], fallback_nm: float) -> NDArray[np.float64]:
    sigma = np.asarray(sigma_nm, np.float64)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(sigma) & (sigma > 0)
    return np.where(known, sigma, fallback_nm)


def _visible(rows: _Rows, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which rows reach into the viewport; NaN does not."""
    height, width = shape
    reach_x, reach_y = REACH * rows.x_sigma, REACH * rows.y_sigma
    with np.errstate(invalid="ignore"):
        visible: NDArray[np.bool_] = (
            (rows.x + reach_x > 0)
            & (rows.x - reach_x < width)
            & (rows.y + reach_y > 0)
            & (rows.y - reach_y < height)
        )
    return visible


def _add(out: list[NDArray[np.float32]], rows: _Rows, window: int) -> None:
    """Add rows whose profiles all fit into `window` pixels."""
    first_x = np.floor(rows.x - REACH * rows.x_sigma).astype(np.int32)
    first_y = np.floor(rows.y - REACH * rows.y_sigma).astype(np.int32)
    side = _fitting_side(len(rows.x), out[0].shape)
    order, starts = _by_tile(first_x // side, first_y // side)
    rows, first_x, first_y = rows.chosen(order), first_x[order], first_y[order]
    lefts = (first_x[starts] // side * side).tolist()
    tops = (first_y[starts] // side * side).tolist()
    extent = side + window - 1
    for begin, end, tiles in _portions([*starts.tolist(), len(order)]):
        part = rows.chosen(slice(begin, end))
        x_start, y_start = first_x[begin:end], first_y[begin:end]
        x_profiles = _profiles(
            part.x - x_start, part.x_sigma, x_start % side, window, extent
        )
        y_profiles = _profiles(
            part.y - y_start, part.y_sigma, y_start % side, window, extent
        )
        factors = _weighted(x_profiles, part.weights)
        for tile, a, b in tiles:
            here = slice(a - begin, b - begin)
            patch = _product(y_profiles[here], factors[here])
            _paste(out, patch, tops[tile], lefts[tile], extent)


def _fitting_side(rows: int, shape: tuple[int, int]) -> int:
    """Choose the edge of tiles so that most hold enough rows to be worth a product."""
    wanted = math.sqrt(ROWS_OF_A_TILE * shape[0] * shape[1] / max(rows, 1))
    return 1 << round(math.log2(min(max(wanted, 16.0), 64.0)))


def _by_tile(
    column: NDArray[np.int32], row: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of rows tile by tile, and where each tile begins in it."""
    column, row = column - column.min(), row - row.min()
    tile = row * (column.max() + 1) + column
    if tile.max() < 2**16:
        tile = tile.astype(np.uint16)  # sorted four times as fast
    order = np.argsort(tile, kind="stable")
    tile = tile[order]
    return order, np.concatenate([[0], np.flatnonzero(tile[1:] != tile[:-1]) + 1])


def _weighted(
    profiles: NDArray[np.float32], weights: list[NDArray[np.float32] | None]
) -> NDArray[np.float32]:
    """Put the profiles, once for each of the weights, side by side."""
    if len(weights) == 1 and weights[0] is None:
        return profiles
    rows, extent = profiles.shape
    factors = np.empty((rows, len(weights), extent), np.float32)
    for number, weight in enumerate(weights):
        if weight is None:
            factors[:, number] = profiles
        else:
            np.multiply(profiles, weight[:, None], out=factors[:, number])
    return factors.reshape(rows, -1)


def _product(
    left: NDArray[np.float32], right: NDArray[np.float32]
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Return left.T @ right, accurate however the processor sums.

    Linear algebra libraries add up hundreds of rows in float32, in an order and in
    blocks that depend on the processor. The error grows with their number: it is at
    most `ROWS_OF_A_SUM` roundings here, because the sums of so many are added up in
    float64.
    """
    rows, whole = len(left), len(left) // ROWS_OF_A_SUM * ROWS_OF_A_SUM
    if rows <= ROWS_OF_A_SUM:
        return left.T @ right
    lefts = left[:whole].reshape(-1, ROWS_OF_A_SUM, left.shape[1])
    rights = right[:whole].reshape(-1, ROWS_OF_A_SUM, right.shape[1])
    sums = lefts.transpose(0, 2, 1) @ rights
    total: NDArray[np.float64] = sums.sum(axis=0, dtype=np.float64)
    if rows > whole:
        total += left[whole:].T @ right[whole:]
    return total


def _portions(bounds: list[int]) -> Iterator[tuple[int, int, list[_Piece]]]:
    """Cut rows sorted by tile into portions: first row, end, pieces of tiles.

    Parameters
    ----------
    bounds : list of int
        Where each tile begins, and the end.
    """
    pieces: list[_Piece] = []
    begin = 0
    for tile, (a, b) in enumerate(itertools.pairwise(bounds)):
        for first in range(a, b, ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, b)
            if pieces and last - begin > ROWS_AT_ONCE:
                yield begin, first, pieces
                begin, pieces = first, []
            pieces.append((tile, first, last))
    yield begin, bounds[-1], pieces


def _profiles(
    centre: NDArray[np.float64],
    sigma: NDArray[np.float64],
    start: NDArray[np.int32],
    window: int,
    extent: int,
) -> NDArray[np.float32]:
    """Integrate each row's profile over pixels; shape (n, extent).

    Parameters
    ----------
    centre, sigma : NDArray, shape (n,)
        In pixels; the centre from the first pixel of the window on.
    start : NDArray, shape (n,)
        Where the window begins, 0 to extent - window.
    """
    table, slope = _normal_table()
    scale = (STEPS / np.maximum(sigma, SMALLEST_PX)).astype(np.float32)
    offset = (REACH * STEPS - centre * scale).astype(np.float32)
    place = np.arange(window + 1, dtype=np.float32) * scale[:, None]
    place += offset[:, None]
    np.clip(place, 0.0, 2 * REACH * STEPS, out=place)
    entry = place.astype(np.int32)
    place -= entry
    place *= slope.take(entry)
    place += table.take(entry)
    profiles = np.zeros((len(centre), extent), np.float32)
    where = np.arange(len(centre)) * extent + start
    profiles.reshape(-1)[where[:, None] + np.arange(window)] = (
        place[:, 1:] - place[:, :-1]
    )
    return profiles


_TABLE: list[NDArray[np.float32]] = []


def _normal_table() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the truncated normal distribution and its differences, from -4 to 4."""
    if not _TABLE:
        from scipy.special import ndtr

        places = np.linspace(-REACH, REACH, round(2 * REACH * STEPS) + 1)
        lowest, highest = ndtr(-REACH), ndtr(REACH)
        values = (ndtr(places) - lowest) / (highest - lowest)
        slopes = np.append(np.diff(values), 0.0)
        _TABLE.extend((values.astype(np.float32), slopes.astype(np.float32)))
    return _TABLE[0], _TABLE[1]


def _paste(
    images: list[NDArray[np.float32]],
    patch: NDArray[np.floating],
    top: int,
    left: int,
    extent: int,
) -> None:
    """Add a patch for each image; what lies beyond the edges is lost."""
    height, width = images[0].shape
    rows = slice(max(0, -top), min(extent, height - top))
    first, last = max(0, -left), min(extent, width - left)
    if rows.stop <= rows.start or last <= first:
        return
    where = (
        slice(top + rows.start, top + rows.stop),
        slice(left + first, left + last),
    )
    for number, image in enumerate(images):
        image[where] += patch[rows, number * extent + first : number * extent + last]
