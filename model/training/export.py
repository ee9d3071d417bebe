"""From a trained network to a bundle that runs without torch, and back."""

from __future__ import annotations

import logging
import platform
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import safetensors.torch
import torch
from torch import nn

from liveloc import __version__
from liveloc.stream.errors import SettingsError

from ..bundle import PSF_PART, ModelSpec, write_bundle
from ..maps import WINDOW
from ..physics.psf_file import psf_bytes
from ..physics.smap import open_psf
from ..training_config import SplineConfig
from .network import PRESETS, Network, Scaling, flop_per_pixel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..bundle import Bundle
    from ..training_config import TrainingConfig
    from .validation import ValidationResult


def export_bundle(
    network: Network,
    config: TrainingConfig,
    validation: ValidationResult,
    response: tuple[tuple[float, float], ...],
    path: Path,
) -> None:
    """Write `network` as a model bundle.

    Parameters
    ----------
    network : Network
        The trained network.
    config : TrainingConfig
        Configuration of its training.
    validation : ValidationResult
        Accuracy to record in it.
    response : tuple of (expected, true)
        See `measure_response`.
    path : Path
        File to write.
    """
    network = network.cpu().eval()
    cells = 32 // network.grid.cell_px
    features = torch.rand(2, network.shape.trunk, cells, cells)
    inputs = {"photons": torch.rand(2, 1, 32, 32)}
    if network.sees_noise:
        inputs["read_variance"] = torch.rand(1, 1, 32, 32)
    parts = {
        "weights.safetensors": safetensors.torch.save(
            {name: t.contiguous() for name, t in network.state_dict().items()}
        ),
        "frame.onnx": _graph(network.frame, inputs),
        "context.onnx": _graph(network.context, dict.fromkeys(WINDOW, features)),
    }
    if isinstance(config.psf, SplineConfig):
        parts[PSF_PART] = psf_bytes(*open_psf(config.psf.file, config.pixel_size_nm))
    described = network.describe()
    spec = ModelSpec(
        name=config.name,
        description=config.description,
        training=config.without_folders(),
        grid=network.grid,
        network=described["shape"],
        scaling=described["scaling"],
        sees_noise=network.sees_noise,
        provenance={
            "liveloc": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "trained_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        accuracy=validation.as_dict(),
        kflop_per_px=flop_per_pixel(network.shape) / 1000,
        density_response=response,
        parts={},
    )
    write_bundle(path, spec, parts)


def network_of(bundle: Bundle) -> Network:
    """Return the network of a bundle with its trained weights.

    Raises
    ------
    SettingsError
        The weights are not those of the network that the bundle describes.
    """
    spec = bundle.spec
    sizes = {name: int(value) for name, value in spec.network.items()}
    network = Network(
        replace(PRESETS[spec.training.preset], **sizes),  # type: ignore[arg-type]
        Scaling(**spec.scaling),
        context=spec.training.context,
        sees_noise=spec.sees_noise,
    ).eval()
    weights = safetensors.torch.load(bundle.parts["weights.safetensors"])
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise SettingsError(
            f"{spec.name}: its weights do not fit its network: {reason}. Train "
            "it again."
        ) from None
    return network


def _graph(module: nn.Module, examples: dict[str, torch.Tensor]) -> bytes:
    """Export one half for any batch and any size, its inputs named."""
    dynamic = torch.export.Dim.DYNAMIC
    sizes = {0: dynamic, 2: dynamic, 3: dynamic}
    shapes = tuple(
        {2: dynamic, 3: dynamic} if len(tensor) == 1 else sizes
        for tensor in examples.values()
    )
    with tempfile.TemporaryDirectory() as folder, _quiet():
        target = Path(folder) / "graph.onnx"
        torch.onnx.export(
            module,
            tuple(tensor.clone() for tensor in examples.values()),
            str(target),
            dynamo=True,
            dynamic_shapes=shapes,
            external_data=False,
            verbose=False,
            input_names=list(examples),
            output_names=["output"],
        )
        clean = _without_traces(onnx.load(target))
        content: bytes = clean.SerializeToString(deterministic=True)
        return content


def _without_traces(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Remove where in the source, and on whose disk, each operation came from."""
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info):
        del part.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""
    return graph


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's notes about packages that we do not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
