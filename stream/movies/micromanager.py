"""Micro-Manager's stacks: one file or several, each with an index of its frames."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import SettingsError
from ..pixel_size import from_micromanager, positive
from .movie import named
from .ome import one_axis
from .pages import Pages

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_INDEX, _INDEX_MAP, _SUMMARY = 54773648, 3453623, 2355492
_NDTIFF = 483729
_PART = re.compile(r"(?P<set>.+?)(?:_(?P<number>[1-9]\d*))?(?P<end>\.ome\.tiff?)", re.I)
_LARGEST_SUMMARY = 1 << 24


def begins_as_stack(head: bytes) -> bool:
    """Whether a TIFF's first 12 bytes are those of a Micro-Manager stack."""
    return _word(head, 8) == _INDEX


def begins_as_ndtiff(head: bytes) -> bool:
    """Whether a TIFF's first 12 bytes are those of NDTiff."""
    return _word(head, 8) == _NDTIFF


def _word(head: bytes, at: int) -> int:
    order = "<" if head[:2] == b"II" else ">"
    return int(struct.unpack_from(f"{order}I", head, at)[0]) if len(head) >= 12 else 0


def movie_facts(about: dict[str, Any]) -> dict[str, Any]:
    """Return what a frame's metadata say of the camera, as fields of a `Movie`."""
    found: dict[str, Any] = {"pixel_size": from_micromanager(about)}
    if exposure := positive(about.get("Exposure-ms")):
        found["exposure_ms"] = exposure
    corner = re.match(r"(\d{1,5})-(\d{1,5})-\d+-\d+$", str(about.get("ROI", "")))
    if corner:
        found["roi_origin"] = (int(corner[1]), int(corner[2]))
        found["roi_known"] = True
    return found


@dataclass(slots=True, kw_only=True)
class StackFile:
    """One file of a Micro-Manager acquisition.

    Attributes
    ----------
    pages : Pages
    places : NDArray, shape (frames, 4)
        (channel, slice, frame, position) of each page, in the file's order.
    planned : int
        Frames of the whole acquisition, as its summary says; 0 if it does not.
    """

    pages: Pages
    places: NDArray[np.int64]
    planned: int


def open_stack_file(path: Path) -> StackFile:
    """Open one file with its index.

    Raises
    ------
    SettingsError
        See `Pages`; an index that does not fit the file's pages.
    """
    pages = Pages(path)
    try:
        with path.open("rb") as file:
            head = file.read(40)
            order = "<" if head[:2] == b"II" else ">"
            words = struct.unpack(f"{order}8I", head[8:40])
            summary = _summary(file.read(min(words[7], _LARGEST_SUMMARY)))
            places = _index(file, order, words[1], pages)
    except (OSError, struct.error) as error:
        pages.close()
        raise SettingsError(f"{path}: is cut off: {error}. Copy it again.") from None
    except BaseException:
        pages.close()
        raise
    if places is None:
        places = _numbered(pages)
    planned = 1
    for key in ("Frames", "Slices", "Channels"):
        many = summary.get(key)
        planned *= many if type(many) is int and 0 < many < 1 << 31 else 1
    return StackFile(pages=pages, places=places, planned=planned)


def _summary(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode("utf-8", "replace").rstrip("\0"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _index(file: Any, order: str, at: int, pages: Pages) -> NDArray[np.int64] | None:
    """Read the index; None where Micro-Manager ended before it wrote one."""
    if not at:
        return None
    file.seek(at)
    head = file.read(8)
    if len(head) < 8 or struct.unpack(f"{order}II", head)[0] != _INDEX_MAP:
        raise SettingsError(
            f"{pages.path}: the index of its frames is not where it should be: the "
            "file is damaged or cut off. Copy it again."
        )
    count = struct.unpack(f"{order}II", head)[1]
    data = file.read(min(count, len(pages) + 1) * 20)
    words = np.frombuffer(data[: len(data) // 20 * 20], f"{order}u4")
    rows = words.reshape(-1, 5).astype(np.int64)
    by_offset = {int(row[4]): row[:4] for row in rows}
    if len(by_offset) != count or set(by_offset) != set(pages.offsets):
        raise SettingsError(
            f"{pages.path}: its index lists {count} frames, and does not fit its "
            f"{len(pages)} pages. The file is damaged or cut off. Copy it again."
        )
    return np.stack([by_offset[offset] for offset in pages.offsets])


def _numbered(pages: Pages) -> NDArray[np.int64]:
    """Count the frames of a file without an index from what its first page says."""
    about = pages.micromanager or {}
    first = about.get("FrameIndex", about.get("Frame", 0))
    places = np.zeros((len(pages), 4), np.int64)
    begin = first if type(first) is int and 0 <= first < 1 << 31 else 0
    places[:, 2] = begin + np.arange(len(pages))
    return places


@dataclass(slots=True, kw_only=True)
class Stack:
    """An acquisition: its files, and (file, page) of every frame in order."""

    files: list[StackFile]
    frames: list[tuple[int, int]]
    remarks: tuple[str, ...]


def open_stack(path: Path) -> Stack:
    """Open a Micro-Manager stack with all files that belong to it.

    Raises
    ------
    SettingsError
        A file or frame is missing; several channels or positions.
    """
    files: list[StackFile] = []
    try:
        files = _files(path)
        return _joined(path, files)
    except BaseException:
        for each in files:
            each.pages.close()
        raise


def _files(path: Path) -> list[StackFile]:
    """Open the file and those beside it that go on with the same acquisition."""
    own = open_stack_file(path)
    name = _PART.fullmatch(path.name)
    if name is None or "MMStack" not in path.name:
        return [own]
    begins_late = int(own.places[:, 2].min()) > 0 or int(own.places[:, 1].min()) > 0
    first = f"{name['set']}{name['end']}" if begins_late else path.name
    base = _PART.fullmatch(first)
    files: list[StackFile] = []
    try:
        if begins_late and path.name != first:
            if not path.with_name(first).exists():
                raise SettingsError(
                    f"{path}: begins with frame {own.places[:, 2].min()}: it goes on "
                    f"from {first}, which is needed beside it."
                )
            files.append(open_stack_file(path.with_name(first)))
        stem = first[: -len(base["end"])] if base else first
        numbers = _numbers_beside(path.parent, stem, name["end"])
        for expected, number in enumerate(numbers, 1):
            part = path.with_name(f"{stem}_{number}{name['end']}")
            more = own if part == path else open_stack_file(part)
            if more is not own and not int(more.places[:, 1:3].max()):
                more.pages.close()  # an acquisition of its own, of a similar name
                continue
            files.append(more)
            if number != expected:
                raise SettingsError(
                    f"{path}: {part.name} belongs to it, and so does "
                    f"{stem}_{expected}{name['end']}, which is needed beside it."
                )
    except BaseException:
        for each in files:
            if each is not own:
                each.pages.close()
        own.pages.close()
        raise
    return files if own in files else [own, *files]


def _numbers_beside(folder: Path, stem: str, end: str) -> list[int]:
    """Return the numbers of the parts that are in the folder."""
    wanted = re.compile(re.escape(f"{stem}_") + r"([1-9]\d{0,3})" + re.escape(end))
    found = (wanted.fullmatch(each.name) for each in folder.iterdir())
    return sorted(int(each[1]) for each in found if each)


def _joined(path: Path, files: list[StackFile]) -> Stack:
    """Put the frames of all files in order."""
    places = np.concatenate([each.places for each in files])
    if len(np.unique(places[:, 3])) > 1:
        raise SettingsError(
            f"{path}: holds {len(np.unique(places[:, 3]))} positions of the stage. "
            "Save one as a stack of its own."
        )
    channels = len(np.unique(places[:, 0]))
    if channels > 1:
        raise SettingsError(
            f"{path}: holds {channels} channels, or cameras that recorded together. "
            "Save one as a stack of its own."
        )
    sizes = {"Z": len(np.unique(places[:, 1])), "T": len(np.unique(places[:, 2]))}
    axis, _ = one_axis(sizes, path)
    numbers = places[:, 1 if axis == "Z" else 2]
    where = [(i, p) for i, each in enumerate(files) for p in range(len(each.pages))]
    order = np.argsort(numbers, kind="stable")
    wrong = np.flatnonzero(numbers[order] != np.arange(len(order)))
    if len(wrong):
        raise SettingsError(
            f"{path}: {'these files hold' if len(files) > 1 else 'holds'} "
            f"{len(numbers)} frames, but not frame {wrong[0]}, counted from 0. A file "
            "of the set is missing, was renamed, or appears twice: keep all of them "
            "under their own names in one folder."
        )
    planned = max(each.planned for each in files)
    remarks = []
    if planned > len(numbers):
        remarks.append(
            f"planned {planned} frames, holds {len(numbers)}. If the acquisition was "
            "not stopped early, the rest is in another file, which is missing here or "
            "was renamed"
        )
    if len(files) > 1:
        names = [each.pages.path.name for each in files]
        remarks.append(f"read whole, {len(numbers)} frames, from {named(names)}")
    return Stack(files=files, frames=[where[i] for i in order], remarks=tuple(remarks))
