"""Tables of any program, recognised by their first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..files.input_file import regular_file
from .arrow import ARROW, ArrowPieces
from .coordinates import left_out, placed
from .picasso import HDF5, PIECE_ROWS, PicassoPieces
from .pieces import read_all
from .text import TextPieces, recognised

if TYPE_CHECKING:
    from ..localizations import Localizations
    from .pieces import Pieces


def read_table(
    path: str | Path, pixel_size_nm: float | None = None
) -> tuple[Localizations, dict[str, str]]:
    """Read a localization table of liveloc or of another program.

    Parameters
    ----------
    path : str or Path
        An Arrow stream, whole or torn, a text table in any dialect of
        ``coordinates.READABLE``, or Picasso's HDF5.
    pixel_size_nm : float, optional
        Only for tables that do not say it.

    Returns
    -------
    Localizations, dict[str, str]
        All whole rows that have a position, and the file's metadata. ``complete`` is
        ``"no"`` for an Arrow table whose writer runs or was killed, else ``"yes"``;
        ``remarks`` says what was left out.

    Raises
    ------
    SettingsError
        Missing file, or nothing that can be read as a table.
    """
    pieces = open_pieces(path, pixel_size_nm)
    rows, metadata = read_all(pieces)
    metadata["complete"] = "yes" if pieces.complete else "no"
    good = placed(rows)
    if not good.all():  # in an Arrow table
        rows = rows[good]
        metadata["remarks"] = left_out(int((~good).sum()))
    return rows, metadata


def open_pieces(path: str | Path, pixel_size_nm: float | None = None) -> Pieces:
    """Open a table: ours (Arrow), a text table of another program, Picasso's HDF5.

    Parameters
    ----------
    path : str or Path
        See `read_table`; besides, ``.hdf5`` with the ``.yaml`` that Picasso writes
        beside it.
    pixel_size_nm : float, optional
        For tables that do not say it.

    Raises
    ------
    SettingsError
        Missing file, or nothing that can be read as a table.
    """
    path = Path(path)
    beginning = _first_bytes(path)
    if beginning == HDF5:
        return PicassoPieces(path, pixel_size_nm)
    if beginning.startswith(ARROW):
        return ArrowPieces(path, PIECE_ROWS)
    if path.suffix.lower() == ".arrow":
        raise SettingsError(
            f"{path}: is not an Arrow stream (begins with {beginning!r}). Was it "
            "written by another program, or cut off at the start?"
        )
    return TextPieces(recognised(path, pixel_size_nm))


def _first_bytes(path: Path) -> bytes:
    """Read the bytes that distinguish one kind of file from another.

    Raises
    ------
    SettingsError
        No such file, or one that cannot be read.
    """
    regular_file(path, "table")
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
