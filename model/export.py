"""From a trained network to a bundle that runs without torch."""

from __future__ import annotations

import logging
import platform
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import safetensors.torch
import torch
from torch import nn

from .. import __version__
from .bundle import ModelSpec, write_bundle
from .maps import CELL_PX, WINDOW
from .network import Network, flop_per_pixel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .metrics import Score
    from .training_config import TrainingConfig


def export_bundle(
    network: Network, config: TrainingConfig, score: Score, path: Path
) -> None:
    """Write `network` as a model bundle.

    Parameters
    ----------
    network : Network
        Trained weights.
    config : TrainingConfig
        What it was trained for.
    score : Score
        Measured on the validation samples.
    path : Path
        Of the bundle.
    """
    network = network.cpu().eval()
    frames = torch.rand(2, 1, 32, 32)
    features = torch.rand(2, network.preset.trunk, 32 // CELL_PX, 32 // CELL_PX)
    parts = {
        "weights.safetensors": safetensors.torch.save(
            {name: t.contiguous() for name, t in network.state_dict().items()}
        ),
        "frame.onnx": _graph(network.frame, {"photons": frames}),
        "context.onnx": _graph(network.context, dict.fromkeys(WINDOW, features)),
    }
    described = network.describe()
    spec = ModelSpec(
        name=config.name,
        description=config.description,
        training=config,
        network=described["preset"],
        scaling=described["scaling"],
        provenance={
            "liveloc": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "trained_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        accuracy=score.as_dict(),
        kflop_per_px=flop_per_pixel(network.preset) / 1000,
        parts={},
    )
    write_bundle(path, spec, parts)


def _graph(module: nn.Module, examples: dict[str, torch.Tensor]) -> bytes:
    """Export one half for any batch and any size, its inputs named."""
    dynamic = torch.export.Dim.DYNAMIC
    any_size = {0: dynamic, 2: dynamic, 3: dynamic}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            tuple(tensor.clone() for tensor in examples.values()),
            str(target),
            dynamo=True,
            dynamic_shapes=(any_size,) * len(examples),
            external_data=False,
            verbose=False,
            input_names=list(examples),
            output_names=["output"],
        )
        clean = _without_traces(onnx.load(target))
        content: bytes = clean.SerializeToString(deterministic=True)
        return content


def _without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Take out where in the source, and on whose disk, each operation came from."""
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        del part.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about packages we do not use off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
