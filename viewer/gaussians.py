"""Localizations as Gaussians, integrated exactly over the pixels of a viewport.

A Gaussian is the product of its profiles along x and y, and a profile is the
differences of the normal distribution at the edges of the pixels. The rows in one
tile of the picture add up to the matrix product of their y profiles with their x
profiles, so the sum over rows, pixel by pixel, is left to the linear algebra library.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .viewport import Viewport

REACH = 4.0  # sigmas to either side; what lies beyond is put into what lies within
STEPS = 1024  # entries per sigma of the table of the normal distribution
SMALLEST_PX = 0.02  # a narrower Gaussian is a point
ROWS_AT_ONCE = 4096  # of a matrix product: its factors stay in the cache
WINDOWS = (2, 3, 4, 6, 8, 11, 14, 18, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


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
        The images, `out` where that was given.
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
    need = np.ceil(2 * REACH * np.maximum(rows.x_sigma, rows.y_sigma)) + 1
    kinds = np.searchsorted(WINDOWS, need).astype(np.uint8)
    for kind in np.unique(kinds):
        of_kind = rows.chosen(kinds == kind)
        window = (
            WINDOWS[kind] if kind < len(WINDOWS) else int(need[kinds == kind].max())
        )
        _add(out, of_kind, window)
    return out


def _known(sigma_nm: NDArray[np.floating], fallback_nm: float) -> NDArray[np.float64]:
    sigma = np.asarray(sigma_nm, np.float64)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(sigma) & (sigma > 0)
    return np.where(known, sigma, fallback_nm)


def _visible(rows: _Rows, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Say which rows reach into the viewport at all; NaN does not."""
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
    first_x = np.floor(rows.x - REACH * rows.x_sigma).astype(np.int64)
    first_y = np.floor(rows.y - REACH * rows.y_sigma).astype(np.int64)
    side = 32 if window <= 32 else 64
    tile_x, tile_y = first_x // side, first_y // side
    low = int(tile_x.min())
    across = int(tile_x.max()) - low + 1
    order = np.argsort(tile_y * across + (tile_x - low), kind="stable")
    rows = rows.chosen(order)
    first_x, first_y = first_x[order], first_y[order]
    tile_x, tile_y = tile_x[order], tile_y[order]
    starts = np.flatnonzero(
        np.diff(tile_y, prepend=tile_y[0] - 1) | np.diff(tile_x, prepend=tile_x[0])
    )
    extent = side + window - 1
    for begin, end, tiles in _portions(starts, len(order)):
        part = rows.chosen(slice(begin, end))
        x_start, y_start = first_x[begin:end], first_y[begin:end]
        x_profiles = _profiles(
            part.x - x_start, part.x_sigma, x_start % side, window, extent
        )
        y_profiles = _profiles(
            part.y - y_start, part.y_sigma, y_start % side, window, extent
        )
        for image, weight in zip(out, part.weights, strict=True):
            factors = x_profiles if weight is None else x_profiles * weight[:, None]
            for a, b in tiles:
                patch = (
                    y_profiles[a - begin : b - begin].T @ factors[a - begin : b - begin]
                )
                _paste(image, patch, int(tile_y[a]) * side, int(tile_x[a]) * side)


def _portions(
    starts: NDArray[np.intp], rows: int
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Cut sorted rows into portions of whole tiles, large tiles into several."""
    bounds = [*starts.tolist(), rows]
    tiles: list[tuple[int, int]] = []
    begin = 0
    for a, b in itertools.pairwise(bounds):
        for first in range(a, b, ROWS_AT_ONCE):
            last = min(first + ROWS_AT_ONCE, b)
            if tiles and last - begin > ROWS_AT_ONCE:
                yield begin, first, tiles
                begin, tiles = first, []
            tiles.append((first, last))
    if tiles:
        yield begin, rows, tiles


def _profiles(
    centre: NDArray[np.float64],
    sigma: NDArray[np.float64],
    start: NDArray[np.int64],
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
    """Give the truncated normal distribution and its differences, from -4 to 4."""
    if not _TABLE:
        from scipy.special import ndtr

        places = np.linspace(-REACH, REACH, round(2 * REACH * STEPS) + 1)
        lowest, highest = ndtr(-REACH), ndtr(REACH)
        values = (ndtr(places) - lowest) / (highest - lowest)
        slopes = np.append(np.diff(values), 0.0)
        _TABLE.extend((values.astype(np.float32), slopes.astype(np.float32)))
    return _TABLE[0], _TABLE[1]


def _paste(
    image: NDArray[np.float32], patch: NDArray[np.float32], top: int, left: int
) -> None:
    """Add a patch; what lies beyond the edges of the image is lost."""
    height, width = image.shape
    first_row, first_column = max(0, -top), max(0, -left)
    last_row = min(patch.shape[0], height - top)
    last_column = min(patch.shape[1], width - left)
    if last_row <= first_row or last_column <= first_column:
        return
    image[
        top + first_row : top + last_row, left + first_column : left + last_column
    ] += patch[first_row:last_row, first_column:last_column]
