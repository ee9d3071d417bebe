"""The fixed movie on which a network is validated during and after its training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from liveloc.stream.localizations import LOCALIZATION, Localizations

from ..emitters import Geometry, Thresholds, find_emitters
from ..evaluation.matching import Field, Matched, Rule, compare
from ..evaluation.metrics import Score, score
from ..evaluation.precision import NORMAL, limits_of
from .simulation import Simulator

if TYPE_CHECKING:
    from ..training_config import Optics, TrainingConfig
    from .loss import Targets
    from .network import Network

SEED = 20_000_003  # far from any training seed
SIZE_PX = 64
WINDOWS = 128
BATCH = 32
BORDER_NM = 450.0


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """Quality of a network on the validation movie.

    Attributes
    ----------
    score : Score
        Against the truth.
    error_over_limit : dict[str, float]
        For x, y and z: 1.4826 times the median of |error| over its Cramer-Rao limit,
        1 for an ideal estimator. The limits treat the other emitters of the frame as
        unknown, too; for two at one place they are infinite, hence the median. They are
        limits of one frame: context can beat them.
    """

    score: Score
    error_over_limit: dict[str, float]

    def as_dict(self) -> dict[str, float]:
        """Return plain numbers for a report."""
        over = {f"error_over_limit_{a}": v for a, v in self.error_over_limit.items()}
        return self.score.as_dict() | over


class Validation:
    """Movies that training never sees, and their truth.

    Parameters
    ----------
    config : TrainingConfig
        Configuration of the training.
    optics : Optics
        Its PSF and camera.
    device : torch.device
        Device of the network.
    """

    def __init__(
        self, config: TrainingConfig, optics: Optics, device: torch.device
    ) -> None:
        self._config = config
        simulator = Simulator(config, optics, device, SEED)
        self._batches = [
            simulator.draw(BATCH, 1, SIZE_PX) for _ in range(WINDOWS // BATCH)
        ]
        pixel = config.pixel_size_nm
        self._truth = np.concatenate(
            [_table(m.targets, k * BATCH, pixel) for k, m in enumerate(self._batches)]
        )
        self._limits = limits_of(
            self._truth, optics.psf, optics.camera, pixel, overlap=True
        )
        edge = (SIZE_PX - 0.5) * pixel
        self._field = Field(-0.5 * pixel, -0.5 * pixel, edge, edge)

    def score(self, network: Network) -> ValidationResult:
        """Localize the movies and compare with the truth, except at the border."""
        rule = Rule(border_nm=BORDER_NM)
        matched = compare(self.localize(network), self._truth, rule, self._field)
        return ValidationResult(score(matched), self._over_limit(matched))

    def _over_limit(self, matched: Matched) -> dict[str, float]:
        """Compare the pairs' errors with their limits; see `ValidationResult`."""
        over = {}
        for axis in "xyz" if self._config.z_range_nm else "xy":
            limit = getattr(self._limits, f"{axis}_nm")[matched.real]
            ratio = np.abs(matched.error(f"{axis}_nm")) / limit
            over[axis] = NORMAL * float(np.median(ratio)) if len(ratio) else math.nan
        return over

    def localize(self, network: Network) -> Localizations:
        """Return what a network finds in the movies."""
        geometry = Geometry(
            shape=(SIZE_PX, SIZE_PX),
            pixel_size_nm=self._config.pixel_size_nm,
            grid=network.grid,
        )
        thresholds = Thresholds(**self._config.thresholds.model_dump())
        found = []
        for k, movies in enumerate(self._batches):
            with torch.inference_mode():
                maps = network(movies.frames, movies.read_variance).cpu().numpy()
            frames = np.arange(BATCH) + k * BATCH
            found.append(find_emitters(maps, frames, geometry, thresholds))
        return np.concatenate(found)


def _table(targets: Targets, first: int, pixel_size_nm: float) -> Localizations:
    """Targets of a batch as a table, frames numbered from `first`."""
    present = targets.present.cpu().numpy()
    window, _ = np.nonzero(present)
    table = np.zeros(len(window), LOCALIZATION)
    table["frame"] = window + first
    table["x_nm"] = targets.x_px.cpu().numpy()[present] * pixel_size_nm
    table["y_nm"] = targets.y_px.cpu().numpy()[present] * pixel_size_nm
    table["z_nm"] = targets.z_nm.cpu().numpy()[present]
    table["photons"] = targets.photons.cpu().numpy()[present]
    row, column = (
        np.rint(p.cpu().numpy()[present]).astype(int)
        for p in (targets.y_px, targets.x_px)
    )
    table["background"] = targets.background.cpu().numpy()[window, row, column]
    return table
