"""Choosing and setting up a camera of Micro-Manager, every answer checked."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pymmcore_plus import DeviceType

from ..stream.errors import SettingsError

if TYPE_CHECKING:
    from ..stream.calibration import CameraCalibration
    from ..stream.frames import PixelType

SERIAL_PROPERTIES = ("SerialNumber", "Serial Number", "S/N", "CameraID", "CameraName")


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


def set_roi(
    core: Any, camera: str, roi: tuple[int, int, int, int] | None
) -> tuple[int, int]:
    """Set the ROI if one is asked for and check it; return its origin (x, y)."""
    if roi is None:
        x, y, *_ = core.getROI()
        return int(x), int(y)
    core.clearROI()
    _, _, columns, rows = core.getROI()
    x, y, width, height = roi
    if not (0 <= x < x + width <= columns and 0 <= y < y + height <= rows):
        raise SettingsError(
            f"roi (x, y, width, height) is {tuple(roi)} but the chip of camera "
            f"'{camera}' has {columns} x {rows} pixels (width x height). "
            "Give a ROI that lies on it."
        )
    try:
        core.setROI(x, y, width, height)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise SettingsError(
            f"camera '{camera}' refuses roi {tuple(roi)}: {one_line(error)}"
        ) from error
    seen = tuple(int(n) for n in core.getROI())
    if seen != tuple(roi):
        raise SettingsError(
            f"camera '{camera}': roi (x, y, width, height) {tuple(roi)} was asked for, "
            f"the camera made it {seen}. Set roi to what the camera can do, "
            "or leave it out."
        )
    return x, y


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
    if core.hasProperty(camera, "Binning"):
        binning = str(core.getProperty(camera, "Binning"))
        if binning.replace("x", "").strip("1"):  # not "1" or "1x1"
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
    _, _, width, height = core.getROI()
    if shape != (height, width):
        raise SettingsError(
            f"camera '{camera}' gives images of {shape[1]} x {shape[0]} pixels but its "
            f"ROI is {width} x {height} (width x height). Is rotation or a second "
            "binning on? Switch it off."
        )
    components, nbytes = int(core.getNumberOfComponents()), int(core.getBytesPerPixel())
    kinds: dict[int, Literal["u1", "u2"]] = {1: "u1", 2: "u2"}
    if components != 1 or nbytes not in kinds:
        raise SettingsError(
            f"camera '{camera}' gives {components} component(s), {nbytes} byte(s) per "
            "pixel. Set its pixel type to 8 or 16 bit monochrome."
        )
    return shape, kinds[nbytes]


def pixel_size_nm_of(core: Any, pixel_size_nm: float | None) -> float:
    """Return the pixel size in nm: as told, or as Micro-Manager knows it."""
    size = pixel_size_nm
    if size is None:
        size = float(core.getPixelSizeUm()) * 1e3
        if size == 0:
            raise SettingsError(
                "Micro-Manager has no pixel size for the present configuration. "
                "Set pixel_size_nm, or calibrate it in Micro-Manager."
            )
    if not (math.isfinite(size) and size > 0):
        raise SettingsError(f"pixel_size_nm is {size}. Give nanometres above 0.")
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
    if core.hasProperty(camera, "Binning"):
        described["binning"] = str(core.getProperty(camera, "Binning"))
    return described
