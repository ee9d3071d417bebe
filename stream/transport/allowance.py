"""What an engine allows its sender: absolute credit, as the sender knows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """Credit on one connection. Neither locks nor sockets.

    Attributes
    ----------
    wanted : int
        First exposure that the engine has not dealt with; those before it need not
        be sent.
    """

    wanted: int = 0
    _seq: int = -1
    _nbytes: int = 0
    _sent_nbytes: int = 0
    _last_sent: int = -1
    _announced: int = -1

    def started(self) -> None:
        """Note that START was sent: bytes count from here."""
        self._sent_nbytes = 0

    def lost(self) -> None:
        """Note that the connection came or went: nothing is allowed before START."""
        self._seq, self._nbytes = -1, 0

    def accepted(self, next_seq: int, credit_seq: int, credit_bytes: int) -> None:
        """Take the credit that comes with the acceptance of START."""
        self.wanted, self._announced = next_seq, -1
        self._seq, self._nbytes = credit_seq, credit_bytes

    def raised(self, credit_seq: int, credit_bytes: int) -> None:
        """Take more credit; a repeated or an older one does no harm."""
        self._seq = max(self._seq, credit_seq)
        self._nbytes = max(self._nbytes, credit_bytes)

    def covers(self, seq: int, nbytes: int) -> bool:
        """Whether frame `seq` of `nbytes` bytes of pixels may be sent."""
        return seq <= self._seq and self._sent_nbytes + nbytes <= self._nbytes

    def sent(self, seq: int, nbytes: int) -> None:
        """Note that frame `seq` left, or that the engine does not want it (0 bytes)."""
        self._last_sent = seq
        self._sent_nbytes += nbytes

    def needs_announcing(self, seq: int) -> bool:
        """Whether the engine must learn that frame `seq` comes next.

        Credit counts exposures. Behind a gap that is wider than the ring it ends
        before the next frame, and the engine cannot know that.
        """
        behind_a_gap = seq > self._seq and seq != self._last_sent + 1
        return behind_a_gap and seq != self._announced

    def announced(self, seq: int) -> None:
        """Note that the engine was sent this."""
        self._announced = seq
