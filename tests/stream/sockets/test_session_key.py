"""Processes of one session know a key: strangers get nothing and are not believed."""

import os
import time
import uuid
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import zmq

from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.broadcast.subscriber import LocalizationSubscriber, Status
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import SettingsError, StreamError
from liveloc.stream.frames import Frame, FrameHeader, StreamStart
from liveloc.stream.localizations import empty
from liveloc.stream.sockets.admission import Admission
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.sockets.session_key import SENDER_PROOF, SessionKey
from liveloc.stream.transport import wire
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver, Opened
from liveloc.stream.transport.sender import FrameSender

ANY = "tcp://127.0.0.1:0"
MARK = wire.Mark(next_seq=0, sent=0, dropped_total=0, missing_total=0)


def stream_start(shape=(16, 24)):
    return StreamStart(
        stream_id=uuid.uuid4().bytes,
        shape=shape,
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=0.0,
        policy="block",
    )


def frame(seq):
    header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq, missing_total=0)
    return Frame(header, np.full((16, 24), seq, np.uint16))


@contextmanager
def dealer_at(endpoint, key=None):
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    if key is not None:
        key.show(socket)
    socket.connect(endpoint)
    try:
        yield socket
    finally:
        socket.close()
        context.term()


def serve(receiver, seconds=10.0):
    """Localize nothing in the one stream that comes; return its frames."""
    seqs, deadline = [], time.monotonic() + seconds
    while time.monotonic() < deadline:
        event = receiver.next(16, 0.1)
        if isinstance(event, Arrived):
            seqs += [header.seq for header in event.headers]
            receiver.localized(len(event.headers))
            receiver.release(event.headers[-1].seq)
        if isinstance(event, Closed):
            receiver.next(1, 0.2)
            return seqs
    raise AssertionError(f"no end, frames {seqs}")


def send_ten(sender):
    assert sender.wait_connected(10.0)
    for seq in range(10):
        assert sender.offer(frame(seq))


def test_engine_and_bridge_with_one_key_work_together():
    key = SessionKey.new()
    with (
        FrameReceiver(ANY, key=key) as receiver,
        FrameSender(receiver.endpoint, stream_start(), key=key) as sender,
    ):
        send_ten(sender)
        sender.finish(timeout_s=0.0)
        assert serve(receiver) == list(range(10))


@pytest.mark.parametrize("other", [None, SessionKey.new()], ids=["none", "another"])
def test_a_stranger_gets_no_word_in_and_takes_no_place(other):
    key = SessionKey.new()
    with (
        FrameReceiver(ANY, key=key) as receiver,
        dealer_at(receiver.endpoint, other) as stranger,
        FrameSender(receiver.endpoint, stream_start(), key=other) as foreign,
    ):
        with suppress(zmq.Again):  # it was cut off already
            start = wire.Start(stream_start(), bytes(16), MARK)
            stranger.send(wire.encode(start), zmq.DONTWAIT)
        assert not stranger.poll(300)
        assert not foreign.wait_connected(0.3)
        assert receiver.next(1, 0.0) is None
        with FrameSender(receiver.endpoint, stream_start(), key=key) as sender:
            send_ten(sender)
            sender.finish(timeout_s=0.0)
            assert serve(receiver) == list(range(10))
        assert not receiver.rejected


@pytest.mark.parametrize(
    "proof",
    [None, bytes(16), SessionKey.new().proof(SENDER_PROOF, bytes(16), bytes(16))],
    ids=["none", "zeros", "another"],
)
def test_a_start_without_proof_is_refused_before_anything_is_kept(proof):
    key, asked = SessionKey.new(), []
    with (
        FrameReceiver(ANY, key=key, resume=asked.append) as receiver,
        dealer_at(receiver.endpoint, key) as stranger,
    ):
        huge = wire.Start(stream_start((4096, 8192)), bytes(16), MARK, proof=proof)
        stranger.send(wire.encode(huge))
        assert stranger.poll(5000)
        answer = wire.decode(stranger.recv(), Limits())
        assert (answer.reason, answer.proof) == ("key", None)
        assert "session" in answer.detail
        assert receiver.next(1, 0.0) is None
        assert receiver.ring is None and not asked
        assert receiver.rejected == {"key": 1}
        start = stream_start()
        with FrameSender(receiver.endpoint, start, key=key) as sender:
            send_ten(sender)
            opened = receiver.next(1, 1.0)
            assert isinstance(opened, Opened)
            assert opened.start.stream_id == start.stream_id


class Stranger:
    """Holds a port, lets everyone in and accepts every stream."""

    def __init__(self, *, asks_for_password):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        Admission(self.context, None).guard(self.socket)
        self.socket.plain_server = asks_for_password  # and takes any
        port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint, self.starts = f"tcp://127.0.0.1:{port}", []

    def accept(self, seconds):
        """Answer whatever comes as an engine would, and more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.socket.poll(20):
                continue
            identity, header, *_ = self.socket.recv_multipart()
            message = wire.decode(header, Limits())
            if isinstance(message, wire.Start):
                self.starts.append(message)
                for answer in self.answers(message):
                    self.socket.send_multipart([identity, wire.encode(answer)])

    def answers(self, start):
        stream_id = start.start.stream_id
        for proof in (None, start.proof, bytes(16)):
            yield wire.Reject(reason="version", detail="go away", proof=proof)
            yield wire.HelloOk(
                stream_id=stream_id,
                next_seq=0,
                credit_seq=1000,
                credit_bytes=1 << 30,
                proof=proof,
            )
        yield wire.Ack(stream_id=stream_id, seq=9, end=True)

    def close(self):
        self.socket.close()
        self.context.term()


@pytest.mark.parametrize("asks_for_password", [False, True])
def test_a_bridge_does_not_believe_a_stranger_and_finds_its_engine(
    asks_for_password, caplog
):
    key = SessionKey.new()
    stranger = Stranger(asks_for_password=asks_for_password)
    with FrameSender(stranger.endpoint, stream_start(), key=key) as sender:
        stranger.accept(1.0)
        assert bool(stranger.starts) == asks_for_password
        assert key.secret not in b"".join(map(wire.encode, stranger.starts))
        assert not sender.connected and sender.acked == -1
        stranger.close()
        assert "session" in caplog.text
        with FrameReceiver(stranger.endpoint, key=key) as receiver:
            send_ten(sender)
            sender.finish(timeout_s=0.0)
            assert serve(receiver) == list(range(10))


@pytest.mark.parametrize("other", [None, SessionKey.new()], ids=["none", "another"])
def test_a_viewer_believes_the_engine_of_its_session_only(other):
    key = SessionKey.new()
    # Neither is asked for a password here: the names of their tables must do.
    with (
        LocalizationPublisher(ANY, rows=lambda first, count: empty()) as own,
        LocalizationPublisher(ANY, rows=lambda first, count: empty()) as foreign,
        LocalizationSubscriber(own.endpoint) as viewer,
    ):
        own._key, foreign._key, viewer._key = key, other, key
        viewer._sub.connect(foreign.endpoint)
        foreign.begin(bytes(16), {})
        own.begin(bytes(range(16)), {})
        seen, deadline = set(), time.monotonic() + 10
        while time.monotonic() < deadline and not viewer.rejected["key"] > 5:
            for publisher, name in ((own, "own"), (foreign, "foreign")):
                publisher.serve(0.01)
                publisher.status({"engine": name})
            seen |= {
                update.values["engine"]
                for update in viewer.poll(0.02)
                if isinstance(update, Status)
            }
        assert seen == {"own"}
        assert viewer.rejected["key"] > 5


def test_a_viewer_without_a_key_learns_why_it_sees_nothing():
    key = SessionKey.new()
    with (
        LocalizationPublisher(ANY, rows=lambda first, count: empty(), key=key) as own,
        LocalizationSubscriber(own.endpoint) as stranger,
        pytest.raises(StreamError, match=r"lets no stranger look.*liveloc view FOLDER"),
    ):
        for _ in range(100):
            stranger.poll(0.1)


def test_a_viewer_with_another_key_sees_nothing():
    key, other = SessionKey.new(), SessionKey.new()
    with (
        LocalizationPublisher(ANY, rows=lambda first, count: empty(), key=key) as own,
        LocalizationSubscriber(own.endpoint, key=key) as viewer,
        LocalizationSubscriber(own.endpoint, key=other) as stranger,
    ):
        own.begin(bytes(16), {})
        updates, seen, deadline = [], [], time.monotonic() + 10
        while time.monotonic() < deadline and len(updates) < 5:
            own.serve(0.01)
            own.status({})
            updates += viewer.poll(0.02)
            seen += stranger.poll(0.02)
        assert len(updates) >= 5
        assert not seen


def test_a_key_leaves_the_environment_when_it_is_taken(monkeypatch):
    key = SessionKey.new()
    monkeypatch.setenv("LIVELOC_FRAMES_KEY", key.text)
    assert SessionKey.from_environment("LIVELOC_FRAMES_KEY") == key
    assert "LIVELOC_FRAMES_KEY" not in os.environ
    assert SessionKey.from_environment("LIVELOC_FRAMES_KEY") is None
    assert key.text not in repr(key)


@pytest.mark.parametrize("text", ["abc", "zz" * 32, "00" * 31])
def test_what_is_no_key_is_named(monkeypatch, text):
    monkeypatch.setenv("LIVELOC_FRAMES_KEY", text)
    with pytest.raises(SettingsError, match=r"LIVELOC_FRAMES_KEY.*64 hexadecimal"):
        SessionKey.from_environment("LIVELOC_FRAMES_KEY")


def test_a_viewer_turned_away_by_a_stranger_finds_its_engine_there_later():
    key = SessionKey.new()
    stranger = Stranger(asks_for_password=False)
    with LocalizationSubscriber(stranger.endpoint, key=key) as viewer:
        assert not viewer.poll(0.5)
        stranger.close()
        rows = {"rows": lambda first, count: empty(), "key": key}
        with LocalizationPublisher(stranger.endpoint, **rows) as own:
            own.begin(bytes(16), {})
            updates, deadline = [], time.monotonic() + 10
            while time.monotonic() < deadline and not updates:
                own.serve(0.01)
                own.status({})
                updates += viewer.poll(0.02)
        assert updates
