"""Train a network on endless simulated movies, with progress and exact resume."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..stream.errors import SettingsError
from ..stream.localizations import LOCALIZATION, Localizations
from .emitters import Geometry, Thresholds, find_emitters
from .loss import Targets, loss
from .maps import CELL_PX
from .metrics import Field, Score, evaluate
from .network import PRESETS, Network, Scaling, to_units
from .simulation import Sample, Simulator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .training_config import TrainingConfig

CHECK_EVERY = 500  # steps between looks at the validation samples
CHECKPOINT_EVERY = 500
VALIDATION_SEED = 20_000_003  # far from any training seed
VALIDATION_SIZE_PX = 64
VALIDATION_SAMPLES = 128
BORDER_NM = 450.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at a running training.

    Attributes
    ----------
    step, steps : int
        Done, and planned.
    loss : float
        Mean since the last look.
    samples_per_s : float
        Windows simulated and learned from.
    score : Score or None
        Of the averaged weights on the validation samples, at times.
    """

    step: int
    steps: int
    loss: float
    samples_per_s: float
    score: Score | None


def scaling_for(config: TrainingConfig) -> Scaling:
    """Derive the network's units from the ranges it is trained for."""
    low, high = config.camera.background
    dim, bright = config.emitters.photons
    return Scaling(
        intensity_offset=2 * math.sqrt(math.sqrt(low * high)),
        intensity_scale=10.0,
        photons_typical=math.sqrt(dim * bright),
        z_range_nm=1.2 * config.z_range_nm,
    )


class Trainer:
    """A network, its optimizer and its averaged weights.

    Parameters
    ----------
    config : TrainingConfig
        What to train.
    device : torch.device
        CPU or CUDA.
    checkpoint : Path
        Written as the training goes; found there, the training goes on from it.
    """

    def __init__(
        self, config: TrainingConfig, device: torch.device, checkpoint: Path
    ) -> None:
        self.config, self.device, self.checkpoint = config, device, checkpoint
        torch.manual_seed(config.schedule.seed)
        self.network = Network(PRESETS[config.preset], scaling_for(config)).to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.schedule.learning_rate,
            weight_decay=config.schedule.weight_decay,
        )
        self.simulator = Simulator(config, device, config.schedule.seed)
        self.step = 0
        if checkpoint.exists():
            self._restore()

    def run(self, report: Callable[[Progress], None]) -> None:
        """Train to the end of the schedule.

        Parameters
        ----------
        report : callable
            Called about once a second and after every look at the validation
            samples. An exception raised there ends the training; the checkpoint
            is then up to date.
        """
        steps, batch = self.config.schedule.steps, self.config.schedule.batch
        since, first, losses = time.monotonic(), self.step, []
        try:
            while self.step < steps:
                losses.append(self._learn())
                self.step += 1
                look = self.step % CHECK_EVERY == 0 or self.step == steps
                if not look and time.monotonic() - since < 1.0:
                    continue
                rate = (self.step - first) * batch / (time.monotonic() - since)
                value = float(torch.stack(losses).mean())
                score = self.validate() if look else None
                report(
                    Progress(
                        step=self.step,
                        steps=steps,
                        loss=value,
                        samples_per_s=rate,
                        score=score,
                    )
                )
                if self.step % CHECKPOINT_EVERY == 0:
                    self._save()
                since, first, losses = time.monotonic(), self.step, []
        finally:
            self._save()

    def validate(self) -> Score:
        """Score the averaged weights on fixed samples, border left out."""
        config = self.config
        simulator = Simulator(config, self.device, VALIDATION_SEED)
        geometry = Geometry(
            shape=(VALIDATION_SIZE_PX, VALIDATION_SIZE_PX),
            pixel_size_nm=config.pixel_size_nm,
        )
        edge = (VALIDATION_SIZE_PX - 0.5) * config.pixel_size_nm
        start = -0.5 * config.pixel_size_nm
        found: list[Localizations] = []
        truth: list[Localizations] = []
        for k in range(0, VALIDATION_SAMPLES, 32):
            sample = simulator.draw(32, VALIDATION_SIZE_PX)
            with torch.inference_mode():
                maps = self.average(sample.windows).float().cpu().numpy()
            frames = np.arange(k, k + 32)
            thresholds = Thresholds(**config.thresholds.model_dump())
            found.append(find_emitters(maps, frames, geometry, thresholds))
            truth.append(_truth(sample, k, config.pixel_size_nm))
        return evaluate(
            np.concatenate(found),
            np.concatenate(truth),
            field=Field(start, start, edge, edge),
            border_nm=BORDER_NM,
        )

    def _learn(self) -> torch.Tensor:
        """Take one step; return its loss without waiting for the device."""
        schedule = self.config.schedule
        rate = 0.5 * (1 + math.cos(math.pi * self.step / schedule.steps))
        warm_up = min(1.0, (self.step + 1) / 100)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate * rate * warm_up
        sample = self.simulator.draw(schedule.batch, schedule.crop_px)
        value = self._loss(sample)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        self.optimizer.step()
        decay = min(schedule.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()),
                list(self.network.parameters()),
                1 - decay,
            )
        return value.detach()

    def _loss(self, sample: Sample) -> torch.Tensor:
        """Forward in bfloat16, the loss itself in float32."""
        net, windows = self.network, sample.windows
        b, three, h, w = windows.shape
        with torch.autocast(self.device.type, torch.bfloat16):
            frames = windows.reshape(b * three, 1, h, w)
            features = net.frame(frames.contiguous(memory_format=torch.channels_last))
            joined = features.reshape(b, -1, h // CELL_PX, w // CELL_PX)
            raw = net.context.raw(joined.contiguous(memory_format=torch.channels_last))
        maps = to_units(raw.float(), net.scaling)
        return loss(maps, sample.targets, net.scaling.z_range_nm)

    def _save(self) -> None:
        """Write the checkpoint so that a crash leaves the old or the new one."""
        state = {
            "config": self.config.model_dump_json(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.simulator.generator.get_state(),
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        new = self.checkpoint.with_suffix(".new")
        torch.save(state, new)
        new.replace(self.checkpoint)

    def _restore(self) -> None:
        state: dict[str, Any] = torch.load(
            self.checkpoint, map_location=self.device, weights_only=True
        )
        if state["config"] != self.config.model_dump_json():
            raise SettingsError(
                f"{self.checkpoint} belongs to another training configuration. "
                "Choose another output, or delete it to start anew."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.simulator.generator.set_state(state["generator"].cpu())


def train_bundle(
    config: TrainingConfig,
    device: torch.device,
    folder: Path,
    report: Callable[[Progress], None],
) -> Path:
    """Train, measure and export; resumes from the checkpoint in `folder`.

    Returns
    -------
    Path
        Of the bundle, ``folder/NAME.liveloc``.
    """
    from .export import export_bundle

    trainer = Trainer(config, device, folder / "checkpoint.pt")
    trainer.run(report)
    path = folder / f"{config.name}.liveloc"
    export_bundle(trainer.average, config, trainer.validate(), path)
    return path


def _truth(sample: Sample, first: int, pixel_size_nm: float) -> Localizations:
    """Targets of a batch as a table, frames numbered from `first`."""
    targets: Targets = sample.targets
    present = targets.present.cpu().numpy()
    window, _ = np.nonzero(present)
    table = np.zeros(len(window), LOCALIZATION)
    table["frame"] = window + first
    table["x_nm"] = targets.x_px.cpu().numpy()[present] * pixel_size_nm
    table["y_nm"] = targets.y_px.cpu().numpy()[present] * pixel_size_nm
    table["z_nm"] = targets.z_nm.cpu().numpy()[present]
    table["photons"] = targets.photons.cpu().numpy()[present]
    return table
