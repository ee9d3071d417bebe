"""The `live` and `dense` networks: one emitter per 2x2 cell, most work far down.

Shape comments: b frames, h and w camera pixels. Cells are 2x2 pixels, so features
and maps have h/2 x w/2 entries; the deep layers work on h/4 x w/4, where a layer
costs a quarter and sees twice as far.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..maps import CELLS, MAPS

if TYPE_CHECKING:
    from ..maps import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class CellShape:
    """Widths and depths that define a cell network, and with them its cost.

    Attributes
    ----------
    trunk : int
        Channels of the features of one frame, at cell resolution.
    deep : int
        Channels at half the cells' resolution, where most of the work is done.
    frame_layers, context_layers : int
        Layers there, for each frame and for the three frames together.
    """

    trunk: int
    deep: int
    frame_layers: int
    context_layers: int
    grid: Grid = CELLS

    def halves(self, inputs: int, frames: int) -> tuple[CellFrame, CellContext]:
        """Build the two halves."""
        return CellFrame(self, inputs), CellContext(self, frames)


class ResidualBlock(nn.Module):
    """A branch that goes down to half resolution and back, added, then mixed."""

    def __init__(self, trunk: int, deep: int, layers: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(trunk, deep, 3, stride=2, padding=1)
        self.deep = nn.ModuleList(
            nn.Conv2d(deep, deep, 3, padding=1) for _ in range(layers)
        )
        self.up = nn.Conv2d(deep, trunk, 1)
        self.mix = nn.Conv2d(trunk, trunk, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # (b, trunk, h/2, w/2)
        """Return features of the same shape."""
        d = torch.relu(self.down(x))  # (b, deep, h/4, w/4)
        for layer in self.deep:
            d = d + torch.relu(layer(d))
        up = functional.interpolate(self.up(d), scale_factor=2.0, mode="nearest")
        return torch.relu(self.mix(x + up))


class CellFrame(nn.Module):
    """One frame to its features."""

    def __init__(self, shape: CellShape, inputs: int) -> None:
        super().__init__()
        self.cells = nn.PixelUnshuffle(CELLS.cell_px)
        self.stem = nn.Conv2d(inputs * CELLS.cell_px**2, shape.trunk, 3, padding=1)
        self.block = ResidualBlock(shape.trunk, shape.deep, shape.frame_layers)

    def forward(self, x: Tensor) -> Tensor:  # (b, inputs, h, w)
        """Return features, (b, trunk, h/2, w/2)."""
        x = torch.relu(self.stem(self.cells(x)))  # (b, trunk, h/2, w/2)
        features: Tensor = self.block(x)
        return features


class CellContext(nn.Module):
    """Joined features of consecutive frames to the maps of the centre one."""

    def __init__(self, shape: CellShape, frames: int) -> None:
        super().__init__()
        self.merge = nn.Conv2d(frames * shape.trunk, shape.trunk, 1)
        self.block = ResidualBlock(shape.trunk, shape.deep, shape.context_layers)
        self.head = nn.Conv2d(shape.trunk, len(MAPS), 1)

    @property
    def last(self) -> list[nn.Conv2d]:
        """The layers that the maps come from, that of probability first."""
        return [self.head]

    def forward(self, features: Tensor) -> Tensor:  # (b, frames trunk, h/2, w/2)
        """Return the maps before their units, (b, maps, h/2, w/2)."""
        x = torch.relu(self.merge(features))
        maps: Tensor = self.head(self.block(x))
        return maps
