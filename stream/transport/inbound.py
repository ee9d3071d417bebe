"""A stream on its way in, shared by the socket's thread and the consumer."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..balance import CONNECTION_LOST
from ..errors import MessageError
from ..frames import StreamEnd
from .messages import Mark

if TYPE_CHECKING:
    from ..density import BlockDensity
    from ..frames import FrameHeader, StreamStart
    from ..laser_state import LaserState
    from ..sockets.limits import Limits
    from .accounting import StreamAccount
    from .messages import Alarm, FrameUp
    from .ring import FrameRing

MOST_ALARMS = 16  # the newest of a stream

_SPARE_SLOTS = 2  # the two newest released frames stay readable


@dataclass(slots=True)
class Incoming:
    """One stream as the receiver knows it.

    Guarded by the inbox's condition, but for what only the thread that owns
    the socket touches.

    Attributes
    ----------
    start, sender : StreamStart, bytes
        What START said.
    account, ring : StreamAccount, FrameRing
        Order and pixels.
    peer : bytes or None
        The connection it comes over; None after that was cut off.
    rest : str
        Name of frames that are missing when the sender connects again.
    heard_s : float
        Time of the last message from the sender, monotonic seconds.
    bytes_in, granted, highest : int
        Pixel bytes since START, last exposure allowed, last exposure seen.
    localized, reported : int
        Newest frame whose emitters are published, and the newest of which the sender
        has been informed; -1: none.
    end : StreamEnd or None
        How it ended.
    taken, done, acked, confirmed : bool
        The consumer took the end; has dealt with everything; the sender was sent
        the acknowledgement; it has confirmed it.
    """

    start: StreamStart
    sender: bytes
    account: StreamAccount
    ring: FrameRing
    peer: bytes | None
    heard_s: float
    rest: str = CONNECTION_LOST
    bytes_in: int = 0
    granted: int = -1
    highest: int = -1
    localized: int = -1
    reported: int = -1
    end: StreamEnd | None = None
    taken: bool = False
    done: bool = False
    acked: bool = False
    confirmed: bool = False

    @property
    def name(self) -> str:
        """The stream, for people."""
        label = self.start.camera_label or "camera"
        return f"stream {self.start.stream_id.hex()} ({self.start.producer}, {label})"

    def check(self, message: FrameUp, more: bool, limits: Limits) -> None:
        """Refuse a frame by its header, before its pixels are touched.

        Raises
        ------
        MessageError
            Reason ``parts``, ``shape``, ``nbytes``, ``seq_jump`` or ``credit``.
        """
        start, seq = self.start, message.header.seq
        if not more:
            raise MessageError("parts", f"frame {seq} has no pixels")
        if (message.shape, message.dtype) != (start.shape, start.dtype):
            raise MessageError(
                "shape",
                f"frame {seq} is {message.shape} {message.dtype}, START said "
                f"{start.shape} {start.dtype}. Did the camera ROI change? "
                "End the stream and start a new one.",
            )
        if message.nbytes != start.frame_nbytes:
            raise MessageError(
                "nbytes",
                f"frame {seq} has {message.nbytes} bytes, needs {start.frame_nbytes}",
            )
        if seq - self.account.expected > limits.seq_jump:
            raise MessageError(
                "seq_jump",
                f"frame {seq} after frame {self.account.expected - 1}: no step over "
                f"{limits.seq_jump} is believed",
            )
        if seq > self.credit_seq:
            raise MessageError(
                "credit", f"frame {seq} was sent, allowed up to {self.granted}"
            )

    def check_start(self, start: StreamStart) -> None:
        """Refuse the START of another connection that describes another stream.

        Raises
        ------
        MessageError
            Reason ``start``.
        """
        mine = self.start
        if (start.shape, start.dtype) != (mine.shape, mine.dtype):
            raise MessageError(
                "start",
                f"{self.name} has frames of {mine.shape} {mine.dtype}, this START "
                f"says {start.shape} {start.dtype}",
            )
        if start.incarnation < mine.incarnation:
            raise MessageError(
                "start",
                f"{self.name} is at incarnation {mine.incarnation}, this START says "
                f"{start.incarnation}",
            )

    def check_mark(self, mark: Mark, limits: Limits) -> None:
        """Refuse a mark that is too far ahead to be believed.

        Raises
        ------
        MessageError
            Reason ``seq_jump``.
        """
        account = self.account
        step = mark.next_seq - account.expected
        step -= max(0, mark.missing_total - account.missing_total)
        step -= max(0, mark.dropped_total - account.dropped_total)
        if step > limits.seq_jump:
            raise MessageError(
                "seq_jump",
                f"{mark.next_seq} exposures, {account.expected} are known: no step "
                f"over {limits.seq_jump} is believed",
            )

    @property
    def mark(self) -> Mark:
        """How far this side is."""
        account = self.account
        return Mark(
            next_seq=account.expected,
            sent=account.balance.localized,
            dropped_total=account.dropped_total,
            missing_total=account.missing_total,
        )

    def lose(self, reason: str) -> StreamEnd:
        """End a stream whose sender is gone, once its account is finished."""
        self.end = StreamEnd(
            stream_id=self.start.stream_id,
            last_seq=self.account.expected - 1,
            sent=self.account.received,
            dropped=self.account.dropped_total,
            missing=self.account.missing_total,
            status="lost",
            reason=reason,
        )
        return self.end

    @property
    def credit_seq(self) -> int:
        """Last exposure that has a slot."""
        slots = self.ring.capacity - _SPARE_SLOTS
        return self.account.oldest_needed + slots - 1

    @property
    def credit_bytes(self) -> int:
        """Bytes that may have been sent since START."""
        free = self.ring.capacity - self.account.held
        return self.bytes_in + free * self.start.frame_nbytes

    @property
    def grant_due(self) -> bool:
        """Whether credit is worth sending: a good step, or little is left."""
        step = self.credit_seq - self.granted
        low = self.granted - self.highest <= self.ring.capacity // 2
        return step > 0 and (low or step >= self.ring.capacity // 8)

    def grant(self) -> tuple[int, int]:
        """Return the credit to send now: last exposure and bytes since START."""
        self.granted = max(self.granted, self.credit_seq)
        return self.granted, self.credit_bytes

    @property
    def finished(self) -> bool:
        """The consumer has nothing left to do for it."""
        return self.taken and (self.done or not self.account.unsettled)


class Inbox:
    """What the socket's thread passes to the consumer, and back.

    Everything is guarded by ``changed``. The queue of events is bounded by the
    ring: a frame needs a slot, and a stream opens when the last one is done.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.events: deque[Incoming | FrameHeader | StreamEnd] = deque()
        self.rejected: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.close_reason: str | None = None
        self.densities: deque[BlockDensity] = deque(maxlen=256)  # not sent yet
        self.laser: LaserState | None = None  # newest
        self.alarms: deque[Alarm] = deque(maxlen=MOST_ALARMS)
        self.stopping = False

    def deliver(self, *events: FrameHeader | StreamEnd) -> None:
        """Pass frames, or the end, to the consumer; ``changed`` is held."""
        if events:
            self.events.extend(events)
            self.changed.notify_all()

    def reject(self, reason: str) -> None:
        """Count a refused message."""
        with self.changed:
            self.rejected[reason] += 1
