"""Tables read piece by piece: of any length, and while they are still written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..localizations import empty
from .coordinates import left_out

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
        """Yield the rows not yet read, about 65,536 at a time.

        Raises
        ------
        SettingsError
            A row that cannot be read.
        """
        ...


def read_all(pieces: Pieces) -> tuple[Localizations, dict[str, str]]:
    """Read a table to its end, with what was left out as ``remarks``."""
    found = list(pieces.read())
    rows = np.concatenate(found) if found else empty()
    remarks = remarks_on(pieces)
    return rows, pieces.metadata | ({"remarks": remarks} if remarks else {})


def remarks_on(pieces: Pieces) -> str:
    """Describe what was left out of a table as far as it was read; "" for nothing."""
    said = [pieces.metadata["not_read"]] if "not_read" in pieces.metadata else []
    if pieces.left_out:
        said.append(left_out(pieces.left_out))
    return "; ".join(said)
