"""What the simulated microscope looks at, through, and what happens to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.errors import SettingsError
from liveloc.stream.pixel_size import check_pixel_size

from .cameras import SIMULATED_CAMERA
from .faults import checked_event
from .photophysics import Photophysics

if TYPE_CHECKING:
    from liveloc.stream.calibration import CameraCalibration

    from .faults import Event

NEEDS_MORE_THAN_ZERO = (
    "pixel_size_nm",
    "exposure_ms",
    "power_mw",
    "highest_mw",
    "excitation_mw",
    "highest_excitation_mw",
    "fluorophores_per_um2",
    "on_time_frames",
    "photons",
    "blink_frames",
)
MAY_BE_ZERO = (
    "density_per_um2",
    "spontaneous_density_per_um2",
    "photon_spread",
    "background",
    "background_per_mw",
    "background_rise",
    "hot_pixels",
    "hot_pixel_photons",
    "fiducials",
    "fiducial_photons",
)

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
        same laser powers in every frame give the same movie.
    density_per_um2 : float
        Fluorophores emitting at any moment per um2 of a fresh sample at the
        default powers, when the activation has settled.
    power_mw : float
        Default power of the 405 nm laser.
    highest_mw : float
        Its upper limit; the lower is 0.
    excitation_mw : float
        Default power of the 561 nm laser, on when the microscope opens: the power at
        which on-time, photons and background are as told here. Photons per frame,
        background, and the rate at which emissions end are proportional to it.
    highest_excitation_mw : float
        Its upper limit; the lower is 0.
    spontaneous_density_per_um2 : float
        What the excitation alone adds to the density of a fresh sample. It activates
        in proportion to its power and shortens the on-time as much: this density is
        the same at any power.
    fluorophores_per_um2 : float
        Reservoir. The more, the slower the density falls: 250 lose about a tenth
        in 3,000 frames at the defaults.
    on_time_frames, bleach_probability, photons, photon_spread : float
        See `Photophysics`.
    blink_probability, blink_frames : float
        Short dark states within an emission; see `Photophysics`.
    background : float
        Mean background, photons per pixel and frame; one eighth higher over the
        cell, one eighth lower away from it.
    background_per_mw : float
        More of it per mW of 405 nm light, photons per pixel and frame.
    background_rise : float
        Growth of `background` in 1,000 exposures, as a share of it; linear.
    drift_nm_per_s : tuple[float, float, float]
        Steady drift of the sample along x, y and z.
    drift_walk_nm : tuple[float, float, float]
        Random walk along x, y and z on top of it: standard deviation after one
        second; it grows with the square root of the time.
    fiducials : int
        Beads in the field that shine in every frame and drift with the sample; they
        are in no truth table. To an engine they are also what a speck of dust is.
    fiducial_photons : float
        Detected photons per bead and frame, at the default excitation.
    hot_pixels : int
        Pixels of the chip with a signal that no light causes.
    hot_pixel_photons : float
        That signal, photons per frame.
    events : tuple of (int, str, float or str)
        What happens when: exposure, name and value, for example
        ``(1000, "on_time", 3.0)`` or ``(2000, "camera", "unplug")``. Exposures count
        from 0 when the microscope opens. The names are those of `faults`.
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
    excitation_mw: float = 50.0
    highest_excitation_mw: float = 200.0
    spontaneous_density_per_um2: float = 0.0
    fluorophores_per_um2: float = 250.0
    on_time_frames: float = 6.0
    bleach_probability: float = 0.25
    photons: float = 2500.0
    photon_spread: float = 0.15
    blink_probability: float = 0.0
    blink_frames: float = 2.0
    background: float = 10.0
    background_per_mw: float = 0.0
    background_rise: float = 0.0
    drift_nm_per_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    drift_walk_nm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fiducials: int = 0
    fiducial_photons: float = 10_000.0
    hot_pixels: int = 0
    hot_pixel_photons: float = 200.0
    events: tuple[Event, ...] = ()
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
        for name in NEEDS_MORE_THAN_ZERO:
            self._check(name, 0.0, math.inf, open_below=True)
        check_pixel_size(self.pixel_size_nm, "simulation: pixel_size_nm")
        for name in MAY_BE_ZERO:
            self._check(name, 0.0, math.inf)
        for name in ("hot_pixels", "fiducials"):
            if getattr(self, name) != int(getattr(self, name)):
                raise SettingsError(
                    f"simulated microscope: {name} is {getattr(self, name)}. Give a "
                    "whole number."
                )
        self._check("bleach_probability", 0.0, 1.0)
        self._check("blink_probability", 0.0, 0.99)
        for name in ("drift_nm_per_s", "drift_walk_nm"):
            self._check_axes(name)
        events = tuple(checked_event(event) for event in self.events)
        object.__setattr__(self, "events", events)  # as they are after the check
        maps = self.calibration.shape
        if maps is not None and maps != tuple(self.shape):
            raise SettingsError(
                f"simulated microscope: the camera maps are of shape {maps} but shape "
                f"is {self.shape}. Give maps of the whole chip."
            )
        for power, limit in (
            ("power_mw", "highest_mw"),
            ("excitation_mw", "highest_excitation_mw"),
        ):
            if getattr(self, power) > getattr(self, limit):
                raise SettingsError(
                    f"simulated microscope: {power} is {getattr(self, power)} but "
                    f"{limit} is {getattr(self, limit)}. Raise the limit or lower the "
                    "power."
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

    def _check_axes(self, name: str) -> None:
        value = getattr(self, name)
        if len(value) != 3 or not all(math.isfinite(number) for number in value):
            raise SettingsError(
                f"simulated microscope: {name} is {value}. Give three numbers: along "
                "x, y and z."
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
        emission = self.on_time_frames / (1 - self.blink_probability)  # frames lit
        activations = self.density_per_um2 / emission  # per um2 and frame
        spontaneous = self.spontaneous_density_per_um2 / emission
        return Photophysics(
            activation_per_mw=activations / self.fluorophores_per_um2 / self.power_mw,
            on_time_frames=self.on_time_frames,
            bleach_probability=self.bleach_probability,
            photons=self.photons,
            photon_spread=self.photon_spread,
            reference_mw=self.excitation_mw,
            spontaneous_per_mw=(
                spontaneous / self.fluorophores_per_um2 / self.excitation_mw
            ),
            blink_probability=self.blink_probability,
            blink_frames=self.blink_frames,
        )
