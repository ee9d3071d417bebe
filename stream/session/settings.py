"""The settings of a session: one YAML file, checked before anything starts."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..calibration import CameraCalibration
from ..camera_file import Camera, load_camera, save_camera
from ..density import BLOCK_FRAMES
from ..errors import SettingsError
from ..files.input_file import regular_file
from ..files.session_folder import SessionFolder
from ..files.yaml_file import check, load_yaml, to_yaml
from ..pixel_size import PixelSizeNm

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
# Limits of the simulated microscope: beyond any sample, or any computer's memory.
MOST_PHOTONS = 1e6  # per pixel or spot and exposure
Photons = Annotated[float, Field(ge=0, le=MOST_PHOTONS)]
PerArea = Annotated[float, Field(ge=0, le=1000)]
Frames = Annotated[float, Field(gt=0, le=1e6)]
Drift = Annotated[float, Field(ge=-1e6, le=1e6)]
Edge = Annotated[int, Field(ge=1, le=8192)]
_IN_CAMERA_FILE = ("offset_adu", "e_per_adu", "em_gain", "qe", "read_noise_e")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraSection(_Section):
    """Which camera, and what its counts mean.

    Attributes
    ----------
    config : str
        ``simulated``, ``demo``, or the path of a Micro-Manager ``.cfg``.
    device : str, optional
        Label of the camera; the configuration's own if not given.
    binning : int, optional
        Pixels of the chip along an edge of a pixel of a frame; unchanged if not given.
    properties : dict
        Properties of the camera, set after the binning: ``{TriggerMode: External}``.
    roi : (x, y, width, height), optional
        Region of the chip in pixels of the frames, binning included; unchanged if not
        given.
    exposure_ms : float, optional
        Exposure time, ms; the camera's own if not given.
    interval_ms : float, optional
        Time from frame to frame, ms, if it is longer than the exposure or set by a
        trigger.
    buffer_mib : int, optional
        Size of Micro-Manager's circular buffer, MiB; room for 10 s if not given.
    patience_s : float
        Time without a frame after which the camera has failed, s; 0 waits for ever,
        for triggers that pause.
    frames : int
        Exposures to take; 0 goes on until stopped.
    plan : Path, optional
        A useq MDASequence (YAML) along time, relative to the session file, in place of
        `frames` and `interval_ms`.
    pixel_size_nm : float, optional
        Edge of a pixel of the frames in the sample, nm, binning included.
    calibration_file : Path, optional
        Camera file, relative to the session file. It replaces the keys below, and
        sets the pixel size if that is not given here.
    offset_adu : float, optional
        Counts of a dark pixel, ADU. Set it together with `e_per_adu`; without both,
        they are estimated from the first frames.
    e_per_adu : float, optional
        Electrons per count, before the EM gain is divided out.
    em_gain : float
        Mean EM gain; 1 without electron multiplication.
    qe : float
        Quantum efficiency; 1 to count detected photons.
    read_noise_e : float
        Standard deviation of a dark pixel, electrons at the output, after EM gain.
    """

    config: str = "simulated"
    device: str | None = None
    binning: Annotated[int, Field(ge=1)] | None = None
    properties: dict[str, str | int | float | bool] = {}
    roi: tuple[int, int, int, int] | None = None
    exposure_ms: Positive | None = None
    interval_ms: Positive | None = None
    buffer_mib: Annotated[int, Field(ge=1)] | None = None
    patience_s: NotNegative = 30.0
    plan: Path | None = None
    frames: Annotated[int, Field(ge=0)] = 0
    pixel_size_nm: PixelSizeNm | None = None
    calibration_file: Path | None = None
    offset_adu: NotNegative | None = None
    e_per_adu: Positive | None = None
    em_gain: Positive = 1.0
    qe: Annotated[float, Field(gt=0, le=1)] = 1.0
    read_noise_e: NotNegative = 1.6

    @model_validator(mode="after")
    def _plan_or_frames(self) -> CameraSection:
        if self.plan is not None and (self.frames or self.interval_ms):
            raise ValueError(
                "frames or interval_ms are set beside plan, which sets them. Leave "
                "one of them out"
            )
        return self

    @model_validator(mode="after")
    def _say_it_once(self) -> CameraSection:
        fields = type(self).model_fields
        twice = [n for n in _IN_CAMERA_FILE if getattr(self, n) != fields[n].default]
        if self.calibration_file is not None and twice:
            raise ValueError(
                f"{twice[0]} is set beside calibration_file, which has it. Leave "
                "one of them out"
            )
        return self

    def load_file(self) -> Camera | None:
        """Read the camera file, if one is named; raises SettingsError."""
        if self.calibration_file is None:
            return None
        return load_camera(self.calibration_file)

    def stated_calibration(self) -> CameraCalibration | None:
        """Return the calibration written here; None asks for an estimate."""
        if self.offset_adu is None or self.e_per_adu is None:
            return None
        return CameraCalibration(
            offset_adu=self.offset_adu,
            e_per_adu=self.e_per_adu,
            em_gain=self.em_gain,
            qe=self.qe,
            read_noise_e=self.read_noise_e,
        )


class SimulationSection(_Section):
    """The simulated microscope: a sample of microtubules, two lasers, a camera.

    Attributes
    ----------
    shape : tuple[int, int]
        (height, width) of the chip, pixels.
    seed : int
        Seed of the sample, the photophysics and the noise. The same seed and the
        same laser powers in every frame give the same movie.
    density_per_um2 : float
        Fluorophores emitting at any moment per um2 of a fresh sample at the
        default powers, when the activation has settled.
    power_mw : float
        Default power of the 405 nm laser.
    highest_mw : float
        Highest power of the 405 nm laser; the lowest is 0.
    excitation_mw : float
        Default power of the 561 nm laser, on when the microscope opens: the power at
        which on-time, photons and background are those given here. Photons per frame,
        background, and the rate at which emissions end are proportional to it.
    highest_excitation_mw : float
        Highest power of the 561 nm laser; the lowest is 0.
    spontaneous_density_per_um2 : float
        Density that the excitation alone adds on a fresh sample. Both activation and
        the rate of switching off are proportional to its power, so that this density
        is the same at any power.
    fluorophores_per_um2 : float
        Reservoir of fluorophores. The more there are, the slower the density falls:
        250 lose about a tenth in 3,000 frames at the defaults.
    photons : float
        Mean detected photons of an emitter that is on for a whole frame, at the
        default excitation.
    photon_spread : float
        Relative standard deviation of the brightness between emissions.
    on_time_frames : float
        Mean of the exponential on-time, frames, at the default excitation.
    bleach_probability : float
        Probability that an emission is the last one; 0.25 gives four on average.
    blink_probability : float
        Probability that an on-time is followed by a short dark state and another
        on-time of the same emission.
    blink_frames : float
        Mean duration of the short dark state, frames.
    background : float
        Mean background, photons per pixel and frame; one eighth higher over the
        cell, one eighth lower away from it.
    background_per_mw : float
        Background added per mW of 405 nm light, photons per pixel and frame.
    background_rise : float
        Linear growth of `background` in 1,000 exposures, as a fraction of it.
    drift_nm_per_s : tuple[float, float, float]
        Steady drift of the sample along x, y and z, nm/s.
    drift_walk_nm : tuple[float, float, float]
        Random walk along x, y and z on top of it: standard deviation after one
        second; it grows with the square root of the time.
    fiducials : int
        Beads in the field that shine in every frame and drift with the sample, as
        specks of dust do, too. They are in no truth table.
    fiducial_photons : float
        Detected photons per bead and frame, at the default excitation.
    hot_pixels : int
        Pixels of the chip with a signal that is not due to light.
    hot_pixel_photons : float
        Signal of a hot pixel, photons per frame.
    events : list of (exposure, name, value)
        Faults and changes of the sample, such as ``[2000, camera, unplug]`` or
        ``[1000, on_time, 3]``; exposures count from 0 when the microscope opens. See
        docs/simulated.md.
    camera : {"scmos", "scmos_maps", "emccd"}
        An sCMOS with all pixels alike, one with offset, gain and read noise of its
        own in each pixel, or an EMCCD.
    """

    shape: tuple[Edge, Edge] = (128, 128)
    seed: Annotated[int, Field(ge=0)] = 1
    density_per_um2: PerArea = 0.2
    photons: Annotated[float, Field(gt=0, le=MOST_PHOTONS)] = 2500.0
    background: Photons = 10.0
    camera: Literal["scmos", "scmos_maps", "emccd"] = "scmos"
    power_mw: Positive = 5.0
    highest_mw: Positive = 50.0
    excitation_mw: Positive = 50.0
    highest_excitation_mw: Positive = 200.0
    spontaneous_density_per_um2: PerArea = 0.0
    fluorophores_per_um2: Annotated[float, Field(gt=0, le=1e5)] = 250.0
    on_time_frames: Frames = 6.0
    bleach_probability: Annotated[float, Field(ge=0, le=1)] = 0.25
    photon_spread: Annotated[float, Field(ge=0, le=10)] = 0.15
    blink_probability: Annotated[float, Field(ge=0, le=0.99)] = 0.0
    blink_frames: Frames = 2.0
    background_per_mw: Photons = 0.0
    background_rise: Photons = 0.0
    drift_nm_per_s: tuple[Drift, Drift, Drift] = (0.0, 0.0, 0.0)
    drift_walk_nm: tuple[Drift, Drift, Drift] = (0.0, 0.0, 0.0)
    fiducials: Annotated[int, Field(ge=0, le=10_000)] = 0
    fiducial_photons: Photons = 10_000.0
    hot_pixels: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    hot_pixel_photons: Photons = 200.0
    events: tuple[tuple[int, str, float | str], ...] = ()


class ShutterSection(_Section):
    """Backup shutter that blocks the beam when the laser does not answer.

    Attributes
    ----------
    device : str
        Label of a shutter, or of a device that enables the laser. Choose one with a
        driver of its own: a driver that hangs may block all of its devices.
    property : str
        Property of that device which opens and closes it.
    closed : str or number
        Value that blocks the light.
    open : str or number, optional
        Value that is set when the session begins; without it the shutter is never
        opened.
    after_s : float
        Time after which a laser that has not answered is shut off, s.
    """

    device: str
    property: str = "State"
    closed: int | float | str = 0
    open: int | float | str | None = None
    after_s: Positive = 0.4


class LaserSection(_Section):
    """The activation laser: a property of a device, inside fixed limits.

    Attributes
    ----------
    device : str, optional
        Label of the laser in Micro-Manager. Without one no laser is touched; the
        simulated microscope has its own.
    property : str, optional
        Property of that device which sets the power.
    power : float, optional
        Power to begin with, in `unit`; `safe` if not given.
    safe : float
        Power to which the laser goes when anything ends or fails, in `unit`.
    lowest : float
        Lowest power that a control law may set, in `unit`.
    highest : float, optional
        Highest power that may ever be set, in `unit`.
    unit : str
        Unit of the powers, for display; nothing is converted.
    slew_percent_per_s : float
        Fastest rise that a control law may cause, percent of the present power per
        second; the power may fall at once.
    floor : float, optional
        Power that may always be reached in one step, so that the laser can leave 0.
        If not given: 1 % of `highest`, or one `quantum` if that is more.
    quantum : float
        Smallest step of the device, in `unit`; 0 if it takes any power.
    settle_s : float
        Time that the device needs after a setting, s; no other power is set meanwhile.
    uj_per_frame : float or list of (power, uJ), optional
        Energy per frame at one unit of power, uJ, or a table of (power, uJ),
        interpolated linearly.
    dose_budget_uj : float, optional
        Energy after which the power goes to `lowest`, uJ; needs `uj_per_frame`.
    shutter : ShutterSection, optional
        Backup shutter, closed when the laser does not answer or does not go to its
        safe level.
    """

    device: str | None = None
    property: str | None = None
    power: NotNegative | None = None
    safe: NotNegative = 0.0
    lowest: NotNegative = 0.0
    highest: Positive | None = None
    unit: str = "mW"
    slew_percent_per_s: Positive = 1000.0
    floor: Positive | None = None
    quantum: NotNegative = 0.0
    settle_s: NotNegative = 0.0
    uj_per_frame: Positive | list[tuple[NotNegative, NotNegative]] | None = None
    dose_budget_uj: Positive | None = None
    shutter: ShutterSection | None = None

    @model_validator(mode="after")
    def _check_dose(self) -> LaserSection:
        table = self.uj_per_frame
        if self.dose_budget_uj is not None and table is None:
            raise ValueError(
                "dose_budget_uj is given without uj_per_frame, by which power becomes "
                "dose. Give both"
            )
        if isinstance(table, list):
            powers = [power for power, _ in table]
            if len(table) < 2 or any(b <= a for a, b in pairwise(powers)):
                raise ValueError(
                    "uj_per_frame needs two or more pairs of power and uJ, powers "
                    "rising from pair to pair"
                )
        return self

    def start_power(self) -> float:
        """Return the power to begin with: `power`, or `safe` without one."""
        return self.safe if self.power is None else self.power


class StopSection(_Section):
    """When an acquisition ends by itself, apart from its number of frames.

    Each rule is off if not given. The rule that ended it, with its evidence, is in
    ``control.jsonl`` and in the report. Density and precision are those that the
    engine reports, so these rules need one.

    Attributes
    ----------
    minutes : float, optional
        Time since the first frame, minutes.
    at_highest_s : float, optional
        Time that the laser has spent at its highest power, s.
    density_below_per_um2 : float, optional
        The session ends when the density stays below this for `density_below_s`,
        emitters per um2.
    density_below_s : float
        Time that the density must stay below `density_below_per_um2`, s.
    dose : float, optional
        Accumulated power times time, in the laser's unit times seconds.
    resolution_nm : float, optional
        Resolution to reach, from precision and sampling, nm: the square root of
        (2.355 sigma)^2 + (2 / sqrt(localizations per area))^2.
    free_disk_gib : float
        Free space on the session's disk below which it ends, GiB.
    """

    minutes: Positive | None = None
    at_highest_s: Positive | None = None
    density_below_per_um2: Positive | None = None
    density_below_s: Positive = 10.0
    dose: Positive | None = None
    resolution_nm: Positive | None = None
    free_disk_gib: NotNegative = 0.5


class ControlSection(_Section):
    """How the activation laser follows the density of emitters.

    Attributes
    ----------
    law : str
        ``constant``: no feedback; else the name of a control law, see docs/control.md.
    options : dict
        Options of the law.
    target_per_um2 : float, "present", or list of (frame, float), optional
        Density to hold: emitters that are on, per um2 and frame. ``present`` is the
        density measured in the first `settle_frames` frames, at `laser.power`. A list
        of (frame, density) changes the target during the acquisition.
    highest_target_per_um2 : float
        Highest target that may be requested while the session runs.
    settle_frames : int
        Frames over which ``present`` is measured.
    region : (x, y, width, height), optional
        Region of the chip, in pixels, in which emitters count; all of it if not given.
    block_frames : int
        Minimum frames in a measurement of the density.
    ticks_per_s : float
        Maximum decisions per second.
    dry_run : bool
        Decide and log it, but leave the laser at `laser.power`.
    stop : StopSection
        Rules that end the acquisition.
    """

    law: str = "constant"
    options: dict[str, Any] = {}
    target_per_um2: (
        Positive | Literal["present"] | list[tuple[int, Positive]] | None
    ) = None
    highest_target_per_um2: Positive = 5.0
    settle_frames: Annotated[int, Field(ge=1)] = 100
    region: tuple[int, int, int, int] | None = None
    block_frames: Annotated[int, Field(ge=1, le=10_000)] = BLOCK_FRAMES
    ticks_per_s: Positive = 50.0
    dry_run: bool = False
    stop: StopSection = StopSection()

    @model_validator(mode="after")
    def _target_is_allowed(self) -> ControlSection:
        given = self.target_per_um2
        steps = given if isinstance(given, list) else [(0, given)]
        for _, density in steps:
            if not isinstance(density, int | float):
                continue
            if density > self.highest_target_per_um2:
                raise ValueError(
                    f"target_per_um2 is {density:g}, above highest_target_per_um2, "
                    f"which is {self.highest_target_per_um2:g}. Lower one or raise the "
                    "other"
                )
        return self


class StreamSection(_Section):
    """How frames travel and whether they are kept.

    Attributes
    ----------
    frames_endpoint : str, optional
        ZeroMQ address of the frames, on this machine only. If not given, `run` picks
        a free port, and a process that is started alone uses port 5555.
    localizations_endpoint : str, optional
        ZeroMQ address of the localizations, likewise; port 5556.
    policy : {"drop_block", "stop"}
        What happens when the engine has no room for more frames: leave out a block
        of them, or end the stream.
    record : bool
        Keep every frame on disk, beside the results, before any is dropped.
    """

    frames_endpoint: str | None = None
    localizations_endpoint: str | None = None
    policy: Literal["drop_block", "stop"] = "drop_block"
    record: bool = False


class EngineSection(_Section):
    """The network that localizes, and what it may use.

    Attributes
    ----------
    model : str
        Name of a shipped bundle, or path of a ``.liveloc`` file.
    refine : bool
        Fit emitters again with the PSF that the network was trained on.
    provider : {"cpu", "cuda", "tensorrt"}
        Execution provider of ONNX Runtime that runs the network.
    threads : int
        CPU threads that the network may use.
    max_batch : int
        Largest number of frames in a batch; fewer if the frames are large.
    memory_gib : float
        Maximum memory for the network's batches, GiB; a stream whose frames need more
        is refused.
    ring_frames : int
        Capacity of the engine's frame buffer, frames.
    """

    model: str = "gaussian-2d"
    refine: bool = False
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    memory_gib: Positive = 8.0
    ring_frames: Annotated[int, Field(ge=8, le=65536)] = 256


class ViewerSection(_Section):
    """What is shown.

    Attributes
    ----------
    super_pixel_nm : float
        Pixel size of the super-resolution image, nm.
    """

    super_pixel_nm: Positive = 20.0


class SessionSettings(_Section):
    """Everything a session runs with; written next to its results.

    Attributes
    ----------
    camera : CameraSection
        Which camera, and what its counts mean.
    simulation : SimulationSection
        The simulated microscope, with ``camera: {config: simulated}``.
    laser : LaserSection
        The activation laser and its limits.
    control : ControlSection
        How the laser follows the density of emitters.
    stream : StreamSection
        How frames travel, and whether they are recorded.
    engine : EngineSection
        The network, and what it may use of the computer.
    viewer : ViewerSection
        What the viewer shows.
    """

    camera: CameraSection = CameraSection()
    simulation: SimulationSection = SimulationSection()
    laser: LaserSection = LaserSection()
    control: ControlSection = ControlSection()
    stream: StreamSection = StreamSection()
    engine: EngineSection = EngineSection()
    viewer: ViewerSection = ViewerSection()

    @classmethod
    def load(cls, path: Path) -> SessionSettings:
        """Read a session file, or the one in a session's folder.

        Raises
        ------
        SettingsError
            One line that names the file, the key and the remedy.
        """
        path = Path(path)
        path = SessionFolder(path).settings if path.is_dir() else path
        settings = load_yaml(path, cls)
        file, plan = settings.camera.calibration_file, settings.camera.plan
        options = settings.control.options
        if isinstance(options.get("path"), str):
            options = options | {"path": str(path.parent / options["path"])}
        return settings.changed(
            str(path),
            camera__calibration_file=None if file is None else path.parent / file,
            camera__plan=None if plan is None else path.parent / plan,
            control__options=options,
        )

    def changed(self, where: str = "command line", **values: Any) -> SessionSettings:
        """Override single values, named ``section__key``; None changes nothing."""
        data = self.model_dump()
        for name, value in values.items():
            section, key = name.split("__")
            if value is not None:
                data[section][key] = value
        return check(data, SessionSettings, where)

    def with_camera_file(self, path: Path | None) -> SessionSettings:
        """Take what the camera's counts mean from a file; None changes nothing."""
        if path is None:
            return self
        data = self.model_dump()
        for name in _IN_CAMERA_FILE:
            del data["camera"][name]
        data["camera"]["calibration_file"] = path
        return check(data, SessionSettings, "command line")

    def save(self, folder: Path) -> Path:
        """Write the settings as run, with the files they name, into a session's folder.

        Raises
        ------
        SettingsError
            A file that they name cannot be read.
        """
        path = SessionFolder(folder).settings
        plain = self.model_dump(mode="json")
        if camera := self.camera.load_file():
            file = SessionFolder(folder).camera
            save_camera(file, camera)
            plain["camera"]["calibration_file"] = file.name
        if self.camera.plan is not None:
            plain["camera"]["plan"] = _copied(self.camera.plan, folder)
        if isinstance(named := self.control.options.get("path"), str):
            plain["control"]["options"]["path"] = _copied(Path(named), folder)
        text = to_yaml(plain)
        path.write_text(text, encoding="utf-8")
        return path


def _copied(file: Path, folder: Path) -> str:
    """Copy a file that settings name beside them; return its name."""
    target = folder / regular_file(file).name
    try:
        if file.resolve() != target.resolve():
            shutil.copyfile(file, target)
    except OSError as error:
        raise SettingsError(
            f"{file}: cannot be read: {error.strerror}. Check the path."
        ) from None
    return file.name
