"""A folder of single images, numbered by their names, as one movie."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..pixel_size import UNSAID, from_ome, from_tiff
from . import imagej, micromanager, ome
from .movie import Movie, check_frames, named
from .pages import Pages
from .siblings import TIFF

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def is_sequence(folder: Path) -> bool:
    """Whether a folder holds TIFF files."""
    return any(each.suffix.lower() in TIFF for each in folder.iterdir())


def open_sequence(folder: Path) -> Movie:
    """Open the numbered images of a folder, one frame each.

    Raises
    ------
    SettingsError
        Not one series of names with one running number, a number that is missing,
        or a file that holds more than one image.
    """
    images = _in_order(folder)
    first = Pages(images[0])
    try:
        if len(first) > 1 or len(images) == 1:
            raise SettingsError(
                f"{folder}: holds stacks, not single images: {named(_names(images))}. "
                "Give the path of one of them."
            )
        facts = _facts(first)
        shape, dtype = first.shape, first.dtype
        stored = first.stored
    finally:
        first.close()

    def read(index: int) -> NDArray[Any]:
        pages = Pages(images[index])
        try:
            if (len(pages), pages.stored) != (1, stored):
                raise SettingsError(
                    f"{images[index]}: holds {len(pages)} images of "
                    f"{pages.stored.name}, not one of {stored.name} as the others."
                )
            return pages.read(0)
        finally:
            pages.close()

    remark = f"read {len(images)} images, {images[0].name} to {images[-1].name}"
    return check_frames(
        Movie(
            path=folder,
            shape=shape,
            dtype="u2" if facts.get("subtract_adu") else dtype,
            length=len(images),
            read_frame=read,
            close_file=lambda: None,
            **(facts | {"remarks": (remark, *facts.get("remarks", ()))}),
        )
    )


def _facts(pages: Pages) -> dict[str, Any]:
    unit, per_unit = pages.resolution
    facts: dict[str, Any] = {"pixel_size": from_tiff(unit, per_unit)}
    if about := imagej.parse(pages.descriptions[0]):
        facts |= imagej.movie_facts(about, per_unit)
    words = pages.descriptions[0]
    if ome.is_ome(words):
        text = ome.parse(words, pages.path)
        facts["pixel_size"] = from_ome(text.pixels)
    if pages.micromanager:
        said = micromanager.movie_facts(pages.micromanager)
        if said["pixel_size"] == UNSAID:
            facts["pixel_size"] = UNSAID
        facts |= said
    return facts


def _names(paths: list[Path]) -> list[str]:
    return [each.name for each in paths]


def _in_order(folder: Path) -> list[Path]:
    """Sort the images by the one number that differs in their names."""
    images = sorted(
        each
        for each in folder.iterdir()
        if each.suffix.lower() in TIFF and each.is_file()
    )
    patterns = {re.sub(r"\d+", "0", each.name) for each in images}
    if len(patterns) > 1:
        raise SettingsError(
            f"{folder}: holds no recording, but TIFF files of several names: "
            f"{named(_names(images))}. Name one stack, or a folder with the images of "
            "one movie, which differ in one number."
        )
    numbers = [[int(n) for n in re.findall(r"\d+", each.name)] for each in images]
    places = [
        place
        for place in range(len(numbers[0]))
        if len({each[place] for each in numbers}) > 1
    ]
    if len(images) == 1:
        return images
    if len(places) != 1:
        raise SettingsError(
            f"{folder}: the names of its images differ in {len(places)} numbers "
            f"({named(_names(images), 2)}): which is time? Name a folder with one "
            "channel and one plane, or save it as one TIFF stack."
        )
    found = {each[places[0]]: path for each, path in zip(numbers, images, strict=True)}
    low, high = min(found), max(found)
    if len(found) < len(images) or high - low + 1 != len(images):
        lacking = next(
            (n for n in range(low, low + len(images)) if n not in found), low
        )
        raise SettingsError(
            f"{folder}: holds {len(images)} images, numbered {low} to {high}, and not "
            f"one for each: number {lacking} is missing or appears twice."
        )
    return [found[number] for number in sorted(found)]
