"""From the network's maps to a list of emitters: whose probability is whose.

An emitter near the border of a cell is reported by several cells, all pointing
at the same place. Every cell adds its probability to the likeliest neighbour
that points at the same place, so each bit of probability counts exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.localizations import LOCALIZATION, Localizations

from .maps import CELLS, MAPS, Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAME_PLACE_PX = 1.0  # cells pointing closer than this may mean the same emitter
NEGLIGIBLE = 0.01  # probability of a cell to be ignored
_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Probabilities that decide what becomes a localization.

    Attributes
    ----------
    seed : float
        Smallest probability of the cell that an emitter is reported from.
    split : float
        A cell above this is an emitter of its own, even beside a likelier one.
    final : float
        Smallest probability of the emitter: its cell's and those that agree.
    """

    seed: float = 0.1
    split: float = 0.85
    final: float = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Position of a frame's pixels in the sample.

    Attributes
    ----------
    shape : tuple[int, int]
        (height, width) in pixels; maps may be larger by their padding.
    pixel_size_nm : float
        Edge of a pixel.
    roi_origin : tuple[int, int]
        (x, y) of the frame's first pixel on the chip.
    grid : Grid
        Cells of the maps.
    """

    shape: tuple[int, int]
    pixel_size_nm: float
    roi_origin: tuple[int, int] = (0, 0)
    grid: Grid = CELLS


def find_emitters(
    maps: NDArray[np.float32],
    frames: NDArray[np.int64],
    geometry: Geometry,
    thresholds: Thresholds,
) -> Localizations:
    """Turn maps into localizations.

    Parameters
    ----------
    maps : NDArray[np.float32], shape (n, maps, rows, columns)
        In the units of `maps.MAPS`.
    frames : NDArray[np.int64], shape (n,)
        Frame numbers.
    geometry : Geometry
        Converts to nm on the full chip. Emitters in the padding are left out.
    thresholds : Thresholds
        Seed, split and final probability.

    Returns
    -------
    Localizations
        Ordered by frame, then row and column of the cell. A frame's rows do not
        depend on which frames it is processed with.
    """
    n, row, column = np.nonzero(maps[:, 0] > NEGLIGIBLE)
    values = dict(zip(MAPS, maps[n, :, row, column].T, strict=True))
    cell = np.float32(geometry.grid.cell_px)
    values["x_px"] = values["x_px"] + column.astype(np.float32) * cell + (cell - 1) / 2
    values["y_px"] = values["y_px"] + row.astype(np.float32) * cell + (cell - 1) / 2
    p, x, y = values["probability"], values["x_px"], values["y_px"]
    owner = _owners(n, row, column, x, y, p, maps.shape, thresholds.split)
    values = _gather(values, owner)
    mass, x, y = values["probability"], values["x_px"], values["y_px"]
    height, width = geometry.shape
    keep = (owner == np.arange(len(p))) & (p > thresholds.seed)
    keep &= (mass >= thresholds.final) & (x < width - 0.5) & (y < height - 0.5)
    keep &= (x > -0.5) & (y > -0.5)
    return _table(keep, frames[n], values, geometry)


def _gather(
    values: dict[str, NDArray[np.float32]], owner: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Join the reports of an emitter: moments of the mixture of its cells.

    Cells that agree are as sure together as each of them; cells that do not, differ
    by more than the sigma of each. Weights are the squares of the probabilities: with
    the probabilities themselves unlikely cells blur an isolated emitter, with the
    likeliest cell alone overlapping ones are overconfident.
    """
    p = values["probability"]
    mass = np.bincount(owner, weights=p, minlength=len(p))
    square = p.astype(np.float64) ** 2
    weight = square / np.bincount(owner, square, len(p))[owner]

    def mean(of: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(owner, weight * of, len(p)).astype(np.float64)

    joined: dict[str, NDArray[Any]] = {"probability": np.minimum(mass, 1.0)}
    for name in ("x_px", "y_px", "z_nm"):
        sigma = f"{name[0]}_sigma_{name[2:]}"
        centre = mean(values[name])
        spread = values[sigma].astype(float) ** 2 + (values[name] - centre[owner]) ** 2
        joined |= {name: centre, sigma: np.sqrt(mean(spread))}
    for name in ("photons", "photons_sigma", "background"):
        joined[name] = mean(values[name])
    return joined


def _owners(
    n: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    p: NDArray[np.float32],
    shape: tuple[int, ...],
    split: float,
) -> NDArray[np.int64]:
    """Find, for every candidate cell, the candidate that reports its emitter."""
    itself = np.arange(len(p))
    grid = np.full((shape[0], shape[2] + 2, shape[3] + 2), -1, np.int64)
    grid[n, row + 1, column + 1] = itself
    owner, best = itself.copy(), p.copy()
    for i, j in _NEIGHBOURS:
        other = grid[n, row + 1 + i, column + 1 + j]
        near = (x[other] - x) ** 2 + (y[other] - y) ** 2 < SAME_PLACE_PX**2
        likelier = (p[other] > best) | ((p[other] == best) & (other < owner))
        take = (other >= 0) & near & likelier & (p <= split)
        owner = np.where(take, other, owner)
        best = np.where(take, p[other], best)
    while not np.array_equal(owner, owner[owner]):
        owner = owner[owner]
    return owner


def _table(
    keep: NDArray[np.bool_],
    frames: NDArray[np.int64],
    values: dict[str, NDArray[Any]],
    geometry: Geometry,
) -> Localizations:
    """Fill the columns of the emitters kept, in nm on the chip."""
    pixel, (x0, y0) = geometry.pixel_size_nm, geometry.roi_origin
    table = np.zeros(int(keep.sum()), LOCALIZATION)
    table["frame"] = frames[keep]
    table["x_nm"] = (values["x_px"][keep] + x0) * pixel
    table["y_nm"] = (values["y_px"][keep] + y0) * pixel
    table["x_sigma_nm"] = values["x_sigma_px"][keep] * pixel
    table["y_sigma_nm"] = values["y_sigma_px"][keep] * pixel
    for name in ("probability", "z_nm", "z_sigma_nm", "photons", "background"):
        table[name] = values[name][keep]
    table["photons_sigma"] = values["photons_sigma"][keep] * table["photons"]
    return table
