"""Mutation fuzz of the wire protocol's headers.

Run ``python tests/stream/transport/fuzz_wire.py --count 1000000``. Every input must be
decoded or refused with `MessageError`; anything else is printed and fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections import Counter

import msgpack

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.density import BlockDensity
from liveloc.stream.errors import MessageError
from liveloc.stream.frames import FrameHeader, StreamEnd, StreamStart
from liveloc.stream.laser_state import LaserState
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.transport import wire

SLOWEST_CPU_S = 5e-3
STREAM = bytes(range(16))
MARK = wire.Mark(next_seq=7, sent=5, dropped_total=1, missing_total=1)
START = StreamStart(
    stream_id=STREAM,
    shape=(64, 48),
    dtype="u2",
    pixel_size_nm=100.0,
    calibration=CameraCalibration(),
    exposure_ms=10.0,
    interval_ms=10.5,
    metadata={"objective": "100x", "dye": "Alexa 647 µ"},
)
MESSAGES: list[wire.Message] = [
    wire.Start(START, STREAM, MARK),
    wire.FrameUp(
        stream_id=STREAM,
        header=FrameHeader(seq=7, camera_frame=8, t_ns=9, missing_total=1),
        dropped_total=1,
        shape=(64, 48),
        dtype="u2",
        nbytes=6144,
        crc32c=123,
    ),
    wire.End(StreamEnd(stream_id=STREAM, last_seq=6, sent=5, dropped=1, missing=1)),
    wire.Heartbeat(STREAM, MARK),
    wire.HelloOk(stream_id=STREAM, next_seq=0, credit_seq=61, credit_bytes=1 << 20),
    wire.Credit(stream_id=STREAM, credit_seq=61, credit_bytes=1 << 20),
    wire.Ack(stream_id=STREAM, seq=6, end=True),
    wire.Reject(reason="shape", detail="frame 3 is (1, 1)"),
    wire.Density(
        BlockDensity(
            stream_id=STREAM,
            first_seq=0,
            last_seq=6,
            frames=5,
            t_ns=9,
            per_um2=0.5,
            sigma_per_um2=0.01,
            area_um2=163.84,
            precision_nm=12.0,
        )
    ),
    wire.Laser(LaserState(stream_id=STREAM, power=3.5, unit="mW", reason="held")),
    wire.Start(START, STREAM, MARK, {"offset_adu": 1, "read_noise_e": 2**32 - 1}),
]
# Headers that claim more than they hold, or hold what plain values never do.
HOSTILE = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\x91" * 4095 + b"\xc0",
    b"\x91" * 900 + b"\xc0",
    b"\x81\xa1a" * 1300 + b"\xc0",
    b"\x81\x91\x01\x01",
    b"\x81\xa2\xff\xfe\x01",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\xc7\x00\x05",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xc1",
    b"",
    b"\x80",
    b"\xc0" * 4096,
    b"\x81\xa5proto" + b"\x92\x01\x00",
    b"\x81\xa5proto" + b"\x91" * 800 + b"\xc0",
    b"\x82\xa5proto\x92\x01\x00\xa4type" + b"\x91" * 800 + b"\xc0",
    b"\x83\xa5proto\x92\x01\x00\xa4type\xa3end\xa9stream_id" + b"\x91" * 800 + b"\xc0",
    b"\xdc\x0f\xa0" + b"\xc0" * 4000,
]
ODD_VALUES = [
    None, True, -1, 0, 2**63, 2**64 - 1, -(2**63), float("nan"), float("inf"),
    -float("inf"), 1e308, "", "x" * 3000, "\x00", "u2", "lost", b"", b"x" * 16, [], {},
    [1], [1, 2], [2, 0], [0, 0], [1, 99], [10**6, 10**6], {"a": {}}, {"a": 1},
]  # fmt: skip


def seeds() -> list[bytes]:
    """Give every good message and every hostile one."""
    return [wire.encode(message) for message in MESSAGES] + HOSTILE


def mutate(rng: random.Random, pool: list[bytes]) -> bytes:
    """Damage a message: bytes, structure, or two messages spliced."""
    data = bytearray(rng.choice(pool))
    kind = rng.randrange(8)
    if kind == 0 and data:
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif kind == 1:
        del data[rng.randrange(len(data) + 1) :]
    elif kind == 2:
        at = rng.randrange(len(data) + 1)
        data[at:at] = rng.choice(HOSTILE)[: rng.randrange(1, 64)]
    elif kind == 3:
        other = rng.choice(pool)
        data = (
            data[: rng.randrange(len(data) + 1)]
            + other[rng.randrange(len(other) + 1) :]
        )
    else:
        return _odd_field(rng)
    return bytes(data)


def _odd_field(rng: random.Random) -> bytes:
    """Give a well-formed map with one or two fields replaced, gone or added."""
    fields = msgpack.unpackb(wire.encode(rng.choice(MESSAGES)))
    for _ in range(rng.randrange(1, 3)):
        name = rng.choice([*fields, "extra"])
        if rng.random() < 0.2:
            fields.pop(name, None)
        else:
            fields[name] = rng.choice(ODD_VALUES)
        if not fields:
            break
    packed: bytes = msgpack.packb(fields)
    return packed


def check(data: bytes, limits: Limits) -> str:
    """Decode `data`; give the reason of its refusal, or ``accepted``."""
    try:
        message = wire.decode(data, limits)
    except MessageError as error:
        return error.reason
    if wire.decode(wire.encode(message), limits) != message:
        raise AssertionError(f"does not survive a round trip: {message}")
    return "accepted"


def cpu_s(data: bytes, limits: Limits) -> float:
    """CPU time of one check; a garbage collection that falls into it is none."""
    spent = []
    for _ in range(4):
        before = time.thread_time()
        check(data, limits)
        spent.append(time.thread_time() - before)
    return min(spent)


def fuzz(count: int, seed: int) -> tuple[Counter[str], float]:
    """Try `count` inputs; give the outcomes and the slowest CPU time, seconds."""
    rng, pool, limits = random.Random(seed), seeds(), Limits()
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for _ in range(count):
        data = mutate(rng, pool)
        before = time.thread_time()
        try:
            outcomes[check(data, limits)] += 1
        except BaseException:
            print(f"escaped: {data.hex()}", file=sys.stderr)
            raise
        if time.thread_time() - before > slowest:
            slowest = max(slowest, cpu_s(data, limits))
    return outcomes, slowest


def main() -> int:
    """Fuzz from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.monotonic()
    outcomes, slowest = fuzz(options.count, options.seed)
    elapsed = time.monotonic() - began
    print(f"{options.count} inputs in {elapsed:.1f} s, none escaped")
    print(f"slowest decode {slowest * 1e3:.2f} ms of CPU")
    for reason, times in outcomes.most_common():
        print(f"{reason:12} {times}")
    return 0 if slowest <= SLOWEST_CPU_S else 1


def with_version(message: wire.Message, proto: object, **extra: object) -> bytes:
    """Encode `message` as if another version had sent it."""
    fields = msgpack.unpackb(wire.encode(message))
    fields["proto"] = proto
    packed: bytes = msgpack.packb(fields | extra)
    return packed


def longer_metadata(size: int) -> wire.Start:
    """Give a START whose metadata has `size` bytes."""
    start = dataclasses.replace(START, metadata={"note": "x" * size})
    return wire.Start(start, STREAM, MARK)


if __name__ == "__main__":
    sys.exit(main())
