"""From frames to localizations: physics, networks, training, the engine.

What users need is importable from here; a module loads when its name is first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "AstigmaticPSF": "psf",
    "Bundle": "bundle",
    "Engine": "engine",
    "EngineSettings": "engine",
    "GaussianPSF": "psf",
    "Localizer": "localizer",
    "OnnxBackend": "backend",
    "Score": "metrics",
    "Thresholds": "emitters",
    "TrainingConfig": "training_config",
    "evaluate": "metrics",
    "find_emitters": "emitters",
    "load_bundle": "bundle",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"liveloc.model has no {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
