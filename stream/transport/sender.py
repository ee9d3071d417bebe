"""Sends one frame stream to an engine, with credit; says where frames went."""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING

import zmq

from ..errors import OverflowStop, StreamError
from ..sockets.endpoints import loopback
from ..sockets.limits import Limits
from ..sockets.options import dealer
from ..sockets.waker import Waker
from .messages import Start
from .outbox import Outbox
from .sender_thread import Uplink
from .start_maps import check_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..density import BlockDensity
    from ..frames import EndStatus, Frame, StreamEnd, StreamStart
    from ..laser_state import LaserState
    from ..sockets.session_key import SessionKey
    from .localization_watch import Standstill

_JOIN_S = 10.0
_WAIT_S = 0.25


class FrameSender:
    """The bridge's end of the frame stream.

    A thread of its own holds the connection. Frames wait in a bounded queue;
    one that finds no room meets the policy that ``start`` names: ``block``
    waits, ``drop_block`` sheds a contiguous block, ``stop`` raises. After the
    engine was gone and came back the stream goes on with the frames at hand.

    Parameters
    ----------
    endpoint : str
        ``tcp://127.0.0.1:PORT`` of the engine, which need not be there yet.
    start : StreamStart
        The stream.
    queue_bytes : int
        Pixels that may wait.
    queue_s : float
        With ``drop_block``: time that frames may wait, by the stream's frame
        interval. Older frames are of no use to a live image.
    on_peer : Callable[[bool], None], optional
        Called with True when the engine accepts the stream and False when it is lost:
        after three heartbeats without a word, at once when the connection
        breaks, and when the sender stops. Called in the sender's thread, must
        not block.
    on_density : Callable[[BlockDensity], None], optional
        Called with each density of emitters from the engine. In the same thread.
    on_standstill : Callable[[Standstill], None], optional
        Called when frames have been arriving for a second and none was localized,
        whatever the cause, and again when localizing goes on. In the same thread.
    limits : Limits
        Heartbeat and sizes.
    key : SessionKey, optional
        Only an engine that knows it gets frames and is believed; without one,
        whatever answers at the address.

    Raises
    ------
    SettingsError
        The address leaves this machine.
    MessageError
        ``start`` breaks the protocol.
    """

    def __init__(
        self,
        endpoint: str,
        start: StreamStart,
        *,
        queue_bytes: int = 256 << 20,
        queue_s: float = 2.0,
        on_peer: Callable[[bool], None] | None = None,
        on_density: Callable[[BlockDensity], None] | None = None,
        on_standstill: Callable[[Standstill], None] | None = None,
        limits: Limits | None = None,
        key: SessionKey | None = None,
    ) -> None:
        limits = limits or Limits()
        address = loopback(endpoint)
        self.start = start
        self._outbox = Outbox(start, queue_bytes, queue_s)
        self._closed = False
        sender = secrets.token_bytes(16)
        check_start(Start(start, sender, self._outbox.mark()), limits)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket = dealer(self._context, limits)
        if key is not None:
            key.show(socket)
        self._waker = Waker(self._context)
        uplink = Uplink(
            socket,
            address,
            sender,
            self._outbox,
            self._waker,
            limits,
            on_peer,
            on_density,
            on_standstill,
            key,
        )
        self._thread = threading.Thread(
            target=uplink.run, name="liveloc-sender", daemon=True
        )
        self._thread.start()

    @property
    def sent(self) -> int:
        """Frames that left this process, or that the engine had already."""
        return self._outbox.sent

    @property
    def dropped(self) -> int:
        """Frames shed."""
        return self._outbox.dropped

    @property
    def acked(self) -> int:
        """Last exposure that the engine has dealt with, -1: none."""
        return self._outbox.acked

    @property
    def last_seq(self) -> int:
        """Last exposure offered, -1: none."""
        return self._outbox.last_seq

    @property
    def missing_total(self) -> int:
        """Exposures that the camera lost, as far as frames have said it."""
        return self._outbox.missing_total

    @property
    def connected(self) -> bool:
        """The engine accepted the stream and spoke within three heartbeats."""
        return self._outbox.connected

    @property
    def refusal(self) -> str:
        """Why the engine does not accept the stream so far; empty if it is silent."""
        return self._outbox.refusal

    @property
    def localizing(self) -> bool:
        """Frames are localized: none has been waiting for a second without progress."""
        with self._outbox.changed:
            return not self._outbox.watch.standing_still(time.monotonic())

    @property
    def end_acked(self) -> bool:
        """The engine has dealt with the whole stream."""
        return self._outbox.end_acked

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the engine accepts the stream; False when it did not.

        Raises
        ------
        StreamError
            The engine refuses the stream, and says why.
        """
        box = self._outbox
        with box.changed:
            box.changed.wait_for(
                lambda: box.connected or box.refused or box.failure, timeout_s
            )
            self._raise_failure()
            return box.connected

    def offer(self, frame: Frame) -> bool:
        """Hand over one frame, in the order of the camera.

        Parameters
        ----------
        frame : Frame
            Its pixels are sent from where they are: do not write to them again.

        Returns
        -------
        bool
            False when the frame was shed.

        Raises
        ------
        OverflowStop
            Policy ``stop``, and no room. The frame is counted as shed.
        MessageError
            The frame does not fit to START or to the frame before it.
        StreamError
            The engine refuses the stream, or `finish` was called.
        """
        box = self._outbox
        with box.changed:
            self._raise_failure()
            box.check(frame)
            if self.start.policy == "block":
                while not box.has_room(frame):
                    box.changed.wait(_WAIT_S)
                    self._raise_failure()
            kept = box.put(frame, time.monotonic())
        if kept:
            self._waker.ring()
        elif self.start.policy == "stop":
            raise OverflowStop(
                f"frame {frame.header.seq} found no room: {box.waiting} frames wait "
                "for the engine. Lower the frame rate or the ROI, or allow losses "
                "with policy drop_block."
            )
        return kept

    def send_laser_state(self, state: LaserState) -> None:
        """Send the state of the laser to the engine; only the newest is sent."""
        self._outbox.laser = state
        self._waker.ring()

    def alarm(self, text: str) -> None:
        """Report to the engine, and so to viewers, what a person should look after."""
        self._outbox.alarms.append(text[:1024])
        self._waker.ring()

    def finish(
        self,
        status: EndStatus = "ok",
        reason: str = "",
        timeout_s: float = 10.0,
        missing: int = 0,
    ) -> StreamEnd:
        """End the stream: drain the queue, send END, wait until it is dealt with.

        Parameters
        ----------
        status : {"ok", "aborted", "failed"}
            How the acquisition ended.
        reason : str
            For people.
        timeout_s : float
            With ``ok`` the longest wait without any progress of the engine,
            otherwise the longest wait. What waits then is shed.
        missing : int
            Exposures that the camera lost, those after the last frame included.

        Returns
        -------
        StreamEnd
            As sent. `end_acked` says whether the engine confirmed it.
        """
        box = self._outbox
        with box.changed:
            box.finish(status, reason[:1024], missing)
            self._waker.ring()
            deadline = time.monotonic() + timeout_s
            self._wait(lambda: not box.waiting, status, timeout_s, deadline)
            if box.waiting:
                box.cut = True
                self._waker.ring()
            if status == "ok":
                deadline = time.monotonic() + timeout_s
            while box.end is None and self._thread.is_alive():
                box.changed.wait(_WAIT_S)
            if not box.refused:
                self._wait(lambda: box.end_acked, status, timeout_s, deadline)
            if box.failure is not None:
                raise box.failure
            if box.end is None:
                raise StreamError("the sender is closed: no END can be sent")
            return box.end

    def _wait(
        self,
        ready: Callable[[], bool],
        status: EndStatus,
        timeout_s: float,
        deadline: float,
    ) -> None:
        """Wait for `ready`; with ``ok`` any progress starts the time anew."""
        box = self._outbox
        seen = (box.sent, box.acked)
        while not ready() and self._thread.is_alive():
            left = deadline - time.monotonic()
            if left <= 0 or box.failure is not None or box.refused:
                return
            box.changed.wait(min(left, _WAIT_S))
            if status == "ok" and seen != (box.sent, box.acked):
                seen = (box.sent, box.acked)
                deadline = time.monotonic() + timeout_s

    def _raise_failure(self) -> None:
        """Raise what ended the sender, if anything did; the lock is held."""
        box = self._outbox
        if box.failure is not None:
            raise box.failure
        if box.refused:
            raise StreamError(f"the engine refuses the stream: {box.refused}")
        if box.ending is not None or self._closed:
            raise StreamError("the stream has ended: no more frames can be sent")

    def close(self) -> None:
        """Stop the thread and drop the connection. Idempotent.

        A stream that was not finished is ``lost`` to the engine.
        """
        if self._closed:
            return
        self._closed = True
        with self._outbox.changed:
            self._outbox.stopping = True
            self._outbox.changed.notify_all()
        self._waker.ring()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            raise StreamError(f"the sender's thread did not end in {_JOIN_S:.0f} s")
        self._context.term()

    def __enter__(self) -> FrameSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
