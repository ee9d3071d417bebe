"""The camera and the laser of the simulated microscope, as Micro-Manager devices."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pymmcore_plus.experimental.unicore import CameraDevice, GenericDevice

from ..micromanager import CAMERA_FRAME_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .sample import Roi, Sample
    from .settings import SimulatedSettings

POWER_PROPERTY = "Power_mW"


class SimulatedLaser(GenericDevice):  # type: ignore[misc]
    """A 405 nm activation laser with one property: its power in mW.

    Dark when it is made.

    Parameters
    ----------
    highest_mw : float
        Upper limit of the property; the lower is 0.
    """

    def __init__(self, highest_mw: float) -> None:
        super().__init__()
        self._power_mw = 0.0
        self.register_property(
            POWER_PROPERTY,
            default_value=0.0,
            getter=SimulatedLaser._get,
            setter=SimulatedLaser._set,
            limits=(0.0, highest_mw),
            property_type=float,
        )

    @property
    def power_mw(self) -> float:
        """Power now. Any thread may ask."""
        return self._power_mw

    def _get(self) -> float:
        return self._power_mw

    def _set(self, power_mw: float) -> None:
        value = float(power_mw)
        if not np.isfinite(value):
            raise ValueError(f"{POWER_PROPERTY} cannot be {power_mw}.")
        self._power_mw = value


class SimulatedCamera(CameraDevice):  # type: ignore[misc]
    """A 16 bit sCMOS camera over a `Sample`.

    Frames come at the exposure time, by absolute deadlines: a late one does not
    delay the others. Every frame carries the camera's own count from 0, so that
    whatever gets lost behind the camera is seen.

    Parameters
    ----------
    settings : SimulatedSettings
        Chip and exposure.
    sample : Sample
        What it looks at.
    laser : SimulatedLaser
        Lights the sample; its power is read once per frame.
    """

    def __init__(
        self, settings: SimulatedSettings, sample: Sample, laser: SimulatedLaser
    ) -> None:
        super().__init__()
        self._chip = settings.shape
        self._exposure_ms = settings.exposure_ms
        self._sample = sample
        self._laser = laser
        self.clear_roi()

    def shape(self) -> tuple[int, int]:
        """Return (height, width) of the ROI."""
        return self._roi[3], self._roi[2]

    def dtype(self) -> type[np.uint16]:
        """Return the type of the counts."""
        return np.uint16

    def get_exposure(self) -> float:
        """Return the exposure in ms."""
        return self._exposure_ms

    def set_exposure(self, exposure: float) -> None:
        """Set the exposure in ms; the number of photons per frame stays."""
        if not (np.isfinite(exposure) and exposure > 0):
            raise ValueError(f"exposure {exposure} ms: give a number above 0.")
        self._exposure_ms = float(exposure)

    def get_camera_id(self) -> str:
        """Return what stands where a real camera has its serial number."""
        return "simulated"

    def get_camera_name(self) -> str:
        """Return the name of the model."""
        return "liveloc simulated sCMOS"

    def get_roi(self) -> Roi:
        """Return (x, y, width, height)."""
        return self._roi

    def set_roi(self, x: int, y: int, width: int, height: int) -> None:
        """Read out a part of the chip."""
        rows, columns = self._chip
        inside = 0 <= x < x + width <= columns and 0 <= y < y + height <= rows
        if not inside:
            raise ValueError(
                f"ROI ({x}, {y}, {width}, {height}) does not lie on the chip of "
                f"{columns} x {rows} pixels (width x height)."
            )
        self._roi = (x, y, width, height)

    def clear_roi(self) -> None:
        """Read out the whole chip."""
        height, width = self._chip
        self._roi = (0, 0, width, height)

    def start_sequence(
        self,
        n: int | None,
        get_buffer: Callable[[Sequence[int], Any], np.ndarray[Any, Any]],
    ) -> Iterator[Mapping[str, str]]:
        """Expose `n` frames (None: without end) at the pace of the exposure."""
        roi, shape, interval_s = self._roi, self.shape(), self._exposure_ms / 1e3
        self._sample.forget_truth()
        began = time.monotonic()
        for frame in itertools.count() if n is None else range(n):
            buffer = get_buffer(shape, np.uint16)
            power_mw = self._laser.power_mw
            self._sample.expose(frame, power_mw, roi, buffer)
            wait_s = began + (frame + 1) * interval_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            yield {CAMERA_FRAME_TAG: str(frame), POWER_PROPERTY: f"{power_mw:.6g}"}
