"""Raw frames of a session that recorded them, with what was found in them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from liveloc.stream.errors import LivelocError
from liveloc.stream.preview import PREVIEW_ROWS, Preview, fitting_binning, mean_binned
from liveloc.stream.recording.segments import SegmentReader

if TYPE_CHECKING:
    from pathlib import Path

    from ..data.document import Document


class RecordedFrames:
    """Reads single frames of a recording, whole or torn. One thread at a time.

    Parameters
    ----------
    folder : Path
        The session, or its recording.

    Attributes
    ----------
    numbers : (int, int)
        Of the first and the last frame that there are.

    Raises
    ------
    SettingsError
        No recording, or one that cannot be opened.
    SourceError
        Its first or its last frame is damaged.
    IndexError
        It has no frame.
    """

    def __init__(self, folder: Path) -> None:
        self._reader = SegmentReader(folder)
        self._count = len(self._reader)
        self.numbers = self._seq(0), self._seq(self._count - 1)

    @classmethod
    def of(cls, folder: Path) -> RecordedFrames | None:
        """Open the recording of a session, None where there is none of use."""
        try:
            return cls(folder)
        except (LivelocError, OSError, IndexError):
            return None

    def at(self, seq: int, document: Document) -> Preview | None:
        """Read a frame, or the next that there is, and the rows found in it.

        Parameters
        ----------
        seq : int
            Number of the frame. Exposures that were lost have none.
        document : Document
            The session's rows.

        Returns
        -------
        Preview or None
            None where the frame is damaged, or its rows cannot be read back.
        """
        try:
            index = bisect_left(range(self._count - 1), seq, key=self._seq)
            frame = self._reader.read(index)
            rows = document.of_frame(frame.header.seq, PREVIEW_ROWS)
        except (LivelocError, OSError):
            return None
        binning = fitting_binning(frame.pixels.shape)
        return Preview(
            seq=frame.header.seq,
            pixels=mean_binned(frame.pixels, binning),
            binning=binning,
            localizations=rows,
        )

    def close(self) -> None:
        """Close the files. Idempotent."""
        self._reader.close()

    def __enter__(self) -> RecordedFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _seq(self, index: int) -> int:
        return self._reader.header(index).seq
