"""NDTiff, Micro-Manager's other format: an index of frames in several files."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingsError, SourceError
from .micromanager import movie_facts
from .movie import Movie, named
from .ome import one_axis
from .pages import plain_metadata

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

INDEX = "NDTiff.index"
_TYPES = {0: "<u1", 1: "<u2", 3: "<u2", 4: "<u2", 5: "<u2", 6: "<u2"}
_MOST_BYTES = 1 << 16  # of the axes or the file name of one frame
_LARGEST_METADATA = 1 << 20


def open_ndtiff(path: Path) -> Movie:
    """Open the data set that a file belongs to; its index lies beside it.

    Raises
    ------
    SettingsError
        No index, a file of the set is missing, several axes, colour or compressed.
    """
    index = path.with_name(INDEX)
    if not index.is_file():
        raise SettingsError(
            f"{path}: is a part of an NDTiff data set, and needs {INDEX} beside it. "
            "Copy the whole folder."
        )
    entries = _entries(index)
    if not entries:
        raise SettingsError(f"{index}: lists no frames.")
    names = sorted({name for _, name, _ in entries})
    missing = [name for name in names if not path.with_name(name).is_file()]
    if missing:
        raise SettingsError(
            f"{path}: is a part of an NDTiff data set, and needs {named(missing)} "
            "beside it. Copy the whole folder."
        )
    order = _in_time([axes for axes, _, _ in entries], path)
    layouts = {numbers[1:5] for _, _, numbers in entries}
    if len(layouts) > 1:
        raise SettingsError(f"{path}: holds images of several kinds: {layouts}.")
    width, height, kind, compression = layouts.pop()
    if kind not in _TYPES or compression or not (0 < width < 65536 > height > 0):
        raise SettingsError(
            f"{path}: its pixels (type {kind}, compression {compression}, {height} "
            f"rows of {width}) are not uncompressed monochrome counts of 8 or 16 bit."
        )
    return _movie(path, [entries[i] for i in order], (height, width), _TYPES[kind])


def _movie(
    path: Path,
    entries: list[tuple[dict[str, Any], str, tuple[int, ...]]],
    shape: tuple[int, int],
    stored: str,
) -> Movie:
    names = list(dict.fromkeys(name for _, name, _ in entries))
    files = {name: path.with_name(name).open("rb") for name in names}
    dtype = np.dtype(stored)
    nbytes = shape[0] * shape[1] * dtype.itemsize

    def read(index: int) -> NDArray[Any]:
        _, name, numbers = entries[index]
        files[name].seek(numbers[0])
        data = files[name].read(nbytes)
        if len(data) < nbytes:
            raise SourceError(
                f"{path}: frame {index} should be in {name}, which is cut off. Copy it "
                "again."
            )
        return np.frombuffer(data, dtype).reshape(shape)

    def close() -> None:
        for each in files.values():
            each.close()

    _, name, numbers = entries[0]
    files[name].seek(numbers[5])
    words = files[name].read(min(max(numbers[6], 0), _LARGEST_METADATA))
    about = plain_metadata(words.decode("utf-8", "replace")) or {}
    whole = f"read whole, {len(entries)} frames, from {named(names)}"
    return Movie(
        path=path,
        shape=shape,
        dtype="u1" if dtype == np.uint8 else "u2",
        length=len(entries),
        read_frame=read,
        close_file=close,
        remarks=(whole,) if len(names) > 1 else (),
        **movie_facts(about),
    )


def _entries(path: Path) -> list[tuple[dict[str, Any], str, tuple[int, ...]]]:
    """Read the index: axes, file name, and place and layout of each frame."""
    found: list[tuple[dict[str, Any], str, tuple[int, ...]]] = []
    with path.open("rb") as file:
        while head := file.read(4):
            try:
                axes = json.loads(_text(file, struct.unpack("<I", head)[0]))
                name = _text(file, struct.unpack("<I", file.read(4))[0])
                numbers = struct.unpack("<IiiiiIii", file.read(32))
            except (struct.error, ValueError, RecursionError) as error:
                raise SettingsError(
                    f"{path}: is damaged or cut off after {len(found)} frames: {error}."
                ) from None
            if not isinstance(axes, dict) or re.search(r"[\\/]|^\.*$", name):
                raise SettingsError(
                    f"{path}: is damaged after {len(found)} frames: frame of {name!r}."
                )
            found.append((axes, name, numbers))
    return found


def _text(file: Any, length: int) -> str:
    if length > _MOST_BYTES:
        raise ValueError(f"a text of {length} bytes")
    data: bytes = file.read(length)
    return data.decode()


def _in_time(axes: list[dict[str, Any]], path: Path) -> list[int]:
    """Return the frames in the order of the one axis that varies."""
    values: dict[str, set[Any]] = {}
    for each in axes:
        for name, value in each.items():
            if type(value) not in (int, str):
                raise SettingsError(f"{path}: a frame of its set has {name}={value!r}.")
            values.setdefault(name, set()).add(value)
    sizes = {name: len(found) for name, found in values.items()}
    if sizes.get("channel", 1) > 1:
        raise SettingsError(
            f"{path}: holds {sizes['channel']} channels, or cameras that recorded "
            "together. Save one as a stack of its own."
        )
    one_axis(sizes, path)
    long = [name for name, size in sizes.items() if size > 1]
    if not long:
        if len(axes) > 1:
            raise SettingsError(f"{path}: its index lists one frame {len(axes)} times.")
        return [0]
    numbers = [each.get(long[0]) for each in axes]
    if sorted(map(str, numbers)) != sorted(map(str, range(len(axes)))):
        raise SettingsError(
            f"{path}: its index lists {len(axes)} frames, but not each of 0 to "
            f"{len(axes) - 1} along {long[0]} once."
        )
    return sorted(range(len(axes)), key=lambda i: int(numbers[i] or 0))
