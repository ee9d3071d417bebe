"""Room on the disk that is held for what a session writes last.

A session that fills its disk still has to leave its report. So each process that writes
one holds some room from the beginning, as a file of zeros, and gives it back just
before it writes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from .errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 1 << 16


class Reserve:
    """Holds room on the disk until it is released.

    Parameters
    ----------
    path : Path
        File that holds the room; replaced if it is there, removed on release.
    nbytes : int
        Room, bytes.

    Raises
    ------
    SettingsError
        The disk does not have it.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self._path = path
        try:
            with path.open("wb", buffering=0) as file:
                for start in range(0, nbytes, _PIECE):
                    piece = bytes(min(_PIECE, nbytes - start))
                    if file.write(piece) != len(piece):
                        raise OSError("No space left on device")
                os.fsync(file.fileno())
        except OSError as error:
            self.release()
            raise SettingsError(
                f"{path.parent}: the disk refuses {nbytes >> 10} KiB that are held for "
                f"the report: {error.strerror or error}. Free some space, or give "
                "another folder."
            ) from None

    def release(self) -> None:
        """Give the room back. Idempotent."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def __enter__(self) -> Reserve:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
