"""The simulated microscope, ready to acquire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..python_core import FrameExactCore, close_core, silence_at_exit
from .devices import SimulatedCamera, SimulatedLaser
from .sample import Sample
from .settings import SimulatedSettings

if TYPE_CHECKING:
    from ...stream.calibration import CameraCalibration
    from ...stream.localizations import Localizations

CAMERA = "Simulated sCMOS"
LASER = "Laser405"


class SimulatedMicroscope:
    """A core with a camera and a laser over a sample with a known truth.

    Parameters
    ----------
    settings : SimulatedSettings
        Sample, optics and camera.

    Attributes
    ----------
    core : FrameExactCore
        Drive it as any Micro-Manager core. Its camera is `CAMERA`; the power of
        the laser `LASER` is the property `POWER_PROPERTY`.
    settings : SimulatedSettings
        As given.
    sample : Sample
        What lies under the objective.
    """

    def __init__(self, settings: SimulatedSettings) -> None:
        self.settings = settings
        self.sample = Sample(settings)
        laser = SimulatedLaser(settings.highest_mw)
        camera = SimulatedCamera(settings, self.sample, laser)
        self.core: Any = FrameExactCore()
        silence_at_exit(self.core)
        for name, device in ((CAMERA, camera), (LASER, laser)):
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
        frame. Frames that the camera exposed but nobody fetched are in it, too.
        """
        return self.sample.truth()

    def take_truth(self) -> Localizations:
        """Return what `truth` does, and forget it."""
        return self.sample.take_truth()

    def close(self) -> None:
        """Stop the camera and unload the devices. Idempotent."""
        close_core(self.core)


def open_simulated(settings: SimulatedSettings | None = None) -> SimulatedMicroscope:
    """Build the simulated microscope.

    Parameters
    ----------
    settings : SimulatedSettings, optional
        The defaults give 128 x 128 pixels at 100 frames/s.
    """
    return SimulatedMicroscope(settings or SimulatedSettings())
