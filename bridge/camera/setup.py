"""Choosing and setting up a camera of Micro-Manager, every answer checked."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetPydanticSchema, ValidationError
from pydantic_core.core_schema import is_instance_schema
from pymmcore_plus import DeviceType

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import explain
from liveloc.stream.pixel_size import check_pixel_size
from liveloc.stream.session.settings import CameraSection

from .properties import BINNING, binning_of, one_line, set_binning, set_properties
from .running_queries import property_of

if TYPE_CHECKING:
    from liveloc.stream.frames import PixelType

    Roi = tuple[int, int, int, int]

SERIAL_PROPERTIES = ("SerialNumber", "Serial Number", "S/N", "CameraID", "CameraName")
MOST_DESCRIBED = 128  # properties of the camera, and
MOST_DESCRIBED_BYTES = 16 << 10  # their text, in START
BUFFER_SECONDS = 10.0
BUFFER_MIB = (64, 1024)  # least and most, when not set

_log = logging.getLogger(__name__)


# An object that is taken as it is: pydantic would look into its fields.
Calibration = Annotated[
    CameraCalibration,
    GetPydanticSchema(lambda *_: is_instance_schema(CameraCalibration)),
]


class CameraSettings(CameraSection):
    """The ``camera`` section of a session file, with the calibration it leads to.

    `config` and `plan` are for `run_bridge`; a source has its core already.

    Attributes
    ----------
    device : str, optional
        The keyword ``camera`` means the same.
    calibration : CameraCalibration, optional
        Of the whole chip. If not given, that of `calibration_file`, or of `offset_adu`
        and `e_per_adu`; None asks for an estimate.

    Raises
    ------
    SettingsError
        A value out of its range, or a camera file that cannot be read.
    """

    model_config = ConfigDict(populate_by_name=True)

    device: str | None = Field(default=None, alias="camera")
    calibration: Calibration | None = None

    def __init__(self, **values: Any) -> None:
        given = {name: value for name, value in values.items() if value is not None}
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise SettingsError(f"camera: {explain(error, type(self))}") from None
        if self.calibration is None:
            file = self.load_file()
            known = file.calibration if file else self.stated_calibration()
            size = self.pixel_size_nm or (file.pixel_size_nm if file else None)
            object.__setattr__(self, "calibration", known)
            object.__setattr__(self, "pixel_size_nm", size)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraState:
    """A camera as it stands, read from the core.

    Attributes
    ----------
    label : str
        Name of the device.
    shape : tuple[int, int]
        (height, width) of a frame, pixels after binning.
    dtype : {"u1", "u2"}
        Of a frame.
    exposure_ms : float
        Exposure as the camera reports it, ms.
    roi : tuple[int, int, int, int]
        (x, y, width, height) as the camera counts them, see `set_roi`.
    origin : tuple[int, int]
        (x, y) of the first pixel, in pixels of a frame, on the chip as it is binned.
    binning : int
        Pixels of the chip along an edge of a pixel of a frame.
    """

    label: str
    shape: tuple[int, int]
    dtype: PixelType
    exposure_ms: float
    roi: Roi
    origin: tuple[int, int]
    binning: int


def read_camera(core: Any, camera: str) -> CameraState:
    """Read what START needs of a camera; sets nothing.

    Raises
    ------
    SettingsError
        Its frames are not 8 or 16 bit monochrome, or their place on the chip is not
        known.
    """
    shape, dtype = pixel_layout(core, camera)
    roi = _roi(core, camera)
    binning = binning_of(core, camera)
    unit = _roi_unit(shape, roi, binning, camera)
    if roi[0] % unit or roi[1] % unit:
        raise SettingsError(
            f"camera '{camera}': its ROI begins at ({roi[0]}, {roi[1]}) pixels of the "
            f"chip, which is inside a {binning} x {binning} binned pixel. Begin it "
            f"at multiples of {binning}."
        )
    return CameraState(
        label=camera,
        shape=shape,
        dtype=dtype,
        exposure_ms=set_exposure(core, camera, None),
        roi=roi,
        origin=(roi[0] // unit, roi[1] // unit),
        binning=binning,
    )


def set_up_camera(core: Any, settings: CameraSettings) -> CameraState:
    """Make a camera the current one and set what is given, everything read back.

    In this order: binning, properties, exposure, ROI, because cameras forget the
    later ones with the earlier.

    Raises
    ------
    SettingsError
        Something that the camera does not have or does not do.
    """
    if settings.binning is not None and BINNING in settings.properties:
        raise SettingsError(
            f"binning is given twice, as binning and as property '{BINNING}'. "
            "Leave one of them out."
        )
    label = choose_camera(core, settings.device)
    set_binning(core, label, settings.binning)
    set_properties(core, label, settings.properties)
    set_exposure(core, label, settings.exposure_ms)
    set_roi(core, label, settings.roi)
    return read_camera(core, label)


def set_buffer(
    core: Any, state: CameraState, interval_ms: float, buffer_mib: int | None
) -> int:
    """Size the circular buffer; return its MiB.

    Parameters
    ----------
    buffer_mib : int, optional
        Room for 10 s (64 to 1,024 MiB) if not given.
    """
    frame_mib = math.prod(state.shape) * int(state.dtype[1]) / 2**20
    if buffer_mib is None:
        wanted = math.ceil(BUFFER_SECONDS * 1e3 / interval_ms * frame_mib)
        least = max(BUFFER_MIB[0], math.ceil(8 * frame_mib))
        buffer_mib = max(least, min(wanted, BUFFER_MIB[1]))
    if buffer_mib < 4 * frame_mib:
        raise SettingsError(
            f"circular buffer is {buffer_mib} MiB but one frame of camera "
            f"'{state.label}' is {frame_mib:.3g} MiB. "
            f"Set buffer_mib to {max(1, math.ceil(8 * frame_mib))} or more."
        )
    core.setCircularBufferMemoryFootprint(buffer_mib)
    return buffer_mib


def choose_camera(core: Any, label: str | None) -> str:
    """Make `label` the current camera, or name the one that is."""
    cameras = sorted(core.getLoadedDevicesOfType(DeviceType.Camera))
    known = ", ".join(f"'{name}'" for name in cameras) or "none"
    if label is None:
        label = str(core.getCameraDevice())
        if not label:
            raise SettingsError(
                f"the configuration has no current camera (cameras in it: {known}). "
                "Name one with the setting camera."
            )
    elif label not in cameras:
        raise SettingsError(
            f"no camera '{label}' in the configuration. Cameras in it: {known}."
        )
    core.setCameraDevice(label)
    return label


def set_exposure(core: Any, camera: str, exposure_ms: float | None) -> float:
    """Set the exposure, if one is given; return what the camera made of it."""
    if exposure_ms is not None:
        try:
            core.setExposure(exposure_ms)
        except (RuntimeError, ValueError) as error:
            raise SettingsError(
                f"camera '{camera}': exposure of {exposure_ms} ms: {one_line(error)}"
            ) from error
    seen = float(core.getExposure())
    if not (math.isfinite(seen) and seen > 0):
        raise SettingsError(
            f"camera '{camera}' reports an exposure of {seen} ms. Set exposure_ms."
        )
    return seen


def frame_interval_ms(
    core: Any, camera: str, exposure_ms: float, interval_ms: float | None
) -> float:
    """Time from frame to frame: as given, as the camera reports it, or the exposure."""
    if interval_ms is None:
        tag = "ActualInterval-ms"
        text = property_of(core, camera, tag) if core.hasProperty(camera, tag) else 0
        try:
            return max(exposure_ms, float(text))
        except ValueError:
            return exposure_ms
    return interval_ms


def set_roi(core: Any, camera: str, roi: Roi | None) -> None:
    """Set the ROI, if one is given, and check it.

    Parameters
    ----------
    roi : tuple[int, int, int, int], optional
        (x, y, width, height) in pixels of a frame, binning included. Cameras that
        count their ROI in pixels of the chip get it in those.
    """
    if roi is None:
        return
    core.clearROI()
    whole = _roi(core, camera)
    shape = int(core.getImageHeight()), int(core.getImageWidth())
    unit = _roi_unit(shape, whole, binning_of(core, camera), camera)
    columns, rows = whole[2] // unit, whole[3] // unit
    x, y, width, height = roi
    if not (0 <= x < x + width <= columns and 0 <= y < y + height <= rows):
        raise SettingsError(
            f"roi (x, y, width, height) is {tuple(roi)} but the chip of camera "
            f"'{camera}' has {columns} x {rows} pixels (width x height). "
            "Give a ROI that lies on it."
        )
    wanted = (x * unit, y * unit, width * unit, height * unit)
    try:
        core.setROI(*wanted)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise SettingsError(
            f"camera '{camera}' refuses roi {wanted}: {one_line(error)}"
        ) from error
    seen = _roi(core, camera)
    if seen != wanted:
        raise SettingsError(
            f"camera '{camera}': roi (x, y, width, height) {wanted} was requested, "
            f"but the camera set {seen}. Set roi to what the camera can do, "
            "or leave it out."
        )


def _roi(core: Any, camera: str) -> Roi:
    """Return (x, y, width, height) as the camera counts them."""
    x, y, width, height = (int(n) for n in core.getROI(camera))
    return x, y, width, height


def _roi_unit(shape: tuple[int, int], roi: Roi, binning: int, camera: str) -> int:
    """Return how many ROI pixels make a pixel of a frame: 1, or the binning."""
    for unit in {1, binning}:
        if (shape[1] * unit, shape[0] * unit) == roi[2:]:
            return unit
    raise SettingsError(
        f"camera '{camera}' delivers images of {shape[1]} x {shape[0]} pixels but its "
        f"ROI is {roi[2]} x {roi[3]} (width x height). Is rotation or a second "
        "binning on? Switch it off."
    )


def calibration_of_roi(
    core: Any,
    camera: str,
    calibration: CameraCalibration,
    origin: tuple[int, int],
    shape: tuple[int, int],
) -> CameraCalibration:
    """Crop the maps of the chip to the ROI; no count is above the camera's bits."""
    largest = 2.0 ** min(int(core.getImageBitDepth()) or 16, 16) - 1
    if calibration.saturation_adu > largest:
        calibration = replace(calibration, saturation_adu=largest)
    if not calibration.has_maps:
        return calibration
    if (binning := binning_of(core, camera)) != 1:
        raise SettingsError(
            f"camera '{camera}' bins its pixels ({binning}), the camera maps are "
            "of single pixels. Switch binning off, or use a camera file without "
            "maps, measured with this binning."
        )
    try:
        return calibration.cropped(*origin, shape[1], shape[0])
    except ValueError as error:
        raise SettingsError(
            f"camera '{camera}': {error}. Use the maps of the whole chip, or measure "
            "them with this ROI."
        ) from None


def pixel_layout(core: Any, camera: str) -> tuple[tuple[int, int], PixelType]:
    """Return (height, width) and the pixel type; refuse what cannot be streamed."""
    if (many := int(core.getNumberOfCameraChannels())) > 1:
        names = ", ".join(f"'{core.getCameraChannelName(i)}'" for i in range(many))
        raise SettingsError(
            f"camera '{camera}' is {many} cameras at once ({names}), whose frames "
            "would be mixed. Choose one of them (camera: device)."
        )
    shape = int(core.getImageHeight()), int(core.getImageWidth())
    components, nbytes = int(core.getNumberOfComponents()), int(core.getBytesPerPixel())
    kinds: dict[int, Literal["u1", "u2"]] = {1: "u1", 2: "u2"}
    if components != 1 or nbytes not in kinds:
        raise SettingsError(
            f"camera '{camera}' delivers {components} component(s), {nbytes} byte(s) "
            "per pixel. Set its pixel type to 8 or 16 bit monochrome."
        )
    return shape, kinds[nbytes]


MICRO_MANAGER = "the pixel size of Micro-Manager's configuration"


def pixel_size_nm_of(core: Any, pixel_size_nm: float | None, binning: int = 1) -> float:
    """Return the edge of a pixel of a frame in nm: as given, or Micro-Manager's.

    Parameters
    ----------
    pixel_size_nm : float, optional
        Of a pixel of a frame: that of the chip times the binning. Micro-Manager's own
        number has the binning in it.
    binning : int
        Of the camera now, to warn of a size that was meant for the chip.
    """
    known = float(core.getPixelSizeUm()) * 1e3
    size = known if pixel_size_nm is None else pixel_size_nm
    if pixel_size_nm is None and size == 0:
        raise SettingsError(
            "Micro-Manager has no pixel size for the present configuration. "
            "Set pixel_size_nm, or calibrate it in Micro-Manager."
        )
    check_pixel_size(
        size, "pixel_size_nm" if pixel_size_nm is not None else MICRO_MANAGER
    )
    if binning > 1 and math.isclose(known, size * binning, rel_tol=0.02):
        _log.warning(
            "pixel_size_nm is %g, but Micro-Manager has %g with binning %d: give the "
            "size of a binned pixel, or every position is wrong by that factor.",
            size,
            known,
            binning,
        )
    return size


def serial_number(core: Any, camera: str) -> str:
    """Return the camera's serial number, or what takes its place; empty if unknown."""
    for name in SERIAL_PROPERTIES:
        if core.hasProperty(camera, name) and (text := property_of(core, camera, name)):
            return text
    return ""


def describe_camera(core: Any, camera: str) -> dict[str, str]:
    """Return what else is worth keeping with the recording."""
    adapter = f"{core.getDeviceLibrary(camera)}/{core.getDeviceName(camera)}"
    described = {
        "micro_manager": str(core.getVersionInfo()),
        "device_interface": str(core.getAPIVersionInfo()),
        "camera_adapter": adapter,
    }
    described["binning"] = str(binning_of(core, camera))
    return described | _described_properties(core, camera)


def _described_properties(core: Any, camera: str) -> dict[str, str]:
    """Return the camera's properties as they are now, as far as START has room."""
    described: dict[str, str] = {}
    left = MOST_DESCRIBED_BYTES
    for name in sorted(core.getDevicePropertyNames(camera))[:MOST_DESCRIBED]:
        try:
            key, text = f"camera.{name}", property_of(core, camera, name)
        except (RuntimeError, ValueError):  # a property that cannot be read now
            continue
        left -= len(key.encode()) + len(text.encode())
        if left < 0:
            break
        described[key] = text
    return described
