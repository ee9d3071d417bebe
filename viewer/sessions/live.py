"""A running session as a window shows it: followed in the background."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from liveloc.stream.broadcast.status import EngineStatus
from liveloc.stream.broadcast.subscriber import (
    LocalizationSubscriber,
    Reset,
    Rows,
    Status,
)
from liveloc.stream.localizations import empty
from liveloc.stream.preview import Preview

from ..curves.traces import Traces
from ..data.document import Document
from ..image.reconstruction import SUPER_PIXEL_NM

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from liveloc.stream.broadcast.subscriber import Update
    from liveloc.stream.localizations import Localizations
    from liveloc.stream.sockets.session_key import SessionKey

    from .recorded_frames import RecordedFrames

State = Literal["waiting", "live", "silent", "ended"]

SILENCE_S = 1.0  # an engine sends its status four times a second
POLL_S = 0.1  # how soon the thread notices that it is to end
GATHER_S = 0.008  # rows of many small publications are added together
TRACED_ROWS = 8_192  # at most wait to be in the curves


class Source(Protocol):
    """Source of updates: a subscriber, or a test."""

    def poll(self, timeout_s: float) -> Sequence[Update]:
        """Return what arrived since the last call; wait at most `timeout_s`."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the last message of the engine."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class LiveSession:
    """Follows one engine: through waiting, sessions, silence and their ends.

    With a source, a thread of its own takes in whatever comes, as soon as it comes:
    a window that is slow, or frozen, delays nothing and piles nothing up. Without
    one, updates are passed to `apply`.

    Parameters
    ----------
    source : Source, optional
        Used and closed by that thread.
    super_pixel_nm : float
        Aimed at; see `Document`.

    Attributes
    ----------
    document : Document or None
        None until the field of a session is known. An engine that restarts keeps
        the document of its session.
    traces : Traces
        Of the present session.
    figures : EngineStatus
        The newest that the engine said.
    preview : Preview or None
        The newest raw frame of the present session.
    failure : Exception or None
        What ended the thread, unless it was closed.
    newest_published_ns : int
        When the newest row was published; 0 where it had to be fetched later.
    rows : int
        That came so far; the document has them all.
    """

    recorded: RecordedFrames | None = None  # their recorder has them open

    def __init__(
        self, source: Source | None = None, *, super_pixel_nm: float = SUPER_PIXEL_NM
    ) -> None:
        self.document: Document | None = None
        self.traces = Traces()
        self.figures = EngineStatus()
        self.preview: Preview | None = None
        self.failure: Exception | None = None
        self.newest_published_ns = 0
        self.rows = 0
        self._aim_nm = super_pixel_nm
        self._stream_id = b""
        self._traced_to = -1  # frames up to this one are in the traces
        self._untraced: list[Localizations] = []  # shown already
        self._ended = ""
        self._heard = False
        self._source = source
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        if source is not None:
            self._thread = threading.Thread(
                target=self._follow, args=(source,), name="live session", daemon=True
            )
            self._thread.start()

    @classmethod
    def connect(
        cls,
        endpoint: str,
        *,
        super_pixel_nm: float = SUPER_PIXEL_NM,
        key: SessionKey | None = None,
    ) -> LiveSession:
        """Follow the engine that publishes at `endpoint`, now or later.

        With a `key`, only one that knows it is believed.

        Raises
        ------
        SettingsError
            The address is not on this machine.
        """
        source = LocalizationSubscriber(endpoint, previews=True, key=key)
        return cls(source, super_pixel_nm=super_pixel_nm)

    @property
    def end_status(self) -> str:
        """How the session ended (``ok``, ``aborted``, ...); empty while it lasts."""
        return self._ended

    @property
    def complete(self) -> bool:
        """Whether the session has ended and every row it published is here."""
        published = self.figures.localizations or 0
        known = self.document is not None
        return bool(self._ended and known and self.rows >= published)

    def state(self) -> State:
        """Return the present state of the session."""
        if self._ended:
            return "ended"
        if not self._heard:
            return "waiting"
        silent = self._source is not None and self._source.silent_s > SILENCE_S
        return "silent" if silent or self.failure is not None else "live"

    def apply(self, update: Update) -> None:
        """Take in one update, in the order they came.

        Raises
        ------
        SettingsError
            The session's metadata do not say its field.
        """
        self._heard = True
        if isinstance(update, Reset):
            self._begin(update)
        elif isinstance(update, Rows):
            self._add(update)
        elif isinstance(update, Status):
            self.figures = EngineStatus.from_json(update.values)
            self._ended = self.figures.ended
            self._trace()
            self.traces.add_status(update.values)
        elif isinstance(update, Preview):
            self.preview = update

    def close(self) -> None:
        """Stop following and release everything. Idempotent."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self.document is not None:
            self.document.close()

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _follow(self, source: Source) -> None:
        """Apply updates until closed; keep a fault for the window."""
        try:
            _warm_up()
            while not self._closing.is_set():
                updates = source.poll(POLL_S)
                for update in _gathered(updates):
                    self.apply(update)
                if not updates:
                    self._trace()
                self._closing.wait(GATHER_S)
        except Exception as fault:
            self.failure = fault
        finally:
            source.close()

    def _begin(self, reset: Reset) -> None:
        """Start an empty document; everything of the session follows as rows."""
        self._trace()
        old, same_stream = self.document, reset.stream_id == self._stream_id
        new = Document(reset.metadata, super_pixel_nm=self._aim_nm)
        if old is not None and same_stream and old.rect == new.rect:
            new.close()
            old.clear()  # the same session sent once more: keep the user's view
            self._traced_to = self.traces.newest_frame
        else:
            self.document = new
            self._traced_to = -1
            self.traces.clear()
            if old is not None:
                old.close()
        if self._stream_id:  # else a status may have come first, and still holds
            self._ended = ""
        if self._stream_id and not same_stream:
            self.figures = EngineStatus()
        self._stream_id = reset.stream_id
        self.preview = None
        self.newest_published_ns = self.rows = 0

    def _add(self, update: Rows) -> None:
        rows = update.localizations
        if self.document is not None:
            self.document.add(rows)
        self.rows += len(rows)
        self.newest_published_ns = update.published_ns
        self._untraced.append(rows)
        if self._thread is None or sum(map(len, self._untraced)) >= TRACED_ROWS:
            self._trace()

    def _trace(self) -> None:
        """Bring the curves up to date: at the latest with the next status."""
        waiting, self._untraced = self._untraced, []
        if not waiting:
            return
        rows = np.concatenate(waiting)
        if self._traced_to >= 0:
            rows = rows[rows["frame"] > self._traced_to]
        self.traces.add_rows(rows)


def _gathered(updates: Sequence[Update]) -> Iterator[Update]:
    """Join rows that follow one another; they count as published with the first."""
    waiting: list[Rows] = []
    for update in [*updates, None]:
        if isinstance(update, Rows):
            waiting.append(update)
            continue
        if waiting:
            first = waiting[0]
            rows = np.concatenate([part.localizations for part in waiting])
            yield Rows(rows, first.first_row, first.published_ns)
            waiting = []
        if update is not None:
            yield update


def _warm_up() -> None:
    """Load what the first rows need before they come: it takes half a second."""
    rows = empty(2)
    rows["frame"] = 0, 1
    Traces().add_rows(rows)
