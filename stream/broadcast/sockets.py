"""Sockets between an engine and its viewers: all on this machine."""

from __future__ import annotations

import zmq

from ..errors import SettingsError
from ..sockets.endpoints import loopback

HANDSHAKE_REFUSED = (
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Split a loopback endpoint into host and port; 0 is any free port."""
    host, _, port = loopback(endpoint).removeprefix("tcp://").rpartition(":")
    return host, int(port.replace("*", "0"))


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, **options: int | bytes
) -> zmq.Socket[bytes]:
    """Open a socket with ZeroMQ's options by their names."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, 1)
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
    return socket


def bind(socket: zmq.Socket[bytes], host: str, port: int) -> int:
    """Bind to a port, 0 is any free one, and return its number, or SettingsError."""
    try:
        socket.bind(f"tcp://{host}:{port}")
    except zmq.ZMQError as error:
        raise SettingsError(
            f"tcp://{host}:{port} cannot be used: {error}. Does another engine run? "
            "Stop it or choose another port."
        ) from error
    return int(socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])


def waiting(socket: zmq.Socket[bytes], most: int = 256) -> list[list[bytes]]:
    """Receive what waits, at most `most` messages: the owner has more to do."""
    messages: list[list[bytes]] = []
    while len(messages) < most and socket.poll(0):
        messages.append(socket.recv_multipart(zmq.NOBLOCK))
    return messages
