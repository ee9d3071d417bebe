"""Localizations, status and raw frames from an engine, as a viewer receives them."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from ..errors import MessageError, StreamError
from ..preview import Preview
from .messages import (
    FETCH_ROWS,
    PAYLOAD_BYTES,
    named_by,
    pack,
    unpack,
    unpack_map,
    unpack_rows,
)
from .previews import QUEUE_FRAMES, PreviewReceiver
from .sockets import HANDSHAKE_REFUSED, open_socket, split_endpoint, waiting

if TYPE_CHECKING:
    from ..localizations import Localizations
    from ..sockets.session_key import SessionKey

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Rows:
    """The next rows of the table.

    Attributes
    ----------
    localizations : Localizations
        One or more.
    first_row : int
        Number of the first.
    published_ns : int
        Engine's monotonic clock when they were sent; 0 where they had to be fetched.
    """

    localizations: Localizations
    first_row: int
    published_ns: int = 0


@dataclass(frozen=True, slots=True)
class Reset:
    """Another stream, or the same from an engine that restarted: forget all rows."""

    stream_id: bytes
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class Status:
    """The newest status; older ones that were not fetched in time are gone."""

    values: dict[str, Any]


Update = Rows | Reset | Status | Preview


class LocalizationSubscriber:
    """The viewer's side: every row once and in order, whatever was lost between.

    One thread owns it. Survives restarts of the engine and may start before it.

    Parameters
    ----------
    endpoint : str
        The publisher's.
    queue_messages : int
        Messages that wait here between polls; what does not fit is fetched.
    previews : bool
        Whether raw frames are wanted, too.
    key : SessionKey, optional
        Only an engine that knows it is believed; without one, whatever answers at the
        address.

    Raises
    ------
    SettingsError
        The address is not on this machine.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        queue_messages: int = 256,
        previews: bool = False,
        key: SessionKey | None = None,
    ) -> None:
        self._key = key
        self._host, port = split_endpoint(endpoint)
        self._run = b""  # whose rows we have
        self._newest_run = b""  # whose the newest message was
        self._next = 0  # number of the row we wait for
        self._total = 0  # rows that the engine has
        self._early: deque[Rows] = deque(maxlen=64)  # behind a gap that is fetched
        self._asked_at = -RETRY_S
        self._heard_at = time.monotonic()
        self._fetch_port = 0
        self.rejected: Counter[str] = Counter()
        self._context = zmq.Context()
        self._sub = self._socket(zmq.SUB, RCVHWM=queue_messages, SUBSCRIBE=b"")
        self._address = f"tcp://{self._host}:{port}"
        self._monitor = self._sub.get_monitor_socket(HANDSHAKE_REFUSED)
        self._knock_at = math.inf  # when a connection that was refused is tried again
        self._sub.connect(self._address)
        self._dealer: zmq.Socket[bytes] | None = None
        self._previews_wanted = previews
        self._previews: PreviewReceiver | None = None

    def _socket(self, kind: int, **options: int | bytes) -> zmq.Socket[bytes]:
        socket = open_socket(
            self._context, kind, LINGER=0, MAXMSGSIZE=PAYLOAD_BYTES, **options
        )
        if self._key is not None:
            self._key.show(socket)
        return socket

    @property
    def silent_s(self) -> float:
        """Seconds since the last message of the engine, which sends two a second."""
        return time.monotonic() - self._heard_at

    @property
    def behind(self) -> int:
        """Rows that the engine is known to have and that are still to be fetched."""
        return max(0, self._total - self._next) if self._run == self._newest_run else 0

    def poll(self, timeout_s: float = 0.0) -> list[Update]:
        """Return what arrived; wait up to `timeout_s` when there is nothing.

        Returns
        -------
        list[Update]
            In order; at most one Preview and one Status, the newest, last.

        Raises
        ------
        StreamError
            This viewer has no key, and what answers at the address does not let it in.
        """
        updates: list[Update] = []
        status: list[Update] = []
        deadline = time.monotonic() + timeout_s
        while True:
            self._retry_handshake()
            self._ask()
            left = max(0.0, deadline - time.monotonic())
            self._wait(min(left, RETRY_S / 4))
            for parts in waiting(self._sub):
                self._take(parts, updates, status, fetched=False)
            if self._dealer is not None:
                for parts in waiting(self._dealer):
                    self._take(parts, updates, status, fetched=True)
            if self._previews is not None:
                newest = self._previews.newest(self._run, self.rejected)
                updates += [] if newest is None else [newest]
            if updates or status or time.monotonic() >= deadline:
                self._ask()
                return updates + status[-1:]

    def _retry_handshake(self) -> None:
        """Connect anew after a refusal, as ZeroMQ does not; without a key, fail."""
        if waiting(self._monitor):
            if self._key is None:
                raise StreamError(
                    f"what answers at {self._address} lets no stranger look: it "
                    "belongs to a session of its own. Look at that with 'liveloc view "
                    "FOLDER', its folder."
                )
            self._knock_at = time.monotonic() + RETRY_S
        if time.monotonic() >= self._knock_at:
            self._knock_at = math.inf
            with suppress(zmq.ZMQError):  # ZeroMQ has given the connection up already
                self._sub.disconnect(self._address)
            self._sub.connect(self._address)

    def _wait(self, timeout_s: float) -> None:
        previews = self._previews.socket if self._previews is not None else None
        poller = zmq.Poller()
        for socket in (self._sub, self._dealer, previews):
            if socket is not None:
                poller.register(socket, zmq.POLLIN)
        poller.poll(int(timeout_s * 1000))

    def _take(
        self,
        parts: list[bytes],
        updates: list[Update],
        status: list[Update],
        *,
        fetched: bool,
    ) -> None:
        known = ("begin", "rows") if fetched else ("state", "begin", "rows", "status")
        try:
            header, payload = unpack(parts, known)
            kind, run = header["type"], header["run"]
            if self._key is not None and not named_by(run, self._key):
                raise MessageError("key", "of an engine of another session")
            if not fetched:
                self._newest_run, self._heard_at = run, time.monotonic()
            if "port" in header:
                self._connect(header["port"])
            if "preview_port" in header:
                self._look_at(header["preview_port"])
            if kind == "status":
                status.append(Status(unpack_map(payload, "status")))
            elif kind == "begin" and run != self._run and run == self._newest_run:
                updates.append(self._reset(header, payload))
            elif kind == "rows" and run == self._run:
                rows = unpack_rows(header, payload)
                if fetched:
                    self._asked_at = -RETRY_S if len(rows) else self._asked_at
                sent_ns = header.get("published_ns", 0)
                updates.extend(self._in_order(Rows(rows, header["first"], sent_ns)))
            elif kind == "state" and run == self._run:
                self._total = max(self._total, header["rows"])
        except MessageError as error:
            self.rejected[error.reason] += 1

    def _reset(self, header: dict[str, Any], payload: bytes) -> Reset:
        metadata = unpack_map(payload, "metadata")
        self._run, self._next, self._total = header["run"], 0, header["rows"]
        self._early.clear()
        self._asked_at = -RETRY_S
        text = {str(key): str(value) for key, value in metadata.items()}
        return Reset(header["stream_id"], text)

    def _in_order(self, rows: Rows) -> list[Update]:
        """Return what of `rows`, and of those that came early, is due now."""
        self._total = max(self._total, rows.first_row + len(rows.localizations))
        self._early.append(rows)
        due: list[Update] = []
        waiting = sorted(self._early, key=lambda early: early.first_row)
        self._early.clear()
        for early in waiting:
            known = self._next - early.first_row
            if known < 0:
                self._early.append(early)
            elif known < len(early.localizations):
                new = early.localizations[known:]
                due.append(Rows(new, self._next, early.published_ns))
                self._next += len(early.localizations) - known
        return due

    def _ask(self) -> None:
        """Fetch what is missing, unless an answer is due."""
        lacking = self._newest_run != self._run or self._next < self._total
        waited = time.monotonic() - self._asked_at
        if not lacking or not self._newest_run or not self._dealer or waited < RETRY_S:
            return
        self._asked_at = time.monotonic()
        count = FETCH_ROWS
        parts = pack("fetch", self._run, first=self._next, count=count)
        try:
            self._dealer.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            pass  # no engine there now: asked again after RETRY_S

    def _connect(self, port: int) -> None:
        if port == self._fetch_port or not 0 < port < 65_536:
            return
        if self._dealer is not None:
            self._dealer.close()
        self._dealer = self._socket(zmq.DEALER, SNDHWM=4)
        self._dealer.connect(f"tcp://{self._host}:{port}")
        self._fetch_port, self._asked_at = port, -RETRY_S

    def _look_at(self, port: int) -> None:
        """Receive previews from another port than before."""
        known = self._previews.port if self._previews is not None else 0
        if not self._previews_wanted or port == known or not 0 < port < 65_536:
            return
        if self._previews is not None:
            self._previews.socket.close()
        socket = self._socket(zmq.SUB, RCVHWM=QUEUE_FRAMES, SUBSCRIBE=b"")
        socket.connect(f"tcp://{self._host}:{port}")
        self._previews = PreviewReceiver(socket, port)

    def close(self) -> None:
        """Close the sockets. Idempotent."""
        if not self._sub.closed:
            self._sub.disable_monitor()
        self._context.destroy(linger=0)

    def __enter__(self) -> LocalizationSubscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
