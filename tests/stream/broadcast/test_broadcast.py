import itertools
import threading
import time
from contextlib import contextmanager

import msgpack
import numpy as np
import pytest
import zmq
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from liveloc.stream.broadcast.messages import (
    pack_preview,
    pack_rows,
    unpack,
    unpack_preview,
    unpack_rows,
)
from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.broadcast.subscriber import (
    LocalizationSubscriber,
    Reset,
    Rows,
    Status,
)
from liveloc.stream.errors import MessageError, SettingsError, StreamError
from liveloc.stream.localizations import empty
from liveloc.stream.preview import (
    PREVIEW_PIXELS,
    Preview,
    PreviewTaker,
    fitting_binning,
    mean_binned,
)
from liveloc.stream.tables.arrow import TableWriter, to_batch

STREAM = bytes(range(16))
METADATA = {"pixel_size_nm": "100.0", "roi_origin": "[0, 0]", "shape": "[64, 64]"}
LOCAL = "tcp://127.0.0.1:0"


def numbered(first, count):
    rows = empty(count)
    rows["frame"] = np.arange(first, first + count)
    rows["x_nm"] = rows["frame"] * 2
    return rows


class Engine:
    """A table, its publisher, and the loop that serves it."""

    def __init__(self, path, endpoint=LOCAL, queue_messages=256):
        path.unlink(missing_ok=True)
        self.table = TableWriter(path, METADATA)
        try:
            self.publisher = LocalizationPublisher(
                endpoint, rows=self.table.read_rows, queue_messages=queue_messages
            )
        except SettingsError:
            self.table.close()
            raise
        self.endpoint = self.publisher.endpoint

    def begin(self, stream_id=STREAM):
        self.publisher.begin(stream_id, METADATA, rows=self.table.rows)

    def add(self, count):
        rows = numbered(self.table.rows, count)
        self.table.append(rows)
        self.publisher.publish(rows)

    def close(self):
        self.publisher.close()
        self.table.close()


@contextmanager
def engine_on(path, **settings):
    engine = Engine(path, **settings)
    try:
        yield engine
    finally:
        engine.close()


class Viewer:
    """Collects updates and fails on a row that is out of order."""

    def __init__(self, endpoint, **settings):
        self.subscriber = LocalizationSubscriber(endpoint, **settings)
        self.rows, self.resets, self.statuses = 0, [], []
        self.previews, self.published_ns = [], []

    def poll(self, timeout_s=0.0):
        for update in self.subscriber.poll(timeout_s):
            match update:
                case Reset():
                    self.resets.append(update)
                    self.rows = 0
                case Rows():
                    assert update.first_row == self.rows
                    expected = numbered(self.rows, len(update.localizations))
                    assert update.localizations.tobytes() == expected.tobytes()
                    self.rows += len(expected)
                    self.published_ns.append(update.published_ns)
                case Preview():
                    self.previews.append(update)
                case Status():
                    self.statuses.append(update.values)


@contextmanager
def viewer_of(endpoint, **settings):
    viewer = Viewer(endpoint, **settings)
    try:
        yield viewer
    finally:
        viewer.subscriber.close()


def until(condition, *parts, timeout_s=8.0):
    """Let engine and viewers work in turns until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        for part in parts:
            if isinstance(part, Engine):
                part.publisher.serve(0.002)
            else:
                part.poll(0.002)


def test_rows_arrive_once_and_in_order(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        assert viewer.resets == [Reset(STREAM, METADATA)]
        for count in (1, 0, 700, 20_000):
            engine.add(count)
        until(lambda: viewer.rows == 20_701, engine, viewer)
        assert not viewer.subscriber.rejected
        assert viewer.subscriber.behind == 0


def test_a_viewer_that_starts_late_gets_everything(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        engine.begin()
        for _ in range(30):
            engine.add(5_000)
        with viewer_of(engine.endpoint) as viewer:
            until(lambda: viewer.rows == 150_000, engine, viewer)
            engine.add(3)  # and then what is new
            until(lambda: viewer.rows == 150_003, engine, viewer)


def test_a_viewer_may_start_before_the_engine(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        endpoint = engine.endpoint
    with viewer_of(endpoint) as viewer:
        viewer.poll(0.05)
        with engine_on(tmp_path / "t", endpoint=endpoint) as engine:
            engine.begin()
            engine.add(10)
            until(lambda: viewer.rows == 10, engine, viewer)


def test_a_viewer_that_restarts_gets_everything_again(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        engine.begin()
        engine.add(100)
        for _ in range(3):
            with viewer_of(engine.endpoint) as viewer:
                until(lambda v=viewer: v.rows == 100, engine, viewer)


def test_an_engine_that_restarts_resets_its_viewers(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        engine.add(50)
        until(lambda: viewer.rows == 50, engine, viewer)
        engine.close()
        with engine_on(tmp_path / "u", endpoint=engine.endpoint) as again:
            again.table.append(numbered(0, 70))  # resumed: rows of before are there
            again.begin()
            again.add(5)
            until(lambda: viewer.rows == 75, again, viewer)
        assert viewer.resets == [Reset(STREAM, METADATA)] * 2


def test_a_new_stream_resets_the_viewers(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        engine.add(50)
        until(lambda: viewer.rows == 50, engine, viewer)
        engine.table.close()
        (tmp_path / "t").unlink()
        engine.table.__init__(tmp_path / "t", METADATA)
        engine.begin(b"another stream!!")
        engine.add(7)
        until(lambda: viewer.rows == 7, engine, viewer)
        assert [reset.stream_id for reset in viewer.resets] == [
            STREAM,
            b"another stream!!",
        ]


def test_a_viewer_that_froze_ends_with_every_row(tmp_path):
    """Queues of two messages on both sides: nearly all of PUB/SUB is lost."""
    with (
        engine_on(tmp_path / "t", queue_messages=2) as engine,
        viewer_of(engine.endpoint, queue_messages=2) as viewer,
    ):
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        for _ in range(2_000):  # more than the TCP buffers hold
            engine.add(1_000)
        fetched = 0

        def count_and_read(first, count, read=engine.table.read_rows):
            nonlocal fetched
            fetched += count
            return read(first, count)

        engine.publisher._fetch_rows = count_and_read
        until(lambda: viewer.rows == 2_000_000, engine, viewer, timeout_s=20)
        assert fetched > 1_000_000  # PUB/SUB did lose most


@pytest.mark.parametrize("lose", [1, 2, 3])
def test_a_lost_message_is_fetched(tmp_path, lose):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        seen, take = 0, viewer.subscriber._take

        def losing(parts, updates, status, *, fetched):
            nonlocal seen
            if not fetched and msgpack.unpackb(parts[0])["type"] == "rows":
                seen += 1
                if seen % lose == 0:
                    return
            take(parts, updates, status, fetched=fetched)

        viewer.subscriber._take = losing
        for count in range(1, 20):
            engine.add(count)
            engine.publisher.serve()
            viewer.poll()
        # The very last message may be among the lost: the repeated state tells.
        until(lambda: viewer.rows == sum(range(20)), engine, viewer)


def test_two_viewers_and_a_serving_thread(tmp_path):
    """As the engine runs it: publishing and serving in one loop, viewers elsewhere."""
    with (
        engine_on(tmp_path / "t") as engine,
        viewer_of(engine.endpoint) as one,
        viewer_of(engine.endpoint, queue_messages=1) as two,
    ):
        stop = threading.Event()

        def run():
            engine.begin()
            for _ in range(300):
                engine.add(100)
                engine.publisher.serve(0.001)
            while not stop.is_set():
                engine.publisher.serve(0.01)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            until(lambda: one.rows == two.rows == 30_000, one, two)
        finally:
            stop.set()
            thread.join()


def test_status_is_conflated_and_works_before_a_stream(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        until(lambda: viewer.subscriber._fetch_port, engine, viewer)
        for frames in range(20):
            engine.publisher.status({"frames": frames, "state": "waiting"})
        until(
            lambda: {"frames": 19, "state": "waiting"} in viewer.statuses,
            engine,
            viewer,
        )
        assert len(viewer.statuses) < 20
        assert viewer.resets == []
        assert viewer.subscriber.silent_s < 5


@settings(deadline=None, max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
)
def test_any_order_of_overlapping_parts_gives_each_row_once(cuts, order):
    with LocalizationSubscriber("tcp://127.0.0.1:9") as subscriber:
        parts = [Rows(numbered(c, 15), c) for c in [*cuts, *range(0, 60, 15)]]
        order.shuffle(parts)
        got = []
        for part in parts:
            for rows in subscriber._in_order(part):
                assert rows.first_row == len(got)
                got.extend(rows.localizations["frame"].tolist())
        assert got == list(range(len(got)))
        assert len(got) >= 60


def frame(seq, shape=(30, 41), rows=3):
    pixels = np.arange(seq, seq + shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    found = numbered(seq, 1).repeat(rows)
    return Preview(seq=seq, pixels=pixels, binning=2, localizations=found)


def test_rows_say_when_they_were_published_unless_they_were_fetched(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        before = time.monotonic_ns()
        engine.add(10)
        until(lambda: viewer.rows == 10, engine, viewer)
        assert before <= viewer.published_ns[-1] <= time.monotonic_ns()
        with viewer_of(engine.endpoint) as late:
            until(lambda: late.rows == 10, engine, late)
            assert set(late.published_ns) == {0}


def test_a_preview_reaches_those_that_want_it(tmp_path):
    with (
        engine_on(tmp_path / "t") as engine,
        viewer_of(engine.endpoint, previews=True) as viewer,
        viewer_of(engine.endpoint) as other,
    ):
        assert not engine.publisher.preview_wanted
        engine.begin()
        until(
            lambda: viewer.resets and engine.publisher.preview_wanted,
            engine,
            viewer,
            other,
        )
        for seq in itertools.count():
            engine.publisher.preview(frame(seq))
            for part in (viewer, other):
                part.poll(0.01)
            if viewer.previews:
                break
            assert seq < 1000
        got = viewer.previews[-1]
        wanted = frame(got.seq)
        assert np.array_equal(got.pixels, wanted.pixels)
        assert np.array_equal(got.localizations, wanted.localizations)
        assert got.binning == 2
        assert other.previews == []
        viewer.subscriber.close()
        until(lambda: not engine.publisher.preview_wanted, engine, other)


def test_previews_of_a_frozen_viewer_are_lost_and_rows_are_not(tmp_path):
    with (
        engine_on(tmp_path / "t") as engine,
        viewer_of(engine.endpoint, previews=True) as viewer,
    ):
        engine.begin()
        until(lambda: viewer.resets and engine.publisher.preview_wanted, engine, viewer)
        for seq in range(200):  # 400 MB, far more than the system's buffers hold
            engine.publisher.preview(frame(seq, shape=(1000, 1000)))
            engine.add(10)
        until(lambda: viewer.rows == 2000, engine, viewer)
        assert len(viewer.previews) < 100
        assert not viewer.subscriber.rejected


def test_a_preview_of_another_table_is_not_shown(tmp_path):
    with (
        engine_on(tmp_path / "t") as engine,
        viewer_of(engine.endpoint, previews=True) as viewer,
    ):
        engine.begin()
        until(lambda: viewer.resets and engine.publisher.preview_wanted, engine, viewer)
        channel = engine.publisher._previews
        run = engine.publisher._run
        for seq in itertools.count():
            channel.send(b"of another run", frame(7))
            channel.send(run, frame(seq + 100))
            viewer.poll(0.01)
            if viewer.previews:
                break
            assert seq < 1000
        assert all(preview.seq >= 100 for preview in viewer.previews)


def test_messages_of_a_newer_peer_are_counted_and_the_rest_is_taken(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        run = engine.publisher._run
        newer = {"proto": [1, 9], "type": "hologram", "run": run, "depth": [1, 2]}
        engine.publisher._pub.send_multipart([msgpack.packb(newer), b"x"])
        rows = numbered(0, 4)
        engine.table.append(rows)
        header, payload = pack_rows(run, 0, rows, hours_ns=3)
        engine.publisher._pub.send_multipart([header, payload])
        until(lambda: viewer.rows == 4, engine, viewer)
        assert viewer.subscriber.rejected == {"type": 1}


def test_a_publisher_of_version_1_0_is_understood():
    """Neither times nor a second socket: what the viewers of before were sent."""
    header = {"proto": [1, 0], "type": "rows", "run": b"r", "first": 0, "rows": 1}
    payload = to_batch(numbered(0, 1)).serialize().to_pybytes()
    state = {"proto": [1, 0], "type": "state", "run": b"r", "rows": 1, "port": 0}
    begin = state | {"type": "begin", "stream_id": STREAM}
    with LocalizationSubscriber("tcp://127.0.0.1:9", previews=True) as subscriber:
        updates = []
        for told, body in (
            (state, b""),
            (begin, msgpack.packb(METADATA)),
            (header | {"crc": crc32c(payload)}, payload),
        ):
            parts = [msgpack.packb(told), body]
            subscriber._take(parts, updates, [], fetched=False)
        assert not subscriber.rejected
    assert [type(update) for update in updates] == [Reset, Rows]
    assert updates[1].published_ns == 0


BAD_PREVIEWS = {
    "shape": [[0, 5], [5], [30, -41], [30, 42], [2.0, 3], [1 << 40, 1 << 40], "30"],
    "dtype": ["u1", "f8", 7, ""],
    "binning": [0, -1, 1 << 20, 1.5, None],
    "seq": [-1, 1 << 63, "1", None],
    "rows": [2, -1, 1 << 60, None],
    "crc": [0, -1, "crc"],
    "run": ["text", None],
    "type": ["rows", "pickle", None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in BAD_PREVIEWS.items() for v in values]
)
def test_a_preview_whose_header_is_wrong_is_dropped(name, value):
    header, payload = pack_preview(b"run", frame(0))
    told = msgpack.unpackb(header) | {name: value}
    with pytest.raises(MessageError):
        unpack_preview(*unpack([msgpack.packb(told), payload], ("preview",)))


@settings(deadline=None, max_examples=200)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255))),
    cut=st.integers(0, 3_000),
    honest=st.booleans(),
)
def test_damaged_previews_never_crash_a_viewer(flips, cut, honest):
    header, whole = pack_preview(b"run", frame(0))
    damaged = bytearray(whole[: len(whole) - cut])
    for position, flip in flips:
        damaged[position % len(damaged)] ^= flip
    payload, told = bytes(damaged), msgpack.unpackb(header)
    if not honest:  # a checksum that fits proves nothing
        told["crc"] = crc32c(payload)
    if payload == whole:
        return
    try:
        preview = unpack_preview(told, payload)
    except MessageError as error:
        assert error.reason in ("crc", "payload", "arrow", "rows")
    else:
        assert not honest
        assert preview.pixels.shape == (30, 41)
        assert len(preview.localizations) == 3


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), factor=st.integers(1, 9)
)
def test_a_binned_frame_is_the_mean_of_its_squares(shape, factor):
    pixels = np.random.default_rng(1).integers(0, 65_536, shape, np.uint16)
    binned = mean_binned(pixels, factor)
    height, width = shape
    assert binned.shape == (-(-height // factor), -(-width // factor))
    for row, column in np.ndindex(binned.shape):
        square = pixels[
            row * factor : (row + 1) * factor, column * factor : (column + 1) * factor
        ]
        assert binned[row, column] == int(square.mean(dtype=np.float64))
    pixels[...] = 0  # a copy: the ring goes on
    assert factor > 1 or shape == (1, 1) or binned.any()


@pytest.mark.parametrize(
    ("shape", "factor"),
    [((128, 128), 1), ((1024, 1024), 1), ((2048, 2048), 2), ((2304, 4096), 4)],
)
def test_only_large_frames_are_binned(shape, factor):
    assert fitting_binning(shape) == factor
    assert -(-shape[0] // factor) * -(-shape[1] // factor) <= PREVIEW_PIXELS


def test_a_frame_is_taken_when_due_and_given_with_its_rows(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("liveloc.stream.preview.time.monotonic", lambda: now[0])
    taker, pixels = PreviewTaker(), np.full((8, 8), 7, np.uint16)
    seen = []
    for seq in range(300):  # 100 frames per second
        if seq:  # the newest one waits for its neighbour
            rows = numbered(seq - 1, 1).repeat(2)
            seen.append(taker.found(np.array([seq - 1]), rows))
        taker.look(seq, pixels)
        now[0] += 0.01
    given = [preview for preview in seen if preview]
    assert 14 <= len(given) <= 15  # 5 per second, 3 seconds
    assert all((p.localizations["frame"] == p.seq).all() for p in given)
    assert all(len(p.localizations) == 2 for p in given)


def test_a_frame_without_an_answer_of_the_network_is_let_go():
    taker, pixels = PreviewTaker(), np.full((8, 8), 7, np.uint16)
    taker.look(4, pixels)
    assert taker.found(np.array([2, 3]), empty()) is None
    assert taker.found(np.array([5, 6]), empty()) is None  # 4 failed
    assert taker.found(np.array([4]), empty()) is None


def hostile(run, fetch):
    """Messages that an honest peer never sends."""
    good = {"proto": [1, 0], "type": "rows", "run": run, "first": 0, "rows": 1}
    yield "parts", [b""]
    yield "parts", [b"", b"", b""]
    yield "header_size", [b"x" * 5000, b""]
    yield "msgpack", [b"\xc1", b""]
    yield "msgpack", [b"\x91" * 4000, b""]
    yield "msgpack", [msgpack.packb([1]), b""]
    yield "version", [msgpack.packb(good | {"proto": [2, 0]}), b""]
    yield "version", [msgpack.packb({}), b""]
    yield "type", [msgpack.packb(good | {"type": "pickle"}), b""]
    kind = {"type": "fetch", "count": 1} if fetch else {"crc": 0}
    for wrong in (-1, "1", None, True, 1.5):
        yield "field", [msgpack.packb(good | kind | {"first": wrong}), b""]
    yield "field", [msgpack.packb(good | kind | {"run": "text"}), b""]


def test_junk_to_the_engine_is_counted_and_dropped(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        engine.begin()
        engine.add(10)
        port = engine.publisher._fetch_port
        with zmq.Context() as context, context.socket(zmq.DEALER) as junk:
            junk.linger = 0
            junk.connect(f"tcp://127.0.0.1:{port}")
            reasons = []
            for reason, parts in hostile(engine.publisher._run, fetch=True):
                if len(parts[0]) > 4096:  # this one costs the peer its connection
                    continue
                reasons.append(reason)
                junk.send_multipart(parts)
                until(lambda: engine.publisher.rejected.total() == len(reasons), engine)
        assert engine.publisher.rejected == {r: reasons.count(r) for r in reasons}
        with viewer_of(engine.endpoint) as viewer:
            until(lambda: viewer.rows == 10, engine, viewer)


def test_junk_to_a_viewer_is_counted_and_dropped(tmp_path):
    with engine_on(tmp_path / "t") as engine, viewer_of(engine.endpoint) as viewer:
        engine.begin()
        until(lambda: viewer.resets, engine, viewer)
        run, reasons = engine.publisher._run, []
        header = {"proto": [1, 0], "type": "rows", "run": run, "first": 0, "rows": 1}
        batch = to_batch(numbered(0, 2)).serialize().to_pybytes()
        more = [
            ("crc", [msgpack.packb(header | {"crc": 1}), b"abc"]),
            ("arrow", [msgpack.packb(header | {"crc": 0}), b""]),
            (
                "rows",
                [msgpack.packb(header | {"crc": crc32c(batch)}), batch],
            ),
        ]
        for reason, parts in [*hostile(run, fetch=False), *more]:
            reasons.append(reason)
            engine.publisher._pub.send_multipart(parts)
        engine.add(10)
        until(lambda: viewer.rows == 10, engine, viewer)
        assert viewer.subscriber.rejected == {r: reasons.count(r) for r in reasons}


@settings(deadline=None, max_examples=300)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255))))
def test_flipped_bytes_never_become_rows(flips):
    payload = bytearray(to_batch(numbered(0, 5)).serialize().to_pybytes())
    whole = bytes(payload)
    for position, flip in flips:
        payload[position % len(payload)] ^= flip
    header = {"rows": 5, "crc": crc32c(whole)}
    if bytes(payload) == whole:
        assert len(unpack_rows(header, whole)) == 5
        return
    with pytest.raises(MessageError, match="crc"):
        unpack_rows(header, bytes(payload))
    # A checksum that fits proves nothing of a hostile peer: no crash either way.
    header["crc"] = crc32c(bytes(payload))
    try:
        rows = unpack_rows(header, bytes(payload))
    except MessageError as error:
        assert error.reason in ("arrow", "rows")
    else:
        assert len(rows) == 5


@pytest.mark.parametrize("endpoint", ["tcp://0.0.0.0:5556", "tcp://192.168.1.2:5"])
def test_other_machines_are_refused_until_there_are_keys(endpoint):
    with pytest.raises(SettingsError, match="needs keys"):
        LocalizationPublisher(endpoint, rows=lambda first, count: empty())
    with pytest.raises(SettingsError, match="needs keys"):
        LocalizationSubscriber(endpoint)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_every_name_of_this_machine_works(tmp_path, host):
    try:
        engine = Engine(tmp_path / "t", endpoint=f"tcp://{host}:*")
    except SettingsError:
        pytest.skip(f"{host} cannot be bound here")
    try:
        with viewer_of(engine.endpoint) as viewer:
            engine.begin()
            engine.add(3)
            until(lambda: viewer.rows == 3, engine, viewer)
    finally:
        engine.close()


def test_a_port_in_use_is_named(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        with pytest.raises(SettingsError, match=r"cannot be used.*another engine"):
            LocalizationPublisher(engine.endpoint, rows=engine.table.read_rows)


def test_publishing_without_a_stream_and_too_much_status_are_refused(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        with pytest.raises(StreamError, match="before begin"):
            engine.add(1)
        with pytest.raises(SettingsError, match="Send sums, not lists"):
            engine.publisher.status({"all": list(range(5000))})
        with pytest.raises(SettingsError, match="Shorten"):
            engine.publisher.begin(STREAM, {"notes": "x" * 70_000})


def test_closing_twice_and_reopening_the_port(tmp_path):
    with engine_on(tmp_path / "t") as engine:
        endpoint = engine.endpoint
        engine.close()
    for _ in range(20):
        with engine_on(tmp_path / "t", endpoint=endpoint):
            pass
