"""Camera calibrations as plain data: for messages, recordings and files.

A calibration is a small record of numbers. Its maps, if it has any, travel beside
the record as raw float32 or in an .npz file; the record holds their medians, for
people, and their checksums.
"""

from __future__ import annotations

import io
import os
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from crc32c import crc32c

from . import checks as check
from .calibration import MAPS, CameraCalibration
from .errors import SettingsError
from .files.input_file import DAMAGED, one_line, regular_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

PIXEL = np.dtype("<f4")
_LARGEST_FILE = 4 << 30  # three maps of 16 k x 16 k pixels, with room to spare
_OFFSET = check.number(-1e6, 1e6)
_POSITIVE = check.number(0.0, 1e6, above=True)
_NOISE = check.number(0.0, 1e6)
_BOUNDS = {"offset_adu": _OFFSET, "e_per_adu": _POSITIVE, "read_noise_e": _NOISE}


def _checksums(raw: Any) -> dict[str, int]:
    """Check which maps there are, and their checksums."""
    crc = check.integer(0, 2**32 - 1)
    if type(raw) is not dict or not set(raw) <= set(MAPS):
        raise ValueError(f"needs a map with keys among {', '.join(MAPS)}")
    return {name: crc(raw[name]) for name in MAPS if name in raw}


_FIELDS: dict[str, check.Check] = {
    **_BOUNDS,
    "em_gain": _POSITIVE,
    "qe": check.number(0.0, 1.0, above=True),
    "saturation_adu": check.number(0.0, 2.0**32, above=True),
    "estimated": check.flag,
    "maps": _checksums,
}
_SINCE_1_1 = {"saturation_adu": CameraCalibration().saturation_adu, "maps": {}}


def to_plain(calibration: CameraCalibration) -> dict[str, Any]:
    """Return the record of a calibration: numbers, flags and checksums only."""
    numbers = calibration.typical
    plain = {name: getattr(numbers, name) for name in _FIELDS if name != "maps"}
    sums = {name: crc32c(_bytes(value)) for name, value in calibration.maps.items()}
    return {**plain, "maps": sums}


def from_plain(raw: Any) -> tuple[CameraCalibration, dict[str, int]]:
    """Check a record of unknown origin.

    Parameters
    ----------
    raw : Any
        What a decoder gave. What came later than the first version of the record
        may be missing.

    Returns
    -------
    CameraCalibration
        Medians in place of its maps.
    dict[str, int]
        Checksums of the maps that belong to it, see `with_maps`.

    Raises
    ------
    MessageError
        Reason ``field``: a field is missing or has a wrong value.
    """
    if type(raw) is dict:
        raw = {**_SINCE_1_1, **raw}
    values = check.record(raw, _FIELDS, "calibration", ignore=None)
    sums = values.pop("maps")
    return CameraCalibration(**values), sums


def with_maps(
    calibration: CameraCalibration,
    sums: Mapping[str, int],
    maps: Mapping[str, NDArray[Any]],
    shape: tuple[int, int],
    origin: tuple[int, int],
) -> CameraCalibration:
    """Put the maps back that `to_plain` left out.

    Raises
    ------
    ValueError
        A map is missing, has another shape or checksum, or numbers that no camera
        has.
    """
    for name, wanted in sums.items():
        if name not in maps:
            raise ValueError(f"the map {name} is missing")
        check_map(name, maps[name], shape)
        seen = crc32c(_bytes(maps[name]))
        if seen != wanted:
            raise ValueError(f"the map {name} has checksum {seen}, needs {wanted}")
    found = {name: maps[name] for name in sums}
    return replace(calibration, **found, origin=origin)  # type: ignore[arg-type]


def check_map(
    name: str, values: NDArray[Any], shape: tuple[int, int] | None = None
) -> None:
    """Refuse a map with numbers that no camera has.

    Raises
    ------
    ValueError
        Says which map, what was seen and what is needed.
    """
    if values.ndim != 2 or not values.size or (shape and values.shape != shape):
        needed = f"{shape}" if shape else "(height, width)"
        raise ValueError(f"the map {name} has shape {values.shape}, needs {needed}")
    if values.dtype.kind not in "fiu":
        raise ValueError(f"the map {name} holds {values.dtype}, needs numbers")
    low, high = float(values.min()), float(values.max())  # nan if there is one
    try:
        _BOUNDS[name](low)
        _BOUNDS[name](high)
    except ValueError as error:
        seen = f"{low:g} to {high:g}"
        raise ValueError(f"the map {name} goes from {seen}, {error}") from None


def pack_maps(calibration: CameraCalibration) -> list[memoryview]:
    """Return the maps as raw little-endian float32, in the order of `MAPS`."""
    return [_bytes(value) for value in calibration.maps.values()]


def _bytes(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values, PIXEL).data.cast("B")


def write_maps(path: Path, calibration: CameraCalibration) -> None:
    """Write the maps of a calibration as .npz, whole or not at all.

    Raises
    ------
    OSError
        The disk refused it.
    """
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **calibration.maps)
    replace_file(path, packed.getvalue())


def read_maps(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read maps from an .npz file: arrays of float32 with names among `MAPS`.

    Raises
    ------
    SettingsError
        Missing, damaged, too large, or with arrays that are no camera maps.
    """
    regular_file(path, "file of camera maps")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(item.file_size for item in archive.infolist())
        if size > _LARGEST_FILE:
            raise ValueError(f"{size} bytes, {_LARGEST_FILE} are allowed")
        with np.load(path, allow_pickle=False) as file:
            if not file.files or not set(file.files) <= set(MAPS):
                raise ValueError(f"holds {file.files}; known are {', '.join(MAPS)}")
            found = {name: np.asarray(file[name]) for name in file.files}
        for name, values in found.items():
            check_map(name, values, next(iter(found.values())).shape)
    except DAMAGED as error:
        raise SettingsError(f"{path}: no camera maps: {one_line(error)}") from None
    return {name: np.asarray(v, np.float32) for name, v in found.items()}


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, nor need be
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
