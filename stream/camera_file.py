"""The camera file: what a camera's counts mean, as YAML, with maps in an .npz beside.

One file for each camera and readout mode. `liveloc calibrate camera` writes it; a
session, a replay and a training name it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .calibration import CameraCalibration
from .camera_maps import read_maps, replace_file, write_maps
from .errors import SettingsError
from .files.yaml_file import load_yaml, to_yaml
from .pixel_size import PixelSizeNm

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LevelRecord(_Strict):
    """One level of light that the gain was measured at.

    Attributes
    ----------
    file : str
        Name of the stack.
    frames : int
        Its frames.
    signal_adu : float
        Mean counts above the dark frames.
    variance_adu2 : float
        Mean variance of a pixel in time, lamp corrected, dark variance subtracted.
    e_per_adu : float, optional
        Gain from this level alone.
    flicker : float
        Standard deviation of the lamp from frame to frame, relative; corrected for.
    used : bool
        It counts in the result.
    reason : str
        Why it does not.
    """

    file: str
    frames: Count
    signal_adu: float
    variance_adu2: float
    e_per_adu: float | None = None
    flicker: float = 0.0
    used: bool = True
    reason: str = ""


class Measurement(_Strict):
    """Where the numbers of a camera file come from.

    Attributes
    ----------
    method, date, program : str
        How, when (UTC) and with what they were measured.
    dark_file, dark_frames : str, int
        The stack without light.
    levels : tuple[LevelRecord, ...]
        Each level of light.
    residual : float
        Standard deviation of the gains of the levels used, relative.
    notes : tuple[str, ...]
        What was found on the way.
    """

    method: str = ""
    date: str = ""
    program: str = ""
    dark_file: str = ""
    dark_frames: Count = 0
    levels: tuple[LevelRecord, ...] = ()
    residual: NotNegative = 0.0
    notes: tuple[str, ...] = ()


class CameraFile(_Strict):
    """What the YAML says.

    Attributes
    ----------
    name : str
        Camera and readout mode, for people.
    offset_adu, e_per_adu, em_gain, qe, read_noise_e, saturation_adu : float
        See `CameraCalibration`; for a camera with maps their medians.
    pixel_size_nm : float, optional
        Edge of a pixel in the sample plane, where the camera stays on one microscope.
    maps : Path, optional
        An .npz with any of the arrays ``offset_adu``, ``e_per_adu`` and
        ``read_noise_e``, (height, width) each, beside the YAML. They take precedence.
    roi_origin : tuple[int, int]
        (x, y) = (column, row) of the chip where the maps begin.
    measurement : Measurement, optional
        Where the numbers come from.
    """

    name: str = ""
    offset_adu: Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
    e_per_adu: Positive
    em_gain: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)] = 1.0
    qe: Annotated[float, Field(gt=0, le=1)] = 1.0
    read_noise_e: NotNegative
    saturation_adu: Positive = 65535.0
    pixel_size_nm: PixelSizeNm | None = None
    maps: Path | None = None
    roi_origin: tuple[Count, Count] = (0, 0)
    measurement: Measurement | None = None

    @classmethod
    def of(
        cls,
        calibration: CameraCalibration,
        *,
        name: str = "",
        pixel_size_nm: float | None = None,
        measurement: Measurement | None = None,
    ) -> CameraFile:
        """Describe a calibration."""
        numbers = calibration.typical
        return cls(
            name=name,
            offset_adu=short(numbers.offset_adu),
            e_per_adu=short(numbers.e_per_adu),
            em_gain=numbers.em_gain,
            qe=numbers.qe,
            read_noise_e=short(numbers.read_noise_e),
            saturation_adu=numbers.saturation_adu,
            pixel_size_nm=pixel_size_nm,
            roi_origin=calibration.origin,
            measurement=measurement,
        )

    @property
    def numbers(self) -> CameraCalibration:
        """The calibration without maps."""
        return CameraCalibration(
            offset_adu=self.offset_adu,
            e_per_adu=self.e_per_adu,
            em_gain=self.em_gain,
            qe=self.qe,
            read_noise_e=self.read_noise_e,
            saturation_adu=self.saturation_adu,
        )


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera file and its maps.

    Attributes
    ----------
    file : CameraFile
        As written.
    calibration : CameraCalibration
        With its maps, on the chip.
    """

    file: CameraFile
    calibration: CameraCalibration

    @property
    def pixel_size_nm(self) -> float | None:
        """Edge of a pixel in the sample plane, if the file says it."""
        return self.file.pixel_size_nm


def load_camera(path: str | Path) -> Camera:
    """Read a camera file and its maps.

    Raises
    ------
    SettingsError
        One line that names the file, the key and what is needed.
    """
    path = Path(path)
    file = load_yaml(path, CameraFile)
    calibration = file.numbers
    if file.maps is not None:
        maps = read_maps(path.parent / file.maps)
        calibration = replace(
            calibration,
            **maps,  # type: ignore[arg-type]
            origin=file.roi_origin,
        )
    return Camera(file, calibration)


def save_camera(path: str | Path, camera: Camera) -> None:
    """Write a camera file, whole or not at all, after its maps.

    The maps go to the same name with ``.npz``. A file that is there is replaced.

    Raises
    ------
    SettingsError
        Its name does not end in ``.yaml``, or the disk refused it.
    """
    path = Path(path)
    if path.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"{path}: a camera file is YAML. Call it {path.stem}.yaml.")
    maps = path.with_suffix(".npz") if camera.calibration.has_maps else None
    plain = camera.file.model_dump(
        mode="json", exclude_none=True, exclude={"maps", "roi_origin", "measurement"}
    )
    if maps is not None:
        plain |= {"maps": maps.name, "roi_origin": list(camera.calibration.origin)}
    if (measurement := camera.file.measurement) is not None:
        said = measurement.model_dump(mode="json", exclude_defaults=True)
        plain["measurement"] = said
    text = to_yaml(plain)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if maps is not None:
            write_maps(maps, camera.calibration)
        replace_file(path, text.encode())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written: {error}") from None


def short(value: object) -> float:
    """Round to six digits: no camera is known better."""
    return float(f"{value:.6g}")
