"""Puts the frames of one stream in order and says where the others went."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..balance import BRIDGE_SHED, CAMERA_MISSING, LATE, REJECTED, Balance
from ..tables.ledger import ResumePoint

if TYPE_CHECKING:
    from ..frames import FrameHeader
    from .messages import Mark

_MOST_HOLES = 256
_MOST_REJECTED = 4096
_MOST_LATE = 4096

Place = Literal["next", "duplicate", "late"]


@dataclass(slots=True)
class _Hole:
    """Frames whose place was given up without an explanation."""

    first: int
    behind: int
    unexplained: int
    late: set[int]


class StreamAccount:
    """Order and balance of one stream. Neither locks nor sockets.

    Every frame comes out once, in increasing order. A gap is explained by what
    the sender reports as shed and as lost by the camera, then by frames that were
    refused here; what is left stays unexplained in the balance. A frame that
    was overtaken is waited for while totals leave the gap unexplained.

    Parameters
    ----------
    resume : ResumePoint
        What an earlier engine has dealt with.
    reorder_frames : int
        Frames that may overtake one before its place is given up.
    """

    def __init__(self, resume: ResumePoint, reorder_frames: int) -> None:
        self.expected = resume.next_seq
        self.balance = Balance(
            camera=resume.next_seq,
            localized=resume.localized,
            lost=Counter(resume.lost),
        )
        self.missing_total = resume.missing_total
        self.dropped_total = resume.dropped_total
        self.received = 0
        self._reorder = reorder_frames
        self._waiting: dict[int, tuple[FrameHeader, int]] = {}
        self._refused: set[int] = set()
        self._unreadable = 0
        self._holes: deque[_Hole] = deque(maxlen=_MOST_HOLES)
        self._held: deque[int] = deque()  # delivered, pixels not released
        # Delivered and not settled: (seq, missing_total, dropped_total).
        self._open: deque[tuple[int, int, int]] = deque()
        # Losses by the exposure they lie before; those behind the last frame
        # are kept as one entry, so that a long outage takes no memory.
        self._losses: dict[int, Counter[str]] = {}
        self._tail: int | None = None
        self._settled = resume
        self._settled_lost = Counter(resume.lost)
        self._catching_up = False

    @property
    def oldest_needed(self) -> int:
        """First exposure whose slot in the ring may not be taken yet."""
        return self._held[0] if self._held else self.expected

    @property
    def unsettled(self) -> int:
        """Frames delivered that the consumer has not settled."""
        return len(self._open)

    @property
    def held(self) -> int:
        """Frames that take room in the ring."""
        return len(self._held) + len(self._waiting)

    @property
    def settled(self) -> ResumePoint:
        """Where a restarted engine would go on."""
        return self._settled

    def place(self, seq: int) -> Place:
        """Return whether a frame is new, here already, or too late."""
        if seq >= self.expected:
            return "duplicate" if seq in self._waiting else "next"
        hole = self._hole(seq)
        return "duplicate" if hole is None or seq in hole.late else "late"

    def _hole(self, seq: int) -> _Hole | None:
        for hole in self._holes:
            if hole.first <= seq < hole.behind and hole.unexplained > 0:
                return hole
        return None

    def frame(self, header: FrameHeader, dropped_total: int) -> list[FrameHeader]:
        """Take in a frame that `place` called next; return those now in order."""
        self._waiting[header.seq] = (header, dropped_total)
        self._refused.discard(header.seq)
        self.received += 1
        return self._deliver(force=False)

    def duplicate(self, header: FrameHeader, dropped_total: int) -> None:
        """Learn the totals of a sender that starts over."""
        if self._catching_up:
            self.missing_total = header.missing_total
            self.dropped_total = dropped_total

    def late(self, seq: int) -> None:
        """Count a frame that came after its place was given up."""
        hole = self._hole(seq)
        if hole is not None and len(hole.late) < _MOST_LATE:
            hole.late.add(seq)
            hole.unexplained -= 1
            self._lose(LATE, 1, hole.behind)

    def refuse(self, seq: int | None) -> list[FrameHeader]:
        """Note a refused frame; None when its header could not be read."""
        if seq is None:
            self._unreadable += 1
            return []
        if (
            seq >= self.expected
            and seq not in self._waiting
            and len(self._refused) < _MOST_REJECTED
        ):
            self._refused.add(seq)
        return self._deliver(force=False)

    def mark(self, mark: Mark, rest: str | None = None) -> list[FrameHeader]:
        """Take in that nothing before ``mark.next_seq`` will follow.

        Parameters
        ----------
        mark : Mark
            How far the sender is.
        rest : str, optional
            Name for frames that no total explains. Without it they stay
            unexplained.

        Returns
        -------
        list[FrameHeader]
            Frames that were held back and are in order now.
        """
        ready = []
        while self._waiting and min(self._waiting) < mark.next_seq:
            ready += self._deliver(force=True, rest=rest)
        if mark.next_seq >= self.expected:
            self._close_gap(mark.next_seq, mark.missing_total, mark.dropped_total, rest)
        return ready + self._deliver(force=False)

    def connect(self, mark: Mark, rest: str) -> list[FrameHeader]:
        """Take in the mark of a START; what is missing before it is `rest`."""
        self._catching_up = mark.next_seq < self.expected
        if self._catching_up:
            self.missing_total = mark.missing_total
            self.dropped_total = mark.dropped_total
            return self.mark(mark)
        return self.mark(mark, rest)

    def finish(self) -> list[FrameHeader]:
        """Return everything that is still held back."""
        ready = []
        while self._waiting:
            ready += self._deliver(force=True)
        return ready

    def lose(self, reason: str, frames: int) -> None:
        """Count frames that the consumer could not localize."""
        self.balance.lose(reason, frames)
        self._settled_lost[reason] += frames

    def point(self, seq: int) -> ResumePoint:
        """Return where a restarted engine goes on after frame `seq`, with no rows."""
        behind = self._settled.next_seq
        totals = self._settled.missing_total, self._settled.dropped_total
        for number, *before in self._open:
            if number > seq:
                break
            behind, totals = number + 1, (before[0], before[1])
        else:
            if seq + 1 >= self.expected:
                behind = self.expected
                totals = self.missing_total, self.dropped_total
        lost = Counter(self._settled_lost)
        for place, losses in self._losses.items():
            if place <= behind:
                lost.update(losses)
        return ResumePoint(
            next_seq=behind,
            localized=self.balance.localized,
            lost={name: n for name, n in sorted(lost.items()) if n},
            missing_total=totals[0],
            dropped_total=totals[1],
        )

    def release(self, seq: int) -> None:
        """Take note that the consumer needs no pixels of frames up to `seq`."""
        while self._held and self._held[0] <= seq:
            self._held.popleft()

    def settle(self, seq: int) -> None:
        """Take note that the consumer is done with frames up to `seq`."""
        self.release(seq)
        self._settled = self.point(seq)
        self._settled_lost = Counter(self._settled.lost)
        behind = self._settled.next_seq
        while self._open and self._open[0][0] <= seq:
            self._open.popleft()
        for place in [place for place in self._losses if place <= behind]:
            del self._losses[place]
        if self._tail is not None and self._tail <= behind:
            self._tail = None

    def _deliver(self, *, force: bool, rest: str | None = None) -> list[FrameHeader]:
        """Take frames from those waiting while the gap before them is explained."""
        ready = []
        while self._waiting:
            seq = min(self._waiting)
            header, dropped_total = self._waiting[seq]
            if seq > self.expected and not force:
                gap = seq - self.expected
                found = self._explained(seq, header.missing_total, dropped_total)
                explained = sum(frames for _, frames in found)
                overtaken = len(self._waiting) > self._reorder
                if gap > explained and not overtaken:
                    break
            force = False
            del self._waiting[seq]
            self._close_gap(seq, header.missing_total, dropped_total, rest)
            self.expected = self.balance.camera = seq + 1
            self._held.append(seq)
            self._open.append((seq, header.missing_total, dropped_total))
            self._tail = None
            self._catching_up = False
            ready.append(header)
        return ready

    def _explained(
        self, behind: int, missing_total: int, dropped_total: int
    ) -> list[tuple[str, int]]:
        """Account for frames from the expected one to `behind`; guesses last."""
        left = behind - self.expected
        found = []
        refused = sum(self.expected <= seq < behind for seq in self._refused)
        for reason, frames in (
            (REJECTED, refused),
            (CAMERA_MISSING, missing_total - self.missing_total),
            (BRIDGE_SHED, dropped_total - self.dropped_total),
            (REJECTED, self._unreadable),
        ):
            part = min(max(frames, 0), left)
            left -= part
            found.append((reason, part))
        return found

    def _close_gap(
        self, behind: int, missing_total: int, dropped_total: int, rest: str | None
    ) -> None:
        """Attribute every frame from the expected one to `behind`."""
        gap = behind - self.expected
        if gap > 0:
            explained = self._explained(behind, missing_total, dropped_total)
            for reason, frames in explained:
                self._lose(reason, frames, behind)
            left = gap - sum(frames for _, frames in explained)
            if left and rest:
                self._lose(rest, left, behind)
            elif left:
                self._holes.append(_Hole(self.expected, behind, left, set()))
            self._unreadable -= explained[-1][1]
            self._refused = {seq for seq in self._refused if seq >= behind}
            self.expected = self.balance.camera = behind
        self.missing_total, self.dropped_total = missing_total, dropped_total
        if not self._waiting:
            self._unreadable = 0  # whatever it was, no frame is missing

    def _lose(self, reason: str, frames: int, behind: int) -> None:
        if not frames:
            return
        self.balance.lose(reason, frames)
        if behind <= self._settled.next_seq:
            self._settled_lost[reason] += frames
            return
        if not self._open or behind > self._open[-1][0]:
            tail, self._tail = self._tail, max(behind, self._tail or 0)
            behind = self._tail
            if tail is not None and tail < behind:
                self._losses[behind] = self._losses.pop(tail)
        self._losses.setdefault(behind, Counter())[reason] += frames
