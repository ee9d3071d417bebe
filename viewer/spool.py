"""Whole rows on disk, in a file that vanishes: what the compact ones leave out."""

from __future__ import annotations

import tempfile
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stream.localizations import LOCALIZATION

if TYPE_CHECKING:
    from ..stream.localizations import Localizations

LARGEST_WAIT = 4 * 2**20  # bytes held back before they are written in any case


class Spool:
    """Rows as they came, in a temporary file without a name.

    Safe between threads. When the disk refuses, rows from there on are not kept
    and `failure` says why.

    Attributes
    ----------
    kept : int
        Rows that can be read back: the first ones, all of them while nothing failed.
    failure : str
        Why it stopped, empty while it goes on.
    """

    def __init__(self) -> None:
        self.failure = ""
        self.kept = 0
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._bytes = 0  # on disk
        self._lock = threading.Lock()
        self._file: Any = None
        try:
            # close() closes it: the file lives as long as the spool.
            self._file = tempfile.TemporaryFile(buffering=0, prefix="liveloc-")
        except OSError as error:
            self._fail(error)

    @property
    def written(self) -> int:
        """Rows that no failure takes back any more."""
        return self._bytes // LOCALIZATION.itemsize

    def append(self, rows: Localizations) -> None:
        """Take rows in; they reach the disk with the next `flush`."""
        with self._lock:
            if self._file is None or self.failure:
                return
            self._waiting.append(rows.astype(LOCALIZATION, copy=False).tobytes())
            self._waiting_bytes += len(self._waiting[-1])
            self.kept += len(rows)
            full = self._waiting_bytes >= LARGEST_WAIT
        if full:
            self.flush()

    def flush(self) -> None:
        """Write what waits. May block as long as the disk does."""
        with self._lock:
            self._flush()

    def read(self, first: int, rows: int) -> Localizations:
        """Copy rows back, from row number `first` on; all must be `kept`."""
        with self._lock:
            self._flush()
            if self._file is None:
                raise OSError("the temporary file of whole rows is closed.")
            self._file.seek(first * LOCALIZATION.itemsize)
            data = bytearray()
            while len(data) < rows * LOCALIZATION.itemsize:
                more = self._file.read(rows * LOCALIZATION.itemsize - len(data))
                if not more:
                    raise OSError("the temporary file of whole rows lost its end.")
                data += more
        return np.frombuffer(data, LOCALIZATION)

    def close(self) -> None:
        """Let go of the file, which is gone then. Idempotent."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._waiting.clear()
            self.kept = 0

    def _flush(self) -> None:
        if not self._waiting or self._file is None:
            return
        data = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._waiting_bytes = 0
        try:
            self._file.seek(self._bytes)
            while data:
                count = self._file.write(data)
                self._bytes += count
                data = data[count:]
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.kept = self.written
        self.failure = (
            f"whole rows are no longer kept on disk in {tempfile.gettempdir()} "
            f"({error.strerror or error}): tables saved from here on have rounded "
            "values. Make room there, or set TMPDIR."
        )
