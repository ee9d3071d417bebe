"""Endless training movies, made where the network is trained (CPU or GPU).

Each movie is a few frames of a small field with its own density, brightness,
background and switching rate. Emitters switch on and off at any time, so first and
last frames are partial: the memoryless process of most photoswitchable dyes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from ..physics.camera import expose
from ..physics.psf import PSF, GaussianPSF, SplinePSF, half_width_px
from .loss import Targets

if TYPE_CHECKING:
    from liveloc.stream.calibration import CameraCalibration

    from ..training_config import Optics, TrainingConfig


MOST_FILAMENTS = 8  # of a movie
FILAMENT_SIGMA_NM = 20.0  # of labels around the axis of a filament


@dataclass(frozen=True, slots=True)
class Movies:
    """A batch of short movies with the truth of all frames that have neighbours.

    Attributes
    ----------
    frames : Tensor, shape (b, f, h, w)
        Photons that the calibration would find, noise included.
    read_variance : Tensor or None, shape (b, 1, h, w)
        Read variance of each pixel, photons squared, if the camera has maps.
    targets : Targets
        Truth of frames 1 to f - 2 of each movie: b (f - 2) frames, movie by movie.
    """

    frames: Tensor
    read_variance: Tensor | None
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

    def gamma(self, shape: Tensor) -> Tensor:
        """Draw Gamma numbers of scale 1, 0 where `shape` is 0."""
        return torch._standard_gamma(shape, generator=self._generator)  # noqa: SLF001

    def normal(self, like: Tensor) -> Tensor:
        """Draw standard normal numbers, same shape and dtype as `like`."""
        return torch.randn(
            like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )


class Simulator:
    """Draws independent short movies of a `TrainingConfig`.

    Parameters
    ----------
    config : TrainingConfig
        Ranges of all parameters.
    optics : Optics
        PSF and camera, as `TrainingConfig.optics` reads them.
    device : torch.device
        Device to simulate on.
    seed : int
        Same seed, same device, same movies.
    """

    def __init__(
        self, config: TrainingConfig, optics: Optics, device: torch.device, seed: int
    ) -> None:
        self.config, self.device = config, device
        psf = optics.psf
        self._margin_px = half_width_px(psf, config.z_range_nm or (0.0, 0.0))
        if isinstance(psf, SplinePSF):
            knots: Any = torch.tensor(psf.coefficients, device=device)
            psf = replace(psf, coefficients=knots)
        self._psf = psf
        self._camera = optics.camera
        self._maps = {
            name: torch.tensor(chip, device=device)
            for name, chip in optics.camera.maps.items()
        }
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, batch: int, windows: int, size_px: int) -> Movies:
        """Make movies of `size_px` x `size_px` pixels.

        Parameters
        ----------
        batch : int
            Movies.
        windows : int
            Frames with a truth in each movie; it has two more.
        size_px : int
            Edge of the field.
        """
        emitters, frames = self.config.emitters, windows + 2
        margin_px = self._margin_px  # emitters outside light the field, too
        field_px = size_px + 2 * margin_px
        area_um2 = (field_px * self.config.pixel_size_nm / 1000) ** 2
        on_time = self._log_uniform(emitters.on_time_frames, batch)  # (b,)
        at_once = self._log_uniform(emitters.density_per_um2, batch) * area_um2
        light = self._switching(at_once, on_time, frames)  # (b, f, n)
        b, _, n = light.shape
        median = self._log_uniform(emitters.photons, batch)[:, None]
        spread = torch.exp(emitters.photons_spread * self._normal(b, n))
        photons = light * (median * spread)[:, None]  # (b, f, n)
        places = self._places(b, n, field_px) - 0.5 - margin_px
        x, y = places.unsqueeze(2)  # (b, 1, n) each
        z = self._depths(b, frames, n)  # (b, 1 or f, n)
        image = self._pick_psf(batch).render(x, y, z, photons, (size_px, size_px))
        background = self._background(batch, size_px)  # (b, 1, h, w)
        seen, variance = self._expose(background + image)
        inside = (x > -0.5) & (x < size_px - 0.5) & (y > -0.5) & (y < size_px - 0.5)
        centre = photons[:, 1:-1]  # (b, windows, n)
        labelled = inside & (centre > max(emitters.label_photons, 1e-3))
        z = z if z.shape[1] == 1 else z[:, 1:-1]
        targets = Targets(
            present=labelled.flatten(0, 1),
            x_px=x.expand_as(centre).flatten(0, 1),
            y_px=y.expand_as(centre).flatten(0, 1),
            z_nm=z.expand_as(centre).flatten(0, 1),
            photons=centre.flatten(0, 1).clamp_min(1e-3),
            background=background.expand(-1, windows, -1, -1).flatten(0, 1),
        )
        return Movies(seen, variance, _compact(targets))

    def _switching(self, at_once: Tensor, on_time: Tensor, frames: int) -> Tensor:
        """Return the fraction of each exposure that an emitter is on: (b, f, n)."""
        whole = self.config.emitters.switching == "between frames"
        born = at_once * (frames - 1 if whole else frames) / on_time
        number = torch.poisson(at_once + born, generator=self.generator)  # (b,)
        n = max(int(number.max()), 1)
        exists = torch.arange(n, device=self.device) < number[:, None]  # (b, n)
        b = len(number)
        already_on = self._uniform(b, n) < (at_once / (at_once + born))[:, None]
        if whole:  # frames that follow one in which it is on: geometric
            first = torch.floor(1 + (frames - 1) * self._uniform(b, n))
            stays = (1 - 1 / on_time).clamp_min(1e-6)[:, None]
            more = torch.floor(torch.log1p(-self._uniform(b, n)) / torch.log(stays))
            lasts = 1 + more
        else:
            first = frames * self._uniform(b, n)
            lasts = -on_time[:, None] * torch.log1p(-self._uniform(b, n))
        start = torch.where(already_on, 0.0, first)
        frame = torch.arange(frames, device=self.device)[:, None]  # (f, 1)
        end = (start + lasts)[:, None]
        light = torch.minimum(end, frame + 1) - torch.maximum(start[:, None], frame)
        return light.clamp(0.0, 1.0) * exists[:, None]

    def _places(self, b: int, n: int, field_px: int) -> Tensor:
        """Draw places: (2, b, n), from 0 to `field_px`.

        Evenly, or some of them on straight lines through the field, which enter on
        the other side where they leave: so the density is even on average.
        """
        places = self._uniform(2, b, n) * field_px
        share = self.config.emitters.filaments
        if share == 0:
            return places
        number = 1 + torch.floor(MOST_FILAMENTS * self._uniform(b, 1))
        line = torch.floor(number * self._uniform(b, n)).long()
        angle = 2 * math.pi * self._uniform(b, MOST_FILAMENTS).gather(1, line)
        origins = self._uniform(2, b, MOST_FILAMENTS) * field_px
        origin = origins.gather(2, line.expand(2, -1, -1))
        along = self._uniform(b, n) * field_px
        width_px = FILAMENT_SIGMA_NM / self.config.pixel_size_nm
        across = width_px * self._normal(b, n)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        turned = [along * cosine - across * sine, along * sine + across * cosine]
        on_line = (origin + torch.stack(turned)) % field_px
        filamentous = self._uniform(b, n) < share * self._uniform(b, 1)
        return torch.where(filamentous, on_line, places)

    def _depths(self, b: int, frames: int, n: int) -> Tensor:
        """Draw depths, moved by the focus from frame to frame if it drifts."""
        low, high = self.config.z_range_nm or (0.0, 0.0)
        z = low + (high - low) * self._uniform(b, 1, n)
        drift = self.config.focus_drift_nm
        if drift == 0:
            return z
        walk = torch.cumsum(drift * self._normal(b, frames), dim=1)[..., None]
        return z + walk - walk.mean(dim=1, keepdim=True)

    def _pick_psf(self, batch: int) -> PSF:
        """Return the PSF; of a range of widths, one width for each movie."""
        if self.config.psf.kind != "gaussian":
            return self._psf
        sigma = self._log_uniform(self.config.psf.sigma_px, batch)
        return GaussianPSF(sigma_px=sigma[:, None, None])

    def _background(self, batch: int, size_px: int) -> Tensor:
        """Return the background of each movie: a level with smooth structure."""
        ground = self.config.background
        level = self._log_uniform(ground.photons, batch)[:, None, None, None]
        structure = torch.zeros(batch, 1, size_px, size_px, device=self.device)
        for scale_px in ground.scales_px:
            knots = max(2, math.ceil(size_px / scale_px) + 1)
            coarse = self._normal(batch, 1, knots, knots)
            structure = structure + functional.interpolate(
                coarse, (size_px, size_px), mode="bicubic", align_corners=True
            )
        amplitude = ground.structure * self._uniform(batch, 1, 1, 1)
        share = math.sqrt(max(len(ground.scales_px), 1))
        return level * torch.exp(amplitude * structure / share)

    def _expose(self, mean: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the photons that the calibration finds in the counts of `mean`."""
        gain = self._log_uniform(self.config.camera.gain_error, len(mean))
        gain = gain[:, None, None, None]
        camera = self._part_of_chip(len(mean), mean.shape[-1])
        counts = expose(mean * gain, camera, TorchNoise(self.generator))
        seen: Tensor = (counts - camera.offset_adu) * camera.photons_per_adu / gain
        variance: Any = camera.read_variance_photons  # a tensor where maps are
        return seen, variance if self._maps else None

    def _part_of_chip(self, batch: int, size_px: int) -> CameraCalibration:
        """Return the camera, with another part of its maps for each movie."""
        if not self._maps:
            return self._camera
        height, width = next(iter(self._maps.values())).shape
        span = torch.arange(size_px, device=self.device)
        top = (self._uniform(batch, 1) * (height - size_px + 1)).long() + span
        left = (self._uniform(batch, 1) * (width - size_px + 1)).long() + span
        parts: dict[str, Any] = {
            name: chip[top[:, None, :, None], left[:, None, None, :]]
            for name, chip in self._maps.items()
        }  # (b, 1, h, w) each
        return replace(self._camera, **parts)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def _log_uniform(self, bounds: tuple[float, float], n: int) -> Tensor:
        low, high = math.log(bounds[0]), math.log(bounds[1])
        return torch.exp(low + (high - low) * self._uniform(n))


def _compact(targets: Targets) -> Targets:
    """Move the labelled emitters to the front and cut the padding."""
    present = targets.present
    order = torch.argsort(present.to(torch.uint8), dim=1, descending=True, stable=True)
    order = order[:, : max(int(present.sum(1).max()), 1)]
    names = ("present", "x_px", "y_px", "z_nm", "photons")
    sorted_ = {name: getattr(targets, name).gather(1, order) for name in names}
    return Targets(**sorted_, background=targets.background)
