"""Train a network on endless simulated movies, with progress and exact resume."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from liveloc.stream.errors import SettingsError

from .loss import loss
from .network import PRESETS, Network, Scaling, to_units
from .optimizer import Muon
from .simulation import Movies, Simulator
from .validation import Validation, ValidationResult

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.calibration import CameraCalibration

    from ..training_config import TrainingConfig

VALIDATIONS = 20  # in the course of a training
SAVE_EVERY_S = 60.0
WARM_UP_STEPS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """State of a running training.

    Attributes
    ----------
    step : int
        Steps completed.
    done : float
        Fraction of the training completed.
    loss : float
        Mean since the last report.
    windows_per_s : float
        Three-frame windows simulated and trained on, per second.
    validation : ValidationResult or None
        Result of the averaged weights, when they were just validated.
    """

    step: int
    done: float
    loss: float
    windows_per_s: float
    validation: ValidationResult | None


def scaling_for(config: TrainingConfig, camera: CameraCalibration) -> Scaling:
    """Derive the network's units from the ranges it is trained for."""
    low, high = config.background.photons
    dim, bright = config.emitters.photons
    shallow, deep = config.z_range_nm or (0.0, 0.0)
    variance = float(np.median(camera.read_variance_photons))
    return Scaling(
        intensity_offset=2 * math.sqrt(math.sqrt(low * high) + variance),
        intensity_scale=10.0,
        read_variance=variance,
        photons_typical=math.sqrt(dim * bright),
        z_centre_nm=(shallow + deep) / 2,
        z_reach_nm=1.2 * (deep - shallow) / 2,
    )


def choose_device(name: str | None = None) -> torch.device:
    """Return the device of that name; without one CUDA where it works, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is fast: a CPU without it takes thirty times as long."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())  # noqa: SLF001


class Trainer:
    """A network, its optimizers and its averaged weights.

    Parameters
    ----------
    config : TrainingConfig
        Configuration of the training.
    device : torch.device
        CPU or CUDA.
    checkpoint : Path
        Written during the training; if it exists, the training resumes from it.
    minutes : float, optional
        Duration, minutes, instead of the configured number of steps. Time spent before
        an interruption counts.
    """

    def __init__(
        self,
        config: TrainingConfig,
        device: torch.device,
        checkpoint: Path,
        minutes: float | None = None,
    ) -> None:
        self.config, self.device, self.checkpoint = config, device, checkpoint
        self.minutes = minutes
        self.optics = config.optics()
        self._mixed = has_fast_bfloat16(device)
        torch.manual_seed(config.schedule.seed)
        self.network = Network(
            PRESETS[config.preset],
            scaling_for(config, self.optics.camera),
            context=config.context,
            sees_noise=self.optics.camera.has_maps,
        ).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self._optimizers = _optimizers(self.network, config)
        self._simulator = Simulator(config, self.optics, device, config.schedule.seed)
        self._validation = Validation(config, self.optics, device)
        self.step, self._earlier_s, self._began = 0, 0.0, time.monotonic()
        if checkpoint.exists():
            self._restore()

    @property
    def done(self) -> float:
        """Fraction of the training completed."""
        if self.minutes is None:
            return min(self.step / self.config.schedule.steps, 1.0)
        return min(self._elapsed_s / (60 * self.minutes), 1.0)

    @property
    def _elapsed_s(self) -> float:
        return self._earlier_s + time.monotonic() - self._began

    def run(self, report: Callable[[Progress], None]) -> None:
        """Train to the end.

        Parameters
        ----------
        report : callable
            Called about once a second and after every validation. An exception raised
            there ends the training; the checkpoint is then up to date.
        """
        schedule = self.config.schedule
        since, first, losses = time.monotonic(), self.step, []
        saved, validated = since, int(self.done * VALIDATIONS)
        try:
            while (done := self.done) < 1:
                losses.append(self._learn(done))
                self.step += 1
                now, due = time.monotonic(), int(self.done * VALIDATIONS) > validated
                if not due and now - since < 1.0:
                    continue
                windows = (self.step - first) * schedule.batch * schedule.windows
                report(
                    Progress(
                        step=self.step,
                        done=self.done,
                        loss=float(torch.stack(losses).mean()),
                        windows_per_s=windows / max(now - since, 1e-9),
                        validation=self.validate() if due else None,
                    )
                )
                if now - saved > SAVE_EVERY_S:
                    self._save()
                    saved = now
                validated = int(self.done * VALIDATIONS)
                since, first, losses = time.monotonic(), self.step, []
        finally:
            self._save()

    def validate(self) -> ValidationResult:
        """Score the averaged weights on the validation movie."""
        return self._validation.score(self.average)

    def _learn(self, done: float) -> torch.Tensor:
        """Take one step; return its loss without waiting for the device."""
        schedule = self.config.schedule
        rate = 0.5 * (1 + math.cos(math.pi * done))
        rate *= min(1.0, (self.step + 1) / WARM_UP_STEPS) * schedule.learning_rate
        movies = self._simulator.draw(
            schedule.batch, schedule.windows, schedule.crop_px
        )
        self.network.zero_grad(set_to_none=True)
        value = self._loss(movies)
        value.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        decay = min(schedule.ema, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.average.parameters()),
                list(self.network.parameters()),
                1 - decay,
            )
        return value.detach()

    def _loss(self, movies: Movies) -> torch.Tensor:
        """Forward in bfloat16 where that is fast, the loss itself in float32."""
        net = self.network
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._mixed):
            raw = net.raw(movies.frames, movies.read_variance)
        maps = to_units(raw.float(), net.scaling, net.grid)
        return loss(maps, movies.targets, net.grid, net.scaling.z_reach_nm)

    def _save(self) -> None:
        """Write the checkpoint so that a crash leaves the old or the new one."""
        state = {
            "config": self.config.model_dump_json(),
            "step": self.step,
            "elapsed_s": self._elapsed_s,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "generator": self._simulator.generator.get_state(),
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
                "Choose another --out, or delete it to start again."
            )
        self.step, self._earlier_s = state["step"], state["elapsed_s"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self._simulator.generator.set_state(state["generator"].cpu())


def _optimizers(
    network: Network, config: TrainingConfig
) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden layers and AdamW for biases and the last layers."""
    schedule = config.schedule
    last = {id(parameter) for parameter in network.output_parameters()}
    hidden: list[torch.Tensor] = []
    rest: list[torch.Tensor] = []
    for parameter in network.parameters():
        inner = parameter.ndim > 1 and id(parameter) not in last
        (hidden if inner else rest).append(parameter)
    rate, decay = schedule.learning_rate, schedule.weight_decay
    return [
        Muon(hidden, lr=rate, weight_decay=decay),
        torch.optim.AdamW(rest, lr=rate, weight_decay=decay),
    ]


def train_bundle(
    config: TrainingConfig,
    device: torch.device,
    folder: Path,
    report: Callable[[Progress], None],
    minutes: float | None = None,
) -> Path:
    """Train, measure and export; resume from the checkpoint in `folder`.

    Returns
    -------
    Path
        The bundle, ``folder/NAME.liveloc``.
    """
    from .export import export_bundle
    from .response import measure_response

    trainer = Trainer(config, device, folder / "checkpoint.pt", minutes)
    trainer.run(report)
    path = folder / f"{config.name}.liveloc"
    response = measure_response(trainer.average, config, trainer.optics, device)
    export_bundle(trainer.average, config, trainer.validate(), response, path)
    return path
