"""The simulated microscope: a Python camera and two lasers in a real core.

Upper imports lower: ``microscope`` > ``devices`` > ``sample`` > ``surroundings`` >
``settings`` > ``cameras``, ``faults``, ``photophysics``, ``microtubules``, ``noise``.
"""

from .cameras import SIMULATED_CAMERA, SIMULATED_EMCCD, simulated_camera
from .devices import POWER_PROPERTY
from .faults import Event, Faults
from .microscope import (
    CAMERA,
    EXCITATION,
    FAULTS,
    LASER,
    SHUTTER,
    SimulatedMicroscope,
    open_simulated,
)
from .settings import SIMULATED_PSF, SimulatedSettings

__all__ = [
    "CAMERA",
    "EXCITATION",
    "FAULTS",
    "LASER",
    "POWER_PROPERTY",
    "SHUTTER",
    "SIMULATED_CAMERA",
    "SIMULATED_EMCCD",
    "SIMULATED_PSF",
    "Event",
    "Faults",
    "SimulatedMicroscope",
    "SimulatedSettings",
    "open_simulated",
    "simulated_camera",
]
