"""Who may talk to an engine's sockets: asked by ZeroMQ before a peer's first message.

A peer that is not let in is cut off in its handshake. Nothing that it sends, however
much, is kept or reaches the application.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import zmq

if TYPE_CHECKING:
    from .session_key import SessionKey

_ZAP = "inproc://zeromq.zap.01"  # the address is ZeroMQ's
_DOMAIN = b"liveloc"


class Admission:
    """Answers for all sockets of a context, in a thread of its own.

    With a key, a peer has to say its password. Without one, every program of this
    machine is let in that speaks ZMTP 3: older versions of the protocol, as which
    random bytes may pass, are not.

    Parameters
    ----------
    context : zmq.Context
        Of the sockets. The thread ends when the context does.
    key : SessionKey, optional
        What peers have to know.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], key: SessionKey | None
    ) -> None:
        self._key = key
        socket = context.socket(zmq.REP)
        socket.linger = 0
        socket.bind(_ZAP)
        self._thread = threading.Thread(
            target=self._run, args=(socket,), name="liveloc-admission", daemon=True
        )
        self._thread.start()

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Ask here about every peer of a socket. Call it before the socket is bound."""
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        if self._key is not None:
            socket.plain_server = True

    def _run(self, socket: zmq.Socket[bytes]) -> None:
        try:
            while True:
                version, request, *asked = socket.recv_multipart()[:8]
                status, user = (
                    (b"200", b"peer") if self._lets_in(asked) else (b"400", b"")
                )
                socket.send_multipart([version, request, status, b"", user, b""])
        except zmq.ContextTerminated:
            pass
        finally:
            socket.close()

    def _lets_in(self, asked: list[bytes]) -> bool:
        """Judge domain, address, routing id, mechanism and credentials of a peer."""
        if self._key is None:
            return True
        mechanism, credentials = asked[3], asked[4:]
        return mechanism == b"PLAIN" and self._key.opens(credentials)
