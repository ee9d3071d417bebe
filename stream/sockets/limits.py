"""How large and how many: every bound that a peer cannot push."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a peer may send, and on how long it may be silent.

    Attributes
    ----------
    payload_bytes : int
        Pixels of one frame. Larger messages close their connection.
    header_bytes : int
        Any header part, checked before it is decoded.
    start_bytes : int
        A START message, its metadata included.
    edge_px : int
        Height and width of a frame.
    ring_bytes : int
        Memory for frames; it shortens the ring where frames are large.
    peers : int
        Connections that are kept in mind at once.
    queued_messages : int
        High-water mark of a socket.
    handshake_s : float
        Time for a connection to say that it speaks ZeroMQ.
    heartbeat_s : float
        Pause between two heartbeats.
    missed_heartbeats : int
        So many pauses without a word, and the peer is lost.
    lost_after_s : float
        A stream whose sender is silent for so long is closed as ``lost``.
    reorder_frames : int
        Frames that may overtake a frame before its place is given up.
    seq_jump : int
        Largest believable step from one frame to the next.
    rejects_per_s : int
        Refused messages after which a peer is not listened to any more.
    banned_s : float
        For how long it is not.
    """

    payload_bytes: int = 64 << 20
    header_bytes: int = 4096
    start_bytes: int = 64 << 10
    edge_px: int = 8192
    ring_bytes: int = 1 << 30
    peers: int = 8
    queued_messages: int = 16
    handshake_s: float = 2.0
    heartbeat_s: float = 0.5
    missed_heartbeats: int = 3
    lost_after_s: float = 120.0
    reorder_frames: int = 8
    seq_jump: int = 1_000_000
    rejects_per_s: int = 100
    banned_s: float = 2.0

    @property
    def silence_s(self) -> float:
        """Silence after which a peer counts as lost, seconds."""
        return self.heartbeat_s * self.missed_heartbeats
