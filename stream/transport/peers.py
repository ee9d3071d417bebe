"""Who talks to a receiver, and whom it does not listen to any more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sockets.limits import Limits


@dataclass(slots=True)
class Peer:
    """One connection, by the routing id that the socket gave it.

    Attributes
    ----------
    heard_s : float
        Time of its last message, monotonic seconds.
    window_s, refused : float, int
        Start of the present second, and messages refused since.
    banned_until_s : float
        Nothing is taken from it before.
    proof : bytes or None
        What answers to it show, once it has proven that it knows the session's key.
    """

    heard_s: float
    window_s: float
    refused: int = 0
    banned_until_s: float = 0.0
    proof: bytes | None = None


class Peers:
    """The most recent connections, a bounded number of them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._peers: dict[bytes, Peer] = {}

    def seen(self, identity: bytes, now_s: float, keep: bytes | None) -> Peer:
        """Note a message; forget whoever was silent longest, but never `keep`."""
        peer = self._peers.get(identity)
        if peer is None:
            others = [other for other in self._peers if other != keep]
            if len(self._peers) >= self._limits.peers and others:
                del self._peers[min(others, key=lambda i: self._peers[i].heard_s)]
            peer = self._peers[identity] = Peer(now_s, now_s)
        peer.heard_s = now_s
        return peer

    def refuse(self, peer: Peer, now_s: float) -> bool:
        """Count a refused message; True when the peer is banned for it."""
        if now_s - peer.window_s > 1.0:
            peer.window_s, peer.refused = now_s, 0
        peer.refused += 1
        if peer.refused < self._limits.rejects_per_s:
            return False
        peer.banned_until_s = now_s + self._limits.banned_s
        peer.refused = 0
        return True
