"""Sender and receiver over real sockets: honest peers, broken ones, killed ones."""

import dataclasses
import importlib.util
import json
import queue
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import crc32c
import msgpack
import numpy as np
import pytest
import zmq

from liveloc.stream.balance import (
    BRIDGE_SHED,
    CAMERA_MISSING,
    CONNECTION_LOST,
    ENGINE_STOPPED,
    LATE,
    REJECTED,
)
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.density import BlockDensity
from liveloc.stream.errors import (
    MessageError,
    OverflowStop,
    SettingsError,
    SourceError,
    StreamError,
)
from liveloc.stream.frames import Frame, FrameHeader, StreamEnd, StreamStart
from liveloc.stream.laser_state import LaserState
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.tables.ledger import ResumePoint
from liveloc.stream.transport import wire
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver, Opened
from liveloc.stream.transport.sender import FrameSender
from liveloc.stream.transport.transmission import transmit

HERE = Path(__file__).parent
ANY = "tcp://127.0.0.1:0"
# A peer is silent for so long before it counts as lost; four times that, because this
# machine may be busy.
NOTICED_S = 4 * Limits().heartbeat_s * Limits().missed_heartbeats
SHAPE = (16, 24)
PATIENT = Limits(rejects_per_s=1_000_000)
QUICK = Limits(heartbeat_s=0.1, rejects_per_s=1_000_000)


def load_fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_wire", HERE / "fuzz_wire.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stream_start(shape=SHAPE, policy="block", interval_ms=0.0, **changes):
    return StreamStart(
        stream_id=uuid.uuid4().bytes,
        shape=shape,
        dtype="u2",
        pixel_size_nm=100.0,
        calibration=CameraCalibration(),
        exposure_ms=1.0,
        interval_ms=interval_ms,
        policy=policy,
        **changes,
    )


def frame(seq, missing=0, shape=SHAPE):
    header = FrameHeader(seq=seq, camera_frame=seq, t_ns=seq, missing_total=missing)
    return Frame(header, np.full(shape, seq % 65_536, np.uint16))


class Consumer:
    """A localizer that finds nothing: takes frames until the stream is closed."""

    def __init__(self, receiver, pause_s=0.0, batch=16):
        self.receiver, self.pause_s, self.batch = receiver, pause_s, batch
        self.seqs, self.end, self.opened, self.error = [], None, [], None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while self.end is None:
                self.take(self.receiver.next(self.batch, 5.0))
        except StreamError as error:
            self.error = error

    def take(self, event):
        if isinstance(event, Opened):
            self.opened.append(event)
        elif isinstance(event, Arrived):
            if self.pause_s:
                time.sleep(self.pause_s)
            for header, pixels in zip(event.headers, event.pixels, strict=True):
                assert (pixels == header.seq % 65_536).all()
            self.seqs += [header.seq for header in event.headers]
            self.receiver.localized(len(event.headers))
            self.receiver.settle(event.headers[-1].seq)
        elif isinstance(event, Closed):
            self.end = event.end

    def join(self):
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.receiver.balance


class RawBridge:
    """A bridge that sends exactly what it is told, wrong or right."""

    def __init__(self, endpoint, start=None):
        self.start_message = start or stream_start()
        self.sender = uuid.uuid4().bytes
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.context.term()

    def send(self, *parts):
        self.socket.send_multipart(parts)

    def start(self, mark=(0, 0, 0, 0), **changes):
        names = ("next_seq", "sent", "dropped_total", "missing_total")
        mark = wire.Mark(**dict(zip(names, mark, strict=True)))
        start = dataclasses.replace(self.start_message, **changes)
        self.send(wire.encode(wire.Start(start, self.sender, mark)))
        return self.wait_for(wire.HelloOk, wire.Reject)

    def header(self, seq, dropped=0, missing=0, **changes):
        pixels = frame(seq).pixels
        fields = {
            "stream_id": self.start_message.stream_id,
            "header": dataclasses.replace(frame(seq).header, missing_total=missing),
            "dropped_total": dropped,
            "shape": SHAPE,
            "dtype": "u2",
            "nbytes": pixels.nbytes,
            "crc32c": crc32c.crc32c(pixels),
        }
        return wire.encode(wire.FrameUp(**(fields | changes)))

    def frame(self, seq, dropped=0, missing=0, **changes):
        pixels = frame(seq).pixels.tobytes()
        self.send(self.header(seq, dropped, missing, **changes), pixels)

    def end(self, last_seq, dropped=0, missing=0):
        sent = last_seq + 1 - dropped - missing
        stream_id = self.start_message.stream_id
        end = StreamEnd(
            stream_id=stream_id,
            last_seq=last_seq,
            sent=sent,
            dropped=dropped,
            missing=missing,
        )
        self.send(wire.encode(wire.End(end)))

    def wait_for(self, *kinds, timeout_s=5.0):
        deadline = time.monotonic() + timeout_s
        while self.socket.poll(max(0, deadline - time.monotonic()) * 1000):
            message = wire.decode(self.socket.recv(), PATIENT)
            if isinstance(message, kinds):
                return message
        raise AssertionError(f"no {kinds} in {timeout_s} s")

    def wait_for_end(self):
        """Wait until the end is acknowledged; frames may be before."""
        while not self.wait_for(wire.Ack).end:
            pass


def take_all(receiver, until=Closed, timeout_s=5.0):
    """Take events up to one of kind `until`, releasing as they come."""
    seqs, deadline = [], time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        event = receiver.next(64, 0.2)
        if isinstance(event, Arrived):
            seqs += [header.seq for header in event.headers]
            receiver.localized(len(event.headers))
            receiver.settle(event.headers[-1].seq)
        if isinstance(event, until):
            return seqs, event
    raise AssertionError(f"no {until} in {timeout_s} s, frames {seqs}")


def wait_until(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


# Honest peers


@pytest.mark.parametrize("ring_frames", [4, 64])
def test_every_frame_arrives_once_and_the_end_is_confirmed(ring_frames):
    with FrameReceiver(ANY, ring_frames=ring_frames) as receiver:
        consumer = Consumer(receiver)
        with FrameSender(receiver.endpoint, stream_start()) as sender:
            assert all(sender.offer(frame(seq)) for seq in range(500))
            end = sender.finish()
            assert sender.end_acked
            assert (end.status, end.sent, end.dropped, end.last_seq) == (
                "ok",
                500,
                0,
                499,
            )
            assert sender.acked == 499
        balance = consumer.join()
    assert consumer.seqs == list(range(500))
    assert consumer.end == end
    assert balance.as_dict() == {
        "camera": 500, "localized": 500, "lost": {}, "unexplained": 0
    }  # fmt: skip
    assert not receiver.rejected


def test_frames_the_camera_lost_are_named_also_those_at_the_end():
    with FrameReceiver(ANY) as receiver:
        consumer = Consumer(receiver)
        with FrameSender(receiver.endpoint, stream_start()) as sender:
            for seq in range(0, 10):
                sender.offer(frame(seq))
            for seq in range(15, 20):
                sender.offer(frame(seq, missing=5))
            end = sender.finish(missing=8)
        balance = consumer.join()
    assert end.last_seq == 22
    assert balance.as_dict() == {
        "camera": 23, "localized": 15, "lost": {CAMERA_MISSING: 8}, "unexplained": 0
    }  # fmt: skip


def test_overload_sheds_whole_blocks_and_says_so():
    start = stream_start(policy="drop_block")
    frame_bytes = start.frame_nbytes
    with FrameReceiver(ANY, ring_frames=32) as receiver:
        consumer = Consumer(receiver, pause_s=0.01, batch=8)
        sender = FrameSender(receiver.endpoint, start, queue_bytes=100 * frame_bytes)
        with sender:
            kept = []
            for seq in range(2000):
                if sender.offer(frame(seq)):
                    kept.append(seq)
                time.sleep(0.0002)
            end = sender.finish()
        balance = consumer.join()
    assert balance.unexplained == 0
    assert balance.lost == {BRIDGE_SHED: 2000 - len(kept)}
    assert consumer.seqs == kept
    assert end.dropped == 2000 - len(kept) > 0
    steps = np.diff([*kept, 2000])
    assert min(step for step in steps[:-1] if step > 1) > 32
    runs = np.diff([0, *(np.flatnonzero(steps > 1) + 1)])
    assert min(runs[:-1]) >= 32


def test_policy_stop_says_which_frame_found_no_room():
    start = stream_start(policy="stop")
    with FrameReceiver(ANY, ring_frames=8) as receiver:
        sender = FrameSender(
            receiver.endpoint, start, queue_bytes=10 * start.frame_nbytes
        )
        with sender:
            with pytest.raises(
                OverflowStop, match=r"frame \d+ found no room.*10 frames"
            ):
                for seq in range(1000):
                    sender.offer(frame(seq))
            stopped_at = sender.last_seq
            consumer = Consumer(receiver)
            end = sender.finish("failed", "no room")
        balance = consumer.join()
    assert (end.status, end.last_seq, end.dropped) == ("failed", stopped_at, 1)
    assert balance.lost == {BRIDGE_SHED: 1}
    assert balance.unexplained == 0


def test_policy_block_waits_for_a_slow_engine():
    start = stream_start(policy="block")
    with FrameReceiver(ANY, ring_frames=8) as receiver:
        consumer = Consumer(receiver, pause_s=0.005, batch=4)
        sender = FrameSender(
            receiver.endpoint, start, queue_bytes=4 * start.frame_nbytes
        )
        with sender:
            for seq in range(300):
                assert sender.offer(frame(seq))
            sender.finish()
        consumer.join()
    assert consumer.seqs == list(range(300))


def test_a_gap_wider_than_the_ring_does_not_stop_the_stream():
    with FrameReceiver(ANY, ring_frames=8) as receiver:
        consumer = Consumer(receiver)
        with FrameSender(receiver.endpoint, stream_start()) as sender:
            for seq in (0, 1, 5000, 5001, 900_000):
                missing = {0: 0, 1: 0, 5000: 4998, 5001: 4998}.get(seq, 899_996)
                sender.offer(frame(seq, missing=missing))
            sender.finish()
        balance = consumer.join()
    assert consumer.seqs == [0, 1, 5000, 5001, 900_000]
    assert balance.lost == {CAMERA_MISSING: 899_996}
    assert balance.unexplained == 0


def test_an_engine_that_comes_late_gets_what_waits():
    with FrameReceiver(ANY) as receiver:
        endpoint = receiver.endpoint
    with FrameSender(endpoint, stream_start()) as sender:
        for seq in range(50):
            sender.offer(frame(seq))
        assert not sender.wait_connected(0.2)
        with FrameReceiver(endpoint) as receiver:
            consumer = Consumer(receiver)
            assert sender.wait_connected(5.0)
            sender.finish()
            balance = consumer.join()
    assert consumer.seqs == list(range(50))
    assert balance.unexplained == 0


def test_without_an_engine_a_live_stream_sheds_and_ends():
    start = stream_start(policy="drop_block", interval_ms=10.0)
    with FrameReceiver(ANY) as receiver:
        endpoint = receiver.endpoint
    with FrameSender(endpoint, start, queue_s=0.5) as sender:
        for seq in range(200):
            sender.offer(frame(seq))
        end = sender.finish("aborted", timeout_s=0.2)
        assert not sender.end_acked
    assert (end.sent, end.dropped, end.last_seq) == (0, 200, 199)


def test_one_engine_serves_stream_after_stream():
    with FrameReceiver(ANY, ring_frames=8) as receiver:
        for shape in [(8, 8), (16, 4)]:
            consumer = Consumer(receiver)
            with FrameSender(receiver.endpoint, stream_start(shape)) as sender:
                for seq in range(30):
                    sender.offer(frame(seq, shape=shape))
                sender.finish()
            assert consumer.join().localized == 30
            assert receiver.ring.shape == shape


def density(stream_id, **changes):
    values = {
        "first_seq": 0,
        "last_seq": 4,
        "frames": 5,
        "t_ns": 12,
        "per_um2": 0.5,
        "sigma_per_um2": 0.02,
        "area_um2": 163.84,
        "precision_nm": 11.0,
    }
    return BlockDensity(stream_id=stream_id, **values | changes)


def test_the_density_reaches_the_sender_and_that_of_another_stream_does_not():
    told, start = queue.Queue(), stream_start()
    with FrameReceiver(ANY) as receiver:
        with FrameSender(receiver.endpoint, start, on_density=told.put) as sender:
            assert sender.wait_connected(5)
            receiver.next(1, 5)
            receiver.send_density(density(b"x" * 16))
            time.sleep(0.1)
            mine = density(start.stream_id)
            receiver.send_density(mine)
            assert told.get(timeout=5) == mine
            assert told.empty()


def test_what_the_laser_does_reaches_the_engine():
    start = stream_start()
    state = LaserState(stream_id=start.stream_id, power=3.5, unit="mW", law="ratio")
    with FrameReceiver(ANY) as receiver, FrameSender(receiver.endpoint, start) as b:
        assert b.wait_connected(5)
        receiver.next(1, 5)
        assert receiver.laser is None
        b.send_laser_state(state)
        b.offer(frame(0))
        assert isinstance(receiver.next(1, 5), Arrived)
        assert receiver.laser == state


def test_a_sender_that_asks_for_no_density_is_not_disturbed_by_it():
    start = stream_start()
    with (
        FrameReceiver(ANY) as receiver,
        FrameSender(receiver.endpoint, start) as sender,
    ):
        assert sender.wait_connected(5)
        receiver.next(1, 5)
        receiver.send_density(density(start.stream_id))
        sender.offer(frame(0))
        assert sender.finish(timeout_s=0.2).sent == 1


def test_the_ring_gives_windows_of_what_arrived():
    with FrameReceiver(ANY, ring_frames=16) as receiver:
        with FrameSender(receiver.endpoint, stream_start()) as sender:
            for seq in (0, 1, 2, 4, 5):
                sender.offer(frame(seq, missing=int(seq > 3)))
            assert isinstance(receiver.next(1, 5.0), Opened)
            seqs = []
            while len(seqs) < 5:
                seqs += [header.seq for header in receiver.next(8, 5.0).headers]
            out = np.empty((3, *SHAPE), np.uint16)
            assert receiver.ring.window(1, out)
            assert out[:, 0, 0].tolist() == [0, 1, 2]
            assert not receiver.ring.window(2, out)


def test_a_frame_that_does_not_fit_is_named_where_it_is_offered():
    with FrameSender("tcp://127.0.0.1:9", stream_start()) as sender:
        sender.offer(frame(3))
        with pytest.raises(MessageError, match=r"frame 4 is \(8, 8\).*ROI"):
            sender.offer(frame(4, shape=(8, 8)))
        with pytest.raises(MessageError, match="frame 3 after frame 3"):
            sender.offer(frame(3))
        wrong = Frame(frame(5).header, frame(5).pixels.astype(np.float32))
        with pytest.raises(MessageError, match="float32"):
            sender.offer(wrong)
        turned = Frame(frame(5).header, np.zeros(SHAPE[::-1], np.uint16).T)
        with pytest.raises(MessageError, match="C order"):
            sender.offer(turned)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.0.1:5555", "tcp://[::]:5555"],
)
def test_addresses_that_leave_the_machine_are_refused(endpoint):
    with pytest.raises(SettingsError, match="keys"):
        FrameReceiver(endpoint)
    with pytest.raises(SettingsError, match="keys"):
        FrameSender(endpoint, stream_start())


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "tcp://127.0.0.1", "ipc://x", ""])
def test_what_is_no_endpoint_is_named(endpoint):
    with pytest.raises(SettingsError, match="Use for example"):
        FrameReceiver(endpoint)


def test_a_taken_port_is_named():
    with (
        FrameReceiver(ANY) as receiver,
        pytest.raises(SettingsError, match="another engine"),
    ):
        FrameReceiver(receiver.endpoint)


def test_a_fault_of_ours_surfaces_in_next():
    def broken(start):
        raise ZeroDivisionError("a bug")

    with FrameReceiver(ANY, resume=broken) as receiver:
        with RawBridge(receiver.endpoint) as bridge:
            bridge.send(
                wire.encode(
                    wire.Start(
                        bridge.start_message,
                        bridge.sender,
                        wire.Mark(next_seq=0, sent=0, dropped_total=0, missing_total=0),
                    )
                )
            )
            with pytest.raises(ZeroDivisionError, match="a bug"):
                receiver.next(1, 5.0)


def test_a_fault_in_a_callback_surfaces_in_offer():
    def broken(there):
        raise ZeroDivisionError("a bug")

    with FrameReceiver(ANY) as receiver:
        with FrameSender(receiver.endpoint, stream_start(), on_peer=broken) as sender:
            with pytest.raises(ZeroDivisionError, match="a bug"):
                sender.wait_connected(5.0)
            with pytest.raises(ZeroDivisionError, match="a bug"):
                sender.offer(frame(0))


def test_a_closed_receiver_says_so():
    receiver = FrameReceiver(ANY)
    consumer = Consumer(receiver)
    receiver.close()
    receiver.close()
    consumer.join()
    assert "closed" in str(consumer.error)


def test_waiting_costs_no_computing_time():
    """Idle, out of credit, and without an engine: nobody asks again and again."""
    with FrameReceiver(ANY, ring_frames=8) as receiver:
        with (
            FrameSender(receiver.endpoint, stream_start()) as sender,
            FrameSender("tcp://127.0.0.1:9", stream_start()) as alone,
        ):
            assert sender.wait_connected(5.0)
            for seq in range(50):
                sender.offer(frame(seq))
                alone.offer(frame(seq))
            time.sleep(0.3)
            before = time.process_time()
            time.sleep(1.0)
            assert time.process_time() - before < 0.2


# Broken messages: counted, refused with a reason, the next good frame is handled


@pytest.fixture
def session():
    """Give a receiver and a raw bridge whose stream is open."""
    with FrameReceiver(ANY, ring_frames=32, limits=PATIENT) as receiver:
        with RawBridge(receiver.endpoint) as bridge:
            assert isinstance(bridge.start(), wire.HelloOk)
            assert isinstance(receiver.next(1, 5.0), Opened)
            yield receiver, bridge


PIXELS = frame(1).pixels.tobytes()
BROKEN = {
    "one part": ("parts", lambda b: b.send(b.header(1))),
    "three parts": ("parts", lambda b: b.send(b.header(1), PIXELS, b"more")),
    "nothing": ("header_size", lambda b: b.send(b"", PIXELS)),
    "empty payload": ("nbytes", lambda b: b.send(b.header(1), b"")),
    "short payload": ("nbytes", lambda b: b.send(b.header(1), PIXELS[:-1])),
    "long payload": ("nbytes", lambda b: b.send(b.header(1), PIXELS + b"\0")),
    "much longer": ("nbytes", lambda b: b.send(b.header(1), PIXELS * 50)),
    "claimed size": ("nbytes", lambda b: b.frame(1, nbytes=4)),
    "claimed 4e9": ("nbytes", lambda b: b.frame(1, nbytes=4_000_000_000)),
    "turned": ("shape", lambda b: b.frame(1, shape=SHAPE[::-1])),
    "bytes": ("shape", lambda b: b.frame(1, dtype="u1")),
    "checksum": ("crc", lambda b: b.frame(1, crc32c=1)),
    "long header": (
        "header_size",
        lambda b: b.send(
            msgpack.packb(msgpack.unpackb(b.header(1)) | {"pad": "x" * 5000}), PIXELS
        ),
    ),
    "long nonsense": ("msgpack", lambda b: b.send(b"\xc0" * 5000, PIXELS)),
    "control with pixels": (
        "parts",
        lambda b: b.send(
            wire.encode(wire.Ack(stream_id=b.start_message.stream_id, seq=1, end=True)),
            PIXELS,
        ),
    ),
    "message of an engine": (
        "type",
        lambda b: b.send(
            wire.encode(wire.Ack(stream_id=b.start_message.stream_id, seq=1, end=True))
        ),
    ),
    "other major": (
        "version",
        lambda b: b.send(
            msgpack.packb(msgpack.unpackb(b.header(1)) | {"proto": [2, 0]}), PIXELS
        ),
    ),
    "NaN": (
        "field",
        lambda b: b.send(
            msgpack.packb(msgpack.unpackb(b.header(1)) | {"seq": float("nan")}), PIXELS
        ),
    ),
    "other stream": ("stream", lambda b: b.frame(1, stream_id=bytes(16))),
    "jump": ("seq_jump", lambda b: b.frame(2_000_000)),
    "credit": ("credit", lambda b: b.frame(500)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_message_is_named_and_the_next_good_frame_is_handled(session, name):
    receiver, bridge = session
    reason, send = BROKEN[name]
    bridge.frame(0)
    send(bridge)
    reject = bridge.wait_for(wire.Reject)
    assert reject.reason == reason
    assert receiver.rejected == {reason: 1}
    if name == "other major":
        assert "2.0" in reject.detail
        assert "{}.{}".format(*wire.PROTO) in reject.detail
    bridge.frame(1)
    bridge.frame(2)
    bridge.end(2)
    seqs, closed = take_all(receiver)
    assert seqs == [0, 1, 2]
    assert closed.end.status == "ok"
    assert receiver.balance.unexplained == 0


@pytest.mark.parametrize("name", ["short payload", "checksum", "other major", "NaN"])
def test_a_refused_frame_is_a_named_loss(session, name):
    receiver, bridge = session
    bridge.frame(0)
    BROKEN[name][1](bridge)
    bridge.frame(2)
    bridge.end(2)
    assert take_all(receiver)[0] == [0, 2]
    assert receiver.balance.lost == {REJECTED: 1}
    assert receiver.balance.unexplained == 0


def test_a_future_minor_version_works(session):
    receiver, bridge = session
    fields = msgpack.unpackb(bridge.header(0))
    future = msgpack.packb(fields | {"proto": [1, 7], "polarisation": "s"})
    bridge.send(future, frame(0).pixels.tobytes())
    bridge.end(0)
    assert take_all(receiver)[0] == [0]
    assert not receiver.rejected


def test_thousands_of_broken_messages_change_nothing(session):
    receiver, bridge = session
    fuzz, rng = load_fuzz(), random.Random(3)
    pool = [*fuzz.seeds(), bridge.header(1)]
    good, sent = 0, 0
    for _ in range(3000):
        parts = [fuzz.mutate(rng, pool) for _ in range(rng.randrange(1, 4))]
        if rng.random() < 0.3:
            parts[-1] = PIXELS[: rng.randrange(len(PIXELS) - 1)]
        bridge.send(*parts)
        sent += 1
        if sent % 100 == 0:
            bridge.frame(good)
            good += 1
            enough = sent - sent // 20
            wait_until(lambda least=enough: receiver.rejected.total() >= least)
    bridge.end(good - 1)
    seqs, _ = take_all(receiver)
    assert seqs == list(range(good))
    assert receiver.balance.unexplained == 0
    assert receiver.rejected.total() > 0.95 * sent  # a few mutations harm nothing


def test_bytes_that_are_no_zeromq_change_nothing(session):
    receiver, bridge = session
    host, port = receiver.endpoint.removeprefix("tcp://").split(":")
    rng = random.Random(1)
    junk = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01" * 9]
    junk += [rng.randbytes(rng.randrange(1, 200)) for _ in range(100)]
    junk += [b"\x01\x00\x06\x00hello"]  # ZMTP 1.0, which reaches the application
    for data in junk:
        with socket.create_connection((host, int(port)), timeout=5) as peer:
            peer.sendall(data)
    bridge.frame(0)
    bridge.end(0)
    assert take_all(receiver)[0] == [0]


def test_a_peer_that_sends_nothing_good_is_not_listened_to():
    limits = Limits(rejects_per_s=20, banned_s=0.5)
    with FrameReceiver(ANY, limits=limits) as receiver:
        with RawBridge(receiver.endpoint) as bad, RawBridge(receiver.endpoint) as good:
            for _ in range(50):
                bad.send(b"\xc1")
            wait_until(lambda: receiver.rejected.total() == 50)
            assert receiver.rejected == {"msgpack": 20, "banned": 30}
            assert isinstance(good.start(), wire.HelloOk)
            time.sleep(0.6)
            bad.send(b"\xc1")
            wait_until(lambda: receiver.rejected["msgpack"] == 21)


def test_a_banned_bridge_comes_back_and_its_frames_are_named():
    limits = Limits(rejects_per_s=20, banned_s=0.3)
    with FrameReceiver(ANY, limits=limits) as receiver:
        with RawBridge(receiver.endpoint) as bridge:
            bridge.start()
            for seq in range(30):
                bridge.frame(seq, crc32c=0)
            wait_until(lambda: receiver.rejected.total() == 30)
            time.sleep(0.4)
            while bridge.wait_for(wire.Reject).reason != "banned":
                pass
            assert isinstance(bridge.start(mark=(30, 30, 0, 0)), wire.HelloOk)
            bridge.frame(30)
            bridge.end(30)
            assert take_all(receiver)[0] == [30]
            assert receiver.balance.lost == {REJECTED: 30}
            assert receiver.balance.unexplained == 0


def test_refused_pixels_do_not_use_up_the_byte_credit(session):
    receiver, bridge = session
    pixels = len(PIXELS)
    for _ in range(100):
        bridge.frame(0, dtype="u1")
    while (credit := bridge.wait_for(wire.Credit)).credit_bytes < 132 * pixels:
        pass
    assert credit.credit_bytes == 132 * pixels
    assert receiver.rejected == {"shape": 100}


# The order of things


def test_a_frame_before_start_is_held_out():
    with FrameReceiver(ANY) as receiver, RawBridge(receiver.endpoint) as bridge:
        bridge.frame(0)
        reject = bridge.wait_for(wire.Reject)
        assert reject.reason == "stream"
        assert "send START" in reject.detail
        bridge.end(0)
        assert bridge.wait_for(wire.Reject).reason == "stream"
        bridge.start()
        bridge.frame(0)
        bridge.end(0)
        assert take_all(receiver)[0] == [0]
        assert receiver.rejected == {"stream": 2}


def test_start_twice_changes_nothing(session):
    receiver, bridge = session
    bridge.frame(0)
    hello = bridge.start(mark=(1, 1, 0, 0))
    assert hello.next_seq == 1
    bridge.frame(1)
    bridge.end(1)
    assert take_all(receiver)[0] == [0, 1]
    assert receiver.balance.unexplained == 0
    assert not receiver.rejected


def test_a_second_start_must_describe_the_same_frames(session):
    receiver, bridge = session
    reject = bridge.start(shape=(4, 4))
    assert (reject.reason, "(4, 4)" in reject.detail) == ("start", True)
    bridge.frame(0)
    bridge.end(0)
    assert take_all(receiver)[0] == [0]


def test_end_twice_is_confirmed_twice(session):
    receiver, bridge = session
    bridge.frame(0)
    bridge.end(0)
    take_all(receiver)
    bridge.wait_for_end()
    bridge.end(0)
    bridge.wait_for_end()
    wait_until(lambda: receiver.rejected == {"duplicate": 1})
    assert receiver.next(1, 0.05) is None
    bridge.frame(1)
    assert bridge.wait_for(wire.Reject).reason == "ended"


def test_the_end_is_confirmed_when_the_frames_are_dealt_with_not_before(session):
    receiver, bridge = session
    bridge.frame(0)
    bridge.end(0)
    arrived = receiver.next(1, 5.0)
    assert isinstance(receiver.next(1, 5.0), Closed)
    with pytest.raises(AssertionError, match="no"):
        while not bridge.wait_for(wire.Ack, timeout_s=0.3).end:
            pass
    receiver.settle(arrived.headers[0].seq)
    bridge.wait_for_end()


def test_a_silent_sender_is_lost_in_the_end():
    limits = Limits(heartbeat_s=0.05, lost_after_s=0.4)
    with FrameReceiver(ANY, limits=limits) as receiver:
        with RawBridge(receiver.endpoint) as bridge:
            bridge.start()
            for seq in (0, 1, 3):
                bridge.frame(seq, dropped=int(seq > 2))
            seqs, closed = take_all(receiver)
    assert seqs == [0, 1, 3]
    assert closed.end.status == "lost"
    assert "silent" in closed.end.reason
    assert (closed.end.last_seq, closed.end.dropped) == (3, 1)
    assert receiver.balance.unexplained == 0


def test_the_engine_may_close_a_stream_as_lost(session):
    receiver, bridge = session
    bridge.frame(0)
    assert isinstance(receiver.next(1, 5.0), Arrived)
    receiver.close_lost("the engine was told to stop")
    closed = receiver.next(1, 5.0)
    assert (closed.end.status, closed.end.reason) == (
        "lost",
        "the engine was told to stop",
    )
    bridge.frame(1)
    assert bridge.wait_for(wire.Reject).reason == "ended"


def test_duplicates_are_counted_and_discarded(session):
    receiver, bridge = session
    for seq in (0, 0, 1, 0, 2, 2):
        bridge.frame(seq)
    bridge.end(2)
    assert take_all(receiver)[0] == [0, 1, 2]
    assert receiver.rejected == {"duplicate": 3}
    assert receiver.balance.unexplained == 0


def test_overtaken_frames_are_sorted(session):
    receiver, bridge = session
    for seq in [0, 2, 1, 4, 5, 6, 7, 8, 9, 10, 11, 3, 12]:
        bridge.frame(seq)
    bridge.end(12)
    assert take_all(receiver)[0] == list(range(13))
    assert not receiver.rejected


def test_a_frame_overtaken_by_nine_is_late(session):
    receiver, bridge = session
    for seq in [0, *range(2, 11), 1, 11]:
        bridge.frame(seq)
    bridge.end(11)
    assert take_all(receiver)[0] == [0, *range(2, 12)]
    assert receiver.rejected == {"late": 1}
    assert receiver.balance.lost == {LATE: 1}
    assert receiver.balance.unexplained == 0


def test_a_frame_that_vanished_is_not_waited_for_for_ever(session):
    receiver, bridge = session
    bridge.frame(0)
    bridge.frame(2)
    mark = wire.Mark(next_seq=3, sent=3, dropped_total=0, missing_total=0)
    bridge.send(wire.encode(wire.Heartbeat(bridge.start_message.stream_id, mark)))
    bridge.end(2)
    assert take_all(receiver)[0] == [0, 2]
    assert receiver.balance.unexplained == 1  # nobody said where it went


def test_a_second_bridge_is_refused_by_name(session):
    receiver, bridge = session
    with RawBridge(receiver.endpoint) as second:
        reject = second.start()
        assert reject.reason == "busy"
        assert bridge.start_message.stream_id.hex() in reject.detail
        assert "second engine" in reject.detail
        second.start_message = bridge.start_message  # the same stream from elsewhere
        assert second.start().reason == "busy"
        second.frame(0)
        assert second.wait_for(wire.Reject).reason == "peer"
    bridge.frame(0)
    bridge.end(0)
    assert take_all(receiver)[0] == [0]
    assert receiver.balance.unexplained == 0


def test_the_second_sender_is_told_why():
    with FrameReceiver(ANY, limits=QUICK) as receiver:
        with FrameSender(receiver.endpoint, stream_start(), limits=QUICK) as first:
            assert first.wait_connected(5.0)
            with FrameSender(receiver.endpoint, stream_start(), limits=QUICK) as second:
                with pytest.raises(StreamError, match="busy: this engine is receiving"):
                    second.wait_connected(10.0)
                with pytest.raises(StreamError, match="refuses the stream"):
                    second.offer(frame(0))
            assert first.connected


def test_a_silent_stream_gives_way_to_another():
    with FrameReceiver(ANY, limits=QUICK) as receiver:
        with RawBridge(receiver.endpoint) as silent:
            silent.start()
            silent.frame(0)
            time.sleep(2 * QUICK.silence_s)
            with FrameSender(receiver.endpoint, stream_start(), limits=QUICK) as sender:
                sender.offer(frame(0))
                seqs, closed = take_all(receiver)
                assert (seqs, closed.end.status) == ([0], "lost")
                assert "fell silent" in closed.end.reason
                assert isinstance(take_all(receiver, until=Opened)[1], Opened)
                assert isinstance(receiver.next(1, 5.0), Arrived)


def test_a_stream_that_ended_is_not_taken_again():
    start = stream_start()
    with FrameReceiver(ANY, limits=QUICK) as receiver:
        for attempt in range(2):
            with FrameSender(receiver.endpoint, start, limits=QUICK) as sender:
                if attempt == 0:
                    sender.offer(frame(0))
                    consumer = Consumer(receiver)
                    sender.finish()
                    consumer.join()
                else:
                    with pytest.raises(StreamError, match="ended"):
                        sender.wait_connected(5.0)


def test_another_major_version_is_told_to_the_user():
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.LINGER, 0)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    fuzz = load_fuzz()
    try:
        with FrameSender(f"tcp://127.0.0.1:{port}", stream_start()) as sender:
            identity = router.recv_multipart()[0]
            router.send_multipart(
                [identity, fuzz.with_version(fuzz.MESSAGES[4], [2, 0])]
            )
            ours = r"{}\.{}".format(*wire.PROTO)
            with pytest.raises(
                StreamError, match=rf"protocol 2\.0, this side speaks {ours}"
            ):
                sender.wait_connected(5.0)
    finally:
        router.close()
        context.term()


# What breaks on the way


class Proxy:
    """Passes bytes between a sender and an engine until the line is cut."""

    def __init__(self, endpoint):
        host, port = endpoint.removeprefix("tcp://").split(":")
        self.target = host, int(port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.1)
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lines, self.threads, self.open, self.stop = [], [], True, False
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()

    def accept(self):
        while not self.stop:
            try:
                near = self.listener.accept()[0]
            except TimeoutError:
                continue
            if not self.open:
                near.close()
                continue
            far = socket.create_connection(self.target)
            self.lines += [near, far]
            for ends in ((near, far), (far, near)):
                thread = threading.Thread(target=self.pump, args=ends)
                self.threads.append(thread)
                thread.start()

    @staticmethod
    def pump(source, target):
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        self.open = False
        for line in self.lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.stop = True
        self.cut()
        for thread in [self.acceptor, *self.threads]:
            thread.join(5)
        for line in [*self.lines, self.listener]:
            line.close()


@pytest.mark.parametrize("policy", ["block", "drop_block"])
def test_a_cut_line_is_mended_and_the_hole_is_named(policy):
    states = queue.Queue()
    start = stream_start(policy=policy, interval_ms=1.0)
    with FrameReceiver(ANY, ring_frames=64) as receiver:
        proxy = Proxy(receiver.endpoint)
        try:
            consumer = Consumer(receiver)
            with FrameSender(proxy.endpoint, start, on_peer=states.put) as sender:
                assert sender.wait_connected(5.0)
                for seq in range(1500):
                    if seq == 500:
                        proxy.cut()
                        cut = time.monotonic()
                    if seq == 700:
                        assert states.get(timeout=NOTICED_S) is True
                        assert states.get(timeout=NOTICED_S) is False
                        assert time.monotonic() - cut < NOTICED_S
                        proxy.open = True
                        assert states.get(timeout=NOTICED_S) is True
                    sender.offer(frame(seq))
                    time.sleep(0.001)
                sender.finish()
                assert sender.end_acked
            balance = consumer.join()
        finally:
            proxy.close()
    assert balance.camera == 1500
    assert balance.unexplained == 0
    assert set(balance.lost) <= {CONNECTION_LOST, BRIDGE_SHED}
    assert len(consumer.opened) == 1
    assert receiver.rejected.keys() <= {"peer"}


def start_engine(endpoint, ledger, ring_frames=32, pause_s=0.002):
    """Start an engine in a process of its own; give it and its endpoint."""
    script = str(HERE / "engine_process.py")
    arguments = [endpoint, str(ledger), str(ring_frames), str(pause_s)]
    engine = subprocess.Popen(
        [sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True
    )
    return engine, json.loads(engine.stdout.readline())["endpoint"]


@pytest.mark.parametrize("policy", ["block", "drop_block"])
def test_killed_engines_leave_a_balance_that_closes(tmp_path, policy):
    ledger = tmp_path / "processed.jsonl"
    states = queue.Queue()
    start = stream_start(policy=policy, interval_ms=2.0)
    engine, endpoint = start_engine(ANY, ledger)
    try:
        with FrameSender(endpoint, start, queue_s=0.1, on_peer=states.put) as sender:
            assert sender.wait_connected(10.0)
            assert states.get(timeout=NOTICED_S) is True
            seq = 0
            for _ in range(2):
                seq = feed(sender, seq, 200)
                engine.kill()
                killed = time.monotonic()
                engine.communicate(timeout=10)
                assert states.get(timeout=NOTICED_S) is False
                assert time.monotonic() - killed < NOTICED_S
                if policy == "drop_block":
                    seq = feed(sender, seq, 200)
                engine, _ = start_engine(endpoint, ledger)
                assert states.get(timeout=2 * NOTICED_S) is True
            seq = feed(sender, seq, 200)
            end = sender.finish()
            assert sender.end_acked
        lines = [
            json.loads(line)
            for line in engine.communicate(timeout=10)[0].split("\n")[:-1]
        ]
    finally:
        engine.kill()
        engine.communicate()
    assert lines[0]["resumed_at"] > 0
    balance = lines[-1]["balance"]
    assert balance["unexplained"] == 0
    assert balance["camera"] == seq == end.last_seq + 1
    assert balance["lost"].get(BRIDGE_SHED, 0) == end.dropped
    assert set(balance["lost"]) <= {ENGINE_STOPPED, BRIDGE_SHED}
    assert balance["lost"].get(ENGINE_STOPPED, 0) == end.sent - balance["localized"]
    assert (end.dropped > 0) == (policy == "drop_block")


def test_an_engine_killed_while_the_sender_waits_for_its_end(tmp_path):
    ledger = tmp_path / "processed.jsonl"
    engine, endpoint = start_engine(ANY, ledger, ring_frames=64, pause_s=0.1)
    try:
        with FrameSender(endpoint, stream_start()) as sender:
            assert sender.wait_connected(10.0)
            feed(sender, 0, 100)
            finishing = threading.Thread(target=sender.finish)
            finishing.start()
            wait_until(lambda: sender.acked >= 15)
            engine.kill()
            engine.communicate(timeout=10)
            assert not sender.end_acked
            engine, _ = start_engine(endpoint, ledger)
            finishing.join(10)
            assert sender.end_acked
        last = json.loads(engine.communicate(timeout=10)[0].splitlines()[-1])
    finally:
        engine.kill()
        engine.communicate()
    assert last["status"] == "ok"
    assert last["balance"]["camera"] == 100
    assert last["balance"]["lost"].keys() == {ENGINE_STOPPED}
    assert last["balance"]["unexplained"] == 0


def feed(sender, first, count):
    for seq in range(first, first + count):
        sender.offer(frame(seq))
        time.sleep(0.001)
    return first + count


def test_an_engine_that_joins_late_names_what_it_never_saw():
    point = ResumePoint(
        next_seq=10, localized=9, lost={CAMERA_MISSING: 1}, missing_total=1
    )
    with FrameReceiver(ANY, resume=lambda start: point) as receiver:
        with RawBridge(receiver.endpoint) as bridge:
            bridge.start(mark=(20, 14, 3, 3))
            opened = receiver.next(1, 5.0)
            assert opened.resumed_at == 10
            bridge.frame(20, dropped=3, missing=3)
            bridge.end(20, dropped=3, missing=3)
            take_all(receiver)
            assert receiver.balance.lost == {
                CAMERA_MISSING: 3, BRIDGE_SHED: 3, ENGINE_STOPPED: 5
            }  # fmt: skip
            assert receiver.balance.unexplained == 0


# From a source


class Movie:
    """A source of `count` frames that may fail or be interrupted."""

    def __init__(self, count, error=None, missing=0):
        self.start = stream_start(expected_frames=10)
        self.count, self.error, self.missing = count, error, missing
        self.stopped = False

    def frames(self):
        for seq in range(self.count):
            yield frame(seq)
        if self.error is not None:
            raise self.error

    def stop(self):
        self.stopped = True


class Disk:
    """A recorder that keeps frames in memory."""

    def __init__(self):
        self.seqs, self.end = [], None

    def append(self, frame):
        self.seqs.append(frame.header.seq)

    def close(self, end=None):
        self.end = end


@pytest.mark.parametrize(
    ("movie", "status", "reason"),
    [
        (Movie(10), "ok", ""),
        (Movie(7, missing=3), "ok", ""),
        (Movie(4, SourceError("camera unplugged")), "failed", "camera unplugged"),
        (Movie(4, KeyboardInterrupt()), "aborted", "stopped by the user"),
        (Movie(4), "aborted", "stopped after 4 of 10 exposures"),
    ],
    ids=["whole", "missing", "failed", "interrupted", "short"],
)
def test_a_source_is_recorded_and_sent_to_its_end(movie, status, reason):
    counts, disk = [], Disk()
    with FrameReceiver(ANY) as receiver:
        consumer = Consumer(receiver)
        with FrameSender(receiver.endpoint, movie.start) as sender:
            end = transmit(movie, sender, disk, counts.append)
        balance = consumer.join()
    assert (end.status, end.reason) == (status, reason)
    assert movie.stopped
    assert disk.end == end == consumer.end
    assert disk.seqs == list(range(movie.count))
    assert counts == list(range(1, movie.count + 1))
    assert balance.unexplained == 0
    assert balance.lost.total() == movie.missing
