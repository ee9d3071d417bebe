"""Endless training movies, made where the network is trained (CPU or GPU).

Emitters switch on and off at any time within the three frames of a sample, so
first and last frames are partial: the memoryless process behind the simulated
microscope and most photoswitchable dyes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from .camera import expose
from .loss import Targets
from .psf import PSF, AstigmaticPSF, GaussianPSF, render

if TYPE_CHECKING:
    from .training_config import TrainingConfig

MARGIN_PX = 5  # emitters this far outside a crop still light it
FRAMES = 3


@dataclass(frozen=True, slots=True)
class Sample:
    """A batch of three-frame windows with the truth of their centre frames.

    Attributes
    ----------
    windows : Tensor, shape (b, 3, h, w)
        Photons as the calibration would give them, noise included.
    targets : Targets
        Emitters of the centre frames.
    """

    windows: Tensor
    targets: Targets


class TorchNoise:
    """Noise for tensors (`camera.Noise`).

    Parameters
    ----------
    generator : torch.Generator
        On the tensors' device; owned by the caller.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def poisson(self, mean: Tensor) -> Tensor:
        """Draw Poisson counts, same shape and dtype as `mean`."""
        return torch.poisson(mean, generator=self._generator)

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers, same shape and dtype as `like`."""
        return torch.randn(
            like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )


class Simulator:
    """Draws independent three-frame windows of a `TrainingConfig`.

    Parameters
    ----------
    config : TrainingConfig
        Ranges of everything.
    device : torch.device
        Where the samples are made.
    seed : int
        Same seed, same device, same samples.
    """

    def __init__(self, config: TrainingConfig, device: torch.device, seed: int) -> None:
        self.config, self.device = config, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, batch: int, size_px: int) -> Sample:
        """Make `batch` windows of `size_px` x `size_px` pixels."""
        emitters = self.config.emitters
        field_px = size_px + 2 * MARGIN_PX
        area_um2 = (field_px * self.config.pixel_size_nm / 1000) ** 2
        on_time = self._log_uniform(emitters.on_time_frames, batch)  # (b,)
        at_once = self._log_uniform(emitters.density_per_um2, batch) * area_um2
        exists, light = self._switching(at_once, on_time)  # (b, n), (b, 3, n)
        b, n = exists.shape
        median = self._log_uniform(emitters.photons, batch)[:, None]
        spread = torch.exp(emitters.photons_spread * self._normal(b, n))
        photons = light * (median * spread)[:, None]  # (b, 3, n)
        x = self._uniform(b, n) * field_px - 0.5 - MARGIN_PX
        y = self._uniform(b, n) * field_px - 0.5 - MARGIN_PX
        z = (2 * self._uniform(b, n) - 1) * self.config.z_range_nm
        background = self._background(batch, size_px)  # (b, h, w)
        mean = background[:, None] + self._render(x, y, z, photons, size_px)
        windows = self._expose(mean)
        centre = photons[:, 1]
        inside = (x > -0.5) & (x < size_px - 0.5) & (y > -0.5) & (y < size_px - 0.5)
        asked = exists & inside & (centre > max(emitters.label_photons, 1e-3))
        return Sample(windows, _compact(asked, x, y, z, centre, background))

    def _switching(self, at_once: Tensor, on_time: Tensor) -> tuple[Tensor, Tensor]:
        """Decide which emitters exist, and their share of each frame's exposure."""
        born = at_once * FRAMES / on_time
        number = torch.poisson(at_once + born, generator=self.generator)  # (b,)
        n = max(int(number.max()), 1)
        exists = torch.arange(n, device=self.device) < number[:, None]  # (b, n)
        b = len(number)
        already_on = self._uniform(b, n) < (at_once / (at_once + born))[:, None]
        start = torch.where(already_on, 0.0, FRAMES * self._uniform(b, n))
        lasts = -on_time[:, None] * torch.log1p(-self._uniform(b, n))
        frame = torch.arange(FRAMES, device=self.device)[:, None]  # (3, 1)
        end = (start + lasts)[:, None]
        light = torch.minimum(end, frame + 1) - torch.maximum(start[:, None], frame)
        return exists, light.clamp(0.0, 1.0) * exists[:, None]

    def _render(
        self, x: Tensor, y: Tensor, z: Tensor, photons: Tensor, size_px: int
    ) -> Tensor:
        """Give the expected photons of the emitters, (b, 3, h, w)."""
        psf = self._psf(len(x))
        x, y, z = (position[:, None] for position in (x, y, z))  # (b, 1, n)
        images: Tensor = render(psf, x, y, z, photons, (size_px, size_px))
        return images

    def _psf(self, batch: int) -> PSF:
        psf = self.config.psf
        if psf.kind == "astigmatic":
            return AstigmaticPSF(**psf.model_dump(exclude={"kind"}))
        return GaussianPSF(
            sigma_px=self._log_uniform(psf.sigma_px, batch)[:, None, None]
        )

    def _background(self, batch: int, size_px: int) -> Tensor:
        """Give each sample its level, with smooth structure on two length scales."""
        camera = self.config.camera
        level = self._log_uniform(camera.background, batch)[:, None, None]
        amplitude = camera.background_structure * self._uniform(batch, 1)[..., None]
        structure = torch.zeros(batch, 1, size_px, size_px, device=self.device)
        for knots in (3, 6):
            coarse = self._normal(batch, knots * knots).reshape(batch, 1, knots, knots)
            structure = structure + functional.interpolate(
                coarse, (size_px, size_px), mode="bicubic", align_corners=True
            )
        return level * torch.exp(amplitude * structure[:, 0] / math.sqrt(2))

    def _expose(self, mean: Tensor) -> Tensor:
        """Photons as seen through a camera whose gain is not exactly known."""
        camera = self.config.camera
        gain = self._log_uniform(camera.gain_error, len(mean))[:, None, None, None]
        counts = expose(
            mean * gain, camera.calibration, TorchNoise(self.generator), math.inf
        )
        seen: Tensor = counts / gain
        return seen

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def _log_uniform(self, bounds: tuple[float, float], n: int) -> Tensor:
        low, high = math.log(bounds[0]), math.log(bounds[1])
        return torch.exp(low + (high - low) * self._uniform(n))


def _compact(
    asked: Tensor, x: Tensor, y: Tensor, z: Tensor, photons: Tensor, background: Tensor
) -> Targets:
    """Move the emitters that are asked for to the front of the padding."""
    order = torch.argsort(asked.to(torch.uint8), dim=1, descending=True, stable=True)
    order = order[:, : max(int(asked.sum(1).max()), 1)]
    present = asked.gather(1, order)
    return Targets(
        present=present,
        x_px=x.gather(1, order),
        y_px=y.gather(1, order),
        z_nm=z.gather(1, order),
        photons=photons.gather(1, order).clamp_min(1e-3),
        background=background,
    )
