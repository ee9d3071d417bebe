"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope.

Importing this package loads nothing: each name brings its own module, and Micro-Manager
comes with a camera.
"""

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_dir

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
LOG_VARIABLE = "PYMM_LOG_FILE"
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


def _name_a_log() -> None:
    """Name another log file where pymmcore-plus could not make its own.

    It makes one in the user's folder when it is imported, and fails where it cannot.
    """
    if LOG_VARIABLE in os.environ:
        return
    folder = Path(user_data_dir("pymmcore-plus")) / "logs"
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))
    if not os.access(there, os.W_OK):
        user = os.environ.get("USER") or os.environ.get("USERNAME") or "user"
        name = f"pymmcore-plus-{user}.log"
        os.environ[LOG_VARIABLE] = str(Path(tempfile.gettempdir()) / name)


_name_a_log()


def __getattr__(name: str) -> Any:
    """Load the module of a name when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
