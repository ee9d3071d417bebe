"""The ledger of what is localized: where a restarted engine goes on.

``processed.jsonl`` holds one JSON object per line. Each says that every
exposure before ``next_seq`` is dealt with, which of them were lost and why, and
how many rows of the table belong to them. A line torn by a crash is ignored,
and cut off before the next one is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np

from ..errors import SettingsError
from ..files.input_file import DAMAGED
from ..files.line_file import LineFile
from ..frames import EndStatus, StreamEnd

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ..frames import StreamStart

HIGHEST_SEQ = 2**40  # a number above it is damage
LARGEST_ENTRY = 2**24  # frames; ours have a few


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumePoint:
    """How far a stream is dealt with.

    Attributes
    ----------
    next_seq : int
        First exposure that is not dealt with.
    localized : int
        Frames before it whose localizations are in the table.
    lost : dict[str, int]
        Frames before it that were lost, by name.
    missing_total, dropped_total : int
        What the sender had counted as missing and shed before it.
    rows : int
        Rows of the table that belong to exposures before it.
    """

    next_seq: int = 0
    localized: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    missing_total: int = 0
    dropped_total: int = 0
    rows: int = 0


class ProcessedLog:
    """Appends to, and reads, one ledger. One thread at a time.

    Parameters
    ----------
    path : Path
        Created when the first line is written.

    Raises
    ------
    SettingsError
        The file exists and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: LineFile | None = None

    def append(
        self, stream_id: bytes, first: int, last: int, point: ResumePoint
    ) -> None:
        """Write that exposures `first` to `last` are dealt with.

        Call it after the rows are in the table and before the frames are
        released: what was acknowledged is then never lost. The line has left
        this process when the call returns.

        Parameters
        ----------
        stream_id : bytes
            The stream.
        first, last : int
            Range of this entry, for readers of the file.
        point : ResumePoint
            Result of `FrameReceiver.checkpoint` for `last`.

        Raises
        ------
        RecordingError
            The disk refused the line.
        """
        self._write(
            {
                "stream_id": stream_id.hex(),
                "first": first,
                "last": last,
                "next_seq": point.next_seq,
                "localized": point.localized,
                "lost": point.lost,
                "missing_total": point.missing_total,
                "dropped_total": point.dropped_total,
                "rows": point.rows,
            }
        )

    def end(self, end: StreamEnd) -> None:
        """Write how the stream ended; RecordingError when the disk refuses it."""
        self._write(
            {
                "stream_id": end.stream_id.hex(),
                "end": end.status,
                "reason": end.reason,
                "last_seq": end.last_seq,
                "sent": end.sent,
                "dropped": end.dropped,
                "missing": end.missing,
            }
        )

    def resume(self, start: StreamStart) -> ResumePoint | None:
        """Find where `start`'s stream goes on; None: nothing of it is there."""
        for line in reversed(self._whole_lines()):
            entry = _parse(line)
            if entry is not None and entry.stream_id == start.stream_id:
                return entry.point
        return None

    def last(self) -> tuple[ResumePoint, StreamEnd | None]:
        """Return how far the stream is that came last, and its END if it has one."""
        end: StreamEnd | None = None
        for line in reversed(self._whole_lines()):
            end = end or _parse_end(line)
            if (entry := _parse(line)) is not None:
                return entry.point, end
        return ResumePoint(), end

    def localized_frames(self) -> NDArray[np.int64]:
        """Return the frames that were localized, growing.

        An entry that lost frames of its block is left out whole: it does not say
        which.
        """
        done, localized = [np.empty(0, np.int64)], 0
        for line in self._whole_lines():
            entry = _parse(line)
            if entry is None:
                continue
            frames = entry.last - entry.first + 1
            if entry.point.localized - localized == frames <= LARGEST_ENTRY:
                done.append(np.arange(entry.first, entry.last + 1))
            localized = entry.point.localized
        return np.concatenate(done)

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> ProcessedLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _whole_lines(self) -> list[bytes]:
        """Every line that ends; a torn one at the end does not."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SettingsError(f"{self.path}: cannot be read: {error}") from None
        return data.split(b"\n")[:-1]

    def _write(self, entry: dict[str, Any]) -> None:
        """Append a line; RecordingError when the disk refuses it."""
        if self._file is None:
            self._file = LineFile(self.path)
        self._file.write(entry)


class _Entry(NamedTuple):
    """A block of frames that is on the disk, and how far the stream is with it."""

    stream_id: bytes
    first: int
    last: int
    point: ResumePoint


def _parse(line: bytes) -> _Entry | None:
    """Read an entry that says how far a stream is; None for any other line."""
    try:
        raw = json.loads(line)
        lost = {str(name): int(n) for name, n in raw["lost"].items()}
        point = ResumePoint(
            next_seq=int(raw["next_seq"]),
            localized=int(raw["localized"]),
            lost=lost,
            missing_total=int(raw["missing_total"]),
            dropped_total=int(raw["dropped_total"]),
            rows=int(raw["rows"]),
        )
        first, last = int(raw["first"]), int(raw["last"])
        if not (0 <= first and last < point.next_seq <= HIGHEST_SEQ):
            return None
        return _Entry(bytes.fromhex(raw["stream_id"]), first, last, point)
    except DAMAGED:
        return None


def _parse_end(line: bytes) -> StreamEnd | None:
    """Read an entry that says how a stream ended; None for any other line."""
    try:
        raw = json.loads(line)
        if raw["end"] not in get_args(EndStatus):
            return None
        return StreamEnd(
            stream_id=bytes.fromhex(raw["stream_id"]),
            last_seq=int(raw["last_seq"]),
            sent=int(raw["sent"]),
            dropped=int(raw["dropped"]),
            missing=int(raw["missing"]),
            status=raw["end"],
            reason=str(raw["reason"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
