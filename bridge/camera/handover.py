"""Frames from a thread that never waits to one that works with them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from liveloc.stream.errors import SourceAborted, SourceError
from liveloc.stream.shedding import Shedding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liveloc.stream.errors import LivelocError
    from liveloc.stream.frames import Frame, Policy, StreamStart

QUEUE_BYTES = 256 << 20
WAIT_S = 0.25

_log = logging.getLogger(__name__)


class Handover:
    """A bounded queue of one stream's frames, between two threads.

    `put` and `end` are for the thread of the acquisition: they take a lock that is
    held for microseconds and never wait for room. What finds none is shed in blocks
    (``drop_block``), or ends the stream (``stop``), and counted in `shed`.

    Parameters
    ----------
    queue_bytes : int
        Pixels that may wait; one frame always may.
    policy : {"drop_block", "stop"}
        When there is no room.
    """

    def __init__(
        self, queue_bytes: int = QUEUE_BYTES, policy: Policy = "drop_block"
    ) -> None:
        self._queue_bytes = queue_bytes
        self._policy = policy
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._shedding = Shedding()
        self._ended = False
        self._error: LivelocError | None = None
        self.shed = 0
        self.planned = 0

    @property
    def ended(self) -> bool:
        """No frame will be put any more."""
        return self._ended

    def put(self, frame: Frame) -> bool:
        """Queue a frame; False when it was shed or the stream has ended."""
        with self._changed:
            if self._ended:
                return False
            if self._must_shed(frame.pixels.nbytes):
                self.shed += 1
                return False
            self._frames.append(frame)
            self._changed.notify_all()
            return True

    def _must_shed(self, nbytes: int) -> bool:
        capacity = max(1, self._queue_bytes // max(1, nbytes))
        if not self._shedding.sheds(len(self._frames), capacity):
            return False
        if self._policy == "stop":
            self._end(
                SourceError(
                    f"{len(self._frames)} frames wait for the disk or the engine and "
                    "policy stop allows no loss. Record to a faster disk, or allow "
                    "losses with policy drop_block."
                ),
            )
            return True
        if self._shedding.in_block == 1:
            _log.warning("frames are shed: the disk or the engine is too slow.")
        return True

    def end(self, error: LivelocError | None = None, planned: int = 0) -> None:
        """End the stream: no frame follows. Only the first call counts.

        Parameters
        ----------
        error : LivelocError, optional
            Raised to the reader after the waiting frames. Default: a good end.
        planned : int
            Number of exposures expected, 0 if unknown.
        """
        with self._changed:
            self._end(error, planned)

    def _end(self, error: LivelocError | None, planned: int = 0) -> None:
        if not self._ended:
            self._ended, self._error, self.planned = True, error, planned
            self._changed.notify_all()

    def first(self, count: int, timeout_s: float | None = None) -> list[Frame]:
        """Wait for the first `count` frames, or all of a shorter stream; they stay."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._frames) >= count or self._ended, timeout_s
            )
            return [self._frames[i] for i in range(min(count, len(self._frames)))]

    def take(self, wait_s: float) -> Frame | None:
        """Take the oldest frame; None when none came in time or none will."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._ended, wait_s)
            if not self._frames:
                return None
            return self._frames.popleft()

    @property
    def drained(self) -> bool:
        """Everything was taken and nothing follows."""
        with self._changed:
            return self._ended and not self._frames

    def raise_error(self) -> None:
        """Raise what ended the stream, if it was not its end."""
        if self._error is not None:
            raise self._error


class HandedSource:
    """Frames of a `Handover` as a `stream.frames.FrameSource`.

    Exposures that were shed on the way here count as `missing`: for the stream they
    never came out of the acquisition.

    Parameters
    ----------
    handover : Handover
        The queue, with no other reader.
    start : StreamStart
        Description of its frames.
    on_begin, on_stop : Callable, optional
        Called when the first frame is requested, and by `stop` while frames are still
        to come. `on_stop` must lead to the end of the handover; `stop` ends it without.
    stop : threading.Event, optional
        Has the effect of `stop` when set; only read here.
    """

    def __init__(
        self,
        handover: Handover,
        start: StreamStart,
        *,
        on_begin: Callable[[], None] | None = None,
        on_stop: Callable[[], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._handover, self._start = handover, start
        self._stop_outside = stop
        self._on_begin, self._on_stop = on_begin, on_stop
        self._next_seq = self._taken = 0

    @property
    def start(self) -> StreamStart:
        """What the stream's START says."""
        return self._start

    @property
    def missing(self) -> int:
        """Exposures so far that did not come here."""
        behind = self._next_seq
        if self._handover.drained:
            behind = max(behind, self._handover.planned)
        return behind - self._taken

    def frames(self) -> Iterator[Frame]:
        """Yield every frame, waiting for the next.

        Raises
        ------
        SourceError
            Why the acquisition ended, if not as planned; `SourceAborted` when it was
            stopped. Frames before are good.
        """
        if self._on_begin is not None:
            self._on_begin()
        while True:
            if self._stop_outside is not None and self._stop_outside.is_set():
                self.stop()
            frame = self._handover.take(WAIT_S)
            if frame is not None:
                self._next_seq = frame.header.seq + 1
                self._taken += 1
                yield frame
            elif self._handover.drained:
                self._handover.raise_error()
                return

    def stop(self) -> None:
        """Ask `frames` to end after what waits. Any thread may call it."""
        if self._handover.ended:
            return
        if self._on_stop is not None:
            self._on_stop()
        else:
            self._handover.end(SourceAborted("detached before the acquisition ended"))

    def close(self) -> None:
        """Take no more frames. Idempotent."""
        self.stop()
