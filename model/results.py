"""What localizing a stream leaves behind: the table, and what was processed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ..stream.coordinates import stream_metadata
from ..stream.processed import ProcessedLog, ResumePoint
from ..stream.table import TableWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..stream.frames import StreamEnd, StreamStart
    from ..stream.localizations import Localizations
    from .bundle import Bundle
    from .localizer import Localized

TABLE_FILE = "localizations.arrow"
PROCESSED_FILE = "processed.jsonl"
BLOCK_FRAMES = 8  # frames of one batch in the table, aligned: no file depends on timing


@dataclass(slots=True)
class _Block:
    """Localized frames whose rows wait to be written."""

    first: int
    last: int
    frames: int = 0
    failed: int = 0
    rows: list[Localizations] = field(default_factory=list)


class Results:
    """Writes the localizations of one stream into a session's folder.

    Rows reach the file in batches of whole blocks of frames, so the file does
    not depend on how frames were grouped on their way, and what the processed
    log calls done is on disk.

    Parameters
    ----------
    folder : Path
        Of the session; made if need be.
    start : StreamStart
        Of the stream.
    bundle : Bundle
        What localizes; named in the table's metadata.
    settle : callable
        Called as ``settle(last, frames, failed)`` when the rows of all frames up
        to `last` are on disk: `frames` localized and `failed` lost since the last
        call. Gives what the log says of it.
    written : callable, optional
        Called with `last` when the log says it, too.
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
        resume: ResumePoint | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.metadata = table_metadata(start, bundle)
        self._stream_id, self._settle = start.stream_id, settle
        self._written = written
        self._table = TableWriter(
            folder / TABLE_FILE,
            self.metadata,
            resume_rows=resume.rows if resume else None,
        )
        self._log = ProcessedLog(folder / PROCESSED_FILE)
        self._block: _Block | None = None

    @property
    def rows(self) -> int:
        """Rows so far, those that wait for their block included."""
        return self._table.rows + sum(len(rows) for rows in self._waiting)

    @property
    def _waiting(self) -> list[Localizations]:
        return self._block.rows if self._block else []

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
        """Write what waits, and how the stream ended; end the table. Idempotent."""
        if self._block:
            self._write()
        if end is not None:
            self._log.end(end)
        self._log.close()
        self._table.close()

    def _write(self) -> None:
        """Bring the waiting block to the disk, then say that it is processed."""
        block, self._block = self._block, None
        if block is None:
            return
        self._table.append(np.concatenate(block.rows))
        point = self._settle(block.last, block.frames, block.failed)
        point = replace(point, rows=self._table.rows)
        self._log.append(self._stream_id, block.first, block.last, point)
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
