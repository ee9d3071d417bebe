"""What makes a small network good after minutes: variants trained on one CPU core.

python tests/benchmarks/study.py VARIANT [...] [--minutes 4] [--rate R] [--decay D]

Each is trained on the model of the NAIRR movies (nairr.yaml) for the same CPU time on
one thread and scored on its movies LD and MD, as they are and shuffled (nairr.py).
"""

import argparse
import dataclasses
import os
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import numpy as np
import torch
from nairr import read_movie

from liveloc.model.emitters import Geometry, Thresholds, find_emitters
from liveloc.model.evaluation.metrics import evaluate
from liveloc.model.training import cell_network, loss
from liveloc.model.training import trainer as training
from liveloc.model.training.network import PRESETS, flop_per_pixel
from liveloc.model.training_config import TrainingConfig

HERE = Path(__file__).resolve()
DATA = Path(os.environ.get("LIVELOC_DATA", HERE.parents[3] / "shared" / "data"))


def shape(**changes):
    """Other widths and depths of `live`."""
    return mock.patch.dict(
        PRESETS, live=dataclasses.replace(PRESETS["live"], **changes)
    )


def adamw(network, config):
    """AdamW for all layers."""
    schedule = config.schedule
    return [
        torch.optim.AdamW(
            network.parameters(),
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )
    ]


def plain(block, x):
    """A residual block whose deep layers do not add to what they get."""
    deep = torch.relu(block.down(x))
    for layer in block.deep:
        deep = torch.relu(layer(deep))
    up = torch.nn.functional.interpolate(block.up(deep), scale_factor=2.0)
    return torch.relu(block.mix(x + up))


VARIANTS = {
    "as shipped": ({}, []),
    "AdamW": ({}, [mock.patch.object(training, "_optimizers", adamw)]),
    "one window a movie": ({"windows": 1, "batch": 14}, []),
    "batch of 16": ({"batch": 16}, []),
    "loss over 9x9 cells": ({}, [mock.patch.object(loss, "NEAR_CELLS", 4)]),
    "deep layers not residual": (
        {},
        [mock.patch.object(cell_network.ResidualBlock, "forward", plain)],
    ),
    "96 deep channels": ({}, [shape(deep=96)]),
    "four context layers": ({}, [shape(context_layers=4)]),
    "one frame": ({}, []),
}


def train(name, minutes, rate, decay, folder):
    """Train a variant; give its network and the number of steps."""
    changes, patches = VARIANTS[name]
    config = TrainingConfig.load(HERE.parent / "nairr.yaml")
    schedule = {"learning_rate": rate, "weight_decay": decay, **changes}
    config = config.model_copy(
        update={
            "context": name != "one frame",
            "schedule": config.schedule.model_copy(update=schedule),
        }
    )
    for patch in patches:
        patch.start()
    try:
        trainer = training.Trainer(config, torch.device("cpu"), folder / "none.pt")
        began = time.process_time()
        while (done := (time.process_time() - began) / (60 * minutes)) < 1:
            trainer._learn(done)
            trainer.step += 1
        return trainer.average, trainer.step, flop_per_pixel(PRESETS["live"])
    finally:
        for patch in patches:
            patch.stop()


def score(network, density, shuffled):
    """Score a network on a movie, its frames in order or not."""
    frames, truth = read_movie(DATA / "nairr_3das_train", density)
    photons = torch.tensor(frames.astype(np.float32) - 500)
    order = np.arange(len(frames))
    if shuffled:
        order = np.random.default_rng(1).permutation(order)
    before = order[np.maximum(np.arange(len(order)) - 1, 0)]
    after = order[np.minimum(np.arange(len(order)) + 1, len(order) - 1)]
    windows = torch.stack([photons[before], photons[order], photons[after]], 1)
    with torch.inference_mode():
        maps = torch.cat([network(part) for part in windows.split(50)]).numpy()
    geometry = Geometry(shape=frames.shape[1:], pixel_size_nm=100.0, grid=network.grid)
    return evaluate(find_emitters(maps, order, geometry, Thresholds()), truth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", choices=VARIANTS)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--rate", type=float, default=0.004)
    parser.add_argument("--decay", type=float, default=0.3)
    told = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| variant | steps | kFLOP/px | Jaccard LD / MD % | E_3D LD / MD | shuffled |"
    )
    print("|---|---|---|---|---|---|")
    for name in told.variants:
        with tempfile.TemporaryDirectory() as folder:
            network, steps, flop = train(
                name, told.minutes, told.rate, told.decay, Path(folder)
            )
        ld, md = (score(network, density, False) for density in ("LD", "MD"))
        other = [score(network, density, True) for density in ("LD", "MD")]
        print(
            f"| {name} | {steps} | {flop / 1000:.1f} "
            f"| {ld.jaccard:.1f} / {md.jaccard:.1f} "
            f"| {ld.efficiency_3d:.1f} / {md.efficiency_3d:.1f} "
            f"| {other[0].efficiency_3d:.1f} / {other[1].efficiency_3d:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
