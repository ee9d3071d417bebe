"""Frames that arrive and are not localized are noticed within a second."""

from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.transport.localization_watch import PATIENCE_S, LocalizationWatch


def arriving(watch, first, count, interval_s, since_s=0.0):
    for number in range(count):
        watch.arrived(first + number, since_s + number * interval_s)
    return since_s + (count - 1) * interval_s


def test_the_newest_frame_is_not_waited_for():
    watch = LocalizationWatch()
    watch.arrived(0, 0.0)
    assert watch.deadline_s is None
    assert not watch.standing_still(100.0)  # the camera stalls: nothing is due


def test_frames_without_progress_are_a_standstill_after_a_second_once():
    watch = LocalizationWatch()
    now_s = arriving(watch, 0, 50, 0.01)
    assert watch.localized(20, now_s) is None
    assert watch.look(now_s + 0.99, "why") is None
    assert not watch.standing_still(now_s + 0.99)
    begun = watch.look(now_s + 1.0, "why")
    assert (begun.first_seq, begun.last_seq, begun.over) == (21, 49, False)
    assert "from frame 21 on (1.0 s so far): why" in begun.text
    assert watch.standing_still(now_s + 1.01)
    assert watch.look(now_s + 2.0, "why") is None


def test_any_localized_frame_ends_it_and_names_what_had_arrived():
    watch = LocalizationWatch()
    now_s = arriving(watch, 0, 50, 0.01)
    watch.look(now_s + 2.0, "the engine has been silent for 2.0 s")
    arriving(watch, 50, 10, 0.01, since_s=now_s + 2.0)
    over = watch.localized(3, now_s + 3.5)
    assert (over.first_seq, over.last_seq, over.over) == (0, 59, True)
    assert "Localizing goes on" in over.text
    assert "silent" in over.text
    assert not watch.standing_still(now_s + 3.6)
    # Far behind, but going on: that is slow, not a standstill.
    assert watch.localized(4, now_s + 4.4) is None
    assert watch.look(now_s + 5.3, "") is None
    assert watch.look(now_s + 5.5, "") is not None


def test_a_standstill_of_the_bridge_itself_is_named_when_it_is_over():
    watch = LocalizationWatch()
    now_s = arriving(watch, 0, 50, 0.01)
    over = watch.localized(3, now_s + 3.0)  # nobody could look in between
    assert (over.first_seq, over.last_seq, over.over) == (0, 49, True)
    assert "nothing was localized: the bridge was held up" in over.text


def test_a_slow_camera_is_no_standstill():
    watch = LocalizationWatch()
    for seq in range(20):  # a frame every 5 s, localized when the next one is there
        watch.arrived(seq, 5.0 * seq)
        assert watch.look(5.0 * seq + 0.5, "") is None
        if seq:
            watch.localized(seq - 1, 5.0 * seq + 0.02)
        assert watch.look(5.0 * seq + 4.9, "") is None


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["frame", "localize"]), st.floats(0.0, 0.9)),
        max_size=60,
    )
)
def test_a_standstill_is_exactly_a_second_in_which_due_frames_saw_no_progress(steps):
    watch, now_s, frames, reached, since_s = LocalizationWatch(), 0.0, 0, -1, None
    for kind, pause_s in steps:
        now_s += pause_s
        due = since_s is not None and now_s - since_s > PATIENCE_S
        assert watch.standing_still(now_s) == due
        if kind == "frame":
            watch.arrived(frames, now_s)
            frames += 1
            if since_s is None and frames - 2 > reached:
                since_s = now_s
        elif reached < frames - 2:
            reached += 1
            ended = watch.localized(reached, now_s)
            assert (ended is not None) == due  # although `look` was never called
            since_s = now_s if frames - 2 > reached else None
