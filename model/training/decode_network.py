"""The `decode` network: two U-Nets and four heads, one emitter per pixel.

The published architecture of Speiser et al., Nature Methods 18, 1082 (2021): depth
2, 48 features, strided convolutions without activation on the way down, nearest
neighbours and a 1x1 convolution on the way up, ELU. Shape comments: b frames, h and w
camera pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..maps import PIXELS

if TYPE_CHECKING:
    from ..maps import Grid

LEVELS = 2
HEADS = (1, 4, 4, 1)  # maps: probability; place and photons; sigmas; background


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeShape:
    """The one number that the published network has: channels at full resolution."""

    features: int = 48
    grid: Grid = PIXELS

    @property
    def trunk(self) -> int:
        """Channels of the features of one frame."""
        return self.features

    def halves(self, inputs: int, frames: int) -> tuple[UNet, DecodeContext]:
        """Build the two halves."""
        return UNet(inputs, self.features), DecodeContext(self.features, frames)


class UNet(nn.Module):
    """Two levels down and up again with skips; no normalisation."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(LEVELS + 1)]
        before = [inputs, *widths]
        self.encode = nn.ModuleList(
            _two_layers(before[i], widths[i]) for i in range(LEVELS + 1)
        )
        self.down = nn.ModuleList(nn.Conv2d(w, w, 2, stride=2) for w in widths[:-1])
        self.up = nn.ModuleList(nn.Conv2d(2 * w, w, 1) for w in reversed(widths[:-1]))
        self.decode = nn.ModuleList(
            _two_layers(2 * w, w) for w in reversed(widths[:-1])
        )
        self.out = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:  # (b, inputs, h, w)
        """Return features, (b, features, h, w)."""
        skips = []
        for encode, down in zip(self.encode[:-1], self.down, strict=True):
            skips.append(encode(x))
            x = down(skips[-1])
        x = self.encode[-1](x)  # (b, 4 features, h/4, w/4)
        for up, decode in zip(self.up, self.decode, strict=True):
            x = up(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = decode(torch.cat([skips.pop(), x], dim=1))
        features: Tensor = self.out(x)
        return features


class DecodeContext(nn.Module):
    """Joined features of consecutive frames to the maps of the centre one."""

    def __init__(self, features: int, frames: int) -> None:
        super().__init__()
        self.union = UNet(frames * features, features)
        self.heads = nn.ModuleList(_head(features, k) for k in HEADS)

    @property
    def last(self) -> list[nn.Conv2d]:
        """The layers that the maps come from, that of probability first."""
        return [head[-1] for head in self.heads]  # type: ignore[index]

    def forward(self, features: Tensor) -> Tensor:  # (b, frames features, h, w)
        """Return the maps before their units, (b, maps, h, w)."""
        x = self.union(features)
        return torch.cat([head(x) for head in self.heads], dim=1)


def _two_layers(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ELU(),
    )


def _head(features: int, outputs: int) -> nn.Sequential:
    hidden = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.ELU())
    return nn.Sequential(hidden, nn.Conv2d(features, outputs, 1))
