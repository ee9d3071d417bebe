"""The folder that takes results: made, or refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path


def make_folder(folder: Path) -> Path:
    """Make a folder for results, with those above it; return it.

    Raises
    ------
    SettingsError
        It is a file, or the system refuses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if folder.exists() and not folder.is_dir():
            raise SettingsError(
                f"{folder} is a file; a folder is needed for the results. Choose "
                "another name."
            ) from None
        raise SettingsError(
            f"{folder} cannot be made: {error.strerror}. Choose another folder for "
            "the results."
        ) from None
    return folder
