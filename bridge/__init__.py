"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope.

Importing this package loads nothing: each name brings its own module, and Micro-Manager
comes with a camera.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attached import Attached, attach
    from .bridge import run_bridge
    from .following import SequenceFollower
    from .laser import GuardedLaser, Laser, MicroManagerLaser
    from .mda import MDAAcquisition, load_plan
    from .micromanager import MicroManagerSource, open_core
    from .repeat import repeated
    from .settings import BridgeSettings
    from .simulated import SimulatedMicroscope, SimulatedSettings, open_simulated

__all__ = [
    "Attached",
    "BridgeSettings",
    "GuardedLaser",
    "Laser",
    "MDAAcquisition",
    "MicroManagerLaser",
    "MicroManagerSource",
    "SequenceFollower",
    "SimulatedMicroscope",
    "SimulatedSettings",
    "attach",
    "load_plan",
    "open_core",
    "open_simulated",
    "repeated",
    "run_bridge",
]
_HOMES = {
    "Attached": "attached",
    "BridgeSettings": "settings",
    "GuardedLaser": "laser",
    "Laser": "laser",
    "MDAAcquisition": "mda",
    "MicroManagerLaser": "laser",
    "MicroManagerSource": "micromanager",
    "SequenceFollower": "following",
    "SimulatedMicroscope": "simulated",
    "SimulatedSettings": "simulated",
    "attach": "attached",
    "load_plan": "mda",
    "open_core": "micromanager",
    "open_simulated": "simulated",
    "repeated": "repeat",
    "run_bridge": "bridge",
}


def __getattr__(name: str) -> Any:
    """Load the module of a name when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
