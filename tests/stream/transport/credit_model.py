"""Credit and settling between a bridge and an engine, without threads or sockets.

Queue, credit, ring, account and watch are those of the product; the wire is a list,
time is a number, and whatever can happen to a session is a method: the camera
delivers, loses, stops; the engine's process or only its consumer pauses; the
connection breaks; the engine is killed and started again.

``python tests/stream/transport/credit_model.py --count 100000`` runs as many random
histories and shows the shortest that gets stuck. ``--old-rule`` keeps pixels until
their rows are written, as version 0.1.0 did: that gets stuck.
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections import deque

import hypothesis
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from liveloc.stream.balance import CONNECTION_LOST, ENGINE_STOPPED
from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.frames import Frame, FrameHeader, StreamStart
from liveloc.stream.sockets.limits import Limits
from liveloc.stream.tables.ledger import ResumePoint
from liveloc.stream.transport.accounting import StreamAccount
from liveloc.stream.transport.allowance import Allowance
from liveloc.stream.transport.inbound import Incoming
from liveloc.stream.transport.messages import Mark
from liveloc.stream.transport.outbox import Outbox
from liveloc.stream.transport.ring import FrameRing

SHAPE = (1, 1)
LIMITS = Limits()
PIXELS = np.zeros(SHAPE, np.uint16)
INTERVAL_S = 0.01  # one step
ROUNDS = 4  # messages there and back again within a step: faster than the camera
HEARTBEAT_STEPS = 20
LONGEST_QUEUE = 200
# At one frame a round the queue and the ring empty in that time, and heartbeats come.
CALM_STEPS = LONGEST_QUEUE // (ROUNDS - 1) + 3 * HEARTBEAT_STEPS
AMOUNTS = st.sampled_from((1, 2, 7, 8, 9, 30, 280))


class Stuck(AssertionError):
    """Frames arrive and are not localized although nothing hinders it."""


class CreditModel:
    """One stream from camera to ledger.

    Parameters
    ----------
    ring_frames : int
        Slots of the engine's ring, from the least that an engine takes.
    block_frames : int
        Frames whose rows are written together.
    queue_frames : int
        Frames that may wait in the bridge.
    batch : int
        Most frames that the consumer takes at once.
    old_rule : bool
        Release pixels when their rows are written, not when they were used.
    """

    def __init__(
        self,
        ring_frames: int,
        block_frames: int,
        queue_frames: int = 64,
        batch: int = 16,
        *,
        old_rule: bool = False,
    ) -> None:
        self.ring_frames, self.block_frames = ring_frames, block_frames
        self.batch, self.old_rule = batch, old_rule
        self.start = StreamStart(
            stream_id=uuid.UUID(int=1).bytes,
            shape=SHAPE,
            dtype="u2",
            pixel_size_nm=100.0,
            calibration=CameraCalibration(),
            exposure_ms=10.0,
            interval_ms=10.0,
            policy="drop_block",
        )
        self.outbox = Outbox(self.start, 1 << 30, queue_frames * INTERVAL_S)
        self.steps = 0
        self.exposures = self.missing = 0
        self.ledger = ResumePoint()
        self.localized: list[int] = []
        self.reported = -1
        self.connection = 0
        self.engine_paused = self.consumer_paused = False
        self.balances = 0
        self._boot()
        self.connect()

    # What happens in the world

    def expose(self, lost: bool = False) -> None:
        """Let the camera make an exposure; a lost one never leaves its driver."""
        seq = self.exposures
        self.exposures += 1
        if lost:
            self.missing += 1
            return
        header = FrameHeader(
            seq=seq, camera_frame=seq, t_ns=0, missing_total=self.missing
        )
        self.outbox.put(Frame(header, PIXELS), self._now_s)

    def connect(self) -> None:
        """Break the connection, with all that is on it, and make a new one."""
        self.connection += 1
        self.up: deque[tuple] = deque()
        self.down: deque[tuple] = deque()
        self.allowance.lost()
        self.accepted = False
        self.allowance.started()
        self.up.append(("start", self.outbox.mark()))

    def kill_engine(self) -> None:
        """Lose the engine's memory; it starts again where its ledger ends."""
        self._boot()
        self.engine_paused = self.consumer_paused = False
        self.connect()

    def step(self) -> None:
        """Let everyone that is not paused do what it can do now."""
        with self.outbox.changed:
            self._step()

    def _step(self) -> None:
        self.steps += 1
        beat = self.steps % HEARTBEAT_STEPS == 0
        for _ in range(ROUNDS):
            self._bridge(beat)
            if not self.engine_paused:
                self._intake(beat)
                if not self.consumer_paused:
                    self._consume()
            beat = False
            if not (self.up or self.down or self.inbox):
                return

    # The bridge: what `Uplink` does with queue and credit

    def _boot(self) -> None:
        self.allowance = getattr(self, "allowance", Allowance())
        self.incoming: Incoming | None = None
        self.inbox: deque[FrameHeader] = deque()
        self.waiting: FrameHeader | None = None
        self.block: list[int] = []

    def _bridge(self, beat: bool) -> None:
        while self.down:
            kind, *values = self.down.popleft()
            if kind == "hello":
                self.accepted = True
                self.allowance.accepted(*values)
                self.outbox.go_on()
            elif kind == "credit" and self.accepted:
                self.allowance.raised(*values)
            elif kind == "localized":
                self.reported = max(self.reported, values[0])
                self.outbox.watch.localized(values[0], self._now_s)
        if not self.accepted:
            return
        if beat:
            self.up.append(("mark", self.outbox.mark()))
        while (front := self.outbox.front()) is not None:
            seq, nbytes = front.frame.header.seq, front.frame.pixels.nbytes
            if not self.allowance.covers(seq, nbytes):
                if self.allowance.needs_announcing(seq):
                    self.up.append(("mark", self.outbox.mark()))
                    self.allowance.announced(seq)
                return
            wanted = seq >= self.allowance.wanted
            if wanted:
                self.up.append(("frame", front.frame.header, front.dropped_total))
            self.allowance.sent(seq, nbytes if wanted else 0)
            self.outbox.take()

    @property
    def _now_s(self) -> float:
        return self.steps * INTERVAL_S

    # The engine: what `Intake` does with account, ring and credit

    def _intake(self, beat: bool) -> None:
        while self.up:
            kind, *values = self.up.popleft()
            if kind == "start":
                self._on_start(values[0])
            elif kind == "mark":
                self.inbox.extend(self.incoming.account.mark(values[0]))
                self.incoming.highest = max(
                    self.incoming.highest, values[0].next_seq - 1
                )
            else:
                self._on_frame(*values)
        if self.incoming and (beat or self.incoming.grant_due):
            self.down.append(("credit", *self.incoming.grant()))

    def _on_start(self, mark: Mark) -> None:
        if self.incoming is None:
            account = StreamAccount(self.ledger, LIMITS.reorder_frames)
            self.incoming = Incoming(
                start=self.start,
                sender=b"",
                account=account,
                ring=FrameRing(self.ring_frames, SHAPE),
                peer=b"",
                heard_s=0.0,
            )
            account.connect(mark, ENGINE_STOPPED)
        else:
            self.incoming.bytes_in = 0
            self.inbox.extend(self.incoming.account.connect(mark, CONNECTION_LOST))
        self.incoming.granted = -1
        grant = self.incoming.grant()
        self.down.append(("hello", self.incoming.account.expected, *grant))

    def _on_frame(self, header: FrameHeader, dropped_total: int) -> None:
        incoming = self.incoming
        incoming.highest = max(incoming.highest, header.seq)
        incoming.bytes_in += self.start.frame_nbytes
        if header.seq > incoming.credit_seq:
            raise AssertionError(f"frame {header.seq} was sent without credit")
        if incoming.account.place(header.seq) != "next":
            return
        incoming.ring.slot(header.seq)
        incoming.ring.commit(header, 0)
        self.inbox.extend(incoming.account.frame(header, dropped_total))

    # The consumer: what the engine's thread does with localizer and results

    def _consume(self) -> None:
        taken = [self.inbox.popleft() for _ in range(min(self.batch, len(self.inbox)))]
        for header in taken:
            self.incoming.ring.pixels(header.seq)
            if self.waiting is not None:
                self._localize(self.waiting.seq)
            self.waiting = header
        if taken and not self.old_rule:
            self._release(taken[-1].seq)

    def _localize(self, seq: int) -> None:
        if (
            self.block
            and seq // self.block_frames != self.block[0] // self.block_frames
        ):
            self._write()
        self.block.append(seq)
        self.localized.append(seq)
        self.down.append(("localized", seq))

    def _write(self) -> None:
        block, self.block = self.block, []
        account = self.incoming.account
        account.balance.localized += len(block)
        self.ledger = account.point(block[-1])
        account.settle(block[-1])
        self._release(block[-1])

    def _release(self, seq: int) -> None:
        self.incoming.account.release(seq)
        self.incoming.ring.release(seq)

    # What must hold

    def check(self) -> None:
        """Check what holds in every state."""
        if self.localized != sorted(set(self.localized)):
            raise AssertionError(f"out of order or twice: {self.localized[-20:]}")
        if self.incoming is not None:
            held = self.incoming.account.held
            if held > self.ring_frames:
                raise AssertionError(f"{held} frames in {self.ring_frames} slots")

    def calm_down(self) -> None:
        """End all pauses, go on exposing, and demand that frames are localized again.

        Raises
        ------
        Stuck
            Of the newest exposures none was localized.
        """
        self.engine_paused = self.consumer_paused = False
        # What holds a frame back later than that was empty in between.
        enough, abreast = self.ring_frames + self.block_frames, 0
        for _ in range(CALM_STEPS):
            self.expose()
            self.step()
            newest = self.localized[-1] if self.localized else -1
            abreast = abreast + 1 if newest >= self.exposures - 3 else 0
            if abreast > enough:
                break
        self.check()
        if not abreast or self.outbox.watch.standing_still(self._now_s):
            raise Stuck(
                f"ring {self.ring_frames}, blocks of {self.block_frames}: "
                f"{self.exposures} exposures, the newest localized is {newest}, "
                f"{self.outbox.waiting} wait in the bridge"
            )

    def finish(self) -> None:
        """End the stream; every exposure must have a fate with a name."""
        box = self.outbox
        with box.changed:
            box.finish("ok", "", self.missing)
        for _ in range(CALM_STEPS):
            self.step()
            if not (box.waiting or self.up or self.down or self.inbox):
                break
        with box.changed:
            end = box.close_books()
        if end is None:
            raise Stuck(f"{box.waiting} frames wait in the bridge at the end")
        account = self.incoming.account
        mark = Mark(
            next_seq=end.last_seq + 1,
            sent=end.sent,
            dropped_total=end.dropped,
            missing_total=end.missing,
        )
        self.inbox.extend(account.mark(mark))
        self.inbox.extend(account.finish())
        while self.inbox:
            self._consume()
        if self.waiting is not None:
            self._localize(self.waiting.seq)
        if self.block:
            self._write()
        if account.balance.camera != self.exposures or account.balance.unexplained:
            raise AssertionError(f"{self.exposures} exposures: {account.balance}")


class Histories(RuleBasedStateMachine):
    """Random histories; each ends in calm, in which frames must be localized again."""

    old_rule = False

    @initialize(
        ring_frames=st.sampled_from((4, 5, 8, 16, 64)),
        block_frames=st.sampled_from((1, 2, 8, 32, 100)),
        queue_frames=st.sampled_from((1, 16, 64, 200)),
        batch=st.sampled_from((1, 3, 16)),
    )
    def begin(self, ring_frames, block_frames, queue_frames, batch):
        self.model = CreditModel(
            ring_frames, block_frames, queue_frames, batch, old_rule=self.old_rule
        )

    @rule(count=AMOUNTS)
    def expose(self, count):
        for _ in range(count):
            self.model.expose()
            self.model.step()

    @rule(count=AMOUNTS)
    def expose_while_all_is_blocked(self, count):
        for _ in range(count):
            self.model.expose()

    @rule(count=AMOUNTS)
    def lose_exposures(self, count):
        for _ in range(count):
            self.model.expose(lost=True)

    @rule(count=AMOUNTS)
    def rest(self, count):
        for _ in range(count):
            self.model.step()

    @rule()
    def pause_the_engine(self):
        self.model.engine_paused = True

    @rule()
    def pause_the_consumer(self):
        self.model.consumer_paused = True

    @rule()
    def go_on(self):
        self.model.engine_paused = self.model.consumer_paused = False

    @rule()
    def break_the_connection(self):
        self.model.connect()

    @rule()
    def kill_the_engine(self):
        self.model.kill_engine()

    @invariant()
    def holds(self):
        if hasattr(self, "model"):
            self.model.check()

    def teardown(self):
        if hasattr(self, "model"):
            self.model.calm_down()
            self.model.finish()


def run_histories(count: int, *, old_rule: bool = False, seed: int | None = None):
    """Run `count` random histories; the smallest one that gets stuck is raised."""
    rules = type("OldHistories", (Histories,), {"old_rule": True})
    machine = rules if old_rule else Histories
    run_state_machine_as_test(
        machine if seed is None else hypothesis.seed(seed)(machine),
        settings=settings(
            max_examples=count,
            stateful_step_count=8,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def main() -> int:
    """Run histories until one is stuck, or all are done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="histories")
    parser.add_argument("--seed", type=int, help="of the random histories")
    parser.add_argument("--old-rule", action="store_true", help="as in version 0.1.0")
    given = parser.parse_args()
    began_s = time.monotonic()
    run_histories(given.count, old_rule=given.old_rule, seed=given.seed)
    took_s = time.monotonic() - began_s
    print(f"{given.count} histories, none stuck, {took_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
