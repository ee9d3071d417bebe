"""The simulated microscope: a Python camera and a 405 nm laser in a real core."""

from .cameras import SIMULATED_CAMERA, SIMULATED_EMCCD, simulated_camera
from .devices import POWER_PROPERTY
from .microscope import CAMERA, LASER, SimulatedMicroscope, open_simulated
from .settings import SIMULATED_PSF, SimulatedSettings

__all__ = [
    "CAMERA",
    "LASER",
    "POWER_PROPERTY",
    "SIMULATED_CAMERA",
    "SIMULATED_EMCCD",
    "SIMULATED_PSF",
    "SimulatedMicroscope",
    "SimulatedSettings",
    "open_simulated",
    "simulated_camera",
]
