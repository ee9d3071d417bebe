"""Room on the disk that is held for what a session writes last.

A session that fills its disk still has to leave its report. So each process that writes
one holds some room from the beginning, as a file without a name, and gives it back just
before it writes. The system gives it back when the process is killed.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 1 << 16


class Reserve:
    """Holds room on the disk of a folder until it is released.

    Parameters
    ----------
    folder : Path
        Where the room is needed.
    nbytes : int
        Room, bytes.

    Raises
    ------
    SettingsError
        The disk does not have it.
    """

    def __init__(self, folder: Path, nbytes: int) -> None:
        try:
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)
            for start in range(0, nbytes, _PIECE):
                piece = bytes(min(_PIECE, nbytes - start))
                if self._file.write(piece) != len(piece):
                    raise OSError("No space left on device")
            os.fsync(self._file.fileno())
        except OSError as error:
            if hasattr(self, "_file"):
                self.release()
            raise SettingsError(
                f"{folder}: the disk refuses {nbytes >> 10} KiB that are held for the "
                f"report: {error.strerror or error}. Free some space, or choose "
                "another folder."
            ) from None

    def release(self) -> None:
        """Release the room. Idempotent."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Reserve:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
