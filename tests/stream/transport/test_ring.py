"""The frame ring: a window is three neighbours or nothing."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.frames import FrameHeader
from liveloc.stream.transport.ring import FrameRing

SHAPE = (4, 4)


def stamped(seq, shape=SHAPE):
    return np.full(shape, seq, np.uint16)


def header(seq):
    return FrameHeader(seq=seq, camera_frame=seq, t_ns=seq)


def receive(ring, seq):
    ring.slot(seq)[...] = seq
    ring.commit(header(seq), received_ns=seq)


@given(
    seqs=st.lists(st.integers(0, 50), unique=True).map(sorted),
    capacity=st.integers(3, 8),
)
def test_a_window_never_mixes_frames(seqs, capacity):
    ring, out = FrameRing(capacity, SHAPE), np.empty((3, *SHAPE), np.uint16)
    seen = set()
    for seq in seqs:
        ring.put(seq, stamped(seq))
        seen.add(seq)
        for centre in range(-2, 54):
            out[:] = 9999
            if ring.window(centre, out):
                wanted = [centre - 1, centre, centre + 1]
                assert [plane[0, 0] for plane in out] == wanted
                assert all((plane == plane[0, 0]).all() for plane in out)
                assert seen.issuperset(wanted)
            else:
                assert (out == 9999).all()


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["receive", "half", "release"]), st.integers(0, 30)),
        max_size=60,
    ),
    capacity=st.integers(3, 6),
)
def test_only_committed_frames_are_readable_and_unreleased_ones_are_safe(
    steps, capacity
):
    """Against a model: a plain dictionary of what each slot must hold."""
    ring, out = FrameRing(capacity, SHAPE), np.empty((3, *SHAPE), np.uint16)
    slots, released = {}, -1
    for action, seq in steps:
        index = seq % capacity
        if action == "release":
            ring.release(seq)
            released = max(released, seq)
        elif slots.get(index, -1) > released:
            with pytest.raises(BufferError, match=f"holds frame {slots[index]}"):
                ring.slot(seq)
        else:
            slots.pop(index, None)
            if action == "half":
                ring.slot(seq)[:2] = seq
            else:
                receive(ring, seq)
                slots[index] = seq
        held = set(slots.values())
        for centre in range(-1, 32):
            whole = held.issuperset((centre - 1, centre, centre + 1))
            assert ring.window(centre, out) == whole
            if whole:
                assert out[:, 3, 3].tolist() == [centre - 1, centre, centre + 1]
            if centre in held and centre > released:
                assert (ring.pixels(centre) == centre).all()
                assert ring.header(centre).seq == ring.received_ns(centre) == centre
            else:
                with pytest.raises(KeyError):
                    ring.pixels(centre)


def test_windows_stay_whole_while_another_thread_overwrites():
    shape, capacity = (64, 64), 5
    ring, stop = FrameRing(capacity, shape), threading.Event()

    def write():
        for seq in range(1_000_000):
            if stop.is_set():
                return
            ring.release(seq - 2)  # the reader is always about to be overtaken
            slot = ring.slot(seq)
            for row in slot:  # slowly: torn frames would be caught half way
                row[...] = seq % 65_536
            ring.commit(header(seq), 0)

    writer = threading.Thread(target=write)
    writer.start()
    out, whole, refused = np.empty((3, *shape), np.uint16), 0, 0
    try:
        end = time.monotonic() + 1.5
        newest = 1
        while time.monotonic() < end:
            centre = newest - 2
            if ring.window(centre, out):
                whole += 1
                wanted = [(centre + step) % 65_536 for step in (-1, 0, 1)]
                for plane, seq in zip(out, wanted, strict=True):
                    assert plane.min() == plane.max() == seq
            else:
                refused += 1
            newest = ring.released + 2
    finally:
        stop.set()
        writer.join(10)
    assert whole > 50
    assert not writer.is_alive()


def test_the_two_newest_released_frames_stay_readable():
    ring, out = FrameRing(4, SHAPE), np.empty((3, *SHAPE), np.uint16)
    for seq in range(3):
        receive(ring, seq)
    ring.release(1)
    assert ring.window(1, out)
    receive(ring, 3)
    assert ring.window(1, out)
    receive(ring, 4)  # takes the slot of frame 0
    assert not ring.window(1, out)
    assert ring.window(2, out)


def test_an_unreleased_frame_names_itself_and_the_fix():
    ring = FrameRing(3, SHAPE)
    for seq in range(3):
        receive(ring, seq)
    with pytest.raises(BufferError, match=r"frame 3: its slot holds frame 0.*larger"):
        ring.slot(3)


def test_views_are_read_only_and_commit_needs_its_slot():
    ring = FrameRing(3, SHAPE, "u1")
    receive(ring, 7)
    view = ring.pixels(7)
    assert view.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    with pytest.raises(ValueError, match="frame 9 was not being received"):
        ring.commit(header(9), 0)


def test_wrong_arguments_are_named():
    ring = FrameRing(3, SHAPE)
    with pytest.raises(ValueError, match="holds no window"):
        FrameRing(2, SHAPE)
    with pytest.raises(ValueError, match="count from 0"):
        ring.slot(-1)
    with pytest.raises(ValueError, match=r"frame 0 is \(5, 4\) pixels"):
        ring.put(0, np.zeros((5, 4), np.uint16))
    with pytest.raises(ValueError, match=r"needs \(3, 4, 4\)"):
        ring.window(1, np.zeros((3, 5, 4), np.uint16))
