"""Localizations and status from the engine to any number of viewers.

New rows go out on PUB/SUB, where a slow or absent viewer loses messages. Every row has
a number, so a viewer sees what it lacks and fetches it from a second socket (DEALER to
ROUTER). How many rows there are is repeated twice a second, so a viewer that starts
late, or that lost the very last rows, learns what to fetch even when nothing is
published. Messages: see `messages`; raw frames to look at: see `previews`.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgpack
import zmq

from ..errors import MessageError, SettingsError, StreamError
from ..sockets.admission import Admission
from .messages import (
    FETCH_ROWS,
    METADATA_BYTES,
    STATUS_BYTES,
    name_run,
    pack,
    pack_rows,
    unpack,
)
from .previews import QUEUE_FRAMES, PreviewSender
from .sockets import bind, open_socket, split_endpoint, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..localizations import Localizations
    from ..preview import Preview
    from ..sockets.session_key import SessionKey

STATE_INTERVAL_S = 0.5
PUBLISH_ROWS = 8_192  # rows of one message on PUB
TURN = 64  # messages of viewers that are looked at in one call


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
