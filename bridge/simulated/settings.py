"""What the simulated microscope looks at, through, and what happens to it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetPydanticSchema, ValidationError
from pydantic_core.core_schema import is_instance_schema

from liveloc.model.physics.psf import AstigmaticPSF
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import explain
from liveloc.stream.pixel_size import PixelSizeNm  # noqa: TC001
from liveloc.stream.session.settings import Positive, SimulationSection

from ..camera.setup import Calibration  # noqa: TC001
from .cameras import SIMULATED_CAMERA, simulated_camera
from .faults import checked_event
from .photophysics import Photophysics

Psf = Annotated[
    AstigmaticPSF, GetPydanticSchema(lambda *_: is_instance_schema(AstigmaticPSF))
]

# The optics that the shipped model bundle ``simulated-microscope`` is trained on.
SIMULATED_PSF = AstigmaticPSF.symmetric(
    sigma0_px=1.15, separation_nm=200.0, depth_nm=350.0
)


class SimulatedSettings(SimulationSection):
    """A sample of microtubules on a 3D single-molecule microscope.

    Attributes
    ----------
    pixel_size_nm : float
        Edge of a pixel in the sample plane, nm.
    exposure_ms : float
        Exposure, ms; frames follow each other without a gap.
    psf : AstigmaticPSF
        Optics.
    calibration : CameraCalibration, optional
        Camera, 16 bit; that of `camera` if not given. Maps have the chip's shape.

    Raises
    ------
    SettingsError
        A number that makes no microscope.
    """

    pixel_size_nm: PixelSizeNm = 100.0
    exposure_ms: Positive = 10.0
    psf: Psf = SIMULATED_PSF
    calibration: Calibration = SIMULATED_CAMERA

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            text = explain(error, type(self))
            raise SettingsError(f"simulated microscope: {text}") from None
        if "calibration" not in values:
            known = simulated_camera(self.camera, self.shape, self.seed)
            object.__setattr__(self, "calibration", known)
        self._check()

    def _check(self) -> None:
        """Refuse what the session file's ranges let through."""
        if min(self.shape) < 8:
            raise SettingsError(
                f"simulated microscope: shape is {self.shape}. Give (height, width), "
                "8 to 8192 pixels each."
            )
        events = tuple(checked_event(event) for event in self.events)
        object.__setattr__(self, "events", events)  # as they are after the check
        maps = self.calibration.shape
        if maps is not None and maps != self.shape:
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

    def changed(self, **values: Any) -> SimulatedSettings:
        """Return a copy with other values, checked."""
        return SimulatedSettings(**dict(self) | values)

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
