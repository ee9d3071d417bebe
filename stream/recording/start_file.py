"""What a recording says of its stream: START and END as checked JSON files.

The maps of its camera, if there are any, lie in ``camera.npz`` beside them.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from ..camera_maps import (
    from_plain,
    read_maps,
    replace_file,
    to_plain,
    with_maps,
    write_maps,
)
from ..errors import SettingsError
from ..files.input_file import regular_file
from ..frames import StreamEnd, StreamStart

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 2  # 2: saturation and maps of the camera
START_FILE = "stream.json"
END_FILE = "end.json"
MAPS_FILE = "camera.npz"
_PIXELS = 1 << 28  # more than any camera has; bounds what a foreign file can claim


def write_start(folder: Path, start: StreamStart, segment_frames: int) -> None:
    """Write ``stream.json``, whole or not at all, after the maps; raises OSError."""
    if start.calibration.has_maps:
        write_maps(folder / MAPS_FILE, start.calibration)
    content = {"start": _plain(start), "segment_frames": segment_frames}
    _write_json(folder / START_FILE, content)


def write_end(folder: Path, end: StreamEnd, frames: int) -> None:
    """Write ``end.json``, whole or not at all; raises OSError."""
    _write_json(folder / END_FILE, {"end": _plain(end), "frames": frames})


def read_start(folder: Path) -> tuple[StreamStart, int]:
    """Read START and the number of frames of a full segment.

    Raises
    ------
    SettingsError
        Missing, damaged, or of a newer program.
    """
    content = _read_json(folder / START_FILE, "start", "segment_frames")
    return _start(content["start"], folder), max(1, int(content["segment_frames"]))


def read_end(folder: Path) -> tuple[StreamEnd | None, int | None]:
    """Read END and the number of frames; None for a recording without an end.

    Raises
    ------
    SettingsError
        Damaged, or of a newer program.
    """
    if not (folder / END_FILE).exists():
        return None, None
    content = _read_json(folder / END_FILE, "end", "frames")
    return _end(content["end"], folder), int(content["frames"])


def _plain(item: StreamStart | StreamEnd) -> dict[str, Any]:
    plain = {f.name: getattr(item, f.name) for f in fields(item)}
    if isinstance(item, StreamStart):
        plain["calibration"] = to_plain(item.calibration)
    return plain | {"stream_id": item.stream_id.hex()}


def _start(plain: dict[str, Any], folder: Path) -> StreamStart:
    try:
        calibration, sums = from_plain(plain["calibration"])
        start = StreamStart(
            **plain
            | {
                "stream_id": bytes.fromhex(plain["stream_id"]),
                "calibration": calibration,
                "shape": tuple(plain["shape"]),
                "roi_origin": tuple(plain["roi_origin"]),
            }
        )
        height, width = start.shape
        if start.dtype not in ("u1", "u2") or not 0 < height * width <= _PIXELS:
            raise ValueError(f"frames of {start.shape} {start.dtype}")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SettingsError(
            f"{folder / START_FILE}: is not a valid START: {error!r}"
        ) from error
    return _with_maps(start, sums, folder / MAPS_FILE) if sums else start


def _with_maps(start: StreamStart, sums: dict[str, int], path: Path) -> StreamStart:
    """Put the camera's maps back; they must be the ones that were recorded."""
    try:
        calibration = with_maps(
            start.calibration, sums, read_maps(path), start.shape, start.roi_origin
        )
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(
            f"{path}: is not what was recorded: {error}. Restore it from a copy."
        ) from error
    return replace(start, calibration=calibration)


def _end(plain: dict[str, Any], folder: Path) -> StreamEnd:
    try:
        return StreamEnd(**plain | {"stream_id": bytes.fromhex(plain["stream_id"])})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise SettingsError(
            f"{folder / END_FILE}: is not a valid END: {error!r}"
        ) from error


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a checked JSON file so that it is there whole or not at all."""
    content = {"format": "liveloc recording", "version": VERSION, **content}
    content["crc32c"] = crc32c(_canonical(content))
    replace_file(path, (json.dumps(content, indent=1) + "\n").encode())


def _read_json(path: Path, *needed: str) -> dict[str, Any]:
    """Read and check what `_write_json` wrote.

    Raises
    ------
    SettingsError
        Unreadable, damaged, or of a newer program.
    """
    regular_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = int(content["version"])
        stored = content.pop("crc32c")
        whole = stored == crc32c(_canonical(content))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SettingsError(f"{path}: cannot be read: {error!r}") from error
    if version > VERSION:
        raise SettingsError(
            f"{path}: recording of version {version}, this program reads {VERSION}. "
            "Update liveloc."
        )
    if not whole:
        raise SettingsError(
            f"{path}: bytes were changed (the checksum differs). Restore the file from "
            "a copy: without it the frames have no size and no unit."
        )
    if missing := [name for name in needed if name not in content]:
        raise SettingsError(
            f"{path}: lacks {', '.join(missing)}; it is not a liveloc recording."
        )
    return dict(content)


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
