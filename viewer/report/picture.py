"""The super-resolution image of a session, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.tables.opening import read_table

from ..image.reconstruction import Reconstruction

if TYPE_CHECKING:
    from pathlib import Path


def write_picture(folder: Path) -> None:
    """Write ``reconstruction.png`` and ``.tif`` of a session's table."""
    paths = SessionFolder(folder)
    table, metadata = read_table(paths.table)
    image = Reconstruction.from_metadata(metadata)
    image.add(table)
    image.save_png(paths.picture)
    image.save_tiff(paths.picture_tiff)
