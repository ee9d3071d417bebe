"""Queries about a camera while it runs, answered without the camera.

Micro-Manager's device base class writes the name of every property that is read into a
string that no lock guards (``CDeviceBase::GetProperty``). Many adapters read their own
binning with every frame, in the thread that takes the frames. A query from another
thread at that moment, be it for the exposure or the pixel size, now and then corrupts
the heap of the process. pymmcore-plus makes such a query with every frame of a
hardware-timed acquisition.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

EXPOSURE = "Exposure"
SEEN_MS = 0.01  # the core keeps what was set, as text with two decimals


def avoid_live_queries(core: Any) -> None:
    """Make a core answer for its running camera from what it knows. Idempotent.

    ``getExposure`` and ``getPixelSizeUm`` query the camera only while it is idle; a
    change that is made through the core while it runs is seen all the same.
    """
    if not isinstance(getattr(core.getExposure, "__self__", None), _CachedQueries):
        _CachedQueries(core)


def property_of(core: Any, camera: str, name: str) -> str:
    """Read a property: from the camera while it is idle, else as the core last saw it.

    Raises
    ------
    RuntimeError
        The camera does not have it or cannot read it.
    """
    if core.isSequenceRunning(camera):
        known = _last_seen(core, camera, name)
        if known is not None:
            return known
    return str(core.getProperty(camera, name))


def _last_seen(core: Any, camera: str, name: str) -> str | None:
    """Read a property as the core last saw it, None where it never did."""
    try:
        return str(core.getPropertyFromCache(camera, name))
    except (RuntimeError, ValueError, KeyError):
        return None


def _exposure_now(exposure_ms: float, seen_then: str | None, seen: str | None) -> float:
    """Return the exposure as it was set, unless the core has seen another since."""
    if seen is None or seen == seen_then:
        return exposure_ms
    try:
        seen_ms = float(seen)
    except ValueError:
        return exposure_ms
    return exposure_ms if abs(seen_ms - exposure_ms) < SEEN_MS else seen_ms


class _CachedQueries:
    """Stands in for two methods of a core; last query just before the camera starts."""

    def __init__(self, core: Any) -> None:
        self._core = weakref.ref(core)
        self._exposures: dict[str, tuple[float, str | None]] = {}  # ms, and as seen
        self._pixel_sizes: dict[str, float] = {}  # by pixel size configuration
        core.getExposure = self.getExposure
        core.getPixelSizeUm = self.getPixelSizeUm
        core.events.sequenceAcquisitionStarting.connect(self._starts)
        core.events.continuousSequenceAcquisitionStarting.connect(self._starts)

    def getExposure(self, *label: str) -> float:
        """Return the exposure in ms."""
        core = self._owner()
        camera = label[0] if label else str(core.getCameraDevice())
        known = self._exposures.get(camera)
        if known is not None and self._adapter_runs(camera):
            return _exposure_now(*known, _last_seen(core, camera, EXPOSURE))
        exposure_ms = float(type(core).getExposure(core, *label))
        self._exposures[camera] = exposure_ms, _last_seen(core, camera, EXPOSURE)
        return exposure_ms

    def getPixelSizeUm(self, cached: bool = False) -> float:
        """Return the edge of a pixel of a frame in um."""
        core = self._owner()
        runs = self._adapter_runs(str(core.getCameraDevice()))
        now = str(core.getCurrentPixelSizeConfig(cached or runs))
        size_um = self._pixel_sizes.get(now)
        if size_um is None or not runs:
            size_um = float(type(core).getPixelSizeUm(core, cached))
            self._pixel_sizes[now] = size_um
        return size_um

    def _starts(self) -> None:
        """Query the camera while it is still idle; its start must not fail here."""
        self._exposures.clear()
        self._pixel_sizes.clear()
        with suppress(Exception):  # adapters raise what they like
            self.getExposure()
            self.getPixelSizeUm()

    def _adapter_runs(self, camera: str) -> bool:
        """Whether the camera runs and is an adapter's; one in Python has its lock."""
        core = self._owner()
        in_python = getattr(core, "isPyDevice", lambda label: False)
        if not camera or in_python(camera):
            return False
        return bool(type(core).isSequenceRunning(core, camera))

    def _owner(self) -> Any:
        core = self._core()
        if core is None:
            raise RuntimeError("the core is gone.")
        return core
