"""Raw 16-bit frames with a text beside them: .dax with .inf, .raw with .yaml."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from ..errors import SettingsError
from ..pixel_size import positive, stated
from .movie import Movie, check_frames, raw_reader

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..frames import PixelType

_LARGEST_TEXT = 1 << 20
_KINDS: dict[str, PixelType] = {"uint8": "u1", "uint16": "u2"}


def open_dax(path: Path) -> Movie:
    """Open a .dax, described by the .inf file beside it.

    Raises
    ------
    SettingsError
        No .inf, a number there that is none, or another size than it says.
    """
    about = path.with_suffix(".inf")
    facts = _lines(_text(path, about), about)
    width, height = _two_numbers(facts, "frame dimensions", about)
    kind = facts.get("data type", "")
    if "16 bit" not in kind or not ("little" in kind or "big" in kind):
        raise SettingsError(
            f"{about}: data type is {kind!r}; only 16 bit integers, big or little "
            "endian, can be read."
        )
    # Only then do x_start and y_start count the frame's own pixels.
    unbinned = re.sub(r"\s", "", facts.get("binning", "")) == "1x1"
    starts = [_whole(facts, name, about) or 0 for name in ("x_start", "y_start")]
    known = unbinned and min(starts) >= 1
    return _raw_movie(
        path,
        about,
        (height, width),
        np.dtype(">u2" if "big" in kind else "<u2"),
        _whole(facts, "number of frames", about),
        roi_origin=(starts[0] - 1, starts[1] - 1) if known else (0, 0),
        roi_known=known,
    )


def open_picasso(path: Path) -> Movie:
    """Open a .raw of Picasso, described by the .yaml file beside it.

    Raises
    ------
    SettingsError
        No .yaml, without the keys that are needed, or another size than it says.
    """
    about = path.with_suffix(".yaml")
    try:
        documents = list(yaml.safe_load_all(_text(path, about)))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = " ".join(str(error).split())
        raise SettingsError(f"{about}: not YAML: {line[:200]}") from None
    first = documents[0] if documents and isinstance(documents[0], dict) else {}
    facts = {str(key): str(value)[:100] for key, value in first.items()}
    kind = facts.get("Data Type", "")
    if kind not in _KINDS:
        raise SettingsError(
            f"{about}: 'Data Type' is {kind!r}; uint8 or uint16 can be read."
        )
    order = ">" if facts.get("Byte Order") == ">" else "<"
    height, width = (_whole(facts, key, about) or 0 for key in ("Height", "Width"))
    return _raw_movie(
        path,
        about,
        (height, width),
        np.dtype(order + _KINDS[kind]),
        _whole(facts, "Frames", about),
        pixel_size=stated(
            positive(facts.get("Pixelsize")), "nm", None, "nm", f"{about.name}"
        ),
    )


def _raw_movie(
    path: Path,
    about: Path,
    shape: tuple[int, int],
    stored: np.dtype[Any],
    count: int | None,
    **facts: Any,
) -> Movie:
    """Make a movie of raw frames; their number from the file's size if need be."""
    height, width = shape
    size, frame = path.stat().st_size, height * width * stored.itemsize
    if not frame:
        raise SettingsError(f"{about}: says {height} rows of {width} pixels.")
    remarks: tuple[str, ...] = ()
    if count is None:
        count = size // frame
        remarks = (
            f"{about.name} does not say the number of frames: {count}, from the "
            "file's size",
        )
    if size != count * frame:
        raise SettingsError(
            f"{path}: has {size} bytes, but {about.name} says {count} frames of "
            f"{width} x {height}, which are {count * frame}. The copy is incomplete, "
            f"or the {about.suffix} belongs to another file."
        )
    if not count:
        raise SettingsError(f"{path}: holds no frames.")
    file = path.open("rb")
    movie = Movie(
        path=path,
        shape=shape,
        dtype="u1" if stored.itemsize == 1 else "u2",
        length=count,
        read_frame=raw_reader(file, 0, shape, stored),
        close_file=file.close,
        remarks=remarks,
        **facts,
    )
    try:
        return check_frames(movie)
    except BaseException:
        movie.close()
        raise


def _text(path: Path, about: Path) -> str:
    try:
        with about.open("rb") as file:
            return file.read(_LARGEST_TEXT).decode("utf-8", "replace")
    except OSError as error:
        raise SettingsError(
            f"{path}: needs {about.name} beside it, which says size and byte order: "
            f"{error}"
        ) from error


def _lines(text: str, about: Path) -> dict[str, str]:
    """Read ``key = value`` lines; a key may be there twice with one value only."""
    facts: dict[str, str] = {}
    for key, value in re.findall(r"^\s*([^=\n]+?)\s*=\s*(.*?)\s*$", text, re.MULTILINE):
        if facts.setdefault(key, value) != value:
            raise SettingsError(
                f"{about}: {key!r} appears twice, as {facts[key]!r} and as {value!r}. "
                "Remove the wrong line."
            )
    return facts


def _two_numbers(facts: Mapping[str, str], name: str, about: Path) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", facts.get(name, ""))
    if found is None or not int(found[1]) * int(found[2]):
        raise SettingsError(f"{about}: {name!r} is {facts.get(name)!r}, not 256 x 256.")
    return int(found[1]), int(found[2])


def _whole(facts: Mapping[str, str], name: str, about: Path) -> int | None:
    """Read a whole number, which may be written as 17.0; None if not there."""
    text = facts.get(name, "")
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not (number.is_integer() and 0 <= number < 1e9):
        raise SettingsError(
            f"{about}: {name!r} is {text[:40]!r}; a whole number is needed."
        )
    return int(number)
