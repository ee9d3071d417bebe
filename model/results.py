"""What localizing a stream leaves behind: the table, and what was processed."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import RecordingError
from liveloc.stream.files.results_folder import make_folder
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

TABLE_FILE = "localizations.arrow"
PROCESSED_FILE = "processed.jsonl"
REPORT_FILE = "report.json"
HELD_ROWS = 4_000_000  # that a full disk may keep in memory, about 200 MB
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
class _Owed:
    """A block that the disk has not taken yet, and what the ledger is to say of it."""

    block: _Block
    rows: Localizations
    point: ResumePoint


class Results:
    """Writes the localizations of one stream into a session's folder.

    Rows reach the file in batches of whole blocks of frames, so the file does
    not depend on how frames were grouped on their way, and what the processed
    log calls done is on disk.

    A disk that refuses them does not end a live session: blocks wait in memory, up to
    `HELD_ROWS` rows, and are written as soon as the disk takes them again.

    Parameters
    ----------
    folder : Path
        Of the session; made if need be.
    start : StreamStart
        Of the stream.
    bundle : Bundle
        What localizes; named in the table's metadata.
    settle : callable
        Called as ``settle(last, frames, failed)`` when all frames up to `last` are
        dealt with: `frames` localized and `failed` lost since the last call. Returns
        what the log says of it.
    written : callable, optional
        Called with `last` when the log says it, too.
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
        self._owed: deque[_Owed] = deque()
        self._table = TableWriter(
            folder / TABLE_FILE,
            self.metadata,
            resume_rows=resume.rows if resume else None,
        )
        self._log = ProcessedLog(folder / PROCESSED_FILE)
        self._block: _Block | None = None
        self._closed = False

    @property
    def rows(self) -> int:
        """Rows so far, those that wait for their block included."""
        return self._table.rows + sum(len(rows) for rows in self._waiting)

    @property
    def _waiting(self) -> list[Localizations]:
        owed = [one.rows for one in self._owed]
        return [*owed, *self._block.rows] if self._block else owed

    @property
    def owed_frames(self) -> int:
        """Localized frames whose rows the disk has not taken."""
        return sum(one.block.frames for one in self._owed)

    def add(self, localized: Localized) -> None:
        """Take localized frames; blocks that are complete reach the disk."""
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
        """Write what waits, and how the stream ended; end the table. Idempotent.

        What the disk refuses even now counts in `owed_frames` and is lost.
        """
        if self._closed:
            return
        self._closed = True
        try:
            try:
                if self._block:
                    self._write()
                self._pay()
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
        """Bring the waiting block to the disk, then say that it is processed."""
        block, self._block = self._block, None
        if block is None:
            return
        point = self._settle(block.last, block.frames, block.failed)
        self._owed.append(_Owed(block, np.concatenate(block.rows), point))
        try:
            self._pay()
        except RecordingError as error:
            held = sum(len(one.rows) for one in self._owed)
            if self._refused is None or held > HELD_ROWS:
                raise
            self._refused(error)

    def _pay(self) -> None:
        """Write the blocks that wait, oldest first, until the disk refuses one."""
        while self._owed:
            owed, block = self._owed[0], self._owed[0].block
            self._table.append(owed.rows)
            owed.rows = owed.rows[:0]  # in the table; the ledger may still refuse it
            point = replace(owed.point, rows=self._table.rows)
            self._log.append(self._stream_id, block.first, block.last, point)
            self._owed.popleft()
            self._written(block.last)


def table_metadata(start: StreamStart, bundle: Bundle) -> dict[str, str]:
    """State what a table must say of camera and network: the same for each replay."""
    return {
        **stream_metadata(start),
        "model": bundle.spec.name,
        "model_digest": bundle.digest,
        "dimensions": "3" if bundle.spec.is_3d else "2",
        "refined": str(bundle.refine).lower(),
        "thresholds": json.dumps(asdict(bundle.spec.thresholds), sort_keys=True),
    }
