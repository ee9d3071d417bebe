"""Files that the user names: what is no file is refused before it is opened.

A pipe or a device would be waited for without end, or would never end.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

# What libraries raise for bytes that make no sense, RecursionError, UnicodeDecodeError
# and SettingsError among them.
DAMAGED = (
    *(OSError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError),
    *(AttributeError, MemoryError, EOFError, struct.error, zlib.error),
    zipfile.BadZipFile,
)
LONGEST_REASON = 300  # letters


def one_line(error: Exception) -> str:
    """Return what an error of a library says, as one line that any terminal shows."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "?" for c in text)[:LONGEST_REASON]


def regular_file(path: Path, what: str = "file") -> Path:
    """Return `path` if it is a file, or a link to one.

    Parameters
    ----------
    path : Path
        As the user named it.
    what : str
        What is needed, for the message: a noun without an article.

    Raises
    ------
    SettingsError
        It is missing, cannot be reached, or is a folder, a pipe or a device.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file. Check the path.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: cannot be read: {reason}.") from None
    if stat.S_ISDIR(mode):
        raise SettingsError(f"{path}: is a folder; it must be a {what}.")
    if not stat.S_ISREG(mode):
        raise SettingsError(
            f"{path}: is a pipe or a device; it must be a {what}. Save its content "
            "in a file first."
        )
    return path


def read_file(path: Path, what: str, most_bytes: int) -> bytes:
    """Read a file of limited size.

    Raises
    ------
    SettingsError
        As `regular_file`; or it is too large, or the system refuses it.
    """
    regular_file(path, what)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}.") from None
    if len(content) > most_bytes:
        raise SettingsError(
            f"{path}: is larger than {most_bytes >> 10} KiB, too large for a {what}. "
            "Is it the right file?"
        )
    return content
