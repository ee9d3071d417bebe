"""Which frames a full queue sheds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.shedding import BLOCK, Shedding


@given(
    capacity=st.integers(1, 100),
    taken=st.lists(st.integers(0, 3), min_size=1, max_size=400),
)
def test_frames_are_shed_in_whole_blocks_and_until_half_the_room_is_free(
    capacity, taken
):
    shedding, waiting, shed_in_a_row = Shedding(), 0, 0
    for count in taken:  # what the reader takes before each frame arrives
        waiting = max(0, waiting - count)
        if shedding.sheds(waiting, capacity):
            shed_in_a_row += 1
        else:
            if shed_in_a_row:
                assert shed_in_a_row >= BLOCK
                assert waiting <= capacity // 2
            waiting, shed_in_a_row = waiting + 1, 0
        assert waiting <= capacity
        assert shedding.in_block == shed_in_a_row
