"""The `live` network: three consecutive frames in, one emitter per 2x2 cell out.

Shape comments: b frames, h and w camera pixels. Cells are 2x2 pixels, so all
maps have h/2 x w/2 entries. The frame half runs once per frame; its features
serve the three windows that the frame is part of.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .maps import CELL_PX, MAPS, REACH_PX, SIZE_MULTIPLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Widths and depths that define a network, and with them its cost.

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


PRESETS = {"live": Preset(trunk=32, deep=64, frame_layers=1, context_layers=3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Between the network's numbers and photons, pixels and nanometres.

    Attributes
    ----------
    intensity_offset, intensity_scale : float
        Input is ``(2 sqrt(photons + 3/8) - offset) / scale``: the Anscombe
        transform gives every pixel the same shot noise, whatever its brightness.
    photons_typical : float
        Photons of an emitter for which the network says 0.
    z_range_nm : float
        Largest |z|; 0 for a network without z.
    """

    intensity_offset: float
    intensity_scale: float
    photons_typical: float
    z_range_nm: float


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
            d = torch.relu(layer(d))
        up = functional.interpolate(self.up(d), scale_factor=2.0, mode="nearest")
        return torch.relu(self.mix(x + up))


class FrameNetwork(nn.Module):
    """Photons of one frame to its features. Runs once per frame."""

    def __init__(self, preset: Preset, scaling: Scaling) -> None:
        super().__init__()
        self.offset, self.scale = scaling.intensity_offset, scaling.intensity_scale
        self.cells = nn.PixelUnshuffle(CELL_PX)
        self.stem = nn.Conv2d(CELL_PX**2, preset.trunk, 3, padding=1)
        self.block = ResidualBlock(preset.trunk, preset.deep, preset.frame_layers)

    def forward(self, photons: Tensor) -> Tensor:  # (b, 1, h, w)
        """Return features, (b, trunk, h/2, w/2)."""
        x = 2.0 * torch.sqrt(torch.relu(photons + 0.375))
        x = (x - self.offset) / self.scale
        x = torch.relu(self.stem(self.cells(x)))  # (b, trunk, h/2, w/2)
        features: Tensor = self.block(x)
        return features


class ContextNetwork(nn.Module):
    """Features of frames t-1, t, t+1 to the maps of frame t."""

    def __init__(self, preset: Preset, scaling: Scaling) -> None:
        super().__init__()
        self.scaling = scaling
        self.merge = nn.Conv2d(3 * preset.trunk, preset.trunk, 1)
        self.block = ResidualBlock(preset.trunk, preset.deep, preset.context_layers)
        self.head = nn.Conv2d(preset.trunk, len(MAPS), 1)
        _start_with_few_detections(self.head)

    def raw(self, features: Tensor) -> Tensor:  # (b, 3 trunk, h/2, w/2)
        """Return the maps before their ranges and units, (b, maps, h/2, w/2)."""
        x = torch.relu(self.merge(features))
        maps: Tensor = self.head(self.block(x))
        return maps

    def forward(self, before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
        """Return the maps in the units of `MAPS`, (b, maps, h/2, w/2)."""
        joined = torch.cat([before, centre, after], dim=1)  # (b, 3 trunk, h/2, w/2)
        return to_units(self.raw(joined), self.scaling)


class Network(nn.Module):
    """Both halves, as trained.

    Parameters
    ----------
    preset : Preset
        Widths.
    scaling : Scaling
        Kept with the weights for good: the exported graphs contain it.
    """

    def __init__(self, preset: Preset, scaling: Scaling) -> None:
        super().__init__()
        self.preset, self.scaling = preset, scaling
        self.frame = FrameNetwork(preset, scaling)
        self.context = ContextNetwork(preset, scaling)

    def forward(self, windows: Tensor) -> Tensor:  # (b, 3, h, w), photons
        """Return the maps of the centre frames in units, (b, maps, h/2, w/2)."""
        b, three, h, w = windows.shape
        features = self.frame(windows.reshape(b * three, 1, h, w))
        window = features.reshape(b, three, -1, h // CELL_PX, w // CELL_PX)
        maps: Tensor = self.context(*window.unbind(1))
        return maps

    def describe(self) -> dict[str, dict[str, float]]:
        """Preset and scaling as plain numbers, for the bundle."""
        return {"preset": asdict(self.preset), "scaling": asdict(self.scaling)}


def to_units(raw: Tensor, scaling: Scaling) -> Tensor:
    """Give raw maps their ranges and units; see `maps.MAPS` for the order."""
    p, x, y, z, n, sx, sy, sz, sn, bg = raw.unbind(1)
    depth = scaling.z_range_nm  # 0 for a 2D network, and so are its z and sigma
    return torch.stack(
        [
            torch.sigmoid(p.clamp(-10.0, 10.0)),
            REACH_PX * torch.tanh(x),
            REACH_PX * torch.tanh(y),
            depth * torch.tanh(z),
            scaling.photons_typical * torch.exp(n.clamp(-6.0, 6.0)),
            REACH_PX * torch.sigmoid(sx) + 0.005,
            REACH_PX * torch.sigmoid(sy) + 0.005,
            depth * (torch.sigmoid(sz) + 0.002),
            torch.sigmoid(sn) + 0.005,
            torch.square(bg * scaling.intensity_scale / 2),
        ],
        dim=1,
    )


def _start_with_few_detections(head: nn.Conv2d) -> None:
    """Let p really start at its bias: no weights, sigmoid(-4) = 0.018."""
    with torch.no_grad():
        head.weight[0].zero_()
        head.bias.zero_()  # type: ignore[union-attr]
        head.bias[0] = -4.0  # type: ignore[index]


def flop_per_pixel(preset: Preset) -> float:
    """Floating-point operations per camera pixel and frame, features reused.

    A multiply-add counts as two. Counted from the layers as they run on a
    probe frame.
    """
    scaling = Scaling(
        intensity_offset=0, intensity_scale=1, photons_typical=1, z_range_nm=1
    )
    side = 16 * SIZE_MULTIPLE
    total = 0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * out[0].numel() * module.weight[0].numel()

    net = Network(preset, scaling)
    for module in net.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        features = net.frame(torch.zeros(1, 1, side, side))
        net.context(features, features, features)
    return total / side**2
