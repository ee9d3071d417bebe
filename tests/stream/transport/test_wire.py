"""Wire messages: what is accepted, and what is refused under which name."""

import importlib.util
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.errors import MessageError
from liveloc.stream.frames import FrameHeader, StreamEnd, StreamStart
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.transport import wire
from liveloc.stream.transport.start_maps import check_start, encode_start

OURS = r"{}\.{}".format(*wire.PROTO)

LIMITS = Limits()


def load_fuzz():
    path = Path(__file__).with_name("fuzz_wire.py")
    spec = importlib.util.spec_from_file_location("fuzz_wire", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz_wire = load_fuzz()

uuids = st.binary(min_size=16, max_size=16)
counts = st.integers(0, 2**63 - 1)
times = st.integers(-(2**63) + 1, 2**63 - 1)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
positive = st.floats(1e-6, 1e5)
marks = st.builds(
    wire.Mark, next_seq=counts, sent=counts, dropped_total=counts, missing_total=counts
)
calibrations = st.builds(
    CameraCalibration,
    offset_adu=st.floats(-1e5, 1e5),
    e_per_adu=positive,
    em_gain=positive,
    qe=st.floats(0.01, 1.0),
    read_noise_e=st.floats(0, 1e3),
    estimated=st.booleans(),
)
starts = st.builds(
    StreamStart,
    stream_id=uuids,
    shape=st.tuples(st.integers(1, 4096), st.integers(1, 8192)),
    dtype=st.sampled_from(["u1", "u2"]),
    pixel_size_nm=positive,
    calibration=calibrations,
    exposure_ms=st.floats(0, 1e6),
    interval_ms=st.floats(0, 1e6),
    incarnation=counts,
    roi_origin=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    expected_frames=counts,
    policy=st.sampled_from(["block", "drop_block", "stop"]),
    t0_ns=times,
    t0_utc=names,
    producer=names,
    camera_label=names,
    camera_serial=names,
    metadata=st.dictionaries(names, names, max_size=5),
)
headers = st.builds(
    FrameHeader,
    seq=counts,
    camera_frame=times,
    t_ns=times,
    missing_total=counts,
    laser_seq=counts,
)
ends = st.builds(
    StreamEnd,
    stream_id=uuids,
    last_seq=st.integers(-1, 2**63 - 1),
    sent=counts,
    dropped=counts,
    missing=counts,
    status=st.sampled_from(["ok", "aborted", "failed"]),
    reason=names,
)
messages = st.one_of(
    st.builds(wire.Start, starts, uuids, marks),
    st.builds(
        wire.FrameUp,
        stream_id=uuids,
        header=headers,
        dropped_total=counts,
        shape=st.tuples(st.integers(1, 8192), st.integers(1, 8192)),
        dtype=st.sampled_from(["u1", "u2"]),
        nbytes=counts,
        crc32c=st.none() | st.integers(0, 2**32 - 1),
    ),
    st.builds(wire.End, ends),
    st.builds(wire.Heartbeat, uuids, marks),
    st.builds(
        wire.HelloOk,
        stream_id=uuids,
        next_seq=counts,
        credit_seq=st.integers(-1, 2**60),
        credit_bytes=counts,
    ),
    st.builds(
        wire.Credit,
        stream_id=uuids,
        credit_seq=st.integers(-1, 2**60),
        credit_bytes=counts,
    ),
    st.builds(wire.Ack, stream_id=uuids, seq=st.integers(-1, 2**60), end=st.booleans()),
    st.builds(wire.Reject, reason=st.text("abc", max_size=32), detail=names),
)


def refused(data, limits=LIMITS):
    with pytest.raises(MessageError) as caught:
        wire.decode(data, limits)
    return caught.value.reason


@given(messages)
def test_every_message_comes_back_as_it_was(message):
    packed = wire.encode(message)
    assert wire.decode(packed, LIMITS) == message
    assert wire.decode(memoryview(packed), LIMITS) == message


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data):
    assert refused(data) in {"header_size", "msgpack", "version"}


@pytest.mark.parametrize("message", fuzz_wire.MESSAGES, ids=lambda m: type(m).__name__)
def test_every_missing_or_unknown_field_is_named(message):
    fields = msgpack.unpackb(wire.encode(message))
    assert next(iter(fields)) == "proto"
    for name in fields:
        rest = {key: value for key, value in fields.items() if key != name}
        reason = {"proto": "version", "type": "type"}.get(name, "field")
        with pytest.raises(MessageError, match=name if reason == "field" else reason):
            wire.decode(msgpack.packb(rest), LIMITS)
    with pytest.raises(MessageError, match="unknown field 'hue'"):
        wire.decode(msgpack.packb(fields | {"hue": 1}), LIMITS)


@pytest.mark.parametrize("message", fuzz_wire.MESSAGES, ids=lambda m: type(m).__name__)
def test_every_field_refuses_a_value_of_another_kind(message):
    fields = msgpack.unpackb(wire.encode(message))
    for name in fields:
        for wrong in ([[[]]], float("nan"), -(2**63)):
            reason = {"proto": "version", "type": "type"}.get(name, "field")
            assert refused(msgpack.packb(fields | {name: wrong})) == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pixel_size_nm", float("nan")),
        ("pixel_size_nm", float("inf")),
        ("pixel_size_nm", 0),
        ("pixel_size_nm", -5.0),
        ("pixel_size_nm", True),
        ("pixel_size_nm", 2**64 - 1),
        ("exposure_ms", -1.0),
        ("shape", [0, 5]),
        ("shape", [5]),
        ("shape", [5, 5, 5]),
        ("shape", [5.0, 5]),
        ("dtype", "f4"),
        ("dtype", ">u2"),
        ("policy", "drop_newest"),
        ("stream_id", b"short"),
        ("stream_id", "x" * 16),
        ("incarnation", 2**63),
        ("producer", "x" * 257),
        ("metadata", {"a": 1}),
        ("metadata", [["a", "b"]]),
        ("calibration", {"qe": 1.0}),
        ("calibration", None),
    ],
)
def test_a_start_with_an_impossible_value_names_it(name, value):
    fields = msgpack.unpackb(wire.encode(fuzz_wire.MESSAGES[0]))
    with pytest.raises(MessageError, match=name):
        wire.decode(msgpack.packb(fields | {name: value}), LIMITS)


def test_calibration_values_are_bounded():
    fields = msgpack.unpackb(wire.encode(fuzz_wire.MESSAGES[0]))
    for name, value in [("qe", 0.0), ("qe", 1.5), ("em_gain", 0), ("e_per_adu", -1)]:
        wrong = fields | {"calibration": fields["calibration"] | {name: value}}
        with pytest.raises(MessageError, match=f"calibration: '{name}'"):
            wire.decode(msgpack.packb(wrong), LIMITS)


def test_a_peer_never_says_lost():
    fields = msgpack.unpackb(wire.encode(fuzz_wire.MESSAGES[2]))
    assert refused(msgpack.packb(fields | {"status": "lost"})) == "field"


def test_another_major_version_names_both():
    data = fuzz_wire.with_version(fuzz_wire.MESSAGES[1], [2, 3])
    with pytest.raises(MessageError, match=rf"protocol 2\.3, this side speaks {OURS}"):
        wire.decode(data, LIMITS)


def test_a_higher_minor_version_may_know_more_fields():
    message = fuzz_wire.MESSAGES[1]
    data = fuzz_wire.with_version(message, [1, 9], polarisation="s", nested={"a": [1]})
    assert wire.decode(data, LIMITS) == message
    same = fuzz_wire.with_version(message, [1, 0], polarisation="s")
    assert refused(same) == "field"


@pytest.mark.parametrize(
    "proto", [None, [1], [1, 0, 0], ["1", 0], [True, 0], 1, "1.0", [1, -1], [1.0, 0]]
)
def test_a_version_that_is_none_is_refused(proto):
    assert refused(fuzz_wire.with_version(fuzz_wire.MESSAGES[1], proto)) == "version"


def test_the_version_comes_first():
    fields = msgpack.unpackb(wire.encode(fuzz_wire.MESSAGES[1]))
    proto = fields.pop("proto")
    assert refused(msgpack.packb(fields | {"proto": proto})) == "version"


def test_sizes_are_checked_before_decoding():
    assert refused(b"") == "header_size"
    assert refused(b"\xc1" * (LIMITS.start_bytes + 1)) == "header_size"
    padded = fuzz_wire.with_version(fuzz_wire.MESSAGES[1], [1, 1], pad="x" * 4096)
    assert refused(padded) == "header_size"


def test_a_start_may_be_longer_but_not_without_end():
    start = fuzz_wire.longer_metadata(60_000)
    check_start(start, LIMITS)
    assert wire.decode(encode_start(start)[0], LIMITS) == start
    with pytest.raises(MessageError, match="header_size"):
        check_start(fuzz_wire.longer_metadata(70_000), LIMITS)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((8193, 1), "u1"), ((1, 8193), "u1"), ((8192, 8192), "u2")]
)
def test_frames_beyond_the_limits_are_refused(shape, dtype):
    fields = msgpack.unpackb(wire.encode(fuzz_wire.MESSAGES[0]))
    data = msgpack.packb(fields | {"shape": shape, "dtype": dtype})
    assert refused(data) == "shape"


@pytest.mark.parametrize("data", fuzz_wire.HOSTILE, ids=lambda d: d[:6].hex())
def test_hostile_headers_cost_nothing(data):
    assert fuzz_wire.cpu_s(data, LIMITS) < 0.02
    tracemalloc.start()
    try:
        refused(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_no_mutation_escapes():
    outcomes, slowest = fuzz_wire.fuzz(20_000, seed=1)
    assert outcomes.total() == 20_000
    assert set(outcomes) <= {
        "accepted", "header_size", "msgpack", "version", "type", "field", "shape"
    }  # fmt: skip
    assert outcomes["accepted"] > 100
    assert slowest < fuzz_wire.SLOWEST_CPU_S
