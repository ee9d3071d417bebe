"""Free ports of this machine for a session, which no other program gets by chance."""

from __future__ import annotations

import socket
import sys

from .endpoints import FREE


class ReservedPorts:
    """Fills free ports into addresses, and keeps them for the session's engine.

    On Linux a port stays reserved until `close`, also while an engine that died is
    started again: a bound socket that does not listen keeps it from everyone who asks
    for any free port, and lets an engine bind it. Other systems would not let the
    engine bind it, so there it is free again once all addresses are filled; an engine
    that finds it taken then says so.

    Parameters
    ----------
    *endpoints : str or None
        Addresses; port 0, or None, takes a free one.

    Attributes
    ----------
    endpoints : tuple[str, ...]
        The same addresses with their real ports.
    """

    def __init__(self, *endpoints: str | None) -> None:
        self._sockets: list[socket.socket] = []
        self.endpoints = tuple(self._filled(endpoint or FREE) for endpoint in endpoints)
        if sys.platform != "linux":
            self.close()

    def _filled(self, endpoint: str) -> str:
        host, _, port = endpoint.rpartition(":")
        if port not in ("0", "*"):
            return endpoint
        probe = socket.socket()
        self._sockets.append(probe)
        if sys.platform == "linux":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        return f"{host}:{probe.getsockname()[1]}"

    def close(self) -> None:
        """Release the ports. Idempotent."""
        for probe in self._sockets:
            probe.close()
        self._sockets.clear()

    def __enter__(self) -> ReservedPorts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
