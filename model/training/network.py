"""Networks as liveloc runs them: photons in, maps in photons, pixels and nm out.

A network has two halves. The first turns one frame into features and runs once per
frame; the second turns the features of three consecutive frames into the maps of the
middle one. The layers of the halves are in `cell_network` and
`decode_network`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from ..maps import SIZE_MULTIPLE, WINDOW, Grid
from .cell_network import CellShape
from .decode_network import DecodeShape

PRESETS: dict[str, CellShape | DecodeShape] = {
    "live": CellShape(trunk=32, deep=64, frame_layers=1, context_layers=3),
    "dense": CellShape(trunk=64, deep=144, frame_layers=2, context_layers=6),
    "decode": DecodeShape(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Between the network's numbers and photons, pixels and nanometres.

    Attributes
    ----------
    intensity_offset, intensity_scale : float
        Input is ``(2 sqrt(photons + 3/8 + read variance) - offset) / scale``: the
        Anscombe transform, generalized to read noise (Starck, Murtagh and Bijaoui,
        1995), gives every pixel nearly the same noise, whatever its brightness.
    read_variance : float
        Read variance of a pixel, photons squared, if the camera has no maps.
    photons_typical : float
        Photons of an emitter for a network output of 0.
    z_centre_nm, z_reach_nm : float
        Middle, and largest distance from it, of what z can be; a reach of 0 for a
        network without z.
    """

    intensity_offset: float
    intensity_scale: float
    read_variance: float
    photons_typical: float
    z_centre_nm: float
    z_reach_nm: float


class FrameNetwork(nn.Module):
    """Photons of one frame to its features. Runs once per frame."""

    def __init__(self, body: nn.Module, scaling: Scaling, *, sees_noise: bool) -> None:
        super().__init__()
        self.body, self.scaling, self.sees_noise = body, scaling, sees_noise

    def forward(self, photons: Tensor, read_variance: Tensor | None = None) -> Tensor:
        """Return features, (b, trunk, rows, columns).

        Parameters
        ----------
        photons : Tensor, shape (b, 1, h, w)
            Of the frames.
        read_variance : Tensor, shape (b or 1, 1, h, w)
            Photons squared; for a network that sees the camera's map.
        """
        s = self.scaling
        variance = s.read_variance if read_variance is None else read_variance
        x = 2.0 * torch.sqrt(torch.relu(photons + variance + 0.375))
        x = (x - s.intensity_offset) / s.intensity_scale
        if read_variance is not None:
            noise = torch.sqrt(read_variance).expand_as(x) / s.intensity_scale
            x = torch.cat([x, noise], dim=1)  # (b, 2, h, w)
        features: Tensor = self.body(x)
        return features


class ContextNetwork(nn.Module):
    """Features of frames t-1, t, t+1 to the maps of frame t."""

    def __init__(
        self, body: nn.Module, scaling: Scaling, grid: Grid, *, context: bool
    ) -> None:
        super().__init__()
        self.body, self.scaling, self.grid = body, scaling, grid
        self.context = context

    def forward(self, before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
        """Return the maps in the units of `MAPS`, (b, maps, rows, columns)."""
        return to_units(self.raw(before, centre, after), self.scaling, self.grid)

    def raw(self, before: Tensor, centre: Tensor, after: Tensor) -> Tensor:
        """Return the maps before their ranges and units."""
        frames = [before, centre, after] if self.context else [centre]
        joined = torch.cat(frames, dim=1)
        joined = joined.contiguous(memory_format=torch.channels_last)
        maps: Tensor = self.body(joined)
        return maps


class Network(nn.Module):
    """Both halves, as trained.

    Parameters
    ----------
    shape : CellShape or DecodeShape
        Definition of the two halves, which sets the cost; see `PRESETS`.
    scaling : Scaling
        Kept with the weights for good: the exported graphs contain it.
    context : bool
        False: the neighbouring frames are ignored.
    sees_noise : bool
        The camera's map of read variance is a second input.
    """

    def __init__(
        self,
        shape: CellShape | DecodeShape,
        scaling: Scaling,
        *,
        context: bool = True,
        sees_noise: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.scaling, self.grid = shape, scaling, shape.grid
        self.sees_noise = sees_noise
        frame, joined = shape.halves(
            inputs=2 if sees_noise else 1, frames=len(WINDOW) if context else 1
        )
        self._last = joined.last
        _start_with_few_detections(self._last[0], shape.grid)
        self.frame = FrameNetwork(frame, scaling, sees_noise=sees_noise)
        self.context = ContextNetwork(joined, scaling, shape.grid, context=context)

    def forward(self, frames: Tensor, read_variance: Tensor | None = None) -> Tensor:
        """Return the maps of all frames that have neighbours, in units.

        Parameters
        ----------
        frames : Tensor, shape (b, f, h, w)
            Photons of b short movies.
        read_variance : Tensor, shape (b, 1, h, w)
            For a network that sees the camera's map.

        Returns
        -------
        Tensor, shape (b (f - 2), maps, rows, columns)
            Movie by movie.
        """
        return to_units(
            self.raw(frames, read_variance).float(), self.scaling, self.grid
        )

    def raw(self, frames: Tensor, read_variance: Tensor | None = None) -> Tensor:
        """Return the same before ranges and units."""
        b, f, h, w = frames.shape
        if read_variance is not None:
            read_variance = read_variance.expand(-1, f, -1, -1).reshape(b * f, 1, h, w)
        features = self.frame(frames.reshape(b * f, 1, h, w), read_variance)
        movie = features.unflatten(0, (b, f))  # (b, f, trunk, rows, columns)
        window = (movie[:, k : f - 2 + k].flatten(0, 1) for k in range(len(WINDOW)))
        return self.context.raw(*window)

    def output_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the layers that the maps come from."""
        return [p for layer in self._last for p in layer.parameters()]

    def describe(self) -> dict[str, dict[str, float]]:
        """Shape and scaling as plain numbers, for the bundle."""
        shape = asdict(self.shape)
        del shape["grid"]
        return {"shape": shape, "scaling": asdict(self.scaling)}


def to_units(raw: Tensor, scaling: Scaling, grid: Grid) -> Tensor:
    """Convert raw maps to their ranges and units; see `maps.MAPS` for the order."""
    p, x, y, z, n, sx, sy, sz, sn, bg = raw.unbind(1)
    depth, reach = scaling.z_reach_nm, grid.reach_px  # depth 0: a 2D network
    return torch.stack(
        [
            torch.sigmoid(p.clamp(-10.0, 10.0)),
            reach * torch.tanh(x),
            reach * torch.tanh(y),
            scaling.z_centre_nm + depth * torch.tanh(z),
            scaling.photons_typical * torch.exp(n.clamp(-6.0, 6.0)),
            2.0 * torch.sigmoid(sx) + 0.005,
            2.0 * torch.sigmoid(sy) + 0.005,
            depth * (torch.sigmoid(sz) + 0.002),
            torch.sigmoid(sn) + 0.005,
            torch.square(bg * scaling.intensity_scale / 2),
        ],
        dim=1,
    )


def _start_with_few_detections(last: nn.Conv2d, grid: Grid) -> None:
    """Let p really start at its bias: no weights, about 0.5 % of all pixels."""
    with torch.no_grad():
        last.weight[0].zero_()
        last.bias.zero_()  # type: ignore[union-attr]
        last.bias[0] = -4.0 if grid.cell_px > 1 else -5.5  # type: ignore[index]


def flop_per_pixel(shape: CellShape | DecodeShape) -> float:
    """Floating-point operations per camera pixel and frame, features reused.

    A multiply-add counts as two. Counted from the layers as they run on a
    probe frame.
    """
    scaling = Scaling(
        intensity_offset=0,
        intensity_scale=1,
        read_variance=0,
        photons_typical=1,
        z_centre_nm=0,
        z_reach_nm=1,
    )
    side = 16 * SIZE_MULTIPLE
    total = 0

    def count(module: nn.Module, _: object, out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += 2 * out[0].numel() * module.weight[0].numel()

    net = Network(shape, scaling)
    for module in net.modules():
        module.register_forward_hook(count)
    with torch.inference_mode():
        features = net.frame(torch.zeros(1, 1, side, side))
        net.context(features, features, features)
    return total / side**2
