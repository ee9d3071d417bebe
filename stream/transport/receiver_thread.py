"""The engine's side of the wire: takes in one stream, refuses everything else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import crc32c
import zmq

from ..balance import CONNECTION_LOST, ENGINE_STOPPED, REJECTED
from ..errors import MessageError
from ..frames import StreamEnd, StreamStart
from ..sockets.session_key import ENGINE_PROOF, SENDER_PROOF
from ..tables.ledger import ResumePoint
from .accounting import StreamAccount
from .inbound import Inbox, Incoming
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
    Mark,
    Message,
    Reject,
    Start,
)
from .peers import Peer, Peers
from .ring import FrameRing
from .start_maps import receive_start
from .wire import decode, encode

if TYPE_CHECKING:
    from ..sockets.limits import Limits
    from ..sockets.session_key import SessionKey
    from ..sockets.waker import Waker

Resume = Callable[[StreamStart], ResumePoint | None]

_BURST = 32  # messages between two looks at everything else
_REPORT_S = 0.05  # between two reports of what is localized
_LEAVE_S = 0.5  # for the sender to learn that its stream is dealt with


class Intake:
    """Owns the ROUTER socket and runs in a thread of its own.

    Parameters
    ----------
    socket : zmq.Socket
        Bound ROUTER. Belongs to the thread from `run` on, which closes it.
    waker : Waker
        Rung when credit, a close or an acknowledgement is due.
    inbox : Inbox
        Shared with the consumer.
    ring_frames : int
        Slots of a stream's ring, where ``limits.ring_bytes`` allows.
    limits : Limits
        Bounds on peers.
    resume : Callable[[StreamStart], ResumePoint | None], optional
        Says where an earlier engine stopped.
    key : SessionKey, optional
        What a sender has to know.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        waker: Waker,
        inbox: Inbox,
        ring_frames: int,
        limits: Limits,
        resume: Resume | None,
        key: SessionKey | None = None,
    ) -> None:
        self._socket = socket
        self._waker = waker
        self._inbox = inbox
        self._ring_frames = ring_frames
        self._limits = limits
        self._resume = resume
        self._key = key
        self._peers = Peers(limits)
        self._stream: Incoming | None = None
        self._header = bytearray(limits.start_bytes + 1)
        self._next_beat_s = self._next_report_s = 0.0

    def run(self) -> None:
        """Receive messages until asked to stop; a bug is passed to the consumer."""
        try:
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._waker.socket, zmq.POLLIN)
            while not self._inbox.stopping:
                pause_s = self._next_beat_s - time.monotonic()
                poller.poll(math.ceil(max(0.0, pause_s) * 1000))
                self._waker.clear()
                for _ in range(_BURST):
                    if not self._receive():
                        break
                self._housekeeping()
            if self._stream and self._stream.taken:
                self._confirm_end(self._stream)
        except BaseException as error:
            with self._inbox.changed:
                self._inbox.failure = error
                self._inbox.changed.notify_all()
        finally:
            self._socket.close(linger=500)
            self._waker.close()

    def _receive(self) -> bool:
        """Handle one message; False when there is none."""
        try:
            identity = self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return False
        now_s = time.monotonic()
        stream = self._stream
        keep = stream.peer if stream else None
        peer = self._peers.seen(identity, now_s, keep)
        if stream and identity == stream.peer:
            stream.heard_s = now_s
        try:
            if now_s < peer.banned_until_s:
                self._inbox.reject("banned")
            else:
                self._handle(identity, peer)
        except MessageError as error:
            self._refuse(identity, peer, error, now_s)
        finally:
            self._discard_rest(identity)
        return True

    def _discard_rest(self, identity: bytes) -> None:
        """Read what is left of a message; pixels count against byte credit."""
        while self._socket.getsockopt(zmq.RCVMORE):
            size = self._socket.recv_into(bytearray())
            if self._stream and identity == self._stream.peer:
                self._stream.bytes_in += size

    def _handle(self, identity: bytes, peer: Peer) -> None:
        """Read the header part, then do what the message says."""
        if not self._socket.getsockopt(zmq.RCVMORE):
            raise MessageError("parts", "a message without any part")
        size = self._socket.recv_into(self._header)
        more = bool(self._socket.getsockopt(zmq.RCVMORE))
        if size > (longest := self._limits.start_bytes):
            raise MessageError(
                "header_size", f"header of {size} bytes, needs at most {longest}"
            )
        try:
            message = decode(memoryview(self._header)[:size], self._limits)
        except MessageError:
            if self._stream and identity == self._stream.peer:
                with self._inbox.changed:
                    self._stream.account.refuse(None)
            raise
        match message:
            case FrameUp():
                self._on_frame(identity, message, more)
            case Start():
                self._check_proof(peer, message)  # before anything is kept for it
                whole = receive_start(self._socket, message)
                self._on_start(identity, whole)
            case _ if more:
                raise MessageError("parts", "only FRAME and START have more parts")
            case End():
                self._on_end(identity, message.end)
            case Heartbeat():
                self._on_heartbeat(identity, message)
            case Laser(state=state):
                if self._stream and identity == self._stream.peer:
                    self._inbox.laser = state
            case Alarm():
                if self._stream and identity == self._stream.peer:
                    self._inbox.alarms.append(message)
            case Reject():
                self._inbox.reject("by_peer")
            case _:
                raise MessageError("type", f"an engine takes no {type(message)}")

    def _refuse(
        self, identity: bytes, peer: Peer, error: MessageError, now_s: float
    ) -> None:
        """Count a refused message and send its sender the reason."""
        self._inbox.reject(error.reason)
        detail, proof = error.detail[:2048], peer.proof
        self._send(identity, Reject(reason=error.reason, detail=detail, proof=proof))
        if self._peers.refuse(peer, now_s):
            detail = f"{self._limits.rejects_per_s} messages refused within a second"
            self._send(identity, Reject(reason="banned", detail=detail, proof=proof))
            if self._stream and self._stream.peer == identity:
                self._stream.peer, self._stream.rest = None, REJECTED

    def _check_proof(self, peer: Peer, message: Start) -> None:
        """Refuse a START whose sender does not know the session's key."""
        if self._key is None:
            return
        named = message.sender, message.start.stream_id
        if not self._key.proves(message.proof, SENDER_PROOF, *named):
            raise MessageError(
                "key",
                "this engine belongs to a session that the sender is not part of. "
                "Start an engine of your own, or choose another port.",
            )
        peer.proof = self._key.proof(ENGINE_PROOF, *named)

    def _on_start(self, identity: bytes, message: Start) -> None:
        stream, start = self._stream, message.start
        now_s = time.monotonic()
        if stream is None or (stream.end and stream.start.stream_id != start.stream_id):
            self._open(identity, message, now_s)
            return
        same_sender = message.sender == stream.sender
        if stream.start.stream_id != start.stream_id:
            self._other_stream(stream, same_sender, now_s)
        elif stream.end:
            if not same_sender:
                raise MessageError(
                    "ended",
                    f"{stream.name} has ended here. Start the engine again, with "
                    "another output folder, to receive it once more.",
                )
            stream.peer, stream.acked = identity, False
            self._greet(stream)
        else:
            self._reconnect(stream, identity, message, same_sender, now_s)

    def _other_stream(self, stream: Incoming, same_sender: bool, now_s: float) -> None:
        """Refuse a second stream; a silent first one gives way."""
        if same_sender:
            raise MessageError("stream", f"{stream.name} has not ended: send END first")
        if now_s - stream.heard_s > self._limits.silence_s:
            self._close_lost(stream, "its sender fell silent and another one came")
        raise self._busy(stream)

    def _busy(self, stream: Incoming) -> MessageError:
        return MessageError(
            "busy",
            f"this engine is receiving {stream.name}. "
            "Wait for its end, or start a second engine on another port.",
        )

    def _open(self, identity: bytes, message: Start, now_s: float) -> None:
        """Begin a stream: ring, account, greeting."""
        start = message.start
        if self._stream and not self._stream.finished:
            raise self._busy(self._stream)
        slots = min(self._ring_frames, self._limits.ring_bytes // start.frame_nbytes)
        if slots < 4:
            raise MessageError(
                "shape",
                f"frames of {start.frame_nbytes} bytes: fewer than 4 fit into "
                f"{self._limits.ring_bytes} bytes of ring. Choose a smaller ROI.",
            )
        resume = (self._resume(start) if self._resume else None) or ResumePoint()
        stream = Incoming(
            start=start,
            sender=message.sender,
            account=StreamAccount(resume, self._limits.reorder_frames),
            ring=FrameRing(slots, start.shape, start.dtype),
            peer=identity,
            heard_s=now_s,
        )
        with self._inbox.changed:
            self._stream = stream
            self._inbox.events.append(stream)
            stream.account.connect(message.mark, ENGINE_STOPPED)
            self._inbox.changed.notify_all()
        self._greet(stream)

    def _reconnect(
        self,
        stream: Incoming,
        identity: bytes,
        message: Start,
        same_sender: bool,
        now_s: float,
    ) -> None:
        """Go on with a stream over another connection, or from another sender."""
        silent = now_s - stream.heard_s > self._limits.silence_s
        if not (same_sender or silent or stream.peer is None):
            raise self._busy(stream)
        stream.check_start(message.start)
        with self._inbox.changed:
            stream.peer, stream.sender = identity, message.sender
            stream.heard_s, stream.bytes_in, stream.acked = now_s, 0, False
            stream.reported = -1
            self._inbox.deliver(*stream.account.connect(message.mark, stream.rest))
            stream.rest = CONNECTION_LOST
        self._greet(stream)

    def _greet(self, stream: Incoming) -> None:
        with self._inbox.changed:
            stream.granted = -1
            credit_seq, credit_bytes = stream.grant()
            named = stream.sender, stream.start.stream_id
            hello = HelloOk(
                stream_id=stream.start.stream_id,
                next_seq=stream.account.expected,
                credit_seq=credit_seq,
                credit_bytes=credit_bytes,
                proof=self._key.proof(ENGINE_PROOF, *named) if self._key else None,
            )
        self._send(stream.peer, hello)

    def _on_frame(self, identity: bytes, message: FrameUp, more: bool) -> None:
        stream = self._of_stream(identity, message.stream_id)
        header = message.header
        stream.highest = max(stream.highest, header.seq)
        try:
            stream.check(message, more, self._limits)
            with self._inbox.changed:
                place = stream.account.place(header.seq)
                if place == "late":
                    stream.account.late(header.seq)
                elif place == "duplicate":
                    stream.account.duplicate(header, message.dropped_total)
            if place != "next":
                self._inbox.reject(place)
                return
            self._take_pixels(stream, message)
        except MessageError as error:
            # A number that cannot be true explains a lost frame, but not which.
            seq = None if error.reason == "seq_jump" else header.seq
            with self._inbox.changed:
                self._inbox.deliver(*stream.account.refuse(seq))
            raise
        with self._inbox.changed:
            headers = stream.account.frame(header, message.dropped_total)
            self._inbox.deliver(*headers)

    def _take_pixels(self, stream: Incoming, message: FrameUp) -> None:
        """Receive pixels straight into their slot; readable only when all is well."""
        seq = message.header.seq
        slot = stream.ring.slot(seq)
        size = self._socket.recv_into(slot.data)
        stream.bytes_in += size
        received_ns = time.monotonic_ns()
        if size != slot.nbytes:
            raise MessageError(
                "nbytes", f"frame {seq} came with {size} bytes, needs {slot.nbytes}"
            )
        if self._socket.getsockopt(zmq.RCVMORE):
            raise MessageError("parts", f"frame {seq} has more than two parts")
        if message.crc32c is not None:
            seen = crc32c.crc32c(slot.data)
            if seen != message.crc32c:
                raise MessageError(
                    "crc",
                    f"frame {seq} has checksum {seen}, its header {message.crc32c}",
                )
        stream.ring.commit(message.header, received_ns)

    def _of_stream(self, identity: bytes, stream_id: bytes) -> Incoming:
        """Return the stream that a message belongs to, or refuse it."""
        stream = self._stream
        if stream is None or stream.start.stream_id != stream_id:
            raise MessageError(
                "stream", f"stream {stream_id.hex()} is not known here: send START"
            )
        if stream.peer != identity:
            raise MessageError(
                "peer", f"{stream.name} comes over another connection: send START"
            )
        if stream.end:
            raise MessageError("ended", f"{stream.name} has ended")
        return stream

    def _on_end(self, identity: bytes, end: StreamEnd) -> None:
        stream = self._stream
        if (
            stream
            and stream.end
            and stream.end.stream_id == end.stream_id
            and stream.peer == identity
        ):
            self._inbox.reject("duplicate")
            stream.acked = False  # acknowledge again
            return
        stream = self._of_stream(identity, end.stream_id)
        mark = Mark(
            next_seq=end.last_seq + 1,
            sent=end.sent,
            dropped_total=end.dropped,
            missing_total=end.missing,
        )
        self._take_mark(stream, mark)
        with self._inbox.changed:
            stream.end = end
            self._inbox.deliver(*stream.account.finish(), end)

    def _close_lost(self, stream: Incoming, reason: str) -> None:
        """Close a stream whose sender sent no END."""
        with self._inbox.changed:
            self._inbox.deliver(*stream.account.finish(), stream.lose(reason))

    def _on_heartbeat(self, identity: bytes, message: Heartbeat) -> None:
        stream = self._stream
        if stream and stream.end and stream.peer == identity:
            stream.confirmed = stream.acked
            return
        self._take_mark(self._of_stream(identity, message.stream_id), message.mark)

    def _take_mark(self, stream: Incoming, mark: Mark) -> None:
        """Believe how far a sender is, within reason."""
        with self._inbox.changed:
            stream.check_mark(mark, self._limits)
            stream.highest = max(stream.highest, mark.next_seq - 1)
            self._inbox.deliver(*stream.account.mark(mark))

    def _housekeeping(self) -> None:
        """Look after credit, heartbeats and silence."""
        stream, now_s = self._stream, time.monotonic()
        beat = now_s >= self._next_beat_s
        if beat:
            self._next_beat_s = now_s + self._limits.heartbeat_s
        reason, self._inbox.close_reason = self._inbox.close_reason, None
        if stream is None:
            return
        silent_s = now_s - stream.heard_s
        if reason is None and silent_s > self._limits.lost_after_s:
            reason = f"its sender has been silent for {silent_s:.0f} s"
        if reason is not None and stream.end is None:
            self._close_lost(stream, reason)
        with self._inbox.changed:
            finished = stream.finished
            due = not finished and (beat or stream.grant_due)
        if finished and (beat or not stream.acked):
            self._acknowledge_end(stream)
        elif due:
            self._grant(stream, beat)
        if stream.localized > stream.reported and now_s >= self._next_report_s:
            self._next_report_s = now_s + _REPORT_S
            stream.reported = stream.localized
            self._send(
                stream.peer,
                Localized(stream_id=stream.start.stream_id, seq=stream.reported),
            )
        while self._inbox.densities:
            self._send(stream.peer, Density(self._inbox.densities.popleft()))

    def _grant(self, stream: Incoming, beat: bool) -> None:
        """Send credit, and how far the stream is dealt with."""
        stream_id = stream.start.stream_id
        with self._inbox.changed:
            settled = stream.account.settled.next_seq - 1
            ack = Ack(stream_id=stream_id, seq=settled, end=False)
            seq, nbytes = stream.grant()
            credit = Credit(stream_id=stream_id, credit_seq=seq, credit_bytes=nbytes)
            mark = stream.mark
        self._send(stream.peer, ack)
        self._send(stream.peer, credit)
        if beat:
            self._send(stream.peer, Heartbeat(stream_id, mark))

    def _acknowledge_end(self, stream: Incoming) -> bool:
        """Acknowledge the whole stream; False when the sender has left."""
        if stream.end is None:
            return False
        stream.acked = True
        stream_id, last_seq = stream.start.stream_id, stream.end.last_seq
        return self._send(stream.peer, Ack(stream_id=stream_id, seq=last_seq, end=True))

    def _confirm_end(self, stream: Incoming) -> None:
        """Wait until the sender has the acknowledgement, then drop the connection.

        A peer's ZeroMQ forgets what it has not handed over when we disconnect.
        """
        deadline_s = time.monotonic() + _LEAVE_S
        while not stream.confirmed and time.monotonic() < deadline_s:
            if not self._acknowledge_end(stream):
                return
            self._socket.poll(20)
            self._receive()

    def _send(self, identity: bytes | None, message: Message) -> bool:
        """Send; False when the peer is gone. A lost message is sent again later."""
        if identity is None:
            return False
        try:
            self._socket.send_multipart([identity, encode(message)], zmq.DONTWAIT)
        except zmq.Again:
            return True
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            return False
        return True
