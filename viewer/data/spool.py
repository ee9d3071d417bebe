"""Whole rows on disk, in a file that vanishes: what the compact ones leave out."""

from __future__ import annotations

import tempfile
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import RecordingError
from liveloc.stream.localizations import LOCALIZATION

if TYPE_CHECKING:
    from liveloc.stream.localizations import Localizations

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
        """Copy rows back, from row number `first` on; all must be `kept`.

        Raises
        ------
        RecordingError
            The spool is closed, or the disk does not give them back.
        """
        with self._lock:
            self._flush()
            if self._file is None:
                raise RecordingError(
                    "the whole rows are gone: the session they belong to was closed."
                )
            try:
                self._file.seek(first * LOCALIZATION.itemsize)
                data = self._read(rows * LOCALIZATION.itemsize)
            except OSError as error:
                raise RecordingError(
                    f"rows {first} to {first + rows - 1} cannot be read back from the "
                    f"temporary file in {tempfile.gettempdir()}: {error}. Is the disk "
                    "in order?"
                ) from error
        return np.frombuffer(data, LOCALIZATION)

    def of_frame(self, frame: int, most: int) -> Localizations:
        """Find the rows of a frame, where rows came in the order of their frames.

        Parameters
        ----------
        frame : int
            Its number.
        most : int
            Of a frame with more rows, the first.
        """

        def frame_of(place: int) -> int:
            return int(self.read(place, 1)["frame"][0])

        kept = self.kept
        first = bisect_left(range(kept), frame, key=frame_of)
        rows: Localizations = self.read(first, min(most, kept - first))
        found: Localizations = rows[rows["frame"] == frame]
        return found

    def close(self) -> None:
        """Delete the file. Idempotent."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._waiting.clear()

    def __del__(self) -> None:
        self.close()  # it can no longer be read

    def _read(self, length: int) -> bytearray:
        data = bytearray()
        while len(data) < length:
            more = self._file.read(length - len(data))
            if not more:
                raise OSError("its end is missing")
            data += more
        return data

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
