"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope.

What users need is importable from here; a module loads when its name is first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BridgeSettings": "settings",
    "GuardedLaser": "laser",
    "Laser": "laser",
    "MicroManagerLaser": "laser",
    "MicroManagerSource": "micromanager",
    "SimulatedSettings": "simulated",
    "open_core": "micromanager",
    "open_simulated": "simulated",
    "run_bridge": "bridge",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"liveloc.bridge has no {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
