"""The bounded queue of a sender, its policy, and its counts."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MessageError
from ..frames import EndStatus, Frame, StreamEnd, StreamStart
from ..shedding import BLOCK, Shedding
from .localization_watch import LocalizationWatch
from .messages import Mark

if TYPE_CHECKING:
    from ..laser_state import LaserState


@dataclass(frozen=True, slots=True)
class Waiting:
    """A frame in the queue, and how many before it were shed."""

    frame: Frame
    dropped_total: int


class Outbox:
    """Frames on their way from the camera's thread to the socket's.

    Everything is guarded by ``changed``. The camera's thread puts frames in,
    the socket's thread takes them out.

    Parameters
    ----------
    start : StreamStart
        The stream and its policy.
    queue_bytes : int
        Pixels that may wait; one frame always may.
    queue_s : float
        With ``drop_block``: time that frames may wait, by the frame interval.

    Attributes
    ----------
    sent, dropped, missing_total : int
        Frames sent, frames shed, exposures that the camera lost.
    acked, last_seq : int
        Last exposure dealt with, last one offered.
    connected, end_acked : bool
        The engine is there; it has dealt with the whole stream.
    ending : tuple or None
        Status and reason once no more frames will come.
    end : StreamEnd or None
        Built when the queue is empty after that.
    cut, stopping : bool
        Shed what waits; stop the thread.
    refused : str
        Why the engine does not take the stream, for good.
    refusal : str
        Why it has not taken it so far; empty if it was silent.
    failure : BaseException or None
        A fault in the socket's thread.
    laser : LaserState or None
        What the laser does, to be sent once.
    alarms : deque[str]
        To be sent once each.
    watch : LocalizationWatch
        Whether the frames put in are localized.
    """

    def __init__(self, start: StreamStart, queue_bytes: int, queue_s: float) -> None:
        self.start = start
        self.changed = threading.Condition()
        self.sent = self.dropped = self.missing_total = 0
        self.acked = self.last_seq = -1
        self.connected = self.end_acked = False
        self.ending: tuple[EndStatus, str] | None = None
        self.end: StreamEnd | None = None
        self.cut = self.stopping = False
        self.refused = self.refusal = ""
        self.laser: LaserState | None = None
        self.alarms: deque[str] = deque(maxlen=BLOCK)
        self.watch = LocalizationWatch()
        self.failure: BaseException | None = None
        self._queue: deque[Waiting] = deque()
        self._capacity = max(1, queue_bytes // start.frame_nbytes)
        if start.policy == "drop_block" and start.interval_ms > 0:
            live = round(queue_s * 1000 / start.interval_ms)
            self._capacity = min(self._capacity, max(live, 2 * BLOCK))
        self._shedding = Shedding()

    @property
    def waiting(self) -> int:
        """Frames in the queue."""
        return len(self._queue)

    def check(self, frame: Frame) -> None:
        """Refuse a frame that START does not describe."""
        header, pixels, start = frame.header, frame.pixels, self.start
        if header.seq <= self.last_seq:
            raise MessageError(
                "seq", f"frame {header.seq} after frame {self.last_seq}: needs a rise"
            )
        if pixels.shape != start.shape or pixels.dtype != np.dtype(start.dtype):
            raise MessageError(
                "shape",
                f"frame {header.seq} is {pixels.shape} {pixels.dtype}, START said "
                f"{start.shape} {start.dtype}. Did the camera ROI change? "
                "End the stream and start a new one.",
            )
        if not pixels.flags.c_contiguous:
            raise MessageError("shape", f"frame {header.seq} is not in C order")

    def has_room(self, frame: Frame) -> bool:
        """Whether the queue takes one more frame."""
        return len(self._queue) < self._capacity

    def put(self, frame: Frame, now_s: float) -> bool:
        """Queue a frame that was checked at `now_s`, or shed it; False when shed."""
        self.last_seq = frame.header.seq
        self.missing_total = max(self.missing_total, frame.header.missing_total)
        if self._must_shed(frame):
            self.dropped += 1
            return False
        self._queue.append(Waiting(frame, self.dropped))
        self.watch.arrived(frame.header.seq, now_s)
        return True

    def _must_shed(self, frame: Frame) -> bool:
        if self.start.policy != "drop_block":
            return not self.has_room(frame)
        return self._shedding.sheds(len(self._queue), self._capacity)

    def front(self) -> Waiting | None:
        """Look at the frame to be sent next."""
        return self._queue[0] if self._queue else None

    def take(self) -> None:
        """Remove the front frame, which was sent."""
        self._queue.popleft()
        self.sent += 1
        self.changed.notify_all()

    def shed_waiting(self) -> None:
        """Shed everything that waits."""
        self.dropped += len(self._queue)
        self._queue.clear()
        self._shedding = Shedding()
        self.changed.notify_all()

    def go_on(self) -> None:
        """After an outage go on with the present frame, if the queue overflowed."""
        if self.start.policy == "drop_block" and self._shedding.in_block:
            self.shed_waiting()

    def mark(self) -> Mark:
        """Return how far sending is."""
        front = self.front()
        if front is not None:
            return Mark(
                next_seq=front.frame.header.seq,
                sent=self.sent,
                dropped_total=front.dropped_total,
                missing_total=front.frame.header.missing_total,
            )
        return Mark(
            next_seq=self.last_seq + 1,
            sent=self.sent,
            dropped_total=self.dropped,
            missing_total=self.missing_total,
        )

    def finish(self, status: EndStatus, reason: str, missing: int) -> None:
        """Take no more frames; exposures lost after the last one get their place."""
        if self.ending is None:
            self.ending = status, reason
            trailing = max(0, missing - self.missing_total)
            self.last_seq += trailing
            self.missing_total += trailing
        self.changed.notify_all()

    def close_books(self) -> StreamEnd | None:
        """Build END once it is asked for and nothing waits."""
        if self.end is None and self.ending is not None:
            if self.cut:
                self.shed_waiting()
            if not self._queue:
                self.end = StreamEnd(
                    stream_id=self.start.stream_id,
                    last_seq=self.last_seq,
                    sent=self.sent,
                    dropped=self.dropped,
                    missing=self.missing_total,
                    status=self.ending[0],
                    reason=self.ending[1],
                )
                self.changed.notify_all()
        return self.end
