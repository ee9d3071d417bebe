"""Order and balance: every exposure has one fate, and the balance names it."""

import random
from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from liveloc.stream.balance import (
    BRIDGE_SHED,
    CAMERA_MISSING,
    CONNECTION_LOST,
    ENGINE_STOPPED,
    LATE,
    NOT_FINITE,
    REJECTED,
)
from liveloc.stream.frames import FrameHeader
from liveloc.stream.tables.ledger import ResumePoint
from liveloc.stream.transport.accounting import StreamAccount
from liveloc.stream.transport.wire import Mark

FATES = {
    "missing": CAMERA_MISSING,
    "shed": BRIDGE_SHED,
    "refused": REJECTED,
    "unreadable": REJECTED,
}
fates = st.lists(
    st.sampled_from(["sent", "sent", "sent", *FATES]), min_size=1, max_size=80
)


@dataclass(frozen=True)
class Exposure:
    """What the sender knows of an exposure when it sends, or does not send, it."""

    fate: str
    header: FrameHeader
    dropped_total: int


def exposures(fates):
    """Number the exposures as a sender would."""
    made, missing, shed = [], 0, 0
    for seq, fate in enumerate(fates):
        header = FrameHeader(seq=seq, camera_frame=seq, t_ns=0, missing_total=missing)
        made.append(Exposure(fate, header, shed))
        missing += fate == "missing"
        shed += fate == "shed"
    return made, Mark(
        next_seq=len(made), sent=0, dropped_total=shed, missing_total=missing
    )


def mark_at(made, end, seq):
    if seq >= len(made):
        return end
    return Mark(
        next_seq=seq,
        sent=0,
        dropped_total=made[seq].dropped_total,
        missing_total=made[seq].header.missing_total,
    )


def offer(account, exposure):
    """Do what a receiver does with one message; give frames in order."""
    if exposure.fate == "refused":
        return account.refuse(exposure.header.seq)
    if exposure.fate == "unreadable":
        return account.refuse(None)
    if exposure.fate != "sent":
        return []
    place = account.place(exposure.header.seq)
    if place == "late":
        account.late(exposure.header.seq)
    elif place == "duplicate":
        account.duplicate(exposure.header, exposure.dropped_total)
    else:
        return account.frame(exposure.header, exposure.dropped_total)
    return []


def expected_losses(fates):
    return +Counter(FATES[fate] for fate in fates if fate != "sent")


@given(fates=fates, furthest=st.integers(0, 4), seed=st.integers(0, 9999))
def test_frames_come_out_once_in_order_and_every_loss_has_its_name(
    fates, furthest, seed
):
    rng = random.Random(seed)
    if furthest:  # which frame was unreadable is only known by its place
        fates = ["refused" if fate == "unreadable" else fate for fate in fates]
    made, end = exposures(fates)
    account, out = StreamAccount(ResumePoint(), 8), []
    shuffled = sorted(made, key=lambda e: e.header.seq + rng.randint(0, furthest))
    calm = shuffled == made  # a heartbeat must not overtake a frame
    for exposure in shuffled:
        out += offer(account, exposure)
        if rng.random() < 0.3 and exposure.fate == "sent":
            out += offer(account, exposure)
        if calm and rng.random() < 0.3:
            out += account.mark(mark_at(made, end, exposure.header.seq + 1))
    out += account.mark(end)
    seqs = [header.seq for header in out]
    assert seqs == [seq for seq, fate in enumerate(fates) if fate == "sent"]
    account.balance.localized += len(out)
    assert account.balance.camera == len(fates)
    assert +account.balance.lost == expected_losses(fates)
    assert account.balance.unexplained == 0


@given(
    fates=fates,
    settled=st.integers(0, 80),
    hole=st.integers(0, 30),
    failed=st.sets(st.integers(0, 80)),
)
def test_a_restarted_engine_names_the_hole_exactly(fates, settled, hole, failed):
    made, end = exposures(fates)
    first = StreamAccount(ResumePoint(), 8)
    point = ResumePoint()
    for exposure in made:
        for header in offer(first, exposure):
            if header.seq in failed:
                first.lose(NOT_FINITE, 1)
            else:
                first.balance.localized += 1
            here = first.point(header.seq)
            assert here.next_seq == header.seq + 1
            assert here.next_seq == here.localized + sum(here.lost.values())
            first.settle(header.seq)
            assert first.settled == here
            if header.seq < settled:
                point = here
    back = min(point.next_seq + hole, len(made))
    second = StreamAccount(point, 8)
    second.connect(mark_at(made, end, back), ENGINE_STOPPED)
    for exposure in made[back:]:
        second.balance.localized += len(offer(second, exposure))
    second.mark(end)
    balance = second.balance
    assert balance.unexplained == 0
    in_hole = fates[point.next_seq : back]
    # A frame refused by the engine that died is one more that it did not do.
    stopped = sum(fate in ("sent", "refused", "unreadable") for fate in in_hole)
    assert balance.lost[ENGINE_STOPPED] == stopped
    assert balance.lost[BRIDGE_SHED] == fates.count("shed")
    assert balance.lost[CAMERA_MISSING] == fates.count("missing")


@given(fates=fates, cut=st.integers(0, 80), back=st.integers(0, 80))
def test_a_sender_that_starts_over_gives_no_frame_twice(fates, cut, back):
    """A replay that was killed begins again at its first frame."""
    fates = ["sent" if fate in ("refused", "unreadable") else fate for fate in fates]
    made, end = exposures(fates)
    account, out = StreamAccount(ResumePoint(), 8), []
    for exposure in made[:cut]:
        out += offer(account, exposure)
    back = min(back, cut, len(made))
    out += account.connect(mark_at(made, end, back), CONNECTION_LOST)
    for exposure in made[back:]:
        out += offer(account, exposure)
    out += account.mark(end)
    seqs = [header.seq for header in out]
    assert seqs == [seq for seq, fate in enumerate(fates) if fate == "sent"]
    assert +account.balance.lost == expected_losses(fates)
    assert account.balance.camera == len(fates)


@given(late=st.integers(1, 20))
def test_a_frame_overtaken_by_more_than_eight_is_late(late):
    account, out = StreamAccount(ResumePoint(), 8), []
    order = [0, *range(2, 2 + late), 1, *range(2 + late, 30)]
    for seq in order:
        header = FrameHeader(seq=seq, camera_frame=seq, t_ns=0)
        out += offer(account, Exposure("sent", header, 0))
    account.mark(Mark(next_seq=30, sent=30, dropped_total=0, missing_total=0))
    account.balance.localized = len(out)
    assert account.balance.unexplained == 0
    assert account.balance.lost[LATE] == (1 if late > 8 else 0)
    assert [header.seq for header in out] == [
        s for s in range(30) if late <= 8 or s != 1
    ]


def test_a_frame_that_nobody_explains_stays_unexplained():
    account = StreamAccount(ResumePoint(), 8)
    for seq in (0, 1, 3, 4):
        offer(
            account, Exposure("sent", FrameHeader(seq=seq, camera_frame=0, t_ns=0), 0)
        )
    assert account.expected == 2
    ready = account.mark(Mark(next_seq=5, sent=4, dropped_total=0, missing_total=0))
    account.balance.localized = 4
    assert [header.seq for header in ready] == [3, 4]
    assert account.balance.unexplained == 1


def test_a_long_outage_takes_no_memory():
    account = StreamAccount(ResumePoint(), 8)
    for step in range(1, 5000):
        account.mark(
            Mark(
                next_seq=step * 10,
                sent=0,
                dropped_total=step * 7,
                missing_total=step * 3,
            )
        )
    assert account.balance.lost == {BRIDGE_SHED: 4999 * 7, CAMERA_MISSING: 4999 * 3}
    assert len(account._losses) == 1
    assert account.point(account.expected).lost == dict(account.balance.lost)
