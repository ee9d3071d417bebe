"""What the window shows, fed through real sockets: late, restarted, ended."""

from __future__ import annotations

import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest

from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.broadcast.status import Activation, EngineStatus
from liveloc.stream.broadcast.subscriber import Reset, Rows, Status
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.preview import Preview
from liveloc.viewer import Reconstruction
from liveloc.viewer.sessions.live import SILENCE_S, LiveSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from liveloc.stream.broadcast.subscriber import Update

FIELD = {"shape": "[32, 24]", "roi_origin": "[3, 5]", "pixel_size_nm": "100.0"}
STREAM = bytes(range(16))
LOCAL = "tcp://127.0.0.1:0"


def table(rows: int) -> Localizations:
    random = np.random.default_rng(rows)
    made = empty(rows)
    made["frame"] = np.arange(rows) // 7
    made["x_nm"] = random.uniform(200, 2800, rows)
    made["y_nm"] = random.uniform(400, 3700, rows)
    made["photons"] = random.uniform(500, 3000, rows)
    made["z_nm"] = random.normal(0, 200, rows)
    return made


def held(session: LiveSession) -> int:
    return 0 if session.document is None else len(session.document.store)


class Serving:
    """An engine's publisher, served by a thread of its own."""

    def __init__(self, whole: Localizations, endpoint: str = LOCAL) -> None:
        self.whole = whole
        self.publisher = LocalizationPublisher(
            endpoint, rows=lambda first, count: self.whole[first : first + count]
        )
        self._stop = threading.Event()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def do(self, method: Callable[..., None], *values: object, **named: object) -> None:
        self._orders.put(lambda: method(*values, **named))

    def _serve(self) -> None:
        while not self._stop.is_set():
            while not self._orders.empty():
                self._orders.get()()
            self.publisher.serve(0.005)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.publisher.close()


@contextmanager
def serving(whole: Localizations, endpoint: str = LOCAL) -> Iterator[Serving]:
    engine = Serving(whole, endpoint)
    try:
        yield engine
    finally:
        engine.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 8.0
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


def test_late_and_restarted_viewers_show_everything() -> None:
    """From the start, in the middle, after the end, after the engine restarted."""
    whole = table(5000)
    expected = Reconstruction.from_metadata(FIELD)
    expected.add(whole)
    with serving(whole) as engine:
        publisher = engine.publisher
        first = LiveSession.connect(publisher.endpoint)
        assert first.state() == "waiting"
        engine.do(publisher.begin, STREAM, FIELD)
        engine.do(publisher.publish, whole[:1000])
        until(lambda: held(first) == 1000)
        assert first.state() == "live"
        document = first.document
        engine.do(publisher.publish, whole[1000:1700])
        with LiveSession.connect(publisher.endpoint) as late:
            until(lambda: held(late) == held(first) == 1700)

    with serving(whole, publisher.endpoint) as engine:
        engine.do(engine.publisher.begin, STREAM, FIELD, rows=1700)
        engine.do(engine.publisher.publish, whole[1700:])
        until(lambda: held(first) == 5000)
        with LiveSession.connect(publisher.endpoint) as again:
            until(lambda: held(again) == 5000)
            for session in (first, again):
                assert session.document is not None
                assert np.array_equal(session.document.image.counts, expected.counts)
                assert sum(map(len, session.document.selected_rows())) == 5000
        assert first.document is document  # the same session all along: kept in view
        assert first.failure is None
        first.close()


def test_curves_go_on_over_a_restart_and_count_nothing_twice() -> None:
    whole = table(700)
    seen: list[list[float]] = []
    for told_again in (False, True):
        session = LiveSession()
        session.apply(Reset(STREAM, FIELD))
        session.apply(Rows(whole[:350], 0))
        session.apply(Status({"frames": 40, "density_per_um2": 0.5}))
        if told_again:
            session.apply(Reset(STREAM, FIELD))
            session.apply(Rows(whole[:420], 0))
            session.apply(Rows(whole[420:], 420))
        else:
            session.apply(Rows(whole[350:], 350))
        middle = session.traces.series["photons"].points()[2]
        seen.append(middle.tolist())
        assert len(session.traces.series["density"].points()[0]) == 1
        session.close()
    assert seen[0] == seen[1] != []


def test_another_session_is_another_view() -> None:
    session = LiveSession()
    session.apply(Reset(STREAM, FIELD))
    old = session.document
    session.apply(Rows(table(10), 0, published_ns=5))
    session.apply(Status({"frames": 2, "density_per_um2": 0.5}))
    session.apply(a_preview(3))
    assert session.newest_published_ns == 5
    session.apply(Reset(bytes(16), {**FIELD, "shape": "[64, 64]"}))
    assert session.document is not None
    assert session.document is not old
    assert session.document.shape == (64, 64)
    assert session.rows == session.newest_published_ns == 0
    assert session.preview is None
    assert session.figures == EngineStatus()
    assert len(session.traces.series["density"].points()[0]) == 0
    session.close()


def a_preview(seq: int) -> Preview:
    pixels = np.zeros((4, 4), np.uint16)
    return Preview(seq=seq, pixels=pixels, binning=1, localizations=empty())


def test_the_pixel_of_the_image_is_a_whole_fraction_near_the_one_asked_for() -> None:
    session = LiveSession(super_pixel_nm=30.0)
    session.apply(Reset(STREAM, FIELD))
    assert session.document is not None
    assert session.document.image.super_pixel_nm == pytest.approx(100.0 / 3)
    session.close()


def test_a_session_is_over_when_its_last_row_is_in_the_image() -> None:
    session = LiveSession()
    end = {"ended": "aborted", "localizations": 30}
    session.apply(Status(end))  # a late viewer may hear of the end first
    assert session.state() == "ended"
    assert not session.complete
    session.apply(Reset(STREAM, FIELD))
    session.apply(Rows(table(20), 0))
    assert not session.complete
    session.apply(Rows(table(10), 20))
    assert session.complete
    assert session.end_status == "aborted"
    session.apply(Reset(bytes(16), FIELD))  # the next one begins
    assert session.state() == "live"
    session.close()


class FakeSource:
    """Gives what the test puts in, and tells whether anybody listens."""

    def __init__(self) -> None:
        self.news: queue.Queue[Update] = queue.Queue()
        self.silent_s = 0.0
        self.closed_by: list[str] = []

    def poll(self, timeout_s: float) -> list[Update]:
        try:
            return [self.news.get(timeout=timeout_s)]
        except queue.Empty:
            return []

    def close(self) -> None:
        self.closed_by.append(threading.current_thread().name)


def test_news_are_taken_in_while_nobody_looks() -> None:
    """A window that is frozen leaves no queue: all of it is in the document."""
    source = FakeSource()
    with LiveSession(source) as session:
        source.news.put(Reset(STREAM, FIELD))
        for seq in range(50):
            source.news.put(Rows(table(20), 20 * seq, published_ns=seq + 1))
            source.news.put(a_preview(seq))
        until(lambda: session.preview is not None and session.preview.seq == 49)
        assert source.news.empty()
        assert session.rows == held(session) == 1000
        assert session.newest_published_ns == 50
        until(lambda: session.traces.newest_frame == 2)  # the curves come after
    session.close()
    assert source.closed_by == ["live session"]


def test_a_fault_ends_the_following_and_is_kept() -> None:
    source = FakeSource()
    with LiveSession(source) as session:
        source.news.put(Status({"frames": 3}))
        source.news.put(Reset(STREAM, {"pixel_size_nm": "100"}))
        until(lambda: session.failure is not None)
        assert "shape is ''" in str(session.failure)
        assert session.state() == "silent"
    assert source.closed_by == ["live session"]


def test_an_engine_that_says_nothing_is_silent_not_gone() -> None:
    source = FakeSource()
    with LiveSession(source) as session:
        source.news.put(Status({"frames": 3}))
        until(lambda: session.figures.frames == 3)
        source.silent_s = SILENCE_S - 0.1
        assert session.state() == "live"
        source.silent_s = SILENCE_S + 0.1
        assert session.state() == "silent"


def test_figures_are_read_from_the_engines_status() -> None:
    status = {
        "frames": 100,
        "localized": 90,
        "fps": 99.5,
        "localizations": 1234,
        "lost": {"bridge_shed": 10, "late": 0},
        "latency_ms": 31.5,
        "density_per_um2": 0.48,
        "laser": {"power": 12.3, "unit": "mW", "target_per_um2": 0.5},
        "alarms": ["frames arrive\nand are not localized"],
        "ended": "",
    }
    figures = EngineStatus.from_json(status)
    assert figures == EngineStatus(
        frames=100,
        localized=90,
        fps=99.5,
        localizations=1234,
        lost={"bridge_shed": 10},
        latency_ms=31.5,
        density_per_um2=0.48,
        laser=status["laser"],
        alarms=("frames arrive and are not localized",),
    )
    assert figures.activation == Activation(
        per_um2=0.48, target_per_um2=0.5, power=12.3, unit="mW"
    )


def test_what_is_odd_in_a_status_is_left_out() -> None:
    odd = {
        "frames": "many",
        "fps": 10**400,
        "localizations": True,
        "lost": {"late": None, "bridge_shed": float("inf")},
        "latency_ms": [3],
        "density_per_um2": True,
        "laser": ["on"],
        "alarms": "none",
    }
    assert EngineStatus.from_json(odd) == EngineStatus()
    assert EngineStatus.from_json({"lost": 4, "alarms": [3, None]}) == EngineStatus()


def test_a_stream_that_does_not_say_its_field_is_named() -> None:
    with pytest.raises(SettingsError, match="metadata: shape is ''"):
        LiveSession().apply(Reset(STREAM, {"pixel_size_nm": "100"}))
