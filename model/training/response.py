"""True against expected numbers of emitters, measured on simulated movies.

The sum of the probabilities falls short of the number of emitters where these are dim
or lie on top of each other, by more the denser the sample. Networks are trained and
compared at their densities; here the sum is compared with the truth, so that the
density that a laser is steered by is that of the emitters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..density import ExpectedEmitters
from ..emitters import Geometry
from .simulation import Simulator

if TYPE_CHECKING:
    from ..training_config import Optics, TrainingConfig
    from .network import Network

SEED = 30_000_001  # neither training's nor validation's
DENSITIES = 6
MOVIES = 48  # at each density
BATCH = 16
SIZE_PX = 64


def measure_response(
    network: Network, config: TrainingConfig, optics: Optics, device: torch.device
) -> tuple[tuple[float, float], ...]:
    """Compare expected with simulated densities over the range of a training.

    Parameters
    ----------
    network : Network
        Trained, on `device`.
    config, optics : TrainingConfig, Optics
        Configuration of its training, and its PSF and camera.
    device : torch.device
        Device to simulate on.

    Returns
    -------
    tuple of (expected, true)
        Emitters per um2 and frame, both increasing. Every emitter counts as true
        that gave light in the frame.
    """
    pairs = []
    for density in np.geomspace(*config.emitters.density_per_um2, DENSITIES):
        emitters = config.emitters.model_copy(
            update={
                "density_per_um2": (float(density), float(density)),
                "label_photons": 0.0,
            }
        )
        there = config.model_copy(update={"emitters": emitters})
        pairs.append(_compare(network, there, optics, device))
    return _increasing(pairs)


def _compare(
    network: Network, config: TrainingConfig, optics: Optics, device: torch.device
) -> tuple[float, float]:
    """Return (expected, true) per um2 at one density."""
    simulator = Simulator(config, optics, device, SEED)
    pixel = config.pixel_size_nm
    geometry = Geometry(
        shape=(SIZE_PX, SIZE_PX), pixel_size_nm=pixel, grid=network.grid
    )
    meter = ExpectedEmitters(geometry)
    expected = true = 0.0
    for _ in range(MOVIES // BATCH):
        movies = simulator.draw(BATCH, 1, SIZE_PX)
        with torch.inference_mode():
            maps = network(movies.frames, movies.read_variance).cpu().numpy()
        expected += float(meter.of(maps[:, 0])[:, 0].sum())
        true += float(movies.targets.present.sum())
    area_um2 = MOVIES * (SIZE_PX * pixel / 1000) ** 2
    return expected / area_um2, true / area_um2


def _increasing(
    pairs: list[tuple[float, float]],
) -> tuple[tuple[float, float], ...]:
    """Leave out pairs that would make the response fall."""
    kept: list[tuple[float, float]] = []
    for pair in pairs:
        if not kept or (pair[0] > kept[-1][0] and pair[1] > kept[-1][1]):
            kept.append(pair)
    return tuple(kept)
