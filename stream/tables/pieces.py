"""Tables read piece by piece: of any length, and while they are still written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..errors import SettingsError
from .arrow import ARROW, ArrowPieces, first_bytes
from .picasso import HDF5, PIECE_ROWS, PicassoPieces
from .text import TextPieces, recognised

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..localizations import Localizations


class Pieces(Protocol):
    """A table that is read from its beginning to where it ends now.

    Attributes
    ----------
    metadata : dict[str, str]
        What the file, or the one beside it, says.
    in_pixels : bool
        Positions in the file are in pixels of the camera.
    left_out : int
        Rows without a position among those read so far.
    """

    metadata: dict[str, str]
    in_pixels: bool
    left_out: int

    @property
    def complete(self) -> bool:
        """Whether nothing more will follow what was read."""
        ...

    def read(self) -> Iterator[Localizations]:
        """Give the rows not given yet, about 65,536 at a time.

        Raises
        ------
        SettingsError
            A row that cannot be read.
        """
        ...


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
    beginning = first_bytes(path)
    if beginning == HDF5:
        return PicassoPieces(path, pixel_size_nm)
    if beginning.startswith(ARROW):
        return ArrowPieces(path, PIECE_ROWS)
    if path.suffix.lower() == ".arrow":
        raise SettingsError(
            f"{path}: is no Arrow stream (begins with {beginning!r}). Was it written "
            "by another program, or cut off at once?"
        )
    return TextPieces(recognised(path, pixel_size_nm))
