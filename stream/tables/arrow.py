"""The localization table on disk: an Arrow stream that survives a killed writer."""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
import pyarrow as pa

from ..errors import RecordingError, SettingsError
from ..files.input_file import DAMAGED, one_line
from ..localizations import LOCALIZATION, Localizations, empty
from .coordinates import CONVENTIONS, check_metadata, stated_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import IOBase

ARROW = b"\xff\xff\xff\xff"  # what an Arrow stream begins with
_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"  # end-of-stream marker of Arrow IPC
_TYPES: dict[str, pa.DataType] = {
    "<i8": pa.int64(),
    "<f4": pa.float32(),
    "<u2": pa.uint16(),
}
# What reading raises where the file is torn, or ends.
_TORN = (StopIteration, pa.ArrowException, *DAMAGED)
_FIELDS = [
    pa.field(name, _TYPES[LOCALIZATION[name].str], nullable=False)
    for name in LOCALIZATION.names or ()
]


def table_schema(metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Return the Arrow schema of the table; keys sorted, so equal text, equal bytes."""
    return pa.schema(_FIELDS, dict(sorted((metadata or {}).items())) or None)


_SCHEMA = table_schema()


def to_batch(rows: Localizations) -> pa.RecordBatch:
    """Copy rows into one Arrow record batch."""
    columns = [pa.array(np.ascontiguousarray(rows[f.name])) for f in _FIELDS]
    return pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def from_batch(batch: pa.RecordBatch) -> Localizations:
    """Copy one Arrow record batch into rows."""
    rows = empty(batch.num_rows)
    for index, name in enumerate(LOCALIZATION.names or ()):
        rows[name] = batch.column(index).to_numpy(zero_copy_only=False)
    return rows


@dataclass(slots=True)
class _Contents:
    """What of a table file is whole."""

    metadata: dict[str, str] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)  # byte offset of each batch
    firsts: list[int] = field(default_factory=list)  # its first row
    rows: int = 0
    end: int = 0  # bytes up to here are whole messages; 0: not even the schema
    closed: bool = False  # the end-of-stream marker follows


class TableWriter:
    """Appends record batches to ``localizations.arrow``.

    One thread appends; any thread may `read_rows`. A batch is one write, on
    the file when `append` returns: killing the process loses nothing of it.
    The same metadata and the same appends give the same bytes.

    Parameters
    ----------
    path : str or Path
    metadata : dict[str, str]
        At least `stream_metadata`; the table's conventions are added. Must not
        hold a time or a host: replays would differ.
    resume_rows : int, optional
        None starts a file and refuses an existing one. A number goes on with an
        existing file: cuts off what is torn and all rows beyond `resume_rows`.

    Raises
    ------
    SettingsError
        The file exists, has fewer rows than `resume_rows`, is of another
        stream, or `metadata` lack the pixel size, the ROI origin or the shape.
    RecordingError
        The disk refused it.
    """

    def __init__(
        self,
        path: str | Path,
        metadata: dict[str, str],
        *,
        resume_rows: int | None = None,
    ) -> None:
        check_metadata(metadata)
        self._path = Path(path)
        self._contents = _Contents(metadata=dict(CONVENTIONS) | metadata)
        if resume_rows is None:
            self._file = self._create()
        else:
            self._file = self._resume(resume_rows)

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return self._contents.rows

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself, a copy."""
        return dict(self._contents.metadata)

    def append(self, rows: Localizations) -> int:
        """Append rows as one record batch; none for no rows.

        Returns
        -------
        int
            Number of the first appended row.

        Raises
        ------
        RecordingError
            The disk refused it; the file is as it was before.
        """
        first = self.rows
        if len(rows):
            start = self._contents.end
            self._write(to_batch(rows).serialize().to_pybytes())
            self._contents.starts.append(start)
            self._contents.firsts.append(first)
            self._contents.rows = first + len(rows)  # last: readers look here
        return first

    def read_rows(self, first: int, count: int) -> Localizations:
        """Read rows from the file, fewer where it ends earlier. Any thread."""
        return _read_rows(self._path, self._contents, first, count)

    def close(self, *, complete: bool = True) -> None:
        """End the table and bring it to the disk. Idempotent.

        Parameters
        ----------
        complete : bool
            Nothing is missing: the end-of-stream marker is written.

        Raises
        ------
        RecordingError
            The disk refused it; the rows before are whole.
        """
        if self._file.closed:
            return
        try:
            if complete:
                self._write(_END)
            os.fsync(self._file.fileno())
        except OSError as error:
            if isinstance(error, RecordingError):
                raise
            raise RecordingError(f"{self._path}: cannot be ended: {error}") from error
        finally:
            self._file.close()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _create(self) -> BinaryIO:
        try:
            self._file = self._path.open("xb", buffering=0)
        except FileExistsError as error:
            raise SettingsError(
                f"{self._path} exists and is not overwritten. Choose another "
                "session folder, or resume this one."
            ) from error
        except OSError as error:
            raise RecordingError(f"{self._path}: cannot be created: {error}") from error
        self._write_schema()
        return self._file

    def _resume(self, rows: int) -> BinaryIO:
        """Cut the file to `rows` rows and open it there."""
        if not self._path.exists() and rows == 0:
            return self._create()
        found = _scan(self._path)
        if found.end:
            self._check_resumed(found, rows)
        elif rows:
            raise SettingsError(
                f"{self._path} holds no complete table, but {rows} rows are to be "
                "resumed. Start a new session."
            )
        try:
            self._file = self._path.open("r+b", buffering=0)
        except OSError as error:
            raise RecordingError(f"{self._path}: cannot be opened: {error}") from error
        try:
            rest = self._cut(found, rows)
            if not self._contents.end:
                self._write_schema()
            self.append(rest)
        except BaseException:
            self._file.close()
            raise
        return self._file

    def _write_schema(self) -> None:
        try:
            self._write(table_schema(self._contents.metadata).serialize().to_pybytes())
        except RecordingError:
            self._file.close()
            raise

    def _check_resumed(self, found: _Contents, rows: int) -> None:
        ours, theirs = self._contents.metadata, found.metadata
        if ours.get("stream_id") != theirs.get("stream_id"):
            raise SettingsError(
                f"{self._path} is the table of stream {theirs.get('stream_id')}, not "
                f"of {ours.get('stream_id')}. Choose another session folder."
            )
        if found.rows < rows:
            raise SettingsError(
                f"{self._path} holds {found.rows} rows, but {rows} are recorded as "
                "done. The file was cut short or replaced; start a new session."
            )

    def _cut(self, found: _Contents, rows: int) -> Localizations:
        """Truncate to whole batches; return the rows that a cut batch keeps."""
        keep = bisect_right(found.firsts, rows) if found.rows > rows else None
        rest = empty()
        if keep is not None:
            # The batch holding row `rows` goes; what it has before is written again.
            whole = max(keep - 1, 0)
            found.end = found.starts[whole]
            with self._path.open("rb") as file:
                file.seek(found.end)
                rest = from_batch(next(_batches(file)))[: rows - found.firsts[whole]]
            found.rows = found.firsts[whole]
            del found.starts[whole:], found.firsts[whole:]
        if not found.end:
            found.metadata = self._contents.metadata
        self._contents = found
        self._file.truncate(found.end)
        self._file.seek(found.end)
        return rest

    def _write(self, data: bytes) -> None:
        """Write all or nothing."""
        start = self._contents.end
        try:
            written = self._file.write(data)
            if written != len(data):
                raise OSError(f"only {written} of {len(data)} bytes were written")
        except OSError as error:
            with suppress(OSError):  # what stays is torn, and cut off on resuming
                self._file.truncate(start)
                self._file.seek(start)
            raise RecordingError(
                f"{self._path}: the disk refused {len(data)} bytes after row "
                f"{self.rows}: {error}. What was written before is whole; "
                "free some space and resume."
            ) from error
        self._contents.end = start + len(data)


class ArrowPieces:
    """A table of ours, read from its beginning on, and on again after it has grown.

    Parameters
    ----------
    path : Path
        An Arrow stream, whole or torn.
    piece_rows : int
        Batches are joined until they have about so many rows.

    Attributes
    ----------
    in_pixels : bool
        Never.
    metadata : dict[str, str]
        The file's.
    complete : bool
        Everything was read and the writer has ended the stream.
    left_out : int
        0: rows without a position are given, too.

    Raises
    ------
    SettingsError
        An Arrow stream that is not a localization table, or a torn schema.
    """

    in_pixels = False
    left_out = 0

    def __init__(self, path: Path, piece_rows: int) -> None:
        self._path, self._piece_rows = path, piece_rows
        self.rewind()

    def rewind(self) -> None:
        """Begin anew; raises as the class does."""
        path = self._path
        self.complete = False
        with path.open("rb") as raw, pa.PythonFile(raw, mode="r") as source:
            try:
                messages = pa.ipc.MessageReader.open_stream(source)
                schema = pa.ipc.read_schema(_next(messages, "schema"))
            except _TORN:
                raise _torn(path) from None
            self.metadata = _checked_metadata(path, schema)
            self._end = source.tell()

    def shorter(self) -> bool:
        """Whether the file lost rows that were given: it was written anew."""
        return self._path.stat().st_size < self._end

    def read(self) -> Iterator[Localizations]:
        """Yield whole batches not yet read, joined."""
        waiting: list[pa.RecordBatch] = []
        held = 0
        with self._path.open("rb") as file:
            file.seek(self._end)
            for batch, end in _whole_batches(file):
                waiting.append(batch)
                held += batch.num_rows
                if held >= self._piece_rows:
                    rows = _joined(waiting)
                    self._end, waiting, held = end, [], 0
                    yield rows
                last = end
            if waiting:
                rows = _joined(waiting)
                self._end = last
                yield rows
            file.seek(self._end)
            self.complete = file.read(len(_END)) == _END


def _whole_batches(file: BinaryIO) -> Iterator[tuple[pa.RecordBatch, int]]:
    """Yield record batches and where they end, up to the first torn one."""
    source = pa.PythonFile(cast("IOBase", file), mode="r")
    messages = pa.ipc.MessageReader.open_stream(source)
    try:
        while True:
            yield _next_batch(messages), source.tell()
    except _TORN:
        return


def _next(messages: pa.ipc.MessageReader, kind: str) -> pa.Message:
    """Read a message of a kind: Arrow ends the process on one taken for another."""
    message = messages.read_next_message()
    if message.type != kind:
        raise ValueError(f"{message.type}, not {kind}")
    return message


def _next_batch(messages: pa.ipc.MessageReader) -> pa.RecordBatch:
    """Read a record batch, and check it: a torn one raises one of `_TORN`."""
    batch = pa.ipc.read_record_batch(_next(messages, "record batch"), _SCHEMA)
    batch.validate(full=True)
    if any(column.null_count for column in batch.columns):
        raise ValueError("rows without a number")
    return batch


def _joined(batches: list[pa.RecordBatch]) -> Localizations:
    """Copy the rows of several batches."""
    table = pa.Table.from_batches(batches, _SCHEMA)
    rows = empty(table.num_rows)
    for index, name in enumerate(LOCALIZATION.names or ()):
        rows[name] = table.column(index).to_numpy()
    return rows


def _torn(path: Path) -> SettingsError:
    return SettingsError(f"{path}: the schema is torn; the table holds no rows.")


def _checked_metadata(path: Path, schema: pa.Schema) -> dict[str, str]:
    """Return the metadata of a table's schema; another schema is a SettingsError."""
    try:
        names = ", ".join(schema.names)
        pairs = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: its schema is damaged: {one_line(error)}."
        ) from None
    if not schema.equals(_SCHEMA):
        raise SettingsError(
            f"{path}: is an Arrow stream, but with the columns {names[:200]!r}; a "
            f"localization table has {', '.join(_SCHEMA.names)}."
        )
    return stated_metadata(pairs, path)


def _read_rows(path: Path, held: _Contents, first: int, count: int) -> Localizations:
    last = min(first + count, held.rows)
    if first >= last:
        return empty()
    index = bisect_right(held.firsts, first) - 1
    rows, position = empty(last - first), held.firsts[index] - first
    with path.open("rb") as file:
        file.seek(held.starts[index])
        for batch in _batches(file):
            begin, end = max(position, 0), min(position + batch.num_rows, len(rows))
            rows[begin:end] = from_batch(batch)[begin - position : end - position]
            position += batch.num_rows
            if position >= len(rows):
                break
    return rows


def _batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    """Yield record batches from where the file stands; the caller knows how many."""
    messages = pa.ipc.MessageReader.open_stream(
        pa.PythonFile(cast("IOBase", file), mode="r")
    )
    with suppress(StopIteration):
        while True:
            yield _next_batch(messages)


def _scan(path: Path) -> _Contents:
    """Find the whole messages of a file, up to the first torn one.

    Raises
    ------
    SettingsError
        An Arrow stream that is not a localization table.
    """
    found = _Contents()
    with path.open("rb") as raw, pa.PythonFile(raw, mode="r") as source:
        try:
            messages = pa.ipc.MessageReader.open_stream(source)
            schema = pa.ipc.read_schema(_next(messages, "schema"))
        except _TORN:
            return found
        found.metadata = _checked_metadata(path, schema)
        found.end = source.tell()
        try:
            while True:
                batch = _next_batch(messages)
                found.starts.append(found.end)
                found.firsts.append(found.rows)
                found.rows += batch.num_rows
                found.end = source.tell()
        except StopIteration:
            raw.seek(found.end)
            found.closed = raw.read(len(_END)) == _END
        except _TORN:
            pass  # torn: whole up to found.end, which is all the caller needs
    return found
