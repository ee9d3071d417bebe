"""Localizations and status from the engine to any number of viewers.

What is new goes out on PUB/SUB, where a slow or absent viewer loses messages.
Every row has a number, so a viewer sees what it lacks and fetches it from a
second socket (DEALER to ROUTER). How many rows there are is repeated twice a
second, so a viewer that starts late, or that lost the very last rows, learns what
to fetch even when nothing is published. Messages: see `broadcast_messages`; raw
frames to look at: see `preview_channel`.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

from ..errors import MessageError, SettingsError, StreamError
from ..preview import Preview
from ..sockets.admission import Admission
from .messages import (
    METADATA_BYTES,
    PAYLOAD_BYTES,
    STATUS_BYTES,
    name_run,
    named_by,
    pack,
    pack_rows,
    unpack,
    unpack_map,
    unpack_rows,
)
from .previews import QUEUE_FRAMES, PreviewReceiver, PreviewSender
from .sockets import HANDSHAKE_REFUSED, bind, open_socket, split_endpoint, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..localizations import Localizations
    from ..sockets.session_key import SessionKey

STATE_INTERVAL_S = 0.5
RETRY_S = 1.0
PUBLISH_ROWS = 8_192  # rows of one message on PUB
FETCH_ROWS = 65_536  # rows of one answer to a fetch
TURN = 64  # messages of viewers that are looked at in one call


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


class LocalizationPublisher:
    """The engine's side. One thread owns it and calls `serve` a few times a second.

    Parameters
    ----------
    endpoint : str
        ``tcp://127.0.0.1:PORT``; port 0 takes a free one. Snapshots are served
        at the next port, or at a free one where that is taken.
    rows : Callable[[int, int], Localizations]
        Gives `count` rows from `first` on of the present table, as
        ``TableWriter.read_rows``. Rows must be there before they are published.
    queue_messages : int
        Messages kept for a slow viewer before it has to fetch.
    key : SessionKey, optional
        Only viewers that know it are let in; without one, any program of this
        machine.

    Raises
    ------
    SettingsError
        The address is not on this machine, or taken.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        rows: Callable[[int, int], Localizations],
        queue_messages: int = 256,
        key: SessionKey | None = None,
    ) -> None:
        host, port = split_endpoint(endpoint)
        self._fetch_rows = rows
        self._key = key
        self._run = b""
        self._count = 0
        self._stream_id = self._metadata = b""
        self._state_at = 0.0
        self.rejected: Counter[str] = Counter()
        self._context = zmq.Context()
        self._admission = Admission(self._context, key)
        self._pub = self._socket(zmq.XPUB, SNDHWM=queue_messages, XPUB_VERBOSE=1)
        self._router = self._socket(zmq.ROUTER, SNDHWM=16, ROUTER_MANDATORY=1)
        previews = self._socket(zmq.XPUB, SNDHWM=QUEUE_FRAMES)
        self._previews = PreviewSender(previews)
        self._sockets = (self._pub, self._router, previews)
        self._poller = zmq.Poller()
        for socket in self._sockets[:2]:
            self._poller.register(socket, zmq.POLLIN)
        try:
            self._port = bind(self._pub, host, port)
            try:
                self._fetch_port = bind(self._router, host, self._port % 65_535 + 1)
            except SettingsError:
                self._fetch_port = bind(self._router, host, 0)
            self._preview_port = bind(previews, host, 0)
        except SettingsError:
            self.close()
            raise
        self._host = host

    def _socket(self, kind: int, **options: int) -> zmq.Socket[bytes]:
        bounds = {"LINGER": 1000, "MAXMSGSIZE": 4096, "RCVHWM": TURN}
        socket = open_socket(self._context, kind, **bounds, **options)
        self._admission.guard(socket)
        return socket

    @property
    def endpoint(self) -> str:
        """Address that viewers connect to, with the real port."""
        return f"tcp://{self._host}:{self._port}"

    def begin(
        self, stream_id: bytes, metadata: Mapping[str, str], *, rows: int = 0
    ) -> None:
        """Start a table; every viewer forgets the one before.

        Parameters
        ----------
        stream_id : bytes
            16-byte UUID of the acquisition.
        metadata : Mapping[str, str]
            Of the table, at most 64 KiB.
        rows : int
            Rows that a resumed table has already.

        Raises
        ------
        SettingsError
            Metadata too large.
        """
        payload = msgpack.packb(dict(metadata))
        if len(payload) > METADATA_BYTES:
            raise SettingsError(
                f"table metadata take {len(payload)} bytes; viewers accept "
                f"{METADATA_BYTES}. Shorten the stream's metadata."
            )
        self._run, self._count = name_run(self._key), rows
        self._stream_id, self._metadata = bytes(stream_id), payload
        self._pub.send_multipart(self._pack_begin())

    def publish(self, localizations: Localizations) -> None:
        """Send rows to all viewers, numbered after those sent before. Never blocks.

        Raises
        ------
        StreamError
            Nothing was begun.
        """
        if not self._run:
            raise StreamError("rows were published before begin() named their stream")
        now_ns = time.monotonic_ns()
        for start in range(0, len(localizations), PUBLISH_ROWS):
            part = localizations[start : start + PUBLISH_ROWS]
            message = pack_rows(self._run, self._count, part, published_ns=now_ns)
            self._pub.send_multipart(message)
            self._count += len(part)

    @property
    def preview_wanted(self) -> bool:
        """Whether any viewer shows raw frames; `serve` looks twice a second."""
        return bool(self._run) and self._previews.wanted

    def preview(self, preview: Preview) -> None:
        """Send a raw frame to the viewers that keep up. Never blocks.

        Raises
        ------
        StreamError
            Nothing was begun.
        """
        if not self._run:
            raise StreamError("a preview was sent before begin() named its stream")
        self._previews.send(self._run, preview)

    def status(self, values: Mapping[str, Any]) -> None:
        """Send a small map of numbers and text, a few times a second.

        Raises
        ------
        SettingsError
            More than 4 KiB.
        """
        payload = msgpack.packb(dict(values))
        if len(payload) > STATUS_BYTES:
            raise SettingsError(
                f"a status takes {len(payload)} bytes; viewers accept {STATUS_BYTES}. "
                "Send sums, not lists."
            )
        self._pub.send_multipart(self._pack("status", payload))

    def serve(self, timeout_s: float = 0.0) -> None:
        """Answer viewers: at most 8 fetches, after up to `timeout_s` for the first.

        What comes in beyond a bounded number of messages is left for the next call.
        """
        self._poller.poll(int(timeout_s * 1000))
        joined = any(parts[0][:1] == b"\x01" for parts in waiting(self._pub, TURN))
        if joined or time.monotonic() - self._state_at > STATE_INTERVAL_S:
            self._state_at = time.monotonic()
            state = self._pack("state", b"", rows=self._count, **self._ports)
            self._pub.send_multipart(state)
            self._previews.notice()
        for _ in range(8):
            if not self._router.poll(0):
                break
            self._answer(self._router.recv_multipart(zmq.NOBLOCK))

    def _answer(self, parts: list[bytes]) -> None:
        try:
            header, _ = unpack(parts[1:], ("fetch",))
        except MessageError as error:
            self.rejected[error.reason] += 1
            return
        if not self._run:
            return
        if header["run"] != self._run:
            reply = self._pack_begin()
        else:
            first = min(header["first"], self._count)
            count = min(header["count"], FETCH_ROWS, self._count - first)
            rows = self._fetch_rows(first, count)[:count]
            reply = pack_rows(self._run, first, rows)
        try:
            self._router.send_multipart([parts[0], *reply], zmq.NOBLOCK)
        except zmq.ZMQError:  # gone, or does not read: it asks again
            self.rejected["unreachable"] += 1

    def _pack_begin(self) -> list[bytes]:
        return self._pack(
            "begin",
            self._metadata,
            rows=self._count,
            stream_id=self._stream_id,
            **self._ports,
        )

    @property
    def _ports(self) -> dict[str, int]:
        return {"port": self._fetch_port, "preview_port": self._preview_port}

    def _pack(self, kind: str, payload: bytes = b"", **fields: Any) -> list[bytes]:
        return pack(kind, self._run, payload, **fields)

    def close(self) -> None:
        """Send what is queued for at most 1 s, close the sockets. Idempotent."""
        for socket in self._sockets:
            socket.close()
        self._context.term()

    def __enter__(self) -> LocalizationPublisher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LocalizationSubscriber:
    """The viewer's side: every row once and in order, whatever was lost between.

    One thread owns it. Survives restarts of the engine and may start before it.

    Parameters
    ----------
    endpoint : str
        The publisher's.
    queue_messages : int
        Messages that wait here while nobody polls; what does not fit is fetched.
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
        self._heard = b""  # whose the newest message was
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
        """Seconds since the engine was last heard; it speaks twice a second."""
        return time.monotonic() - self._heard_at

    @property
    def behind(self) -> int:
        """Rows that the engine is known to have and that are still to be fetched."""
        return max(0, self._total - self._next) if self._run == self._heard else 0

    def poll(self, timeout_s: float = 0.0) -> list[Update]:
        """Give what arrived; wait up to `timeout_s` when there is nothing.

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
            self._knock()
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

    def _knock(self) -> None:
        """Connect anew after a refusal, as ZeroMQ does not; without a key give up."""
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
                self._heard, self._heard_at = run, time.monotonic()
            if "port" in header:
                self._connect(header["port"])
            if "preview_port" in header:
                self._look_at(header["preview_port"])
            if kind == "status":
                status.append(Status(unpack_map(payload, "status")))
            elif kind == "begin" and run != self._run and run == self._heard:
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
        """Give what of `rows`, and of those that came early, is due now."""
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
        lacking = self._heard != self._run or self._next < self._total
        waited = time.monotonic() - self._asked_at
        if not lacking or not self._heard or not self._dealer or waited < RETRY_S:
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
