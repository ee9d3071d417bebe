"""The fixed movie on which every look at a training, and its result, is scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..stream.localizations import LOCALIZATION, Localizations
from .emitters import Geometry, Thresholds, find_emitters
from .metrics import Field, Score, evaluate
from .simulation import Simulator

if TYPE_CHECKING:
    from .loss import Targets
    from .network import Network
    from .training_config import Optics, TrainingConfig

SEED = 20_000_003  # far from any training seed
SIZE_PX = 64
WINDOWS = 128
BATCH = 32
BORDER_NM = 450.0


class Validation:
    """Movies that training never sees, and their truth.

    Parameters
    ----------
    config : TrainingConfig
        What the network is trained for.
    optics : Optics
        Its PSF and camera.
    device : torch.device
        Where the network is.
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
        edge = (SIZE_PX - 0.5) * pixel
        self._field = Field(-0.5 * pixel, -0.5 * pixel, edge, edge)

    def score(self, network: Network) -> Score:
        """Localize the movies and compare with the truth, the border left out."""
        found = self.localize(network)
        return evaluate(found, self._truth, field=self._field, border_nm=BORDER_NM)

    def localize(self, network: Network) -> Localizations:
        """Give what a network finds in the movies."""
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
    return table
