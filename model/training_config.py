"""What a network is trained for, as a validated YAML file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..stream.calibration import CameraCalibration
from ..stream.errors import SettingsError
from ..stream.settings import load_yaml

if TYPE_CHECKING:
    from pathlib import Path

Positive = Annotated[float, Field(gt=0)]
Range = tuple[Positive, Positive]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AstigmaticConfig(_Strict):
    """3D: see `psf.AstigmaticPSF`."""

    kind: Literal["astigmatic"]
    sigma0_px: Positive
    separation_nm: Positive
    depth_nm: Positive


class GaussianConfig(_Strict):
    """2D: a round Gaussian whose width differs from movie to movie."""

    kind: Literal["gaussian"]
    sigma_px: Range


class EmitterConfig(_Strict):
    """Emitters of the simulated movies.

    Attributes
    ----------
    density_per_um2 : (low, high)
        Emitters that are on at one time; log-uniform from sample to sample.
    photons : (low, high)
        Median brightness of a sample in photons per full frame; log-uniform.
    photons_spread : float
        Standard deviation of the logarithm of the brightness within a sample.
    on_time_frames : (low, high)
        Mean of the exponential on-time; log-uniform.
    label_photons : float
        Emitters dimmer than this are rendered but not asked for.
    """

    density_per_um2: Range
    photons: Range
    photons_spread: Annotated[float, Field(ge=0)] = 0.3
    on_time_frames: Range = (1.5, 10.0)
    label_photons: Annotated[float, Field(ge=0)] = 50.0


class CameraConfig(_Strict):
    """Camera of the simulated movies.

    Attributes
    ----------
    background : (low, high)
        Photons per pixel; log-uniform.
    background_structure : float
        Largest relative amplitude of smooth background structure.
    gain_error : (low, high)
        True photons per assumed photon: what a wrong gain or EM noise does.
    read_noise_e : float
        Standard deviation, electrons.
    """

    background: Range
    background_structure: Annotated[float, Field(ge=0)] = 0.3
    gain_error: Range = (1.0, 1.0)
    read_noise_e: Annotated[float, Field(ge=0)] = 1.6

    @property
    def calibration(self) -> CameraCalibration:
        """Counts are photons, no offset: training needs nothing else."""
        return CameraCalibration(
            offset_adu=0.0, e_per_adu=1.0, read_noise_e=self.read_noise_e
        )


class ScheduleConfig(_Strict):
    """How long and how fast to learn."""

    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)] = 48
    crop_px: Annotated[int, Field(gt=0, multiple_of=8)] = 40
    learning_rate: Positive = 1.5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    ema: Annotated[float, Field(gt=0, lt=1)] = 0.999
    clip_norm: Positive = 3.0
    seed: int = 1


class ThresholdConfig(_Strict):
    """Probabilities that decide what is reported; see `emitters.Thresholds`."""

    seed: Annotated[float, Field(gt=0, lt=1)] = 0.1
    split: Annotated[float, Field(gt=0, le=1)] = 0.85
    final: Annotated[float, Field(gt=0, le=1)] = 0.4


class TrainingConfig(_Strict):
    """One network: what it sees, and how it is trained.

    Attributes
    ----------
    z_range_nm : float
        Emitters are simulated at |z| up to this; 0 for a 2D network.
    """

    name: str
    description: str = ""
    preset: Literal["live"] = "live"
    pixel_size_nm: Positive
    psf: AstigmaticConfig | GaussianConfig = Field(discriminator="kind")
    z_range_nm: Annotated[float, Field(ge=0)] = 0.0
    emitters: EmitterConfig
    camera: CameraConfig
    schedule: ScheduleConfig
    thresholds: ThresholdConfig = ThresholdConfig()

    @model_validator(mode="after")
    def _depth_needs_astigmatism(self) -> TrainingConfig:
        if (self.psf.kind == "gaussian") != (self.z_range_nm == 0):
            raise ValueError(
                f"z_range_nm is {self.z_range_nm:g} with a {self.psf.kind} PSF: a "
                "round Gaussian says nothing about z (use 0), an astigmatic PSF "
                "needs the range it was calibrated over, such as 500"
            )
        return self

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read and check a YAML file.

        Raises
        ------
        SettingsError
            Missing file, unknown key (the nearest known one is named), bad value.
        """
        return load_yaml(path, cls)


__all__ = ["SettingsError", "TrainingConfig"]
