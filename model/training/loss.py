"""The loss of DECODE on cells: number, positions and uncertainties, background.

Speiser et al., Nature Methods 18, 1082 (2021), Methods, with two faults mended:
the count term is not multiplied by the number of emitters, so an empty frame
costs its false positives and dense frames do not weigh quadratically; and its
variance has a floor, so it stays finite when the network is sure. An emitter's
mixture is taken over the cells around it, which are all that can report it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from ..maps import Grid

COUNT_VARIANCE_FLOOR = 0.05
BACKGROUND_SIGMA = 0.2  # of the square root of the background, sqrt(photons)
NEAR_CELLS = 2  # in each direction: cells that can report an emitter


@dataclass(frozen=True, slots=True)
class Targets:
    """True emitters of a batch of frames, padded to the fullest one.

    Attributes
    ----------
    present : Tensor[bool], shape (b, m)
        False for padding.
    x_px, y_px, z_nm, photons : Tensor, shape (b, m)
        In the crop's pixel coordinates: (0, 0) is the centre of its first pixel.
    background : Tensor, shape (b, h, w)
        Expected photons per pixel.
    """

    present: Tensor
    x_px: Tensor
    y_px: Tensor
    z_nm: Tensor
    photons: Tensor
    background: Tensor


def loss(maps: Tensor, targets: Targets, grid: Grid, z_scale_nm: float) -> Tensor:
    """Mean loss of a batch.

    Parameters
    ----------
    maps : Tensor, shape (b, maps, rows, columns)
        In units, float32, as returned by `network.to_units`.
    targets : Targets
        The truth.
    grid : Grid
        Size of the cells.
    z_scale_nm : float
        Unit in which z is compared; 0 leaves z out.
    """
    p, ground = maps[:, 0].flatten(1), maps[:, -1]  # (b, cells), (b, rows, columns)
    truth = functional.avg_pool2d(targets.background[:, None], grid.cell_px)[:, 0]
    residual = (ground.clamp_min(1e-6).sqrt() - truth.sqrt()) / BACKGROUND_SIGMA
    background = 0.5 * residual.square().mean(dim=(1, 2))
    counted = _count_log_likelihood(p, targets.present.sum(1))
    located = _mixture_log_likelihood(maps, targets, grid, z_scale_nm)
    return (background - counted - located).mean()


def _count_log_likelihood(p: Tensor, count: Tensor) -> Tensor:
    """Score the number of cells that report, in normal approximation: (b,)."""
    mean = p.sum(1)
    variance = (p * (1 - p)).sum(1) + COUNT_VARIANCE_FLOOR
    return -0.5 * ((count - mean).square() / variance + torch.log(variance))


def _mixture_log_likelihood(
    maps: Tensor, targets: Targets, grid: Grid, z_scale_nm: float
) -> Tensor:
    """Sum over true emitters of the log of their cells' Gaussian mixture: (b,)."""
    half = (grid.cell_px - 1) / 2
    rows, columns = maps.shape[-2:]
    near_x, near_y, inside = _near_cells(targets, grid, rows, columns)  # (b, m, k)
    index = (near_y * columns + near_x).flatten(1)  # (b, m k)
    flat = maps[:, :-1].flatten(2)  # (b, 9, cells)
    picked = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
    picked = picked.reshape(*picked.shape[:2], *near_x.shape[1:])
    p, x, y, z, n, sx, sy, sz, sn = picked.unbind(1)
    x = x + near_x * grid.cell_px + half
    y = y + near_y * grid.cell_px + half
    terms = (
        torch.log(p)
        + _log_normal(targets.x_px, x, sx)
        + _log_normal(targets.y_px, y, sy)
        + _log_normal(torch.log(targets.photons), torch.log(n), sn)
    )  # (b, m, k)
    if z_scale_nm > 0:
        terms = terms + _log_normal(
            targets.z_nm / z_scale_nm, z / z_scale_nm, sz / z_scale_nm
        )
    terms = torch.where(inside, terms, -math.inf)
    reported = torch.log(maps[:, 0].sum(dim=(1, 2)))[:, None]  # (b, 1)
    per_emitter = torch.logsumexp(terms, dim=2) - reported  # (b, m)
    return torch.where(targets.present, per_emitter, 0.0).sum(1)


def _near_cells(
    targets: Targets, grid: Grid, rows: int, columns: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return column and row of the cells around each emitter, and which exist."""
    reach = torch.arange(-NEAR_CELLS, NEAR_CELLS + 1, device=targets.x_px.device)
    dy, dx = (d.flatten() for d in torch.meshgrid(reach, reach, indexing="ij"))
    x = torch.floor((targets.x_px + 0.5) / grid.cell_px).long()[..., None] + dx
    y = torch.floor((targets.y_px + 0.5) / grid.cell_px).long()[..., None] + dy
    inside = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
    return x.clamp(0, columns - 1), y.clamp(0, rows - 1), inside


def _log_normal(target: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Log density of (b, m) targets under their (b, m, k) Gaussians: (b, m, k)."""
    residual = (target[..., None] - mean) / sigma
    scale = torch.log(sigma) + 0.5 * math.log(2 * math.pi)
    return -0.5 * residual.square() - scale
