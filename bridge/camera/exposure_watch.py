"""Notices that a camera changes its exposure by itself, without a query to it.

A running camera must not be queried (docs/decisions/0014). Its frames are watched
instead: the exposure in their metadata, where the adapter writes it, and the time from
frame to frame. After the sequence has stopped the camera is queried once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EXPOSURE_TAGS = ("Exposure-ms", "Exposure")
ALLOWED = 1e-3  # relative difference of exposures that are the same
WINDOW = 50  # intervals that are looked at together
SLOWER, FASTER = 1.05, 0.95  # of the interval at first
# A busy computer takes some frames late, and the next ones seem to come sooner. But a
# longer exposure makes nearly every interval longer, a shorter one nearly all shorter.
NEARLY_ALL = 0.1


class ExposureWatch:
    """Watches exposure and interval of the frames of one sequence.

    Parameters
    ----------
    camera : str
        Label, for people.
    exposure_ms : float
        Exposure at the start, ms.
    on_alarm : Callable[[str, bool], None]
        Called with one line for the user, and whether it is certain: at most once for
        each kind of evidence.
    """

    def __init__(
        self, camera: str, exposure_ms: float, on_alarm: Callable[[str, bool], None]
    ) -> None:
        self._camera, self._exposure_ms = camera, exposure_ms
        self._on_alarm = on_alarm
        self._last: tuple[int, int] | None = None  # number and time of a frame
        self._intervals: list[float] = []  # ms, of the present window
        self._usual_ms: float | None = None
        self._tagged_ms: float | None = None  # of the first frame
        self._odd_windows = 0
        self._warned: set[str] = set()

    def frame(self, number: int, t_ns: int | None, tags: Mapping[str, Any]) -> None:
        """Take a frame into account.

        Parameters
        ----------
        number : int
            The camera's count.
        t_ns : int or None
            Monotonic clock when it was taken from the buffer; None if others waited
            behind it: it had then come before.
        tags : mapping
            Its metadata.
        """
        self._look_at_tags(number, tags)
        if t_ns is None:
            self._last = None
            return
        if self._last is not None and number == self._last[0] + 1:
            self._intervals.append((t_ns - self._last[1]) / 1e6)
        self._last = number, t_ns
        if len(self._intervals) >= WINDOW:
            self._look_at_intervals(number)
            self._intervals.clear()

    def stopped(self, exposure_ms: float) -> None:
        """Take the camera's answer, once its sequence has stopped, in ms."""
        if not _same(exposure_ms, self._exposure_ms):
            self._warn(
                "answer",
                f"camera '{self._camera}' has changed its exposure by itself: after "
                f"the last frame it is {exposure_ms:g} ms, at the start it was "
                f"{self._exposure_ms:g} ms. From which frame on is not known: photons "
                "per frame and times may be wrong.",
                certain=True,
            )

    def _look_at_tags(self, number: int, tags: Mapping[str, Any]) -> None:
        tag = next((tag for tag in EXPOSURE_TAGS if tag in tags), None)
        if tag is None:
            return
        try:
            seen_ms = float(tags[tag])
        except (TypeError, ValueError):
            return
        if not (math.isfinite(seen_ms) and seen_ms > 0):
            return
        if self._tagged_ms is None:
            self._tagged_ms = seen_ms  # its unit may be the adapter's own
        elif not _same(seen_ms, self._tagged_ms):
            self._warn(
                "tag",
                f"camera '{self._camera}' has changed its exposure by itself: {tag} is "
                f"{seen_ms:g} in the metadata of frame {number}, before it was "
                f"{self._tagged_ms:g}. Photons per frame and times are wrong from "
                "there on.",
                certain=True,
            )

    def _look_at_intervals(self, number: int) -> None:
        """Compare a window of intervals with the first steady one."""
        low, high = np.quantile(self._intervals, (NEARLY_ALL, 1 - NEARLY_ALL))
        if self._usual_ms is None:
            median = float(np.median(self._intervals))
            # Right after the start frames may come late, and then close together.
            if FASTER * median < low and high < SLOWER * median:
                self._usual_ms = median
            return
        odd = low > SLOWER * self._usual_ms or high < FASTER * self._usual_ms
        self._odd_windows = self._odd_windows + 1 if odd else 0
        if self._odd_windows == 2:  # one may be a pause of a trigger
            self._warn(
                "interval",
                f"camera '{self._camera}': frames came every {self._usual_ms:.3g} ms "
                f"at first, near frame {number} they come every "
                f"{float(np.median(self._intervals)):.3g} ms. Has it changed its "
                f"exposure? It began with {self._exposure_ms:g} ms.",
                certain=False,
            )

    def _warn(self, kind: str, text: str, *, certain: bool) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._on_alarm(text, certain)


def _same(one: float, other: float) -> bool:
    return abs(one - other) <= ALLOWED * abs(other)
