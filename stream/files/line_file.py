"""A file of JSON lines that grows: a line is on it whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import RecordingError

if TYPE_CHECKING:
    from pathlib import Path


class LineFile:
    """Appends JSON lines; each has left this process when `write` returns.

    A torn line at the end, which a killed process or a full disk leaves, is cut off
    before the first one is written. One thread at a time.

    Parameters
    ----------
    path : Path
        Created if need be, with its folder.

    Raises
    ------
    RecordingError
        The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
            self._cut(_whole_bytes(path))
        except OSError as error:
            raise RecordingError(f"{path}: cannot be opened: {error}") from error

    def write(self, entry: dict[str, Any]) -> None:
        """Append one line.

        Raises
        ------
        RecordingError
            The disk refused it; the file is as it was before.
        """
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        try:
            end = os.fstat(self._file.fileno()).st_size
            if (written := self._file.write(line)) != len(line):
                self._cut(end)
                raise OSError(f"only {written} of {len(line)} bytes were written")
        except OSError as error:
            raise RecordingError(
                f"{self._path}: the disk refused a line: {error}. Free some space."
            ) from error

    def close(self) -> None:
        """Close the file. Idempotent."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> LineFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut(self, size: int) -> None:
        if os.fstat(self._file.fileno()).st_size > size:
            self._file.truncate(size)


def _whole_bytes(path: Path) -> int:
    """Return where the last whole line ends, bytes."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        while size:
            start = max(0, size - (1 << 16))
            file.seek(start)
            found = file.read(size - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            size = start
    return 0
