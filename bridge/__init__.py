"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope."""

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
