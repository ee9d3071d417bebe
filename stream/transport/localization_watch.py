"""Notices, beside the camera, that frames arrive and are not localized."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Standstill:
    """Frames that arrived while none was localized.

    Attributes
    ----------
    first_seq, last_seq : int
        First frame that was not localized, newest frame that had arrived.
    seconds : float
        Time without a localized frame.
    cause : str
        What the bridge knows of the engine, for people.
    over : bool
        Frames are localized again.
    """

    first_seq: int
    last_seq: int
    seconds: float
    cause: str
    over: bool

    @property
    def text(self) -> str:
        """One line for people."""
        if self.over:
            return (
                f"frames {self.first_seq} to {self.last_seq} arrived within "
                f"{self.seconds:.1f} s in which nothing was localized: {self.cause}. "
                "Localizing goes on."
            )
        return (
            f"frames arrive and are not localized, from frame {self.first_seq} on "
            f"({self.seconds:.1f} s so far): {self.cause}"
        )


class LocalizationWatch:
    """Compares frames that arrived with those that were localized. No lock.

    A frame is localized when its successor is there, so the newest one is never
    waited for. Frames that were shed are not waited for either. Any frame that is
    localized counts as progress, however late it comes.

    Parameters
    ----------
    patience_s : float
        Time without progress that is no standstill yet.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._newest = self._before = -1  # of the frames that were kept
        self._reached = -1
        self._waiting_since_s: float | None = None
        self._reported: int | None = None  # first frame of a standstill
        self._cause = ""

    @property
    def deadline_s(self) -> float | None:
        """Monotonic time at which a standstill begins; None: nothing is due."""
        if self._waiting_since_s is None or self._reported is not None:
            return None
        return self._waiting_since_s + self._patience_s

    def standing_still(self, now_s: float) -> bool:
        """Whether frames have been arriving for too long without progress."""
        since_s = self._waiting_since_s
        return since_s is not None and now_s - since_s > self._patience_s

    def arrived(self, seq: int, now_s: float) -> None:
        """Note that frame `seq` arrived and was kept for the engine."""
        self._before, self._newest = self._newest, seq
        if self._waiting_since_s is None and self._before > self._reached:
            self._waiting_since_s = now_s

    def localized(self, seq: int, now_s: float) -> Standstill | None:
        """Note that frame `seq` is localized; return a standstill that this ends."""
        if seq <= self._reached:
            return None
        if self._reported is None and self.standing_still(now_s):
            # Whoever should have looked stood still, too.
            self._reported, self._cause = self._reached + 1, "the bridge was held up"
        ended = self._standstill(now_s, over=True)
        self._reached, self._reported = seq, None
        self._waiting_since_s = now_s if self._before > seq else None
        return ended

    def look(self, now_s: float, cause: str) -> Standstill | None:
        """Return a standstill that begins now, once."""
        if self.deadline_s is None or now_s < self.deadline_s:
            return None
        self._reported, self._cause = self._reached + 1, cause
        return self._standstill(now_s, over=False)

    def _standstill(self, now_s: float, *, over: bool) -> Standstill | None:
        if self._reported is None or self._waiting_since_s is None:
            return None
        waited_s = now_s - self._waiting_since_s
        return Standstill(self._reported, self._newest, waited_s, self._cause, over)
