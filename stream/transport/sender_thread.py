"""The sender's side of the wire: one connection to an engine, kept alive."""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import crc32c
import zmq
from zmq.utils.monitor import recv_monitor_message

from ..errors import MessageError
from ..sockets.session_key import ENGINE_PROOF, SENDER_PROOF
from .allowance import Allowance
from .messages import (
    Ack,
    Alarm,
    Credit,
    Density,
    End,
    FrameUp,
    Heartbeat,
    HelloOk,
    Laser,
    Localized,
    Message,
    Reject,
    Start,
)
from .start_maps import encode_start
from .wire import decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..density import BlockDensity
    from ..sockets.limits import Limits
    from ..sockets.session_key import SessionKey
    from ..sockets.waker import Waker
    from .localization_watch import Standstill
    from .outbox import Outbox, Waiting

_BURST = 32  # frames between two looks at everything else
_RETRY_S = 0.5  # from one START to the next while none is accepted
_MAPS_BYTES_PER_S = 20e6  # a START with large maps is repeated less often
# An engine waits for the sender before it, if that one was killed, to fall
# silent: a new sender is refused as long, so "busy" counts only after this.
_BUSY_PATIENCE = 3.0

_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

_log = logging.getLogger(__name__)

# A START refused for one of these will be refused again.
_FATAL = frozenset(
    {"version", "ended", "shape", "field", "header_size", "start", "model", "maps"}
)


class Uplink:
    """Owns the DEALER socket and runs in a thread of its own.

    Parameters
    ----------
    socket : zmq.Socket
        DEALER, not connected yet. Belongs to the thread from `run` on.
    address : str
        Of the engine.
    sender : bytes
        Distinguishes this sender from others.
    outbox : Outbox
        Shared with the camera's thread.
    waker : Waker
        Rung when there is something to send, or to stop.
    limits : Limits
        Heartbeat and sizes.
    on_peer : Callable[[bool], None], optional
        Called when the engine comes and goes.
    on_density : Callable[[BlockDensity], None], optional
        Called with each density that the engine measured.
    on_standstill : Callable[[Standstill], None], optional
        Called when frames are not localized any more, and when they are again.
    key : SessionKey, optional
        What the engine has to know before anything that it says is believed.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        sender: bytes,
        outbox: Outbox,
        waker: Waker,
        limits: Limits,
        on_peer: Callable[[bool], None] | None,
        on_density: Callable[[BlockDensity], None] | None,
        on_standstill: Callable[[Standstill], None] | None,
        key: SessionKey | None = None,
    ) -> None:
        self._socket = socket
        self._address = address
        self._sender = sender
        self._box = outbox
        self._waker = waker
        self._limits = limits
        self._on_peer = on_peer
        self._on_density = on_density
        self._on_standstill = on_standstill
        self._stream_id = outbox.start.stream_id
        named = sender, self._stream_id
        self._proof = key.proof(SENDER_PROOF, *named) if key else None
        self._wanted_proof = key.proof(ENGINE_PROOF, *named) if key else None
        self._believed = key is None  # what answers, on this connection
        self._knock_at_s = math.inf  # when a connection that was refused is tried again
        self._online = False  # the transport is connected
        self._accepted = False  # START was, on this connection
        self._ever_accepted = False
        self._busy_since_s: float | None = None
        self._heard_s = 0.0
        self._next_start_s = self._next_beat_s = 0.0
        self._allowance = Allowance()
        self._end_sent = False
        self._logged: set[str] = set()  # reasons that were logged
        self._blocked = False  # the socket's buffer is full

    def run(self) -> None:
        """Serve the connection until asked to stop; a bug is passed to the camera."""
        monitor = self._socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | _HANDSHAKE_FAILED
        )
        try:
            self._socket.connect(self._address)
            poller = zmq.Poller()
            poller.register(monitor, zmq.POLLIN)
            poller.register(self._waker.socket, zmq.POLLIN)
            while not self._box.stopping:
                interest = zmq.POLLIN | (zmq.POLLOUT if self._blocked else 0)
                poller.register(self._socket, interest)
                poller.poll(self._pause_ms())
                self._waker.clear()
                self._blocked = False
                self._watch(monitor)
                self._read()
                self._housekeeping()
                self._send_frames()
                self._send_end()
        except BaseException as error:
            self._fail(error)
        finally:
            try:
                self._set_peer(False)
            except Exception as error:
                self._fail(error)
            self._socket.disable_monitor()
            monitor.close(linger=0)
            self._socket.close(linger=500)
            self._waker.close()
            with self._box.changed:
                self._box.changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        """Keep the first fault for the camera's thread."""
        with self._box.changed:
            self._box.failure = self._box.failure or error
            self._box.changed.notify_all()

    def _pause_ms(self) -> int:
        """Time to the next thing that no socket announces."""
        if self._may_send() is not None and not self._blocked:
            return 0
        next_s = min(self._next_beat_s, self._knock_at_s)
        if self._online and not self._accepted:
            next_s = min(next_s, self._next_start_s)
        if (deadline_s := self._box.watch.deadline_s) is not None:
            next_s = min(next_s, deadline_s)
        return math.ceil(max(0.0, next_s - time.monotonic()) * 1000)

    # The connection

    def _watch(self, monitor: zmq.Socket[bytes]) -> None:
        """Notice connections that come and go."""
        for _ in range(_BURST):
            if not monitor.poll(0):
                return
            event = recv_monitor_message(monitor)["event"]
            if event & _HANDSHAKE_FAILED:
                self._turned_away()
            self._online = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if self._online:
                self._believed = self._wanted_proof is None
            self._accepted = self._end_sent = False
            self._allowance.lost()
            self._next_start_s = 0.0
            if not self._online:
                self._set_peer(False)

    def _turned_away(self) -> None:
        """Try later again: ZeroMQ does not, after a handshake that was refused."""
        self._knock_at_s = time.monotonic() + _RETRY_S
        self._log_once(
            "handshake",
            f"what answers at {self._address} is not an engine of this session; "
            "still looking",
        )

    def _retry_handshake(self) -> None:
        """Connect anew."""
        self._knock_at_s = math.inf
        with suppress(zmq.ZMQError):  # ZeroMQ has given the connection up already
            self._socket.disconnect(self._address)
        self._socket.connect(self._address)

    def _log_once(self, reason: str, text: str) -> None:
        """Log the first message of each kind, and not without end."""
        if reason not in self._logged and len(self._logged) < _BURST:
            self._logged.add(reason)
            _log.warning(text)

    def _set_peer(self, there: bool) -> None:
        """Report to the camera's side that the engine came or went."""
        box = self._box
        with box.changed:
            if box.connected == there:
                return
            box.connected = there
            box.changed.notify_all()
        if self._on_peer is not None:
            self._on_peer(there)

    def _housekeeping(self) -> None:
        """Look after START, heartbeats and silence."""
        now_s = time.monotonic()
        if now_s >= self._knock_at_s:
            self._retry_handshake()
        if self._online and not self._accepted and now_s >= self._next_start_s:
            self._send_start(now_s)
        if self._box.connected and now_s - self._heard_s > self._limits.silence_s:
            self._set_peer(False)
        if now_s >= self._next_beat_s:
            self._next_beat_s = now_s + self._limits.heartbeat_s
            if self._accepted:
                self._send_mark()
        with self._box.changed:
            begun = self._box.watch.look(now_s, self._cause())
        self._standstill(begun)
        laser, self._box.laser = self._box.laser, None
        if laser is not None and self._accepted:
            self._send(Laser(laser))
        while self._accepted and self._box.alarms:
            text = self._box.alarms.popleft()
            self._send(Alarm(stream_id=self._stream_id, text=text))

    def _cause(self) -> str:
        """Describe why nothing may be localized, as far as this side can see."""
        if not self._online:
            return "no engine is connected"
        if not self._accepted:
            return "the engine has not accepted the stream"
        silent_s = time.monotonic() - self._heard_s
        if silent_s > self._limits.heartbeat_s * 2:
            return f"the engine has been silent for {silent_s:.1f} s"
        return "the engine answers but localizes nothing"

    def _standstill(self, standstill: Standstill | None) -> None:
        if standstill is not None and self._on_standstill is not None:
            self._on_standstill(standstill)

    def _on_localized(self, seq: int) -> None:
        with self._box.changed:
            ended = self._box.watch.localized(seq, time.monotonic())
        self._standstill(ended)

    def _send_start(self, now_s: float) -> None:
        box = self._box
        with box.changed:
            message = Start(box.start, self._sender, box.mark(), proof=self._proof)
        parts = encode_start(message)
        if self._send_parts(parts):
            slow_s = sum(len(part) for part in parts) / _MAPS_BYTES_PER_S
            self._next_start_s = now_s + max(_RETRY_S, slow_s)
            self._allowance.started()

    def _send_mark(self) -> bool:
        with self._box.changed:
            message = Heartbeat(self._stream_id, self._box.mark())
        return self._send(message)

    def _send(self, message: Message) -> bool:
        """Send a message without pixels; False when it cannot go now."""
        return self._send_parts([encode(message)])

    def _send_parts(self, parts: Sequence[bytes | memoryview]) -> bool:
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT)
        except zmq.Again:
            self._blocked = True
            return False
        return True

    # What the engine says

    def _read(self) -> None:
        """Handle what the engine sent, a bounded part of it at a time."""
        for _ in range(_BURST):
            try:
                parts = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                if len(parts) != 1:
                    raise MessageError("parts", f"{len(parts)} parts, needs 1")
                message = decode(parts[0], self._limits)
            except MessageError as error:
                if error.reason == "version" and self._believed:
                    self._refused(error.reason, error.detail)
                continue
            if self._believes(message):
                self._heard_s = time.monotonic()
                self._handle(message)

    def _believes(self, message: Message) -> bool:
        """Whether it comes from an engine that knows the session's key."""
        if not self._believed and isinstance(message, HelloOk | Reject):
            self._believed = message.proof == self._wanted_proof
        if not self._believed:
            self._log_once(
                "key",
                f"what answers at {self._address} does not know the session's key",
            )
        return self._believed

    def _handle(self, message: Message) -> None:
        match message:
            case Reject(reason=reason, detail=detail):
                self._refused(reason, detail)
                return
            case HelloOk() | Credit() | Ack() | Localized() | Heartbeat() if (
                message.stream_id != self._stream_id
            ):
                return
            case HelloOk():
                self._accepted = self._ever_accepted = True
                self._busy_since_s = None
                self._allowance.accepted(
                    message.next_seq, message.credit_seq, message.credit_bytes
                )
                with self._box.changed:
                    self._box.refusal = ""
                    self._box.go_on()
            case Credit() if self._accepted:
                self._allowance.raised(message.credit_seq, message.credit_bytes)
            case Ack():  # true even if the engine left right after it
                self._on_ack(message)
            case Localized(seq=seq):
                self._on_localized(seq)
            case Density(block=block) if (
                self._on_density and block.stream_id == self._stream_id
            ):
                self._on_density(block)
        if self._accepted:
            self._set_peer(True)

    def _on_ack(self, ack: Ack) -> None:
        box = self._box
        with box.changed:
            box.acked = max(box.acked, ack.seq)
            over = ack.end and box.end is not None
        if over:  # let the engine know, which may wait for it to leave
            self._send_mark()
        with box.changed:
            box.end_acked = box.end_acked or over
            box.changed.notify_all()

    def _refused(self, reason: str, detail: str) -> None:
        """Start over, or abandon a stream that was never accepted."""
        raised = reason in _FATAL and not self._ever_accepted
        if not raised:
            self._log_once(reason, f"the engine refuses a message: {reason}: {detail}")
        if reason in ("stream", "peer", "banned"):
            if self._accepted:
                self._accepted = False
                self._next_start_s = time.monotonic() + _RETRY_S
                self._set_peer(False)
            return
        if self._accepted or self._ever_accepted:
            return
        self._box.refusal = f"{reason}: {detail}"
        now_s = time.monotonic()
        if self._busy_since_s is None:
            self._busy_since_s = now_s
        patience_s = _BUSY_PATIENCE * self._limits.silence_s
        busy = reason == "busy" and now_s - self._busy_since_s > patience_s
        if raised or busy:
            with self._box.changed:
                self._box.refused = f"{reason}: {detail}"
                self._box.changed.notify_all()

    # Frames

    def _may_send(self) -> Waiting | None:
        """Return the front frame if there is credit for it."""
        if not self._box.connected or not self._accepted:
            return None
        with self._box.changed:
            front = self._box.front()
        if front is None:
            return None
        frame = front.frame
        covered = self._allowance.covers(frame.header.seq, frame.pixels.nbytes)
        return front if covered else None

    def _send_frames(self) -> None:
        """Send frames as far as credit and the socket's buffer allow."""
        for _ in range(_BURST):
            front = self._may_send()
            if front is None:
                self._announce()
                return
            frame, nbytes = front.frame, 0
            if frame.header.seq >= self._allowance.wanted:
                if not self._send_frame(front):
                    return
                nbytes = frame.pixels.nbytes
            self._allowance.sent(frame.header.seq, nbytes)
            with self._box.changed:
                self._box.take()

    def _send_frame(self, waiting: Waiting) -> bool:
        frame, start = waiting.frame, self._box.start
        message = FrameUp(
            stream_id=self._stream_id,
            header=frame.header,
            dropped_total=waiting.dropped_total,
            shape=start.shape,
            dtype=start.dtype,
            nbytes=frame.pixels.nbytes,
            crc32c=crc32c.crc32c(frame.pixels.data),
        )
        try:
            self._socket.send_multipart(
                [encode(message), frame.pixels.data], zmq.DONTWAIT, copy=False
            )
        except zmq.Again:
            self._blocked = True
            return False
        return True

    def _announce(self) -> None:
        """Send an engine that grants no credit the number of the next exposure."""
        if not self._accepted or not self._box.connected:
            return
        with self._box.changed:
            front = self._box.front()
        if front is None:
            return
        seq = front.frame.header.seq
        if self._allowance.needs_announcing(seq) and self._send_mark():
            self._allowance.announced(seq)

    def _send_end(self) -> None:
        """Send END once per connection, after the last frame."""
        with self._box.changed:
            end = self._box.close_books()
        if end is not None and self._accepted and not self._end_sent:
            self._end_sent = self._send(End(end))
