"""When to redraw: new rows are soon on screen, the processor stays free."""

from __future__ import annotations

import time
from collections import deque

from liveloc.stream.latency import Latency

BUSY_SHARE = 0.3  # of one core, at most, for redraws without a user action
SHORTEST_S = 0.04  # from redraw to redraw
RECENT = 0.2  # weight of the newest redraw in what one costs
WAITING = 256  # publications that wait to be seen, at most


class Pace:
    """Spaces redraws by the processor time that they cost the window's thread.

    At least 40 ms: a redraw that takes 12 ms or less shows new rows within that, a dear
    one (a large screen, no graphics) comes as seldom as it has to.

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
        self._began_busy_s = self._typical_busy_s = 0.0

    @property
    def pause_s(self) -> float:
        """The least time from the beginning of a redraw to the next, seconds."""
        return max(SHORTEST_S, self._typical_busy_s / BUSY_SHARE)

    def due_in_s(self) -> float:
        """Return the seconds until the next redraw is due; 0 or less: now."""
        return self._began_s + self.pause_s - time.monotonic()

    def hurry(self) -> None:
        """Let the next redraw be due now: the user asked for it."""
        self._began_s = -10.0

    def begin(self) -> None:
        """Note that a redraw begins."""
        self._began_s, self._began_busy_s = time.monotonic(), time.thread_time()

    def end(self) -> None:
        """Note that what was drawn is on screen."""
        busy_s = time.thread_time() - self._began_busy_s
        weight = RECENT if self.redraws else 1.0
        self._typical_busy_s += weight * (busy_s - self._typical_busy_s)
        self.cost_ms.add((time.monotonic() - self._began_s) * 1e3)
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
