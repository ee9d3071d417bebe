"""What a network is trained for, as a validated YAML file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_file import load_camera
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import load_yaml

from .physics.psf import (
    PSF,
    AstigmaticPSF,
    Defocus,
    DoubleHelixPSF,
    GaussianPSF,
    SplinePSF,
)
from .physics.smap import open_psf

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = tuple[Positive, Positive]

NARROWEST_PSF_PX = 0.5  # sigma: anything narrower has no shape on the camera
TOO_DENSE_PER_PSF = 6.0  # emitters within one PSF that cannot be resolved


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DefocusConfig(_Strict):
    """One axis of an astigmatic PSF.

    Attributes
    ----------
    sigma_px : float
        Standard deviation in focus, camera pixels.
    focus_nm : float
        z at which this axis is in focus, nm.
    depth_nm : float
        Defocus at which the width has grown by sqrt(2), nm.
    cubic, quartic : float
        Deviations from the Gaussian beam; see `psf.Defocus` for the formula.
    """

    sigma_px: Positive
    focus_nm: Finite
    depth_nm: Positive
    cubic: Finite = 0.0
    quartic: Finite = 0.0


class AstigmaticConfig(_Strict):
    """3D: a Gaussian whose two widths are smallest at different depths.

    Attributes
    ----------
    kind : {"astigmatic"}
        Selects this kind of PSF.
    x, y : DefocusConfig
        Width along this axis as it changes with z.
    """

    kind: Literal["astigmatic"]
    x: DefocusConfig
    y: DefocusConfig


class GaussianConfig(_Strict):
    """2D: a round Gaussian whose width differs from movie to movie.

    Attributes
    ----------
    kind : {"gaussian"}
        Selects this kind of PSF.
    sigma_px : (low, high)
        Range of the standard deviation, camera pixels.
    """

    kind: Literal["gaussian"]
    sigma_px: Range


class DoubleHelixConfig(_Strict):
    """3D: two lobes that turn about each other with z.

    Attributes
    ----------
    kind : {"double_helix"}
        Selects this kind of PSF.
    sigma_px : float
        Standard deviation of each lobe, camera pixels.
    separation_px : float
        Distance between the two lobes, camera pixels.
    angle : float
        Angle of the line through the lobes at z = 0, radians; positive turns from x
        to y.
    turn_per_nm : float
        Change of the angle with z, radians per nm.
    """

    kind: Literal["double_helix"]
    sigma_px: Positive
    separation_px: Positive
    angle: Finite
    turn_per_nm: Finite


class SplineConfig(_Strict):
    """2D or 3D, any shape: made by ``liveloc calibrate psf``, or SMAP's ``.mat``.

    Attributes
    ----------
    kind : {"spline"}
        Selects this kind of PSF.
    file : Path
        PSF file, relative to the training configuration.
    """

    kind: Literal["spline"]
    file: Path


PSFConfig = Annotated[
    AstigmaticConfig | GaussianConfig | DoubleHelixConfig | SplineConfig,
    Field(discriminator="kind"),
]


class EmitterConfig(_Strict):
    """Emitters of the simulated movies.

    Attributes
    ----------
    density_per_um2 : (low, high)
        Emitters that are on at one time, per um2; log-uniform from sample to sample.
    photons : (low, high)
        Median brightness of a sample in photons per full frame; log-uniform.
    photons_spread : float
        Standard deviation of the logarithm of the brightness within a sample.
    on_time_frames : (low, high)
        Mean of the exponential on-time, frames; log-uniform.
    switching : {"any time", "between frames"}
        Whether first and last frames are partial, as on a microscope, or
        emitters are on for whole frames, as in many simulated movies.
    filaments : float
        Largest fraction of emitters that lie on lines, as on filaments or membranes
        seen edge-on; uniform from sample to sample. Their depths are random.
    label_photons : float
        Emitters with fewer photons in a frame than this are rendered, but the network
        need not find them.
    """

    density_per_um2: Range
    photons: Range
    photons_spread: NotNegative = 0.3
    on_time_frames: Range = (1.5, 10.0)
    switching: Literal["any time", "between frames"] = "any time"
    filaments: Annotated[float, Field(ge=0, le=1)] = 0.0
    label_photons: NotNegative = 50.0


class CameraConfig(_Strict):
    """Noise of the simulated movies: a camera file, or its numbers.

    Attributes
    ----------
    file : Path, optional
        Camera file made by ``liveloc calibrate camera``, relative to the training
        configuration. With per-pixel maps the network is given the read noise of each
        pixel.
    read_noise_e : float
        Standard deviation of a dark pixel, electrons at the output, after EM gain;
        only without a file.
    e_per_adu : float
        Electrons per count, before the EM gain is divided out; only without a file.
    em_gain : float
        Mean EM gain, 1 without electron multiplication; only without a file.
    qe : float
        Quantum efficiency, 1 to count detected photons; only without a file.
    gain_error : (low, high)
        Range of true photons per assumed photon, to simulate a wrong calibration.
    """

    file: Path | None = None
    read_noise_e: NotNegative = 1.6
    e_per_adu: Positive = 1.0
    em_gain: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    qe: Annotated[float, Field(gt=0, le=1)] = 1.0
    gain_error: Range = (1.0, 1.0)

    @model_validator(mode="after")
    def _file_or_numbers(self) -> CameraConfig:
        numbers = self.model_fields_set - {"file", "gain_error"}
        if self.file is not None and numbers:
            raise ValueError(
                f"has a camera file and also {sorted(numbers)}: which one holds? "
                "Use either the file or the numbers"
            )
        return self


class BackgroundConfig(_Strict):
    """Light between the emitters.

    Attributes
    ----------
    photons : (low, high)
        Photons per pixel and frame; log-uniform from sample to sample.
    structure : float
        Largest relative amplitude of smooth variations of the background.
    scales_px : tuple[float, ...]
        Length scales of these variations, camera pixels, in equal parts.
    """

    photons: Range
    structure: NotNegative = 0.3
    scales_px: tuple[Positive, ...] = (7.0, 20.0)


class ScheduleConfig(_Strict):
    """Duration and rates of the training.

    Attributes
    ----------
    steps : int
        Steps of the optimizer, over which the learning rate falls to zero.
    windows : int
        Three-frame windows per simulated movie: consecutive ones share frames, which
        makes them cheaper.
    batch : int
        Simulated movies per step.
    crop_px : int
        Width and height of a simulated movie, camera pixels.
    learning_rate : float
        Peak learning rate.
    weight_decay : float
        Weight decay of the optimizer.
    ema : float
        Decay per step of the moving average of the weights, which is what is kept.
    clip_norm : float
        Maximum norm of the gradient; larger ones are scaled down to it.
    seed : int
        Seed of the initial weights and the simulated movies.
    """

    steps: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)] = 8
    windows: Annotated[int, Field(gt=0)] = 3
    crop_px: Annotated[int, Field(gt=0, multiple_of=8)] = 40
    learning_rate: Positive = 4e-3
    weight_decay: NotNegative = 0.3
    ema: Annotated[float, Field(gt=0, lt=1)] = 0.999
    clip_norm: Positive = 3.0
    seed: int = 1


class ThresholdConfig(_Strict):
    """Probabilities that decide what becomes a localization.

    Attributes
    ----------
    seed : float
        Minimum probability of a cell from which an emitter is reported.
    split : float
        A cell above this is an emitter of its own, even beside a likelier one.
    final : float
        Minimum probability of the emitter: its cell's and its neighbours' that agree.
    """

    seed: Annotated[float, Field(gt=0, lt=1)] = 0.1
    split: Annotated[float, Field(gt=0, le=1)] = 0.85
    final: Annotated[float, Field(gt=0, le=1)] = 0.4


@dataclass(frozen=True, slots=True)
class Optics:
    """PSF and camera, which stand between an emitter and its counts.

    Attributes
    ----------
    psf : PSF
        In the middle of the range if the configuration has one.
    camera : CameraCalibration
        Camera with its maps, if it has any.
    """

    psf: PSF
    camera: CameraCalibration


class TrainingConfig(_Strict):
    """One network: the data it is for, and how it is trained.

    Attributes
    ----------
    name : str
        Name of the network, and of its bundle.
    description : str
        A line about the network, for people.
    preset : {"live", "dense", "decode"}
        Size of the network; see docs/training.md.
    context : bool
        Whether the network sees three frames; false trains one that sees a single
        frame, for comparison.
    pixel_size_nm : float
        Edge of a camera pixel in the sample, nm.
    psf : section
        PSF of the microscope; `kind` decides which keys it has.
    z_range_nm : (low, high), optional
        Depths at which emitters are simulated, nm; without it the network is 2D.
    focus_drift_nm : float
        Standard deviation of the change of focus from one frame to the next, nm.
    emitters : EmitterConfig
        Density, brightness and on-time of the emitters.
    camera : CameraConfig
        Noise of the camera.
    background : BackgroundConfig
        Light between the emitters.
    schedule : ScheduleConfig
        How long to train, and how fast.
    thresholds : ThresholdConfig
        Probabilities that decide what becomes a localization.
    """

    name: str
    description: str = ""
    preset: Literal["live", "dense", "decode"] = "live"
    context: bool = True
    pixel_size_nm: Positive
    psf: PSFConfig
    z_range_nm: tuple[Finite, Finite] | None = None
    focus_drift_nm: NotNegative = 0.0
    emitters: EmitterConfig
    camera: CameraConfig = CameraConfig()
    background: BackgroundConfig
    schedule: ScheduleConfig
    thresholds: ThresholdConfig = ThresholdConfig()

    @model_validator(mode="after")
    def _can_work(self) -> TrainingConfig:
        for reason in _contradictions(self):
            raise ValueError(reason)
        return self

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read and check a YAML file; paths in it are relative to it.

        Raises
        ------
        SettingsError
            Missing file, unknown key (the nearest valid one is named), bad value,
            or a combination that cannot work.
        """
        config = load_yaml(path, cls)
        changes: dict[str, BaseModel] = {}
        if isinstance(config.psf, SplineConfig):
            file = path.parent / config.psf.file
            changes["psf"] = config.psf.model_copy(update={"file": file})
        if config.camera.file is not None:
            file = path.parent / config.camera.file
            changes["camera"] = config.camera.model_copy(update={"file": file})
        return config.model_copy(update=changes)

    def without_folders(self) -> TrainingConfig:
        """Return the configuration as kept in a bundle: files by their names only."""
        changes: dict[str, BaseModel] = {}
        if isinstance(self.psf, SplineConfig):
            name = Path(self.psf.file.name)
            changes["psf"] = self.psf.model_copy(update={"file": name})
        if self.camera.file is not None:
            name = Path(self.camera.file.name)
            changes["camera"] = self.camera.model_copy(update={"file": name})
        return self.model_copy(update=changes)

    def optics(self) -> Optics:
        """Read the PSF and the camera, and check that they match.

        Raises
        ------
        SettingsError
            A file is missing or damaged, pixel sizes differ, or depths are beyond the
            calibrated ones.
        """
        return Optics(self._psf(), self._camera())

    @property
    def has_one_psf(self) -> bool:
        """Whether all emitters at a depth have one shape, not a range of widths."""
        if not isinstance(self.psf, GaussianConfig):
            return True
        narrowest, widest = self.psf.sigma_px
        return narrowest == widest

    def _psf(self) -> PSF:
        psf = self.psf
        if isinstance(psf, GaussianConfig):
            return GaussianPSF(sigma_px=math.sqrt(psf.sigma_px[0] * psf.sigma_px[1]))
        if isinstance(psf, DoubleHelixConfig):
            return DoubleHelixPSF(**psf.model_dump(exclude={"kind"}))
        if isinstance(psf, AstigmaticConfig):
            x, y = (Defocus(**axis.model_dump()) for axis in (psf.x, psf.y))
            return AstigmaticPSF(x=x, y=y)
        spline, _ = open_psf(psf.file, self.pixel_size_nm)
        _check_spline(spline, self, psf.file)
        return spline

    def _camera(self) -> CameraCalibration:
        camera = self.camera
        if camera.file is not None:
            return load_camera(camera.file).calibration
        return CameraCalibration(
            offset_adu=0.0,
            e_per_adu=camera.e_per_adu,
            em_gain=camera.em_gain,
            qe=camera.qe,
            read_noise_e=camera.read_noise_e,
            saturation_adu=math.inf,
        )


def _contradictions(config: TrainingConfig) -> list[str]:
    """Return what cannot work in a configuration, most basic first."""
    found = []
    flat = config.psf.kind == "gaussian"
    if flat and config.z_range_nm is not None:
        found.append(
            f"z_range_nm is {list(config.z_range_nm)} with a gaussian PSF: a round "
            "Gaussian does not show z. Leave z_range_nm out, or use a PSF that "
            "changes with depth"
        )
    if config.psf.kind in ("astigmatic", "double_helix") and config.z_range_nm is None:
        found.append(
            "z_range_nm is missing, the range of depths that a PSF of the kind "
            f"{config.psf.kind} covers. Set it, such as [-500, 500]"
        )
    if (
        config.z_range_nm is not None
        and config.z_range_nm[1] - 1 < config.z_range_nm[0]
    ):
        found.append(
            f"z_range_nm is {list(config.z_range_nm)}: must be [lowest, highest] in nm"
        )
    for name, bounds in _ranges(config):
        if bounds[0] > bounds[1]:
            found.append(f"{name} is {list(bounds)}: must be [lowest, highest]")
    widths = _narrowest_px(config)
    if widths is not None and widths < NARROWEST_PSF_PX:
        found.append(
            f"the PSF's narrowest sigma is {widths:g} px: below {NARROWEST_PSF_PX} px "
            "all light falls on one pixel, whatever the position within it. Are these "
            "pixels, not micrometres?"
        )
    if not 10 <= config.pixel_size_nm <= 1000:
        found.append(
            f"pixel_size_nm is {config.pixel_size_nm:g}: camera pixels in the sample "
            "measure 10 to 1000 nm. Are these micrometres?"
        )
    if widths is not None:
        area = math.pi * (2 * widths * config.pixel_size_nm / 1000) ** 2
        crowd = config.emitters.density_per_um2[1] * area
        if crowd > TOO_DENSE_PER_PSF:
            found.append(
                f"emitters.density_per_um2 is {list(config.emitters.density_per_um2)}: "
                f"{crowd:.0f} emitters within one PSF cannot be resolved. Are these "
                "per pixel, or per field?"
            )
    if config.emitters.label_photons >= config.emitters.photons[1]:
        found.append(
            f"emitters.label_photons is {config.emitters.label_photons:g}, above the "
            f"brightest emitters ({config.emitters.photons[1]:g}): nothing is left to "
            "find"
        )
    return found


def _ranges(config: TrainingConfig) -> list[tuple[str, Range]]:
    emitters = config.emitters
    ranges = [
        ("emitters.density_per_um2", emitters.density_per_um2),
        ("emitters.photons", emitters.photons),
        ("emitters.on_time_frames", emitters.on_time_frames),
        ("background.photons", config.background.photons),
        ("camera.gain_error", config.camera.gain_error),
    ]
    if isinstance(config.psf, GaussianConfig):
        ranges.append(("psf.sigma_px", config.psf.sigma_px))
    return ranges


def _narrowest_px(config: TrainingConfig) -> float | None:
    """Return the smallest width of the PSF, if the configuration states it."""
    psf = config.psf
    if isinstance(psf, GaussianConfig):
        return psf.sigma_px[0]
    if isinstance(psf, AstigmaticConfig):
        return min(psf.x.sigma_px, psf.y.sigma_px)
    return psf.sigma_px if isinstance(psf, DoubleHelixConfig) else None


def _check_spline(psf: SplinePSF, config: TrainingConfig, path: Path) -> None:
    """Refuse a PSF measured with other pixels or over too small a range of z."""
    if abs(psf.pixel_size_nm / config.pixel_size_nm - 1) > 0.02:
        raise SettingsError(
            f"{path}: measured with pixels of {psf.pixel_size_nm:g} nm, the "
            f"configuration has {config.pixel_size_nm:g} nm. One of them is wrong."
        )
    low, high = config.z_range_nm or (0.0, 0.0)
    if low < psf.z_low_nm - 1 or high > psf.z_high_nm + 1:
        raise SettingsError(
            f"{path}: measured from {psf.z_low_nm:.0f} to {psf.z_high_nm:.0f} nm, "
            f"z_range_nm is {low:.0f} to {high:.0f}. Set a range within it."
        )
