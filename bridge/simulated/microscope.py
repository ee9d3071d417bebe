"""The simulated microscope, ready to acquire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..camera.python_core import FrameExactCore, close_core, silence_at_exit
from .devices import FaultDevice, SimulatedCamera, SimulatedLaser, SimulatedShutter
from .faults import Faults
from .sample import Sample
from .settings import SimulatedSettings

if TYPE_CHECKING:
    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.localizations import Localizations

CAMERA = "Simulated sCMOS"
LASER = "Laser405"
EXCITATION = "Laser561"
SHUTTER = "Shutter405"
FAULTS = "Faults"


class SimulatedMicroscope:
    """A core with a camera and two lasers over a sample with a known truth.

    Parameters
    ----------
    settings : SimulatedSettings
        Sample, optics, camera, and what happens when.

    Attributes
    ----------
    core : FrameExactCore
        Drive it as any Micro-Manager core. Its camera is `CAMERA`; the powers of
        the lasers `LASER` (405 nm, dark at first) and `EXCITATION` (561 nm, on) are
        the properties `POWER_PROPERTY`; `SHUTTER`, open at first, is in the path of
        the 405 nm light. What goes wrong is set by the properties of
        the device `FAULTS`; see `faults`.
    settings : SimulatedSettings
        As given.
    sample : Sample
        What lies under the objective.
    faults : Faults
        The same as the device `FAULTS`, without the core.
    """

    def __init__(self, settings: SimulatedSettings) -> None:
        self.settings = settings
        self.faults = faults = Faults(settings.events)
        self.sample = Sample(settings, faults)
        shutter = SimulatedShutter()
        activation = SimulatedLaser(
            settings.highest_mw, faults, "laser405", shutter=shutter
        )
        excitation = SimulatedLaser(
            settings.highest_excitation_mw, faults, "laser561", settings.excitation_mw
        )
        camera = SimulatedCamera(settings, self.sample, activation, excitation, faults)
        self.core: Any = FrameExactCore()
        silence_at_exit(self.core)
        for name, device in (
            (CAMERA, camera),
            (LASER, activation),
            (EXCITATION, excitation),
            (SHUTTER, shutter),
            (FAULTS, FaultDevice(faults)),
        ):
            self.core.loadPyDevice(name, device)
            self.core.initializeDevice(name)
        self.core.setCameraDevice(CAMERA)

    @property
    def calibration(self) -> CameraCalibration:
        """What turns the camera's counts into photons, exactly."""
        return self.settings.calibration

    def truth(self) -> Localizations:
        """Return who emitted in which frame, since the last sequence began.

        One row per fluorophore and frame in which it emitted, on the full chip,
        for those within the ROI; `photons` is the expected number detected in that
        frame. Frames that were exposed but never fetched are in it, too.
        """
        return self.sample.truth()

    def take_truth(self) -> Localizations:
        """Return what `truth` does, and forget it."""
        return self.sample.take_truth()

    def close(self) -> None:
        """Stop the camera and unload the devices, also those that hang. Idempotent."""
        self.faults.close()
        close_core(self.core)


def open_simulated(settings: SimulatedSettings | None = None) -> SimulatedMicroscope:
    """Build the simulated microscope.

    Parameters
    ----------
    settings : SimulatedSettings, optional
        128 x 128 pixels at 100 frames/s if not given.
    """
    return SimulatedMicroscope(settings or SimulatedSettings())
