"""Asking about a camera while it runs, without asking the camera.

Micro-Manager's device base class writes the name of every property that somebody asks
for into a text that no lock guards (``CDeviceBase::GetProperty``). Many adapters ask
themselves for their binning with every frame, in the thread that takes the frames;
whoever asks from another thread meanwhile, be it for the exposure or the pixel size,
corrupts the heap of the process now and then. pymmcore-plus does so with every frame of
a hardware-timed acquisition.
"""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

EXPOSURE = "Exposure"
SEEN_MS = 0.01  # the core keeps what was asked for, as text with two decimals


def keep_quiet(core: Any) -> None:
    """Make a core answer for its running camera from what it knows. Idempotent.

    ``getExposure`` and ``getPixelSizeUm`` ask the camera only while it stands; a change
    that is made through the core while it runs is seen all the same.
    """
    if not isinstance(getattr(core.getExposure, "__self__", None), _QuietCamera):
        _QuietCamera(core)


def property_of(core: Any, camera: str, name: str) -> str:
    """Read a property: of the camera while it stands, else as the core last saw it.

    Raises
    ------
    RuntimeError
        The camera does not have it or cannot tell.
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
    """Give the exposure as it was asked for, unless the core has seen another since."""
    if seen is None or seen == seen_then:
        return exposure_ms
    try:
        seen_ms = float(seen)
    except ValueError:
        return exposure_ms
    return exposure_ms if abs(seen_ms - exposure_ms) < SEEN_MS else seen_ms


class _QuietCamera:
    """Stands in for two methods of a core; asks last just before the camera starts."""

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
        """Ask while the camera still stands; whoever starts it is not to fail here."""
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
