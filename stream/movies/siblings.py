"""Files beside a TIFF that may belong to the same movie, by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import SettingsError
from .movie import named

if TYPE_CHECKING:
    from pathlib import Path

_ANDOR = re.compile(r"(?P<set>.+)_X(?P<number>\d{1,4})")
_NUMBER = re.compile(r"\d+")
TIFF = (".tif", ".tiff")


def split_files(path: Path) -> list[str]:
    """Return the other parts of a movie that Andor Solis split: NAME_X2.tif and so on.

    Raises
    ------
    SettingsError
        `path` is such a part itself, or one between others is missing.
    """
    part = _ANDOR.fullmatch(path.stem)
    if part and int(part["number"]) > 1:
        whole = path.with_name(f"{part['set']}{path.suffix}")
        if whole.exists():
            raise SettingsError(
                f"{path}: is a part of {whole.name}, which lies beside it. Name "
                f"{whole.name}: all parts are read."
            )
        return []
    found = {}
    for each in path.parent.iterdir():
        part = _ANDOR.fullmatch(each.stem)
        if part and part["set"] == path.stem and each.suffix == path.suffix:
            found[int(part["number"])] = each.name
    for expected, number in enumerate(sorted(found), 2):
        if number != expected:
            raise SettingsError(
                f"{path}: {found[number]} belongs to it, and so does "
                f"{path.stem}_X{expected}{path.suffix}, which is needed beside it."
            )
    return [found[number] for number in sorted(found)]


def similar_files(path: Path, *, single: bool) -> str:
    """Return a remark on files that may be parts of the same movie, or nothing.

    Parameters
    ----------
    single : bool
        The file holds one image: others with another number may be the next ones.
    """
    stem = path.stem.removesuffix(".ome")
    parts = re.compile(
        re.escape(stem) + r"[_@-]?(?:X|file|part)?\d{1,4}(?:\.ome)?", re.IGNORECASE
    )
    pattern = re.compile(
        r"(\d+)".join(re.escape(each) for each in _NUMBER.split(path.stem))
    )
    numbered = single and bool(_NUMBER.search(path.stem))
    found = sorted(
        each.name
        for each in path.parent.iterdir()
        if each.suffix.lower() in TIFF
        and each.name != path.name
        and (pattern.fullmatch(each.stem) if numbered else parts.fullmatch(each.stem))
    )
    if not found:
        return ""
    if numbered:
        return (
            f"holds one image, and {named(found, 2)} beside it may be the next ones; "
            "only this one is read. Name the folder to read them all"
        )
    return (
        f"{named(found, 2)} beside it may be parts of the same movie; only this "
        "file is read"
    )
