"""The files of a localized stream: its table and its ledger."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import RecordingError
from liveloc.stream.files.session_folder import SessionFolder, make_folder
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.coordinates import stream_metadata
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.frames import StreamEnd, StreamStart
    from liveloc.stream.localizations import Localizations

    from .bundle import Bundle
    from .localizer import Localized

HELD_ROWS = 4_000_000  # kept in memory while the disk is full, about 200 MB
BLOCK_FRAMES = 8  # frames of one batch in the table, aligned: no file depends on timing


@dataclass(slots=True)
class _Block:
    """Localized frames whose rows wait to be written."""

    first: int
    last: int
    frames: int = 0
    failed: int = 0
    rows: list[Localizations] = field(default_factory=list)


@dataclass(slots=True)
class _PendingRows:
    """A block that the disk has not accepted yet, and its entry in the ledger."""

    block: _Block
    rows: Localizations
    point: ResumePoint


class Results:
    """Writes the localizations of one stream into a session's folder.

    Rows reach the file in batches of whole blocks of frames, so the file does not
    depend on how frames were grouped on their way, and what the ledger lists is on
    disk.

    A disk that refuses them does not end a live session: blocks wait in memory, up to
    `HELD_ROWS` rows, and are written as soon as the disk accepts them again.

    Parameters
    ----------
    folder : Path
        Folder of the session; created if need be.
    start : StreamStart
        Description of the stream.
    bundle : Bundle
        Network, named in the table's metadata.
    settle : callable
        Called as ``settle(last, frames, failed)`` when all frames up to `last` are
        dealt with: `frames` localized and `failed` lost since the last call. Returns
        the entry for the ledger.
    written : callable, optional
        Called with `last` once it is in the ledger.
    refused : callable, optional
        Called with the error when the disk refuses a block, which then waits in
        memory. Without it that is a RecordingError.
    resume : ResumePoint, optional
        Where an earlier engine stopped in this folder.

    Raises
    ------
    SettingsError
        The folder already holds a table that is not resumed.
    """

    def __init__(
        self,
        folder: Path,
        start: StreamStart,
        bundle: Bundle,
        settle: Callable[[int, int, int], ResumePoint],
        *,
        written: Callable[[int], None] = lambda last: None,
        refused: Callable[[RecordingError], None] | None = None,
        resume: ResumePoint | None = None,
    ) -> None:
        make_folder(folder)
        self.metadata = table_metadata(start, bundle)
        self._stream_id, self._settle = start.stream_id, settle
        self._written, self._refused = written, refused
        self._pending: deque[_PendingRows] = deque()
        self._table = TableWriter(
            SessionFolder(folder).table,
            self.metadata,
            resume_rows=resume.rows if resume else None,
        )
        self._log = ProcessedLog(SessionFolder(folder).ledger)
        self._block: _Block | None = None
        self._closed = False

    @property
    def rows(self) -> int:
        """Rows so far, including those that wait for their block."""
        return self._table.rows + sum(len(rows) for rows in self._waiting)

    @property
    def _waiting(self) -> list[Localizations]:
        pending = [one.rows for one in self._pending]
        return [*pending, *self._block.rows] if self._block else pending

    @property
    def owed_frames(self) -> int:
        """Localized frames whose rows the disk has not accepted."""
        return sum(one.block.frames for one in self._pending)

    def add(self, localized: Localized) -> None:
        """Add localized frames; write the blocks that are complete."""
        rows, frames = localized.localizations, localized.frames
        every = np.union1d(frames, np.array(localized.failed, np.int64))
        for number in np.unique(every // BLOCK_FRAMES):
            mine = every[every // BLOCK_FRAMES == number]
            if self._block and self._block.last // BLOCK_FRAMES != number:
                self._write()
            block = self._block or _Block(int(mine[0]), int(mine[-1]))
            done = int(np.isin(mine, frames).sum())
            block.last = int(mine[-1])
            block.frames += done
            block.failed += len(mine) - done
            block.rows.append(rows[rows["frame"] // BLOCK_FRAMES == number])
            self._block = block

    def read_rows(self, first: int, count: int) -> Localizations:
        """Read rows by number, from the file and from what waits."""
        written = self._table.read_rows(first, count)
        waiting = np.concatenate([written[:0], *self._waiting])
        start = max(first - self._table.rows, 0)
        missing = max(count - len(written), 0)
        return np.concatenate([written, waiting[start : start + missing]])

    def close(self, end: StreamEnd | None = None) -> None:
        """Write what waits and how the stream ended; close the table. Idempotent.

        What the disk refuses even now counts in `owed_frames` and is lost.
        """
        if self._closed:
            return
        self._closed = True
        try:
            try:
                if self._block:
                    self._write()
                self._write_pending()
                if end is not None:
                    self._log.end(end)
                self._table.close()
            finally:
                self._log.close()
                self._table.close(complete=False)
        except RecordingError as error:
            if self._refused is None:
                raise
            self._refused(error)

    def _write(self) -> None:
        """Write the waiting block to disk, then to the ledger."""
        block, self._block = self._block, None
        if block is None:
            return
        point = self._settle(block.last, block.frames, block.failed)
        self._pending.append(_PendingRows(block, np.concatenate(block.rows), point))
        try:
            self._write_pending()
        except RecordingError as error:
            held = sum(len(one.rows) for one in self._pending)
            if self._refused is None or held > HELD_ROWS:
                raise
            self._refused(error)

    def _write_pending(self) -> None:
        """Write the blocks that wait, oldest first, until the disk refuses one."""
        while self._pending:
            first, block = self._pending[0], self._pending[0].block
            self._table.append(first.rows)
            first.rows = first.rows[:0]  # in the table; the ledger may still refuse it
            point = replace(first.point, rows=self._table.rows)
            self._log.append(self._stream_id, block.first, block.last, point)
            self._pending.popleft()
            self._written(block.last)


def table_metadata(start: StreamStart, bundle: Bundle) -> dict[str, str]:
    """Return what a table states of camera and network, the same for every replay."""
    return {
        **stream_metadata(start),
        "model": bundle.spec.name,
        "model_digest": bundle.digest,
        "dimensions": "3" if bundle.spec.is_3d else "2",
        "refined": str(bundle.refine).lower(),
        "thresholds": json.dumps(asdict(bundle.spec.thresholds), sort_keys=True),
    }
