"""Receives one frame stream after the other: order, pixels, balance."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import zmq

from ..balance import Balance
from ..errors import SettingsError, StreamError
from ..frames import FrameHeader, StreamEnd, StreamStart
from ..sockets.admission import Admission
from ..sockets.endpoints import FRAMES_AT, loopback
from ..sockets.limits import Limits
from ..sockets.options import router
from ..sockets.waker import Waker
from .inbound import Inbox, Incoming
from .receiver_thread import Intake

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..density import BlockDensity
    from ..laser_state import LaserState
    from ..sockets.session_key import SessionKey
    from ..tables.ledger import ResumePoint
    from .receiver_thread import Resume
    from .ring import FrameRing

_JOIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream begins.

    Attributes
    ----------
    start : StreamStart
        What its sender says of it.
    resumed_at : int
        First exposure that is not dealt with: 0, or where an earlier engine
        stopped.
    """

    start: StreamStart
    resumed_at: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """Frames, in increasing order, every frame of a stream once.

    Attributes
    ----------
    headers : list[FrameHeader]
        One per frame. A step of more than one is a loss, named in the balance.
    pixels : list[NDArray], each of shape (height, width)
        Read-only views into the ring, camera counts (ADU). Valid until the
        frame is released.
    received_ns : list[int]
        Monotonic clock of this machine when the pixels were there.
    """

    headers: list[FrameHeader]
    pixels: list[NDArray[Any]]
    received_ns: list[int]


@dataclass(frozen=True, slots=True)
class Closed:
    """A stream is over; no frame of it will follow.

    Attributes
    ----------
    end : StreamEnd
        As sent, or with status ``lost`` when nothing was.
    """

    end: StreamEnd


Event = Opened | Arrived | Closed


class FrameReceiver:
    """The engine's end of the frame stream.

    A thread of its own takes frames from the socket straight into the ring and
    grants the sender credit; one consumer thread calls `next` and `release`.
    Whatever breaks the protocol is refused, counted in `rejected` and has no
    other consequence.

    Parameters
    ----------
    endpoint : str
        ``tcp://127.0.0.1:PORT``; port ``*`` or 0: any free one.
    ring_frames : int
        Frames that may wait for the consumer, fewer where
        ``limits.ring_bytes`` does not hold them.
    limits : Limits
        Bounds on what a peer may send.
    resume : Callable[[StreamStart], ResumePoint | None], optional
        Asked at each START, in the receiver's thread: where did an earlier
        engine stop? Usually `ProcessedLog.resume`.
    key : SessionKey, optional
        Only a sender that knows it is listened to; without one, any program of
        this machine.

    Raises
    ------
    SettingsError
        The address leaves this machine, or the port is taken.
    """

    def __init__(
        self,
        endpoint: str = FRAMES_AT,
        *,
        ring_frames: int = 256,
        limits: Limits | None = None,
        resume: Resume | None = None,
        key: SessionKey | None = None,
    ) -> None:
        limits = limits or Limits()
        address = loopback(endpoint)
        self._silence_s = limits.silence_s
        self._inbox = Inbox()
        self._stream: Incoming | None = None
        self._closed = False
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = router(self._context, limits)
        Admission(self._context, key).guard(socket)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            socket.close(linger=0)
            self._context.term()
            raise SettingsError(
                f"endpoint '{endpoint}' cannot be bound: {error}. Is another engine "
                "running? Stop it, or choose another port."
            ) from None
        self._endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._waker = Waker(self._context)
        intake = Intake(
            socket, self._waker, self._inbox, ring_frames, limits, resume, key
        )
        self._thread = threading.Thread(
            target=intake.run, name="liveloc-receiver", daemon=True
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Address really bound, its port a number."""
        return self._endpoint

    @property
    def ring(self) -> FrameRing | None:
        """Ring of the stream that `next` opened last, for three-frame windows."""
        return self._stream.ring if self._stream else None

    @property
    def balance(self) -> Balance:
        """Copy of the balance of the stream that `next` opened last."""
        with self._inbox.changed:
            if self._stream is None:
                return Balance()
            return copy.deepcopy(self._stream.account.balance)

    @property
    def rejected(self) -> Counter[str]:
        """Messages refused since construction, by reason."""
        with self._inbox.changed:
            return Counter(self._inbox.rejected)

    @property
    def connected(self) -> bool:
        """The stream's sender said something within the last three heartbeats."""
        stream = self._stream
        if stream is None or stream.peer is None:
            return False
        return time.monotonic() - stream.heard_s <= self._silence_s

    def next(self, max_frames: int, timeout_s: float) -> Event | None:
        """Wait for what comes next.

        Parameters
        ----------
        max_frames : int
            Most frames in one answer. All that wait are given at once.
        timeout_s : float
            Longest wait, seconds.

        Returns
        -------
        Opened, Arrived, Closed or None
            In the order of the stream; None when nothing came in time.

        Raises
        ------
        StreamError
            The receiver is closed.
        Exception
            A fault in the receiver itself, never in what a peer sent.
        """
        inbox = self._inbox
        with inbox.changed:
            if self._stream and self._stream.taken and not self._stream.done:
                self._stream.done = True
                self._waker.ring()
            if not inbox.changed.wait_for(self._something, timeout_s):
                return None
            if inbox.failure is not None:
                raise inbox.failure
            if inbox.stopping:
                raise StreamError("the receiver is closed")
            first = inbox.events.popleft()
            if isinstance(first, Incoming):
                self._stream = first
                return Opened(first.start, first.account.settled.next_seq)
            if isinstance(first, StreamEnd):
                self._current().taken = True
                self._waker.ring()
                return Closed(first)
            headers = [first]
            while inbox.events and len(headers) < max_frames:
                header = inbox.events[0]
                if not isinstance(header, FrameHeader):
                    break
                headers.append(header)
                inbox.events.popleft()
        ring = self._current().ring
        return Arrived(
            headers,
            [ring.pixels(header.seq) for header in headers],
            [ring.received_ns(header.seq) for header in headers],
        )

    def _something(self) -> bool:
        inbox = self._inbox
        return bool(inbox.events or inbox.failure is not None or inbox.stopping)

    def _current(self) -> Incoming:
        if self._stream is None:
            raise StreamError("no stream is open: wait for Opened from next()")
        return self._stream

    def release(self, seq: int) -> None:
        """Release the pixels of frames up to `seq`: their slots become credit.

        Do it as soon as the pixels are not needed. Whatever a consumer waits for
        with frames that it has not released, it may wait for in vain: the sender may
        have no credit for the next one.
        """
        with self._inbox.changed:
            stream = self._current()
            stream.account.release(seq)
            stream.ring.release(seq)
            if stream.grant_due:
                self._waker.ring()

    def settle(self, seq: int) -> None:
        """Acknowledge frames up to `seq`, and release them.

        Write their localizations first: an engine that is started again goes on
        behind them. The end of a stream is acknowledged when everything is settled,
        or when `next` is called after `Closed`.
        """
        with self._inbox.changed:
            stream = self._current()
            stream.account.settle(seq)
            stream.ring.release(seq)
            if stream.grant_due or stream.finished:
                self._waker.ring()

    def published(self, seq: int) -> None:
        """Report to the sender that the emitters of frames up to `seq` are published.

        Its laser is on only while such reports come.
        """
        self._current().localized = seq
        self._waker.ring()

    @property
    def alarms(self) -> list[str]:
        """Newest alarms of the bridge, in the stream opened last, oldest first."""
        stream = self._stream
        if stream is None:
            return []
        stream_id = stream.start.stream_id
        return [
            alarm.text
            for alarm in list(self._inbox.alarms)
            if alarm.stream_id == stream_id
        ]

    def localized(self, frames: int) -> None:
        """Count frames whose localizations are in the table."""
        with self._inbox.changed:
            self._current().account.balance.localized += frames

    def lose(self, reason: str, frames: int) -> None:
        """Count frames that arrived and could not be localized."""
        with self._inbox.changed:
            self._current().account.lose(reason, frames)

    @property
    def laser(self) -> LaserState | None:
        """What the bridge said last of its laser, in the stream opened last."""
        stream, state = self._stream, self._inbox.laser
        if stream is None or state is None:
            return None
        return state if state.stream_id == stream.start.stream_id else None

    def send_density(self, density: BlockDensity) -> None:
        """Send the density of a block of frames to the sender, once."""
        self._inbox.densities.append(density)
        self._waker.ring()

    def checkpoint(self, seq: int, rows: int = 0) -> ResumePoint:
        """Return what a ledger must hold for an engine to go on after `seq`.

        Call it when `localized` and `lose` have counted exactly the frames up
        to `seq`, and before these are released.

        Parameters
        ----------
        seq : int
            Last frame that is dealt with.
        rows : int
            Rows of the table so far.
        """
        with self._inbox.changed:
            point = self._current().account.point(seq)
        return replace(point, rows=rows)

    def close_lost(self, reason: str) -> None:
        """Close the present stream as ``lost``, without waiting for its sender.

        `Closed` comes through `next` in its turn. Nothing happens when no
        stream is open.
        """
        self._inbox.close_reason = reason
        self._waker.ring()

    def close(self) -> None:
        """Stop the thread and free the port. Idempotent."""
        if self._closed:
            return
        self._closed = True
        with self._inbox.changed:
            self._inbox.stopping = True
            self._inbox.changed.notify_all()
        self._waker.ring()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise StreamError(f"the receiver's thread did not end in {_JOIN_S:.0f} s")
        self._context.term()

    def __enter__(self) -> FrameReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
