"""What the window shows, fed through real sockets: late, restarted, ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from liveloc.stream.activation import Activation
from liveloc.stream.broadcast import (
    LocalizationPublisher,
    LocalizationSubscriber,
    Reset,
    Rows,
    Status,
)
from liveloc.stream.errors import SettingsError
from liveloc.stream.localizations import Localizations, empty
from liveloc.viewer import Reconstruction
from liveloc.viewer.live import SILENCE_S, Figures, LiveSession

if TYPE_CHECKING:
    from collections.abc import Callable

FIELD = {"shape": "[32, 24]", "roi_origin": "[3, 5]", "pixel_size_nm": "100.0"}
STREAM = bytes(range(16))


def table(rows: int) -> Localizations:
    random = np.random.default_rng(rows)
    made = empty(rows)
    made["frame"] = np.arange(rows) // 7
    made["x_nm"] = random.uniform(200, 2800, rows)
    made["y_nm"] = random.uniform(400, 3700, rows)
    made["z_nm"] = random.normal(0, 200, rows)
    return made


def follow(
    session: LiveSession,
    publisher: LocalizationPublisher,
    subscriber: LocalizationSubscriber,
    until: Callable[[], bool],
) -> None:
    deadline = time.monotonic() + 8.0
    while not until():
        assert time.monotonic() < deadline, f"{session.rows} rows came"
        publisher.serve(0.005)
        for update in subscriber.poll(0.005):
            session.apply(update)


def test_late_and_restarted_viewers_show_everything() -> None:
    """From the start, in the middle, after the end, after the engine restarted."""
    whole = table(5000)
    expected = Reconstruction.from_metadata(FIELD)
    expected.add(whole)

    def rows(first: int, count: int) -> Localizations:
        return whole[first : first + count]

    first, late = LiveSession(), LiveSession()
    with LocalizationPublisher("tcp://127.0.0.1:0", rows=rows) as engine:
        endpoint = engine.endpoint
        viewer = LocalizationSubscriber(endpoint)
        assert first.state(viewer.silent_s) == "waiting"
        engine.begin(STREAM, FIELD)
        engine.publish(whole[:1000])
        follow(first, engine, viewer, lambda: first.rows == 1000)
        assert first.state(viewer.silent_s) == "live"
        with LocalizationSubscriber(endpoint) as second:
            engine.publish(whole[1000:1700])
            follow(late, engine, second, lambda: late.rows == 1700)
        follow(first, engine, viewer, lambda: first.rows == 1700)

    with LocalizationPublisher(endpoint, rows=rows) as engine:
        engine.begin(STREAM, FIELD, rows=1700)
        engine.publish(whole[1700:])
        follow(first, engine, viewer, lambda: first.rows == 5000)
        with LocalizationSubscriber(endpoint) as second:
            again = LiveSession()
            follow(again, engine, second, lambda: again.rows == 5000)
    viewer.close()

    for session in (first, again):
        assert session.reconstruction is not None
        assert np.array_equal(session.reconstruction.counts, expected.counts)
    assert first.sessions == 1  # the same field all along: the view was kept


def test_another_field_is_another_view() -> None:
    session = LiveSession()
    session.apply(Reset(STREAM, FIELD))
    session.apply(Rows(table(10), 0))
    session.apply(Reset(bytes(16), {**FIELD, "shape": "[64, 64]"}))
    assert session.sessions == 2
    assert session.rows == 0
    assert session.reconstruction is not None
    assert session.reconstruction.shape == (64, 64)


def test_the_pixel_of_the_image_is_a_whole_fraction_near_the_one_asked_for() -> None:
    session = LiveSession(super_pixel_nm=30.0)
    session.apply(Reset(STREAM, FIELD))
    assert session.reconstruction is not None
    assert session.reconstruction.super_pixel_nm == pytest.approx(100.0 / 3)


def test_a_session_is_over_when_its_last_row_is_in_the_image() -> None:
    session = LiveSession()
    end = {"ended": "aborted", "localizations": 30}
    session.apply(Status(end))  # a late viewer may hear of the end first
    assert session.state(0.0) == "ended"
    assert not session.complete
    session.apply(Reset(STREAM, FIELD))
    session.apply(Rows(table(20), 0))
    assert not session.complete
    session.apply(Rows(table(10), 20))
    assert session.complete
    assert session.end_status == "aborted"
    session.apply(Reset(bytes(16), FIELD))  # the next one begins
    assert session.state(0.0) == "live"


def test_an_engine_that_says_nothing_is_silent_not_gone() -> None:
    session = LiveSession()
    session.apply(Status({"frames": 3}))
    assert session.state(SILENCE_S - 0.1) == "live"
    assert session.state(SILENCE_S + 0.1) == "silent"


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
        "ended": "",
    }
    assert Figures.read(status) == Figures(
        frames=100,
        fps=99.5,
        localizations=1234,
        lost={"bridge_shed": 10},
        latency_ms=31.5,
        activation=Activation(per_um2=0.48, target_per_um2=0.5, power=12.3, unit="mW"),
    )


def test_what_is_odd_in_a_status_is_left_out() -> None:
    odd = {
        "frames": "many",
        "fps": 10**400,
        "localizations": True,
        "lost": {"late": None, "bridge_shed": float("inf")},
        "latency_ms": [3],
        "density_per_um2": 0.48,
        "laser": ["on"],
    }
    assert Figures.read(odd) == Figures()
    assert Figures.read({"lost": 4}) == Figures()


def test_a_stream_that_does_not_say_its_field_is_named() -> None:
    with pytest.raises(SettingsError, match="metadata: shape is ''"):
        LiveSession().apply(Reset(STREAM, {"pixel_size_nm": "100"}))
