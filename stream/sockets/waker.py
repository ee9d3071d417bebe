"""Wakes a thread that waits for sockets."""

from __future__ import annotations

import threading

import zmq


class Waker:
    """A pair of inproc sockets: any thread rings, the owner polls and clears.

    Parameters
    ----------
    context : zmq.Context
        The one of the owner's other sockets.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self.socket = context.socket(zmq.PAIR)
        self._bell = context.socket(zmq.PAIR)
        address = f"inproc://waker-{id(self)}"
        for end in (self.socket, self._bell):
            end.setsockopt(zmq.LINGER, 0)
        self.socket.bind(address)
        self._bell.connect(address)

    def ring(self) -> None:
        """Make the owner's poll return. Never blocks; rings once until cleared."""
        with self._lock:
            if not self._rung and not self._bell.closed:
                self._rung = True
                self._bell.send(b"")

    def clear(self) -> None:
        """Take note of the bell, before looking at what it was rung for."""
        with self._lock:
            if self._rung:
                self._rung = False
                self.socket.recv()

    def close(self) -> None:
        """Close both ends. Only the owner may call it."""
        with self._lock:
            self._bell.close()
            self.socket.close()
