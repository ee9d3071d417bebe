"""Several acquisitions one after the other, each a stream of its own."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from liveloc.stream.frames import FrameSource

WAIT_S = 0.1


def repeated(
    build: Callable[[], FrameSource],
    times: int = 1,
    pause_s: float = 0.0,
    stop: threading.Event | None = None,
) -> Iterator[FrameSource]:
    """Build one source after the other; each is closed before the next is built.

    Parameters
    ----------
    build : Callable
        Makes a source, e.g. a `MicroManagerSource`, which sets the camera up again.
    times : int
        How many, 0 until `stop` is set.
    pause_s : float
        Between the end of one and the start of the next, seconds.
    stop : threading.Event, optional
        Ends a pause and the repetitions when set; only read here.

    Raises
    ------
    SettingsError
        Numbers that make no sense; what `build` raises goes through.
    """
    if times < 0:
        raise SettingsError(f"{times} acquisitions: give 1 or more, 0 until stopped.")
    if not (math.isfinite(pause_s) and pause_s >= 0):
        raise SettingsError(f"pause_s is {pause_s}. Give seconds, 0 or more.")
    done = 0
    while not (stop is not None and stop.is_set()):
        source = build()
        try:
            yield source
        finally:
            source.close()
        done += 1
        if done == times or not _paused(pause_s, stop):
            return


def _paused(pause_s: float, stop: threading.Event | None) -> bool:
    """Wait; False when stopped meanwhile."""
    end = time.monotonic() + pause_s
    while (left := end - time.monotonic()) > 0:
        if stop is None:
            time.sleep(min(left, WAIT_S))
        elif stop.wait(min(left, WAIT_S)):
            return False
    return True
