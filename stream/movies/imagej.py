"""ImageJ's description of a TIFF: frames, units, and what it does to the counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..pixel_size import from_imagej, positive
from .ome import milliseconds, one_axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SIGNED = (-32768.0, 1.0)  # how ImageJ keeps signed 16 bit in unsigned pixels
_UNCALIBRATED = "20"
_STRAIGHT_LINE = "0"


def parse(text: str) -> dict[str, str]:
    """Return the keys of a description, or nothing if ImageJ did not write it."""
    if not text.startswith("ImageJ="):
        return {}
    return dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", text, re.MULTILINE))


def frames(about: Mapping[str, str], path: Path) -> int:
    """Return how many frames the description says there are.

    Raises
    ------
    SettingsError
        Two axes could be time, or channels; no whole number.
    """
    sizes = {}
    for axis, key in {"T": "frames", "Z": "slices", "C": "channels"}.items():
        sizes[axis] = _whole(about, key, path)
    images = _whole(about, "images", path)
    _, length = one_axis(sizes, path)
    return max(images, length)


def _whole(about: Mapping[str, str], key: str, path: Path) -> int:
    value = about.get(key, "1")
    if not re.fullmatch(r"\d{1,9}", value) or not int(value):
        raise SettingsError(
            f"{path}: ImageJ's description says {key}={value[:20]}; the file is "
            "damaged."
        )
    return int(value)


def movie_facts(
    about: Mapping[str, str], per_unit: tuple[float | None, float | None]
) -> dict[str, Any]:
    """Return what the description says of the camera, as fields of a `Movie`."""
    found: dict[str, Any] = {}
    unit, y_unit = about.get("unit", ""), about.get("yunit", "")
    if unit:
        found["pixel_size"] = from_imagej(unit, per_unit, y_unit)
    interval = milliseconds(positive(about.get("finterval")), about.get("tunit", "s"))
    if interval:
        found["interval_ms"] = interval
    return found | _calibrated(about)


def _calibrated(about: Mapping[str, str]) -> dict[str, Any]:
    """Read the calibration function: what it shows is not what the camera counted."""
    function = about.get("cf", _UNCALIBRATED)
    if function == _UNCALIBRATED:
        return {}
    numbers = tuple(_number(about.get(key)) for key in ("c0", "c1"))
    if function == _STRAIGHT_LINE and numbers == _SIGNED:
        return {
            "subtract_adu": 32768,
            "remarks": ("is signed 16 bit as ImageJ keeps it: 32768 ADU subtracted",),
        }
    if function == _STRAIGHT_LINE and numbers == (0.0, 1.0):
        return {}
    line = f"{numbers[0]:g} + {numbers[1]:g} * count"
    shown = line if function == _STRAIGHT_LINE else f"function {function}"
    unit = about.get("vunit", "")
    return {
        "remarks": (
            f"has a calibration of its values in ImageJ ({shown}{' ' * bool(unit)}"
            f"{unit}), which is not applied: offset and gain are those of the counts "
            "as stored",
        )
    }


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return float("nan")
