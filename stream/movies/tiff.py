"""TIFF movies: which program wrote the file decides where its frames are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from ..pixel_size import UNSAID, from_ome, from_tiff
from . import imagej, micromanager, ndtiff, ome, siblings
from .movie import Movie, check_frames, named
from .pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


def open_tiff(path: Path, *, counts: bool = True) -> Movie:
    """Open a TIFF, with the files that belong to it.

    Raises
    ------
    SettingsError
        Damaged, cut off, a part of a set that is not whole, or no stack of counts.
    """
    with path.open("rb") as file:
        head = file.read(12)
    if micromanager.begins_as_ndtiff(head):
        return check_frames(ndtiff.open_ndtiff(path))
    if micromanager.begins_as_stack(head):
        return _checked(_micromanager_movie(path), counts)
    pages = Pages(path)
    try:
        text = next((t for t in pages.descriptions if ome.is_ome(t)), "")
        movie = _ome_movie(path, text, pages) if text else _stack_movie(path, pages)
    except BaseException:
        pages.close()
        raise
    return _checked(movie, counts)


def _checked(movie: Movie, counts: bool) -> Movie:
    movie.counts = counts
    try:
        return check_frames(movie)
    except BaseException:
        movie.close()
        raise


def _movie(
    path: Path, files: Sequence[Pages], frames: Sequence[tuple[int, int]], **facts: Any
) -> Movie:
    """Make a movie of pages that lie in one file or several."""
    first = files[0]
    for other in files[1:]:
        if (other.shape, other.stored) != (first.shape, first.stored):
            raise SettingsError(
                f"{path}: {other.path.name} belongs to it, but its frames are "
                f"{other.shape} of {other.stored.name}, not {first.shape} of "
                f"{first.stored.name}. Are these files of one movie?"
            )

    def read(index: int) -> NDArray[Any]:
        file, page = frames[index]
        return files[file].read(page)

    def close() -> None:
        for each in files:
            each.close()

    return Movie(
        path=path,
        shape=first.shape,
        dtype="u2" if facts.get("subtract_adu") else first.dtype,
        length=len(frames),
        read_frame=read,
        close_file=close,
        **facts,
    )


def _micromanager_movie(path: Path) -> Movie:
    stack = micromanager.open_stack(path)
    files = [each.pages for each in stack.files]
    try:
        facts = micromanager.movie_facts(files[0].micromanager or {})
        return _movie(path, files, stack.frames, remarks=stack.remarks, **facts)
    except BaseException:
        for each in files:
            each.close()
        raise


def _ome_movie(path: Path, words: str, pages: Pages) -> Movie:
    """Open an OME-TIFF with all files that its XML lists."""
    text = ome.parse(words, path)
    holder = pages
    opened: dict[str, Pages] = {}
    try:
        if text.master:
            holder = _beside(path, text.master)
            opened[text.master] = holder
            words = next((t for t in holder.descriptions if ome.is_ome(t)), "")
            text = ome.parse(words or "<OME/>", holder.path)
        axis, planned = ome.time_axis(text, path)
        own = ome.own_name(text, holder.path)
        files = {own: holder}
        for name in dict.fromkeys(each.name or own for each in text.planes):
            if name not in files:
                mine = ome.beside(path, name) == path
                files[name] = pages if mine else _beside(path, name)
                opened[name] = files[name]
        if pages not in files.values():
            raise SettingsError(
                f"{path}: says that it belongs to {text.master}, which does not list "
                "it. Rename it back to its own name."
            )
        frames = ome.plane_list(text, axis, planned, files, own)
        if not frames:
            raise SettingsError(f"{path}: its OME metadata lists no frame that it has.")
        numbers = {name: number for number, name in enumerate(files)}
        facts = {
            "pixel_size": from_ome(text.pixels),
            "interval_ms": ome.interval_ms(text.pixels),
            "remarks": _ome_remarks(planned, frames, files),
        }
        if pages.micromanager:
            said = micromanager.movie_facts(pages.micromanager)
            if said["pixel_size"] == UNSAID:
                del said["pixel_size"]
            facts |= said
        where = [(numbers[name], page) for name, page in frames]
        return _movie(path, list(files.values()), where, **facts)
    except BaseException:
        for each in opened.values():
            each.close()
        raise


def _beside(path: Path, name: str) -> Pages:
    """Open another file of the set."""
    other = ome.beside(path, name)
    if not other.is_file():
        raise SettingsError(
            f"{path}: is a part of a movie in several files, and needs {other.name} "
            "beside it. Copy all files of the set into one folder."
        )
    return Pages(other)


def _ome_remarks(
    planned: int, frames: Sequence[tuple[str, int]], files: Mapping[str, Pages]
) -> tuple[str, ...]:
    remarks = []
    if planned > len(frames):
        remarks.append(f"planned {planned} frames, holds {len(frames)}")
    pages = sum(len(each) for each in files.values())
    if pages > len(frames):
        remarks.append(
            f"has {pages} pages, of which its OME metadata lists {len(frames)} as "
            "frames; those are read"
        )
    if len(files) > 1:
        names = list(dict.fromkeys(name for name, _ in frames))
        remarks.append(f"read whole, {len(frames)} frames, from {named(names)}")
    return tuple(remarks)


def _stack_movie(path: Path, pages: Pages) -> Movie:
    """Open a stack of ImageJ, of tifffile, of MetaMorph, or simply of pages."""
    words = pages.descriptions[0]
    about = imagej.parse(words)
    unit, per_unit = pages.resolution
    facts: dict[str, Any] = {"pixel_size": from_tiff(unit, per_unit)}
    if about:
        said, writer = imagej.frames(about, path), "ImageJ's description"
        facts |= imagej.movie_facts(about, per_unit)
    else:
        said, writer = _shaped_frames(words, path), "its description"
    if pages.micromanager:
        # Such a file's resolution is per centimetre, whatever ImageJ's unit says.
        facts |= micromanager.movie_facts(pages.micromanager)
    planes = pages.metamorph()
    block = _block(pages, planes or said) if len(pages) == 1 else None
    if block is not None:
        length = planes or said
        return Movie(
            path=path,
            shape=pages.shape,
            dtype="u2" if facts.get("subtract_adu") else pages.dtype,
            length=length,
            read_frame=block,
            close_file=pages.close,
            **facts,
        )
    if said > len(pages):
        raise SettingsError(
            f"{path}: {writer} says {said} frames, the file holds {len(pages)}. It is "
            "cut off, or a part of a movie. Copy it again, or save what it holds as a "
            "stack of its own."
        )
    remarks = list(facts.pop("remarks", ()))
    if (about and 1 < said < len(pages)) or (about and said == 1 and len(pages) > 1):
        remarks.append(f"{writer} says {said} frames, {len(pages)} are there and read")
    return _with_siblings(path, pages, facts, remarks)


def _block(pages: Pages, frames: int) -> Callable[[int], NDArray[Any]] | None:
    """Read frames behind the only page, as ImageJ keeps stacks above 4 GB."""
    return pages.block(frames) if frames > 1 else None


def _shaped_frames(words: str, path: Path) -> int:
    """Return the frames that tifffile's own description says, else 1."""
    if not words.startswith('{"shape":'):
        return 1
    try:
        about = json.loads(words)
        shape = [int(n) for n in about["shape"]]
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return 1
    names = about.get("axes")
    if not isinstance(names, str) or len(names) != len(shape):
        names = "".join(f"{i}" for i in range(len(shape)))
    outer = {name: n for name, n in zip(names[:-2], shape[:-2], strict=True) if n != 1}
    _, length = ome.one_axis(outer, path)
    return max(length, 1)


def _with_siblings(
    path: Path, pages: Pages, facts: dict[str, Any], remarks: list[str]
) -> Movie:
    """Add the files that a camera program split off, and name those that may be."""
    names = siblings.split_files(path)
    files = [pages]
    try:
        files += [Pages(path.with_name(name)) for name in names]
        if names:
            total = sum(map(len, files))
            remarks.append(f"read whole, {total} frames, with {named(names)} beside it")
        elif found := siblings.similar_files(path, single=len(pages) == 1):
            remarks.append(found)
        where = [(i, p) for i, each in enumerate(files) for p in range(len(each))]
        return _movie(path, files, where, remarks=tuple(remarks), **facts)
    except BaseException:
        for each in files[1:]:
            each.close()
        raise
