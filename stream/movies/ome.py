"""OME-TIFF: which page of which file is which frame, as its XML says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

from ..errors import SettingsError
from ..pixel_size import positive
from .movie import named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .pages import Pages

_OME = re.compile(r"<(\w+:)?OME\b")
_TO_MS = {
    "ks": 1e6, "s": 1e3, "sec": 1e3, "second": 1e3, "seconds": 1e3, "ms": 1.0,
    "msec": 1.0, "µs": 1e-3, "us": 1e-3, "usec": 1e-3, "ns": 1e-6, "min": 6e4,
    "minute": 6e4, "minutes": 6e4, "h": 3.6e6, "hour": 3.6e6, "d": 8.64e7,
}  # fmt: skip
MOST_FILES = 4096


@dataclass(slots=True)
class Planes:
    """One TiffData element: `count` pages of a file, from `ifd` on.

    Attributes
    ----------
    first : dict[str, int]
        Place of the first of them along Z, C and T.
    ifd, count : int or None
        None where the element does not say it.
    name, uuid : str
        Of the file; empty for the file that holds the XML.
    """

    first: dict[str, int]
    ifd: int | None
    count: int | None
    name: str = ""
    uuid: str = ""


@dataclass(slots=True)
class OmeText:
    """What matters here of OME's XML.

    Attributes
    ----------
    uuid : str
        Of the file that holds it.
    master : str
        File that has the XML of all, where this one only names it.
    images : int
        Images, such as positions of the stage.
    pixels : dict[str, str]
        Attributes of the first Pixels element.
    planes : list[Planes]
        Its TiffData elements.
    """

    uuid: str = ""
    master: str = ""
    images: int = 0
    pixels: dict[str, str] = field(default_factory=dict)
    planes: list[Planes] = field(default_factory=list)


def is_ome(text: str) -> bool:
    """Whether a TIFF's description is OME's XML."""
    return _OME.search(text[:4096]) is not None


def milliseconds(value: float | None, unit: str) -> float | None:
    """Convert a time to ms; None for a unit that is not known."""
    factor = _TO_MS.get(unit.strip().replace("μ", "µ"))
    return None if value is None or factor is None else positive(value * factor)


def interval_ms(pixels: Mapping[str, str]) -> float | None:
    """Return the time from frame to frame, if the XML says it."""
    unit = pixels.get("TimeIncrementUnit", "s")
    return milliseconds(positive(pixels.get("TimeIncrement")), unit)


def parse(text: str, path: Path) -> OmeText:
    """Read OME's XML.

    Raises
    ------
    SettingsError
        It is no XML, declares entities of its own, or has no numbers where it must.
    """
    found, where = OmeText(), _Where()

    def doctype(*_: object) -> None:
        raise ValueError("it declares a document type, which OME's XML never does")

    def begin(tag: str, about: dict[str, str]) -> None:
        name = tag.rpartition(":")[2]
        if name == "OME":
            found.uuid = about.get("UUID", "")
        elif name == "BinaryOnly":
            found.master = about.get("MetadataFile", "")
        elif name == "Image":
            found.images += 1
        elif name == "Pixels" and not found.pixels:
            found.pixels = dict(about)
        elif name == "TiffData" and found.images <= 1:
            found.planes.append(_planes(about))
        elif name == "UUID" and found.planes:
            found.planes[-1].name = about.get("FileName", "")
            where.uuid = True

    def end(tag: str) -> None:
        if tag.rpartition(":")[2] == "UUID":
            where.uuid = False

    def words(data: str) -> None:
        if where.uuid and found.planes:
            found.planes[-1].uuid += data.strip()

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.CharacterDataHandler = words
    try:
        # The text is decoded already, whatever the XML says of its encoding.
        parser.Parse(re.sub(r"^\s*<\?xml[^>]*\?>", "", text).encode(), True)
    except (expat.ExpatError, ValueError) as error:
        raise SettingsError(
            f"{path}: its OME metadata cannot be read: {error}. Without it the order "
            "of the frames is not known; save the movie as a plain TIFF stack."
        ) from None
    return found


@dataclass(slots=True)
class _Where:
    uuid: bool = False


def _planes(about: Mapping[str, str]) -> Planes:
    def number(key: str) -> int | None:
        value = about.get(key)
        if value is None:
            return None
        if not re.fullmatch(r"\d{1,9}", value.strip()):
            raise ValueError(f"{key} of a TiffData is {value[:20]!r}, no whole number")
        return int(value)

    first = {axis: number(f"First{axis}") or 0 for axis in "ZCT"}
    return Planes(first, number("IFD"), number("PlaneCount"))


def time_axis(text: OmeText, path: Path) -> tuple[str, int]:
    """Return the one axis that has more than one place, and its length as planned.

    Raises
    ------
    SettingsError
        Several images or axes, or channels.
    """
    if text.images > 1:
        raise SettingsError(
            f"{path}: holds {text.images} images (positions or series). Save one as a "
            "stack of its own."
        )
    sizes = {}
    for axis in "TZC":
        value = text.pixels.get(f"Size{axis}", "1").strip()
        if not re.fullmatch(r"\d{1,9}", value) or not int(value):
            raise SettingsError(f"{path}: its OME metadata says Size{axis}={value!r}.")
        sizes[axis] = int(value)
    return one_axis(sizes, path)


def one_axis(sizes: Mapping[str, int], path: Path) -> tuple[str, int]:
    """Choose the axis that is time; some programs call it Z or C.

    Raises
    ------
    SettingsError
        Two axes could be it, or it is two to four channels.
    """
    long = {axis: size for axis, size in sizes.items() if size > 1}
    if len(long) > 1 or 0 < long.get("C", 0) <= 4:
        raise SettingsError(
            f"{path}: has the axes {long} besides y and x: which is time? Save one "
            "channel and one plane as a stack with a single axis."
        )
    return next(iter(long.items()), ("T", 1))


def own_name(text: OmeText, path: Path) -> str:
    """Return the name by which the XML calls the file that holds it.

    Raises
    ------
    SettingsError
        The file was renamed, and none of several names is known to be its own.
    """
    names = list(dict.fromkeys(each.name for each in text.planes if each.name))
    if len(names) > MOST_FILES:
        raise SettingsError(f"{path}: lists {len(names)} files; the file is damaged.")
    if not names or path.name in names:
        return path.name
    own = [each.name for each in text.planes if each.uuid and each.uuid == text.uuid]
    if own:
        return own[0]
    if len(names) == 1:
        return names[0]
    raise SettingsError(
        f"{path}: is one file of a set: it lists {named(names)}, and goes by none of "
        "these names. Rename it back to its own name, beside the others."
    )


def beside(path: Path, name: str) -> Path:
    """Return the place of another file of the set; only the folder of `path`."""
    return path.parent / re.split(r"[\\/]", name)[-1]


def plane_list(
    text: OmeText, axis: str, planned: int, files: Mapping[str, Pages], own: str
) -> list[tuple[str, int]]:
    """Return (file, page) of every frame that is there, in order.

    Raises
    ------
    SettingsError
        A frame is listed twice, or one in the middle is missing.
    """
    path = files[own].path
    found: dict[int, tuple[str, int]] = {}
    for each in text.planes or [Planes(dict.fromkeys("ZCT", 0), None, None)]:
        pages = files.get(each.name or own, None)
        if pages is None:  # the caller looks for the files that are listed
            continue
        name = each.name or own
        ifd = each.ifd or 0
        count = each.count
        if count is None:
            count = 1 if each.ifd is not None else len(pages)
        at = each.first[axis]
        for step in range(min(count, len(pages) - ifd, planned - at)):
            if at + step in found:
                raise SettingsError(
                    f"{path}: its OME metadata lists frame {at + step} twice. Save it "
                    "as a plain TIFF stack."
                )
            found[at + step] = (name, ifd + step)
    for index in range(len(found)):
        if index not in found:
            raise SettingsError(
                f"{path}: frame {index} of {planned} is not in the file, later ones "
                "are. It is damaged, or a part of a set that lost its names."
            )
    if len(set(found.values())) < len(found):
        raise SettingsError(
            f"{path}: its OME metadata lists a page for two frames. Save it as a plain "
            "TIFF stack."
        )
    return [found[index] for index in range(len(found))]
