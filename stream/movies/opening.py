"""Choose the reader of a movie by what its bytes and its name say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import LivelocError, SettingsError
from ..files.input_file import regular_file
from .pages import MAGIC
from .raw import open_dax, open_picasso
from .recording import open_recording
from .sequence import is_sequence, open_sequence
from .tiff import open_tiff

if TYPE_CHECKING:
    from .movie import Movie

RECORDING = ("stream.json", "stream/stream.json")


def open_movie(path: str | Path, *, counts: bool = True) -> Movie:
    """Open a TIFF stack, a .dax or .raw with its text, a folder of images, a recording.

    A movie in several files is opened whole from any one of them, where their names
    and contents say how they belong together.

    Parameters
    ----------
    path : str or Path
        A file, a folder of numbered images, a recording's folder, or a session that
        holds one.
    counts : bool
        Refuse pixels that are no camera counts; otherwise a TIFF of any numbers is
        read as it is.

    Raises
    ------
    SettingsError
        Missing, of another kind, colour, several channels, cut off, a part without
        the others, or pixels that are not camera counts.
    """
    path = Path(path)
    try:
        return _open(path, counts)
    except LivelocError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    except MemoryError:
        raise SettingsError(
            f"{path}: does not fit the memory; it is damaged."
        ) from None


def is_recording(path: Path) -> bool:
    """Whether a folder holds a recording, or is a session that has one."""
    return any((path / name).exists() for name in RECORDING)


def _open(path: Path, counts: bool) -> Movie:
    if path.is_dir():
        if is_sequence(path) and not is_recording(path):
            return open_sequence(path)
        return open_recording(path)
    regular_file(path, "movie")
    with path.open("rb") as file:
        beginning = file.read(4)
    if path.suffix.lower() == ".dax":
        return open_dax(path)
    if path.suffix.lower() == ".raw" and path.with_suffix(".yaml").exists():
        return open_picasso(path)
    if beginning in MAGIC:
        return open_tiff(path, counts=counts)
    raise SettingsError(
        f"{path}: not a movie that liveloc reads (begins with {beginning!r}). It "
        "reads TIFF (.tif, .tiff, OME, ImageJ, Micro-Manager, BigTIFF), .dax with "
        ".inf, .raw with Picasso's .yaml, a folder of numbered TIFF images, and the "
        "folder of a recording or session. Convert anything else to TIFF."
    )
