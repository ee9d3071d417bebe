"""The status of an engine, as it is on the wire."""

import json

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.broadcast.status import EngineStatus

STATUS = EngineStatus(
    frames=100,
    expected_frames=3000,
    localized=90,
    localizations=1234,
    fps=99.5,
    lost={"late": 2, "bridge_shed": 8},
    unexplained=0,
    latency_ms=31.5,
    latency_p99_ms=60.25,
    density_per_um2=0.48,
    ended="ok",
    warnings=("a gain of 3 would fit better",),
    laser={"power": 12.5, "unit": "mW"},
    alarms=("the disk is full",),
)
STORED = (
    '{"frames": 100, "expected_frames": 3000, "localized": 90, "localizations": 1234, '
    '"fps": 99.5, "lost": {"late": 2, "bridge_shed": 8}, "unexplained": 0, '
    '"latency_ms": 31.5, "latency_p99_ms": 60.25, "density_per_um2": 0.48, '
    '"ended": "ok", "warnings": ["a gain of 3 would fit better"], '
    '"laser": {"power": 12.5, "unit": "mW"}, "alarms": ["the disk is full"]}'
)


def test_a_status_has_the_bytes_that_it_always_had():
    assert json.dumps(STATUS.to_json()) == STORED
    assert msgpack.packb(STATUS.to_json()) == msgpack.packb(json.loads(STORED))


def test_a_status_is_read_as_it_was_written():
    assert EngineStatus.from_json(json.loads(STORED)) == STATUS


@given(
    st.dictionaries(
        st.sampled_from(list(STATUS.to_json())),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
    )
)
def test_whatever_comes_is_read_and_can_be_sent_on(values):
    status = EngineStatus.from_json(values)
    assert EngineStatus.from_json(status.to_json()) == status
