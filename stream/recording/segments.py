"""The recording of a stream: append-only segment files that survive kill -9.

A recording is a folder::

    stream.json      START, written before the first frame
    camera.npz       maps of the camera, where it has any
    seg-000000.bin   records, 1 GiB at most, then seg-000001.bin ...
    end.json         END and the number of frames, written at close

A record is a 64-byte header and the pixels (C order, little endian), one write.
All numbers are little endian; all records of a recording have the same size.

    0  magic ``LLFR``            4  version u16, header length u16
    8  seq u64                  16  camera_frame u64
    24 t_ns i64                 32  missing_total u64
    40 laser_seq u64            48  payload length u32
    52 first 8 bytes of the stream id
    60 CRC32C u32 of bytes 0-59 and the pixels
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from crc32c import crc32c

from ..errors import RecordingError, SettingsError, SourceError
from ..files.session_folder import SessionFolder
from ..frames import Frame, FrameHeader, StreamEnd, StreamStart
from .start_file import START_FILE, read_end, read_start, write_end, write_start

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_BYTES = 1 << 30
_MAGIC = b"LLFR"
_VERSION = 1
_HEADER = struct.Struct("<4sHHQQqQQI8s")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far a recording could be read.

    Attributes
    ----------
    frames : int
        Good frames, from the first on.
    segment : str
        File of the first record that is not good; empty if all are.
    offset : int
        Byte offset of that record in the file.
    reason : str
        What is wrong with it; empty if all are good.
    """

    frames: int
    segment: str = ""
    offset: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if not self.reason:
            return f"{self.frames} frames, all good"
        return (
            f"{self.frames} good frames up to byte {self.offset} of {self.segment}: "
            f"{self.reason}"
        )


class SegmentWriter:
    """Writes a recording. One thread owns it.

    Parameters
    ----------
    folder : str or Path
        Made if need be; must not hold a recording.
    start : StreamStart
        Kept word for word.
    segment_bytes : int
        A segment file ends before it grows larger.

    Raises
    ------
    SettingsError
        The folder holds a recording.
    RecordingError
        The disk refused it.
    """

    def __init__(
        self,
        folder: str | Path,
        start: StreamStart,
        *,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder, self._start = Path(folder), start
        record = HEADER_BYTES + start.frame_nbytes
        self._per_segment = max(1, segment_bytes // record)
        self._file: BinaryIO | None = None
        self._offset = 0  # in the segment
        self._frames = 0
        self._closed = False
        if (self._folder / START_FILE).exists() or _segments(self._folder):
            raise SettingsError(
                f"{self._folder} holds a recording already, which is never "
                "overwritten. Choose another folder."
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_start(self._folder, start, self._per_segment)
        except OSError as error:
            raise RecordingError(f"{self._folder}: cannot record: {error}") from error

    @property
    def frames(self) -> int:
        """Frames handed to the operating system: killing the process keeps them."""
        return self._frames

    def append(self, frame: Frame) -> None:
        """Write one frame, whole or not at all.

        Raises
        ------
        RecordingError
            The disk refused it, or the frame does not fit START. What was
            appended before stays whole.
        """
        pixels = np.ascontiguousarray(frame.pixels)
        start = self._start
        if pixels.shape != start.shape or pixels.dtype.str[1:] != start.dtype:
            raise RecordingError(
                f"frame {frame.header.seq} is {pixels.shape} {pixels.dtype.str}, but "
                f"the recording was started for {start.shape} {start.dtype}. Start a "
                "new recording for another region or camera."
            )
        payload = pixels.astype("<" + start.dtype, copy=False)
        head = _pack_header(frame.header, start)
        body = payload.data.cast("B")
        head += _CRC.pack(crc32c(body, crc32c(head)))
        try:
            self._write(head, body)
        except OSError as error:
            raise RecordingError(
                f"{self._folder}: the disk refused frame {frame.header.seq}: {error}. "
                f"The {self._frames} frames before it are whole."
            ) from error
        self._frames += 1

    def _write(self, head: bytes, body: memoryview) -> None:
        """Write a record; leave no part of it behind on an error."""
        if self._file is None or self._frames % self._per_segment == 0:
            self._next_segment()
        file = self._file
        assert file is not None
        size = len(head) + len(body)
        try:
            if hasattr(os, "writev"):
                written = os.writev(file.fileno(), [head, body])
            else:
                written = file.write(head + bytes(body)) or 0
            if written != size:
                raise OSError(f"{written} of {size} bytes fitted")
        except OSError:
            with suppress(OSError):  # what stays is torn, and found by its CRC
                file.truncate(self._offset)
                file.seek(self._offset)
            raise
        self._offset += size

    def _next_segment(self) -> None:
        if self._file is not None and self._offset == 0:
            return  # its first write failed, try again
        if self._file is not None:
            self.sync()
            self._file.close()
            self._file = None
        name = f"seg-{self._frames // self._per_segment:06d}.bin"
        self._file = (self._folder / name).open("xb", buffering=0)
        self._offset = 0

    def sync(self) -> None:
        """Bring what was appended to the disk; blocks while it writes.

        Raises
        ------
        OSError
            The disk failed.
        """
        if self._file is not None:
            getattr(os, "fdatasync", os.fsync)(self._file.fileno())

    def close(self, end: StreamEnd | None = None) -> None:
        """Finish the recording; without `end` it looks like that of a killed process.

        Idempotent.

        Raises
        ------
        RecordingError
            The disk refused the end; the frames are there.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.sync()
            if end is not None:
                write_end(self._folder, end, self._frames)
        except OSError as error:
            raise RecordingError(
                f"{self._folder}: the end of the recording could not be written: "
                f"{error}. Its {self._frames} frames are there."
            ) from error
        finally:
            if self._file is not None:
                self._file.close()

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SegmentReader:
    """Reads a recording, whole or torn; iterating yields its frames in order.

    Every frame is checked. The first bad record ends the iteration, and
    `recovered` says where; `read` still returns good frames behind it.

    Parameters
    ----------
    folder : str or Path
        The recording, or a session that holds it in ``stream``.

    Attributes
    ----------
    start : StreamStart
        As recorded.
    end : StreamEnd or None
        As recorded; None if the recording was never closed.

    Raises
    ------
    SettingsError
        No recording, one of a newer program, or a damaged ``stream.json``.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = recording_folder(folder)
        self.start, self._per_segment = read_start(self._folder)
        self.end, self._declared = read_end(self._folder)
        self._record = HEADER_BYTES + self.start.frame_nbytes
        self._recovered: Recovery | None = None
        self._file: BinaryIO | None = None
        self._open_segment = -1

    def __len__(self) -> int:
        """Count the records that the files have room for; they are not yet checked."""
        return sum(size // self._record for size in self._sizes())

    def _sizes(self) -> list[int]:
        """Sizes of the segments up to the first that is missing or not full."""
        sizes: list[int] = []
        full = self._per_segment * self._record
        while not sizes or sizes[-1] >= full:
            path = self._folder / _name(len(sizes))
            if not path.exists():
                break
            sizes.append(min(path.stat().st_size, full))
        return sizes

    def __iter__(self) -> Iterator[Frame]:
        records, last_seq, index = len(self), -1, 0
        try:
            for index in range(records):
                frame = self._checked(index, last_seq)
                last_seq = frame.header.seq
                yield frame
            self._recovered = self._stopped(records, self._torn(records))
        except _BadRecord as bad:
            self._recovered = self._stopped(index, str(bad))
        finally:
            self.close()

    @property
    def recovered(self) -> Recovery:
        """How far the recording is good; reads it all unless it was iterated."""
        if self._recovered is None:
            for _ in self:
                pass
        assert self._recovered is not None
        return self._recovered

    def read(self, index: int) -> Frame:
        """Read the record at `index`, counted from 0 without gaps.

        Raises
        ------
        IndexError
            There is no such record.
        SourceError
            The record is damaged.
        """
        with self._named(index):
            return self._checked(index, -1)

    def header(self, index: int) -> FrameHeader:
        """Read the header of a record, without the checksum: that is of the pixels too.

        Raises
        ------
        IndexError, SourceError
            As `read` does.
        """
        with self._named(index):
            return _unpack_header(self._head(self._at(index)), self.start)

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        """Name the recording of which a record is missing or damaged."""
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            yield
        except _BadRecord as bad:
            raise SourceError(
                f"{self._folder}: {self._stopped(index, str(bad))}"
            ) from bad

    def close(self) -> None:
        """Close the files. Idempotent."""
        if self._file is not None:
            self._file.close()
            self._file, self._open_segment = None, -1

    def __enter__(self) -> SegmentReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stopped(self, index: int, reason: str) -> Recovery:
        if not reason:
            return Recovery(index)
        segment, place = divmod(index, self._per_segment)
        return Recovery(index, _name(segment), place * self._record, reason)

    def _torn(self, frames: int) -> str:
        """Describe what is wrong behind the last whole record, if anything."""
        segment, place = divmod(frames, self._per_segment)
        path = self._folder / _name(segment)
        rest = path.stat().st_size - place * self._record if path.exists() else 0
        if rest:
            return f"{rest} bytes are not a whole record"
        if any(later.name > path.name for later in _segments(self._folder)):
            return "the file is missing or shorter than it was, others follow"
        if self._declared is not None and self._declared != frames:
            return f"the recording had {self._declared} frames"
        return ""

    def _checked(self, index: int, last_seq: int) -> Frame:
        """Read and check a record.

        Raises
        ------
        _BadRecord
            Saying what is wrong.
        """
        file = self._at(index)
        head = self._head(file)
        pixels = np.empty(self.start.shape, "<" + self.start.dtype)
        body = pixels.data.cast("B")
        if _read_into(file, body) != len(body):
            raise _BadRecord("the file ends within the record")
        header = _unpack_header(head, self.start)
        if _CRC.unpack_from(head, _HEADER.size)[0] != crc32c(
            body, crc32c(head[: _HEADER.size])
        ):
            raise _BadRecord("the checksum (CRC32C) differs: bytes were changed")
        if header.seq <= last_seq:
            raise _BadRecord(f"frame {header.seq} follows frame {last_seq}")
        return Frame(header, pixels)

    def _at(self, index: int) -> BinaryIO:
        """Return the file of a record, at its beginning."""
        segment, place = divmod(index, self._per_segment)
        if segment != self._open_segment:
            self.close()
            self._file = (self._folder / _name(segment)).open("rb", buffering=0)
            self._open_segment = segment
        assert self._file is not None
        self._file.seek(place * self._record)
        return self._file

    @staticmethod
    def _head(file: BinaryIO) -> bytes:
        head = file.read(HEADER_BYTES)
        if len(head) != HEADER_BYTES:
            raise _BadRecord("the file ends within the record")
        return head


def recording_folder(path: str | Path) -> Path:
    """Find the recording: `path` itself, or ``stream`` in it.

    Raises
    ------
    SettingsError
        Neither holds a ``stream.json``.
    """
    path = Path(path)
    for folder in (path, SessionFolder(path).recording):
        if (folder / START_FILE).exists():
            return folder
    raise SettingsError(
        f"{path} holds no recording: neither {START_FILE} nor stream/{START_FILE}. "
        "Frames are kept only in sessions run with --record."
    )


class _BadRecord(Exception):
    """A record that must not be used."""


def _name(segment: int) -> str:
    return f"seg-{segment:06d}.bin"


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("seg-*.bin"))


def _read_into(file: BinaryIO, body: memoryview) -> int:
    """Read until `body` is full or the file ends; a raw read may give less."""
    done = 0
    while done < len(body):
        got = file.readinto(body[done:])  # type: ignore[attr-defined]
        if not got:
            break
        done += got
    return done


def _pack_header(header: FrameHeader, start: StreamStart) -> bytes:
    return _HEADER.pack(
        _MAGIC,
        _VERSION,
        HEADER_BYTES,
        header.seq,
        header.camera_frame,
        header.t_ns,
        header.missing_total,
        header.laser_seq,
        start.frame_nbytes,
        start.stream_id[:8],
    )


def _unpack_header(head: bytes, start: StreamStart) -> FrameHeader:
    magic, version, length, seq, camera, t_ns, missing, laser, nbytes, stream = (
        _HEADER.unpack_from(head)
    )
    if magic != _MAGIC:
        raise _BadRecord(f"no record begins here ({magic!r})")
    if version != _VERSION or length != HEADER_BYTES:
        raise _BadRecord(f"record version {version}, this program reads {_VERSION}")
    if stream != start.stream_id[:8]:
        raise _BadRecord("the record belongs to another stream")
    if nbytes != start.frame_nbytes:
        raise _BadRecord(f"{nbytes} bytes of pixels, frames have {start.frame_nbytes}")
    return FrameHeader(
        seq=seq,
        camera_frame=camera,
        t_ns=t_ns,
        missing_total=missing,
        laser_seq=laser,
    )
