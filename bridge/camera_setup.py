"""Choosing and setting up a camera of Micro-Manager, every answer checked."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pymmcore_plus import DeviceType

from ..stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..stream.calibration import CameraCalibration
    from ..stream.frames import PixelType

    Roi = tuple[int, int, int, int]

BINNING = "Binning"
SERIAL_PROPERTIES = ("SerialNumber", "Serial Number", "S/N", "CameraID", "CameraName")
MOST_DESCRIBED = 128  # properties of the camera, and
MOST_DESCRIBED_BYTES = 16 << 10  # their text, in START

_log = logging.getLogger(__name__)


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
        As the camera says.
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
        It gives no 8 or 16 bit monochrome frames, or they cannot be placed.
    """
    shape, dtype = pixel_layout(core, camera)
    roi = _roi(core, camera)
    binning = binning_of(core, camera)
    unit = _roi_unit(shape, roi, binning, camera)
    if roi[0] % unit or roi[1] % unit:
        raise SettingsError(
            f"camera '{camera}': its ROI begins at ({roi[0]}, {roi[1]}) pixels of the "
            f"chip, which is inside of a {binning} x {binning} binned pixel. Begin it "
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


def one_line(error: BaseException) -> str:
    """Give an error's text on one line, ended like a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else text + "."


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


def set_properties(core: Any, camera: str, values: Mapping[str, Any]) -> None:
    """Set properties of the camera, in the order given, each read back.

    Parameters
    ----------
    values : Mapping[str, Any]
        Property -> value, e.g. ``{"TriggerMode": "External"}``. The binning is set
        first, because cameras forget other settings with it.

    Raises
    ------
    SettingsError
        A property that the camera does not have or that cannot be set, a value that
        it does not allow, or one that reads back as another.
    """
    for name in sorted(values, key=lambda name: name != BINNING):
        _set_property(core, camera, name, values[name])


def _set_property(core: Any, camera: str, name: str, value: Any) -> None:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if not core.hasProperty(camera, name):
        known = ", ".join(sorted(core.getDevicePropertyNames(camera)))
        raise SettingsError(
            f"camera '{camera}' has no property '{name}'. It has: {known}."
        )
    if core.isPropertyReadOnly(camera, name) or core.isPropertyPreInit(camera, name):
        raise SettingsError(
            f"camera '{camera}': property '{name}' can only be read here. Leave it "
            "out, or set it in the Micro-Manager configuration."
        )
    allowed = [str(v) for v in core.getAllowedPropertyValues(camera, name)]
    if allowed and not any(_alike(text, other) for other in allowed):
        raise SettingsError(
            f"camera '{camera}': property '{name}' cannot be '{text}'. "
            f"It can be: {', '.join(allowed)}."
        )
    text = next((other for other in allowed if _alike(text, other)), text)
    try:
        core.setProperty(camera, name, text)
    except (RuntimeError, ValueError, TypeError) as error:
        raise SettingsError(
            f"camera '{camera}' refuses '{text}' for property '{name}'"
            f"{_limits(core, camera, name)}: {one_line(error)}"
        ) from error
    core.waitForDevice(camera)
    seen = str(core.getProperty(camera, name))
    if not _alike(text, seen):
        raise SettingsError(
            f"camera '{camera}': property '{name}' was set to '{text}' and reads back "
            f"as '{seen}'. Set it to what the camera can do."
        )


def _alike(one: str, other: str) -> bool:
    """Whether two texts mean the same value; Micro-Manager writes four decimals."""
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-4, abs_tol=5e-5)
    except ValueError:
        return one == other


def _limits(core: Any, camera: str, name: str) -> str:
    """Say the limits of a number, if it has any."""
    if not core.hasPropertyLimits(camera, name):
        return ""
    low = core.getPropertyLowerLimit(camera, name)
    high = core.getPropertyUpperLimit(camera, name)
    return f" (allowed: {low:g} to {high:g})"


def set_binning(core: Any, camera: str, binning: int | None) -> int:
    """Bin `binning` x `binning` pixels if that is asked for; return what is set.

    Raises
    ------
    SettingsError
        The camera does not bin, or not by this number.
    """
    if binning is None:
        return binning_of(core, camera)
    if not core.hasProperty(camera, BINNING):
        if binning == 1:
            return 1
        raise SettingsError(f"camera '{camera}' does not bin. Leave binning out.")
    allowed = [str(v) for v in core.getAllowedPropertyValues(camera, BINNING)]
    texts = [text for text in allowed if _parse_binning(text) == binning]
    if allowed and not texts:
        raise SettingsError(
            f"camera '{camera}' does not bin by {binning}. "
            f"Its binning can be: {', '.join(allowed)}."
        )
    _set_property(core, camera, BINNING, texts[0] if texts else str(binning))
    return binning_of(core, camera)


def binning_of(core: Any, camera: str) -> int:
    """Return by how much the camera bins now, 1 if it does not."""
    if not core.hasProperty(camera, BINNING):
        return 1
    text = str(core.getProperty(camera, BINNING))
    binning = _parse_binning(text)
    if binning is None:
        raise SettingsError(
            f"camera '{camera}' has binning '{text}'; pixels must be square. "
            "Set it to 1, or to the same number along both edges."
        )
    return binning


def _parse_binning(text: str) -> int | None:
    """Read "2" or "2x2"; None for anything that is not square."""
    numbers = [int(n) for n in re.findall(r"\d+", text.split(".")[0])]
    square = len(numbers) in (1, 2) and len(set(numbers)) == 1 and numbers[0] > 0
    return numbers[0] if square else None


def set_exposure(core: Any, camera: str, exposure_ms: float | None) -> float:
    """Set the exposure if one is asked for; return what the camera made of it."""
    if exposure_ms is not None:
        if not (math.isfinite(exposure_ms) and exposure_ms > 0):
            raise SettingsError(
                f"exposure_ms is {exposure_ms}. Give milliseconds above 0."
            )
        try:
            core.setExposure(float(exposure_ms))
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
    """Time from frame to frame: as told, as the camera says, or the exposure."""
    if interval_ms is None:
        tag = "ActualInterval-ms"
        told = core.getProperty(camera, tag) if core.hasProperty(camera, tag) else 0
        try:
            return max(exposure_ms, float(told))
        except ValueError:
            return exposure_ms
    if not (math.isfinite(interval_ms) and interval_ms > 0):
        raise SettingsError(f"interval_ms is {interval_ms}. Give ms above 0.")
    return interval_ms


def set_roi(core: Any, camera: str, roi: Roi | None) -> None:
    """Set the ROI if one is asked for, and check it.

    Parameters
    ----------
    roi : tuple[int, int, int, int], optional
        (x, y, width, height) in pixels of a frame, binning included. Cameras that
        count their ROI in pixels of the chip are told so.
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
            f"camera '{camera}': roi (x, y, width, height) {wanted} was asked for, "
            f"the camera made it {seen}. Set roi to what the camera can do, "
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
        f"camera '{camera}' gives images of {shape[1]} x {shape[0]} pixels but its "
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
    """Return (height, width) and the pixel type, or say what does not fit."""
    shape = int(core.getImageHeight()), int(core.getImageWidth())
    components, nbytes = int(core.getNumberOfComponents()), int(core.getBytesPerPixel())
    kinds: dict[int, Literal["u1", "u2"]] = {1: "u1", 2: "u2"}
    if components != 1 or nbytes not in kinds:
        raise SettingsError(
            f"camera '{camera}' gives {components} component(s), {nbytes} byte(s) per "
            "pixel. Set its pixel type to 8 or 16 bit monochrome."
        )
    return shape, kinds[nbytes]


def pixel_size_nm_of(core: Any, pixel_size_nm: float | None, binning: int = 1) -> float:
    """Return the edge of a pixel of a frame in nm: as told, or as Micro-Manager knows.

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
    if not (math.isfinite(size) and size > 0):
        raise SettingsError(f"pixel_size_nm is {size}. Give nanometres above 0.")
    if binning > 1 and math.isclose(known, size * binning, rel_tol=0.02):
        _log.warning(
            "pixel_size_nm is %g, Micro-Manager says %g with binning %d: give the size "
            "of a binned pixel, or every position is wrong by that factor.",
            size,
            known,
            binning,
        )
    return size


def serial_number(core: Any, camera: str) -> str:
    """Return what tells this camera from others of its kind, as far as it says."""
    for name in SERIAL_PROPERTIES:
        if core.hasProperty(camera, name) and (value := core.getProperty(camera, name)):
            return str(value)
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
            key, text = f"camera.{name}", str(core.getProperty(camera, name))
        except (RuntimeError, ValueError):  # a property that cannot be read now
            continue
        left -= len(key.encode()) + len(text.encode())
        if left < 0:
            break
        described[key] = text
    return described
