"""Camera, lasers and faults of the simulated microscope, as Micro-Manager devices."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from pymmcore_plus.experimental.unicore import CameraDevice, GenericDevice

from ..camera.sequence_reader import CAMERA_FRAME_TAG
from .faults import CHOICES, LIMITS, NONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .faults import Faults
    from .sample import Sample
    from .settings import SimulatedSettings
    from .surroundings import Roi

POWER_PROPERTY = "Power_mW"
STATE_PROPERTY = "State"
EXCITATION_TAG = "Excitation_mW"  # in the metadata of a frame
LOOK_S = 0.05  # how often a camera that waits looks whether it shall stop


class SimulatedShutter(GenericDevice):  # type: ignore[misc]
    """A shutter with one property: 1 is open, as it is at first, 0 is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = True
        self.register_property(
            STATE_PROPERTY,
            default_value=1,
            getter=lambda device: int(device.is_open),
            setter=SimulatedShutter._set,
            limits=(0, 1),
            property_type=int,
        )

    def _set(self, state: int) -> None:
        self.is_open = bool(int(state))


class SimulatedLaser(GenericDevice):  # type: ignore[misc]
    """A laser with one property: its power in mW.

    Parameters
    ----------
    highest_mw : float
        Upper limit of the property; the lower is 0.
    faults : Faults
        What may be wrong with it.
    fault : str
        The name of its fault among these.
    power_mw : float
        When it is made.
    shutter : SimulatedShutter, optional
        In its path.
    """

    def __init__(
        self,
        highest_mw: float,
        faults: Faults,
        fault: str,
        power_mw: float = 0.0,
        shutter: SimulatedShutter | None = None,
    ) -> None:
        super().__init__()
        self._power_mw, self._shutter = power_mw, shutter
        self._faults = faults
        self._fault = fault
        self.register_property(
            POWER_PROPERTY,
            default_value=power_mw,
            getter=SimulatedLaser._get,
            setter=SimulatedLaser._set,
            limits=(0.0, highest_mw),
            property_type=float,
        )

    @property
    def power_mw(self) -> float:
        """Power that reaches the sample now. Any thread may read it."""
        passes = self._shutter is None or self._shutter.is_open
        return self._power_mw if passes else 0.0

    def _get(self) -> float:
        fault = self._faults.choice(self._fault)
        if fault == "nan":
            return float("nan")
        return 2 * self._power_mw + 7 if fault == "wrong" else self._power_mw

    def _set(self, power_mw: float) -> None:
        value = float(power_mw)
        if not np.isfinite(value):
            raise ValueError(f"{POWER_PROPERTY} cannot be {power_mw}.")
        faults, fault = self._faults, self._faults.choice(self._fault)
        if fault in ("error", "error_once"):
            if fault == "error_once":
                faults.set(self._fault, NONE)
            raise RuntimeError("the laser does not answer (simulated fault).")
        delay_s = faults.number("laser_delay_s") if fault == "slow" else None
        if fault in ("slow", "hang") and not faults.wait_while(
            self._fault, fault, delay_s
        ):
            raise RuntimeError("the laser was closed while it hung (simulated fault).")
        self._power_mw = value


class FaultDevice(GenericDevice):  # type: ignore[misc]
    """Shows `Faults` as properties of a device, one each.

    Parameters
    ----------
    faults : Faults
        What is shown and set.
    """

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        for name, choices in CHOICES.items():
            self.register_property(
                name,
                default_value=NONE,
                getter=lambda device, name=name: faults.choice(name),
                setter=lambda device, value, name=name: faults.set(name, value),
                allowed_values=choices,
                property_type=str,
            )
        for name, limits in LIMITS.items():
            self.register_property(
                name,
                default_value=faults.number(name),
                getter=lambda device, name=name: faults.number(name),
                setter=lambda device, value, name=name: faults.set(name, value),
                limits=limits,
                property_type=float,
            )


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
    activation, excitation : SimulatedLaser
        Light the sample; their powers are read once per frame.
    faults : Faults
        What may be wrong with it.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        sample: Sample,
        activation: SimulatedLaser,
        excitation: SimulatedLaser,
        faults: Faults,
    ) -> None:
        super().__init__()
        self._chip = settings.shape
        self._exposure_ms = settings.exposure_ms
        self._sample = sample
        self._activation = activation
        self._excitation = excitation
        self._faults = faults
        self._stopping = False
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
        self._stopping = False
        self._sample.forget_truth()
        return self._sequence(n, get_buffer)

    def _sequence(
        self, n: int | None, get_buffer: Callable[[Sequence[int], Any], Any]
    ) -> Iterator[Mapping[str, str]]:
        """Expose frame after frame."""
        roi, shape, interval_s = self._roi, self.shape(), self._exposure_ms / 1e3
        due, frame = time.monotonic(), 0
        while (n is None or frame < n) and not self._stopping:
            self._faults.reach(self._sample.exposures)
            due += self._suffer(shape, get_buffer)
            if self._faults.number("gap"):
                lost = int(self._faults.take("gap"))
                for _ in range(lost if n is None else min(lost, n - frame)):
                    self._expose(frame, roi, None)
                    frame, due = frame + 1, due + interval_s
            elif not self._stopping:
                tags = self._expose(frame, roi, get_buffer(shape, np.uint16))
                frame, due = frame + 1, due + interval_s
                self._sleep_until(due)
                yield tags

    def stop_sequence(self) -> None:
        """Ask a running sequence to end soon. Any thread."""
        self._stopping = True

    def _expose(
        self, frame: int, roi: Roi, buffer: np.ndarray[Any, Any] | None
    ) -> dict[str, str]:
        """Take one exposure under the present light; return what goes with it."""
        power_mw, excitation_mw = self._activation.power_mw, self._excitation.power_mw
        self._sample.expose(
            frame,
            power_mw,
            roi,
            buffer,
            excitation_mw=excitation_mw,
            interval_ms=self._exposure_ms,
        )
        return {
            CAMERA_FRAME_TAG: str(frame),
            POWER_PROPERTY: f"{power_mw:.6g}",
            EXCITATION_TAG: f"{excitation_mw:.6g}",
        }

    def _suffer(
        self, shape: tuple[int, int], get_buffer: Callable[[Sequence[int], Any], Any]
    ) -> float:
        """Do what is wrong with the camera; return how long it stood still, s."""
        faults, began = self._faults, time.monotonic()
        if faults.number("stall_s"):
            until = began + faults.take("stall_s")
            while not self._stopping and time.monotonic() < until:
                time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
        while faults.choice("camera") == "stall" and not self._stopping:
            if not faults.wait_while("camera", "stall", LOOK_S):
                self._stopping = True
        if faults.choice("camera") == "unplug":
            raise RuntimeError("the camera was unplugged (simulated fault).")
        if faults.choice("camera") == "overflow":
            faults.set("camera", NONE)
            while not self._stopping:  # the core ends this when there is no room left
                get_buffer(shape, np.uint16)
        return time.monotonic() - began

    def _sleep_until(self, due: float) -> None:
        """Wait for the end of the exposure, or until the sequence shall stop."""
        while not self._stopping and (wait_s := due - time.monotonic()) > 0:
            time.sleep(min(wait_s, LOOK_S))
