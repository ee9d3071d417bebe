"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope."""

from .bridge import run_bridge
from .laser import GuardedLaser, Laser, MicroManagerLaser
from .micromanager import MicroManagerSource, open_core
from .settings import BridgeSettings
from .simulated import SimulatedMicroscope, SimulatedSettings, open_simulated

__all__ = [
    "BridgeSettings",
    "GuardedLaser",
    "Laser",
    "MicroManagerLaser",
    "MicroManagerSource",
    "SimulatedMicroscope",
    "SimulatedSettings",
    "open_core",
    "open_simulated",
    "run_bridge",
]
