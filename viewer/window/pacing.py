"""When to redraw, so that news are soon on screen and the processor stays free."""

from __future__ import annotations

import time
from collections import deque

from ...stream.latency import Latency

BUSY_SHARE = 0.3  # of one core, at most, for redraws that nobody asked for
SHORTEST_S = 0.04  # from redraw to redraw
LONGEST_S = 0.09  # where redraws are cheap: news are to be on screen within 100 ms
WAITING = 256  # publications that wait to be seen, at most


class Pace:
    """Spaces redraws by what they cost.

    The processor time of the whole process since the last redraw counts, painting
    and following the session included, but lengthens the pause up to 90 ms only;
    beyond that only redraws that are dear themselves do.

    Attributes
    ----------
    redraws : int
        So far.
    cost_ms : Latency
        What each took, from reading the image until it was on screen.
    """

    def __init__(self) -> None:
        self.redraws = 0
        self.cost_ms = Latency()
        self._began_s = -10.0
        self._spent_s = time.process_time()
        self._typical_s = 0.0

    def pause_s(self) -> float:
        """Give the least time from the last redraw to the next, seconds."""
        spent = time.process_time() - self._spent_s
        pause = min(max(SHORTEST_S, spent / BUSY_SHARE), LONGEST_S)
        return max(pause, self._typical_s / BUSY_SHARE)

    def due_in_s(self) -> float:
        """Say how long news still have to wait; 0 or less: redraw."""
        return self._began_s + self.pause_s() - time.monotonic()

    def hurry(self) -> None:
        """Let the next redraw be due now: the user asked for it."""
        self._began_s = -10.0

    def begin(self) -> None:
        """Note that a redraw begins."""
        self._began_s, self._spent_s = time.monotonic(), time.process_time()

    def end(self) -> None:
        """Note that what was drawn is on screen."""
        took_s = time.monotonic() - self._began_s
        self._typical_s = (
            took_s if not self.redraws else (0.8 * self._typical_s + 0.2 * took_s)
        )
        self.cost_ms.add(took_s * 1e3)
        self.redraws += 1


class ScreenLatency:
    """Measures from a publication of rows until they are on screen.

    Publications are noted as they are noticed, up to 30 times a second, each with
    the document's revision that holds it. So also rows count that came right after a
    redraw and wait longest.

    Attributes
    ----------
    latency : Latency
        From published to on screen, milliseconds.
    """

    def __init__(self) -> None:
        self.latency = Latency()
        self._waiting: deque[tuple[int, int]] = deque(maxlen=WAITING)
        self._newest_ns = 0

    def noticed(self, published_ns: int, revision: int) -> None:
        """Note the newest publication and the revision of the document with it."""
        if published_ns and published_ns != self._newest_ns:
            self._newest_ns = published_ns
            self._waiting.append((published_ns, revision))

    def shown(self, revision: int) -> float | None:
        """Count all that a picture of this revision showed for the first time.

        Returns
        -------
        float or None
            The longest of them, milliseconds; None when nothing was new.
        """
        now, longest = time.monotonic_ns(), None
        while self._waiting and self._waiting[0][1] <= revision:
            ms = (now - self._waiting.popleft()[0]) / 1e6
            self.latency.add(ms)
            longest = max(ms, longest or 0.0)
        return longest

    def forget(self) -> None:
        """Drop what waits: another session."""
        self._waiting.clear()
