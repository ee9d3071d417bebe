"""What the simulated microscope looks at, and through."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...model.physics.psf import AstigmaticPSF
from ...stream.errors import SettingsError
from .cameras import SIMULATED_CAMERA
from .photophysics import Photophysics

if TYPE_CHECKING:
    from ...stream.calibration import CameraCalibration

# The optics that the shipped model bundle ``simulated-microscope`` is trained on.
SIMULATED_PSF = AstigmaticPSF.symmetric(
    sigma0_px=1.15, separation_nm=200.0, depth_nm=350.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSettings:
    """A sample of microtubules on a 3D single-molecule microscope.

    Attributes
    ----------
    shape : tuple[int, int]
        (height, width) of the chip, pixels.
    pixel_size_nm : float
        Edge of a pixel in the sample plane.
    exposure_ms : float
        Exposure; frames follow each other without a gap.
    seed : int
        Decides the sample, the photophysics and the noise. The same seed and the
        same laser power in every frame give the same movie.
    density_per_um2 : float
        Fluorophores emitting at any moment per um2 of a fresh sample at the
        default power, when the activation has settled.
    power_mw : float
        Default power of the 405 nm laser.
    highest_mw : float
        Its upper limit; the lower is 0.
    fluorophores_per_um2 : float
        Reservoir. The more, the slower the density falls: 250 lose about a tenth
        in 3,000 frames at the defaults.
    on_time_frames, bleach_probability, photons, photon_spread : float
        See `Photophysics`.
    background : float
        Mean background, photons per pixel and frame; one eighth higher over the
        cell, one eighth lower away from it.
    psf : AstigmaticPSF
        Optics.
    calibration : CameraCalibration
        Camera, 16 bit; see `simulated_camera`. Maps have the chip's shape.

    Raises
    ------
    SettingsError
        A number that makes no microscope.
    """

    shape: tuple[int, int] = (128, 128)
    pixel_size_nm: float = 100.0
    exposure_ms: float = 10.0
    seed: int = 1
    density_per_um2: float = 0.2
    power_mw: float = 5.0
    highest_mw: float = 50.0
    fluorophores_per_um2: float = 250.0
    on_time_frames: float = 6.0
    bleach_probability: float = 0.25
    photons: float = 2500.0
    photon_spread: float = 0.15
    background: float = 10.0
    psf: AstigmaticPSF = SIMULATED_PSF
    calibration: CameraCalibration = SIMULATED_CAMERA

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or not all(8 <= n <= 8192 for n in self.shape):
            raise SettingsError(
                f"simulated microscope: shape is {self.shape}. Give (height, width), "
                "8 to 8192 pixels each."
            )
        if self.seed < 0:
            raise SettingsError(
                f"simulated microscope: seed is {self.seed}. Give 0 or more."
            )
        for name in (
            "pixel_size_nm",
            "exposure_ms",
            "power_mw",
            "highest_mw",
            "fluorophores_per_um2",
            "on_time_frames",
            "photons",
        ):
            self._check(name, 0.0, math.inf, open_below=True)
        for name in ("density_per_um2", "photon_spread", "background"):
            self._check(name, 0.0, math.inf)
        self._check("bleach_probability", 0.0, 1.0)
        maps = self.calibration.shape
        if maps is not None and maps != tuple(self.shape):
            raise SettingsError(
                f"simulated microscope: the camera maps are of shape {maps} but shape "
                f"is {self.shape}. Give maps of the whole chip."
            )
        if self.power_mw > self.highest_mw:
            raise SettingsError(
                f"simulated microscope: power_mw is {self.power_mw} but highest_mw is "
                f"{self.highest_mw}. Raise the limit or lower the power."
            )

    def _check(
        self, name: str, low: float, high: float, *, open_below: bool = False
    ) -> None:
        value = getattr(self, name)
        fits = math.isfinite(value) and low <= value <= high
        if not fits or (open_below and value == low):
            needed = "above 0" if open_below else f"{low:g} or more"
            if math.isfinite(high):
                needed = f"{low:g} to {high:g}"
            raise SettingsError(
                f"simulated microscope: {name} is {value}. Give a number {needed}."
            )

    @property
    def field_um2(self) -> float:
        """Area of the chip in the sample plane."""
        return self.shape[0] * self.shape[1] * (self.pixel_size_nm / 1000) ** 2

    @property
    def fluorophores(self) -> int:
        """Fluorophores in the whole field."""
        return max(1, round(self.fluorophores_per_um2 * self.field_um2))

    @property
    def photophysics(self) -> Photophysics:
        """Numbers of the fluorophore, with the activation that gives the density."""
        activations = self.density_per_um2 / self.on_time_frames  # per um2 and frame
        return Photophysics(
            activation_per_mw=activations / self.fluorophores_per_um2 / self.power_mw,
            on_time_frames=self.on_time_frames,
            bleach_probability=self.bleach_probability,
            photons=self.photons,
            photon_spread=self.photon_spread,
        )
