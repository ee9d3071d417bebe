"""The loss of DECODE on 2x2 cells: how many, where and how sure, on what ground.

Speiser et al., Nature Methods 18, 1082 (2021), Methods, with two faults mended:
the count term is not multiplied by the number of emitters, so an empty frame
costs its false positives and dense frames do not weigh quadratically; and its
variance has a floor, so it stays finite when the network is sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .maps import CELL_PX

COUNT_VARIANCE_FLOOR = 0.05
BACKGROUND_SIGMA = 0.2  # of the square root of the background, sqrt(photons)


@dataclass(frozen=True, slots=True)
class Targets:
    """True emitters of the centre frames, padded to the fullest one.

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


def loss(maps: Tensor, targets: Targets, z_range_nm: float) -> Tensor:
    """Mean loss of a batch.

    Parameters
    ----------
    maps : Tensor, shape (b, maps, h/2, w/2)
        In units, float32, as `network.to_units` gives them.
    targets : Targets
        The truth.
    z_range_nm : float
        0 leaves z out.
    """
    b = maps.shape[0]
    p, x, y, z, n, sx, sy, sz, sn, bg = maps.flatten(2).unbind(1)  # (b, cells)
    located = _mixture_log_likelihood(
        (p, *_absolute(x, y, maps.shape[-2:]), z, n, sx, sy, sz, sn),
        targets,
        z_range_nm,
    )
    ground = bg.reshape(b, *maps.shape[-2:])
    truth = torch.nn.functional.avg_pool2d(targets.background[:, None], CELL_PX)[:, 0]
    residual = (ground.clamp_min(1e-6).sqrt() - truth.sqrt()) / BACKGROUND_SIGMA
    background = 0.5 * residual.square().mean(dim=(1, 2))
    counted = _count_log_likelihood(p, targets.present.sum(1))
    return (background - counted - located).mean()


def _count_log_likelihood(p: Tensor, count: Tensor) -> Tensor:
    """Score the number of cells that report, in normal approximation: (b,)."""
    mean = p.sum(1)
    variance = (p * (1 - p)).sum(1) + COUNT_VARIANCE_FLOOR
    return -0.5 * ((count - mean).square() / variance + torch.log(variance))


def _absolute(x: Tensor, y: Tensor, cells: torch.Size) -> tuple[Tensor, Tensor]:
    """Offsets from cell centres to pixel coordinates: (b, cells) each."""
    half = (CELL_PX - 1) / 2
    rows = torch.arange(cells[0], device=x.device) * CELL_PX + half
    columns = torch.arange(cells[1], device=x.device) * CELL_PX + half
    return x + columns.repeat(cells[0]), y + rows.repeat_interleave(cells[1])


def _mixture_log_likelihood(
    maps: tuple[Tensor, ...], targets: Targets, z_range_nm: float
) -> Tensor:
    """Sum over true emitters of the log of the cells' Gaussian mixture: (b,)."""
    p, x, y, z, n, sx, sy, sz, sn = maps  # (b, cells)
    weight = torch.log(p) - torch.log(p.sum(1, keepdim=True))  # (b, cells)
    terms = (
        weight[:, None]
        + _log_normal(targets.x_px, x, sx)
        + _log_normal(targets.y_px, y, sy)
        + _log_normal(torch.log(targets.photons), torch.log(n), sn)
    )  # (b, m, cells)
    if z_range_nm > 0:
        terms = terms + _log_normal(
            targets.z_nm / z_range_nm, z / z_range_nm, sz / z_range_nm
        )
    per_emitter = torch.logsumexp(terms, dim=2)  # (b, m)
    return torch.where(targets.present, per_emitter, 0.0).sum(1)


def _log_normal(target: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """Log density of (b, m) targets under (b, cells) Gaussians: (b, m, cells)."""
    residual = (target[:, :, None] - mean[:, None]) / sigma[:, None]
    scale = torch.log(sigma[:, None]) + 0.5 * math.log(2 * math.pi)
    return -0.5 * residual.square() - scale
