"""Previews travel on a PUB/SUB pair of their own, where queues are two frames long.

So none of them ever stands before a row or takes its place in a queue, and a viewer
that does not read costs no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MessageError
from .messages import pack_preview, unpack, unpack_preview
from .sockets import waiting

if TYPE_CHECKING:
    from collections import Counter

    import zmq

    from ..preview import Preview

QUEUE_FRAMES = 2


class PreviewSender:
    """The engine's side.

    Parameters
    ----------
    socket : zmq.Socket
        XPUB, bound; closed by its owner.

    Attributes
    ----------
    wanted : bool
        Any viewer was there to look at previews when `notice` was called.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.wanted = False

    def notice(self) -> None:
        """See who came and went."""
        for parts in waiting(self._socket):
            self.wanted = parts[0].startswith(b"\x01")

    def send(self, run: bytes, preview: Preview) -> None:
        """Send to whoever keeps up. Never blocks."""
        self._socket.send_multipart(pack_preview(run, preview))


class PreviewReceiver:
    """The viewer's side.

    Parameters
    ----------
    socket : zmq.Socket
        SUB, connected; closed by its owner.
    port : int
        Where it is connected to.
    """

    def __init__(self, socket: zmq.Socket[bytes], port: int) -> None:
        self.socket, self.port = socket, port

    def newest(self, run: bytes, rejected: Counter[str]) -> Preview | None:
        """Take what waits; return the newest frame of table `run`; count bad ones."""
        found: Preview | None = None
        for parts in waiting(self.socket):
            try:
                header, payload = unpack(parts, ("preview",))
                if header["run"] == run:
                    found = unpack_preview(header, payload)
            except MessageError as error:
                rejected[error.reason] += 1
        return found
