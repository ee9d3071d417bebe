"""A finished session, or any table, opened for looking: loaded in the background."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from liveloc.stream.broadcast.status import EngineStatus
from liveloc.stream.errors import SettingsError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.tables.arrow import ArrowPieces
from liveloc.stream.tables.opening import open_pieces
from liveloc.stream.tables.pieces import remarks_on

from ..curves.traces import Traces
from ..data.document import Document
from ..image.field import field_of
from ..image.reconstruction import SUPER_PIXEL_NM
from .recorded_frames import RecordedFrames
from .session_report import FinishedSession

if TYPE_CHECKING:
    from liveloc.stream.preview import Preview
    from liveloc.stream.tables.pieces import Pieces

    from .live import State

STILL_S = 3.0  # a table that has not grown for so long is whole
FOLLOW_S = 0.5  # from look to look at a table that may still grow
NEEDED = ("shape", "roi_origin", "pixel_size_nm")  # of metadata, to know the field


def open_session(
    path: str | Path,
    *,
    pixel_size_nm: float | None = None,
    super_pixel_nm: float = SUPER_PIXEL_NM,
) -> OpenedSession:
    """Open a session's folder or a table, and load it in the background.

    Parameters
    ----------
    path : str or Path
        A folder with ``localizations.arrow``, such a table, a text table of another
        program or Picasso's HDF5; see `stream.table_pieces.open_pieces`.
    pixel_size_nm : float, optional
        Of the camera, for tables that do not say it.
    super_pixel_nm : float
        Edge of the image's pixels that is aimed at.

    Raises
    ------
    SettingsError
        No such file, or one that is no table. What is wrong further down in a file
        ends up in `OpenedSession.failure`.
    """
    path = Path(path)
    folder = path if path.is_dir() else None
    if folder is not None:
        path = SessionFolder(folder).table
        if not path.exists():
            raise SettingsError(
                f"{folder}: holds no {path.name}, so it is not a session folder. Give "
                "the folder of a session, or a table file."
            )
    elif path == SessionFolder(path.parent).table:
        folder = path.parent
    pieces = open_pieces(path, pixel_size_nm)
    finished = FinishedSession.read(folder) if folder is not None else FinishedSession()
    return OpenedSession(
        path,
        pieces,
        finished,
        RecordedFrames.of(folder) if folder is not None else None,
        pixel_size_nm=pixel_size_nm,
        super_pixel_nm=super_pixel_nm,
    )


class OpenedSession:
    """A table on its way into a document; made by `open_session`.

    A table of ours without an end, because its writer still runs or was killed, is
    looked at twice a second for more.

    Parameters
    ----------
    path : Path
        Of the table.
    pieces : Pieces
        Reads it; used by this session's thread alone.
    finished : FinishedSession
        What else is known of the session.
    recorded : RecordedFrames, optional
        Its raw frames.
    pixel_size_nm, super_pixel_nm : float
        As for `open_session`.

    Attributes
    ----------
    document : Document or None
        None until the field is known: of a table that does not say it, until its
        rows were looked through once.
    traces : Traces
        Of the rows so far, and of density and laser where they were written down.
    failure : Exception or None
        Why loading ended early; what came before is shown.
    """

    preview: Preview | None = None
    newest_published_ns = 0

    def __init__(
        self,
        path: Path,
        pieces: Pieces,
        finished: FinishedSession,
        recorded: RecordedFrames | None = None,
        *,
        pixel_size_nm: float | None = None,
        super_pixel_nm: float = SUPER_PIXEL_NM,
    ) -> None:
        self.path = path
        self.document: Document | None = None
        self.traces = Traces()
        self.failure: Exception | None = None
        self.recorded = recorded
        self.rows = 0
        self._pieces, self._finished = pieces, finished
        self._pixel_size_nm, self._aim_nm = pixel_size_nm, super_pixel_nm
        self._frames = 0
        self._grew_s = time.monotonic()
        self._loaded = threading.Event()
        self._closing = threading.Event()
        if all(name in pieces.metadata for name in NEEDED):
            self._make(pieces.metadata)
        self._thread = threading.Thread(
            target=self._load, name="opened session", daemon=True
        )
        self._thread.start()

    @property
    def figures(self) -> EngineStatus:
        """What the session's report says, else what the rows say."""
        reported = self._finished.status
        frames = {"frames": self._frames} if self._frames else {}
        return EngineStatus.from_json(
            {**frames, **reported, "localizations": self.rows}
        )

    @property
    def remarks(self) -> str:
        """What was left out of the table so far, in words; empty for nothing."""
        said = remarks_on(self._pieces)
        return f"{self.path.name}: {said}" if said else ""

    @property
    def end_status(self) -> str:
        """How the session ended; ``incomplete`` for a table without an end."""
        if not self._over:
            return ""
        if self.failure is not None:
            return "failed"
        return self._finished.end_status if self._pieces.complete else "incomplete"

    @property
    def complete(self) -> bool:
        """Whether everything that there is, is in the document."""
        return self._over and self.failure is None

    @property
    def _over(self) -> bool:
        """Whether loading has ended, and for a table without end, nothing comes."""
        if not self._loaded.is_set():
            return False
        silent = time.monotonic() - self._grew_s > STILL_S
        return self._pieces.complete or self.failure is not None or silent

    def state(self) -> State:
        """Return whether it is still loading or growing."""
        return "ended" if self._over else "live"

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the rows that there are now are loaded.

        Returns
        -------
        bool
            False when that took longer.

        Raises
        ------
        SettingsError
            The table cannot be read to its end.
        """
        loaded = self._loaded.wait(timeout_s)
        if self.failure is not None:
            raise self.failure
        return loaded

    def close(self) -> None:
        """Stop loading and close the files. Idempotent."""
        self._closing.set()
        self._thread.join()
        if self.recorded is not None:
            self.recorded.close()
        if self.document is not None:
            self.document.close()

    def __enter__(self) -> OpenedSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, metadata: dict[str, str]) -> None:
        self.document = Document(metadata, super_pixel_nm=self._aim_nm)

    def _load(self) -> None:
        try:
            self._finished.add_curve_to(self.traces)
            if self.document is None:
                self._make(self._surrounded())
            self._take()
            self._loaded.set()
            if isinstance(self._pieces, ArrowPieces):
                self._follow(self._pieces)
        except Exception as fault:
            self.failure = fault
        finally:
            self._loaded.set()

    def _surrounded(self) -> dict[str, str]:
        """Look through all rows for the field that they lie in."""
        first_look = open_pieces(self.path, self._pixel_size_nm)
        rows = (rows for rows in first_look.read() if not self._closing.is_set())
        return field_of(rows, self._pieces.metadata)

    def _take(self) -> None:
        """Load what there is."""
        for rows in self._pieces.read():
            if self._closing.is_set():
                return
            if self.document is not None and len(rows):
                self.document.add(rows)
                self.traces.add_rows(rows)
                self.rows += len(rows)
                self._frames = max(self._frames, int(rows["frame"].max()) + 1)
                self._grew_s = time.monotonic()

    def _follow(self, pieces: ArrowPieces) -> None:
        """Load what is added to a table without an end."""
        while not pieces.complete and not self._closing.wait(FOLLOW_S):
            with suppress(FileNotFoundError):  # gone: what was loaded stays
                if pieces.shorter():
                    self._begin_again()
                    pieces.rewind()
                self._take()

    def _begin_again(self) -> None:
        """Forget the rows: the file was written anew."""
        if self.document is not None:
            self.document.clear()
        self.traces.clear()
        self._finished.add_curve_to(self.traces)
        self.rows = self._frames = 0
