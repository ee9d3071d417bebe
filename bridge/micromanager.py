"""Frames from any camera of Micro-Manager, every exposure accounted for."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from pymmcore_plus import CMMCorePlus

from ..stream.calibration import CameraCalibration, estimate_calibration
from ..stream.errors import SettingsError, SourceError
from ..stream.frames import Frame, FrameHeader, Policy, StreamStart
from .camera_setup import (
    calibration_of_roi,
    choose_camera,
    describe_camera,
    frame_interval_ms,
    one_line,
    pixel_layout,
    pixel_size_nm_of,
    serial_number,
    set_exposure,
    set_roi,
)
from .python_core import FrameExactCore, close_core, silence_at_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

# A camera that counts its own exposures from 0 puts the count under this tag.
CAMERA_FRAME_TAG = "CameraFrame"
IMAGE_NUMBER_TAG = "ImageNumber"

DEMO_CONFIG = "MMConfig_demo.cfg"
UNBOUNDED = 2**31 - 1  # frames; the largest number that every platform takes
CALIBRATION_FRAMES = 8
BUFFER_SECONDS = 10.0
BUFFER_MIB = (64, 1024)  # least and most, when not set

_log = logging.getLogger(__name__)


def open_core(config: str | Path | None = None) -> CMMCorePlus:
    """Load a Micro-Manager configuration.

    Parameters
    ----------
    config : str or Path, optional
        A ``.cfg`` file, looked for here and in Micro-Manager's folder; None or
        ``"demo"`` is the demo configuration that comes with the adapters.

    Returns
    -------
    CMMCorePlus
        A core of its own, with Python devices where the file has ``#py`` lines.
        Close it with `close_core`.

    Raises
    ------
    SettingsError
        No such file, or a device in it does not answer.
    """
    name = DEMO_CONFIG if config is None or str(config) == "demo" else str(config)
    path = _find_config(name)
    text = path.read_text(encoding="utf-8", errors="replace")
    has_python = any(line.lstrip("# ").startswith("py ") for line in text.splitlines())
    core = FrameExactCore() if has_python else CMMCorePlus()
    silence_at_exit(core)
    try:
        core.loadSystemConfiguration(path)
    except Exception as error:  # adapters raise what they like
        close_core(core)
        raise SettingsError(
            f"Micro-Manager configuration {path}: {one_line(error)} "
            "Switch the device on, or load the file in Micro-Manager to mend it."
        ) from error
    return core


def _find_config(name: str) -> Path:
    """Find a configuration here or in the folder of the adapters."""
    here = Path(name).expanduser()
    if here.is_file():
        return here
    folders = [Path(p) for p in CMMCorePlus().getDeviceAdapterSearchPaths()]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(str(folder) for folder in [here.parent, *folders])
    raise SettingsError(
        f"{name}: no such Micro-Manager configuration (looked in {looked}). "
        "Give the path of a .cfg file, or 'demo' for the demo devices."
    )


class MicroManagerSource:
    """One acquisition of the core's camera, as a `stream.frames.FrameSource`.

    The sequence runs with ``stopOnOverflow``: Micro-Manager then stops instead of
    silently emptying its buffer. `seq` follows the camera's own count, so an
    exposure that never arrived is a gap in `seq` and counted in `missing`.

    The camera starts with the first frame asked for; without `calibration` it
    starts at once, because START needs the gain guessed from the first frames.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded and owned by the caller. Nobody else may pop its images meanwhile.
    frames : int
        Exposures to take, 0 until `stop`.
    camera : str, optional
        Label of the camera; the core's current one if not given.
    exposure_ms, interval_ms : float, optional
        Exposure to set (else as it is), and frame interval if it is longer.
    roi : tuple[int, int, int, int], optional
        (x, y, width, height) on the chip, pixels; as it is if not given.
    pixel_size_nm : float, optional
        Micro-Manager's own for the present configuration if not given.
    calibration : CameraCalibration, optional
        Of the chip; its maps are cropped to the ROI. Guessed from the first frames if
        not given.
    policy : {"block", "drop_block", "stop"}
        For START.
    buffer_mib : int, optional
        Circular buffer; room for 10 s (64 to 1,024 MiB) if not given.
    laser_seq : Callable[[int], int], optional
        Number of the laser setting in force at a monotonic time in ns.
    metadata : Mapping[str, str], optional
        More for START.
    stop : threading.Event, optional
        Ends the acquisition when set, as `stop` does; only read here.

    Raises
    ------
    SettingsError
        No camera, a ROI or a pixel type that the camera does not have, an exposure
        or a pixel size that is missing, camera maps that do not cover the ROI.
    """

    def __init__(
        self,
        core: Any,
        *,
        frames: int = 0,
        camera: str | None = None,
        exposure_ms: float | None = None,
        interval_ms: float | None = None,
        roi: tuple[int, int, int, int] | None = None,
        pixel_size_nm: float | None = None,
        calibration: CameraCalibration | None = None,
        policy: Policy = "drop_block",
        buffer_mib: int | None = None,
        laser_seq: Callable[[int], int] | None = None,
        metadata: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        if not 0 <= frames <= UNBOUNDED:
            raise SettingsError(f"frames is {frames}. Give 0 to {UNBOUNDED}.")
        self._core = core
        self._expected = frames
        self._laser_seq = laser_seq or (lambda t_ns: 0)
        self._stop = threading.Event()
        self._stop_outside = stop
        self._early: deque[Frame] = deque()
        self._last = {IMAGE_NUMBER_TAG: -1, CAMERA_FRAME_TAG: -1}
        self._next_seq = 0
        self._received = 0
        self._running = self._stopped = self._closed = False
        self._camera = choose_camera(core, camera)
        exposure = set_exposure(core, self._camera, exposure_ms)
        self._interval_ms = frame_interval_ms(core, self._camera, exposure, interval_ms)
        origin = set_roi(core, self._camera, roi)
        self._shape, self._dtype = pixel_layout(core, self._camera)
        self._poll_s = min(max(self._interval_ms / 20e3, 2e-4), 2e-3)
        self._buffer_mib = self._set_buffer(buffer_mib)
        pixel_nm = pixel_size_nm_of(core, pixel_size_nm)
        try:
            if calibration is None:
                calibration = self._guess_calibration()
            calibration = calibration_of_roi(
                core, self._camera, calibration, origin, self._shape
            )
            self._start = StreamStart(
                stream_id=uuid.uuid4().bytes,
                shape=self._shape,
                dtype=self._dtype,
                pixel_size_nm=pixel_nm,
                calibration=calibration,
                exposure_ms=exposure,
                interval_ms=self._interval_ms,
                roi_origin=origin,
                expected_frames=frames,
                policy=policy,
                t0_ns=time.monotonic_ns(),
                t0_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
                producer="liveloc bridge",
                camera_label=self._camera,
                camera_serial=serial_number(core, self._camera),
                metadata=describe_camera(core, self._camera) | dict(metadata or {}),
            )
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> StreamStart:
        """What the stream's START says."""
        return self._start

    @property
    def missing(self) -> int:
        """Exposures so far that never came out of the camera driver."""
        return self._next_seq - self._received

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that came out, waiting for the next.

        Raises
        ------
        SourceError
            The buffer overflowed, the camera stopped early, its count went back,
            or frames changed their shape. Frames yielded before are good.
        """
        self._begin()
        while self._early:
            yield self._early.popleft()
        while (frame := self._next()) is not None:
            yield frame
        self._check_end()

    def stop(self) -> None:
        """Ask `frames` to end after what is in the buffer. Any thread may call it."""
        self._stop.set()

    def close(self) -> None:
        """Stop the camera. Idempotent; the core stays loaded."""
        if not self._closed:
            self._closed = True
            self._halt()

    def _set_buffer(self, buffer_mib: int | None) -> int:
        """Size the circular buffer, MiB."""
        frame_mib = math.prod(self._shape) * int(self._dtype[1]) / 2**20
        if buffer_mib is None:
            wanted = math.ceil(BUFFER_SECONDS * 1e3 / self._interval_ms * frame_mib)
            least = max(BUFFER_MIB[0], math.ceil(8 * frame_mib))
            buffer_mib = max(least, min(wanted, BUFFER_MIB[1]))
        if buffer_mib < 1 or buffer_mib < 4 * frame_mib:
            raise SettingsError(
                f"circular buffer is {buffer_mib} MiB but one frame of camera "
                f"'{self._camera}' is {frame_mib:.3g} MiB. "
                f"Set buffer_mib to {max(1, math.ceil(8 * frame_mib))} or more."
            )
        self._core.setCircularBufferMemoryFootprint(buffer_mib)
        return buffer_mib

    def _begin(self) -> None:
        """Start the camera, once."""
        if self._running or self._closed:
            return
        self._running = True
        try:
            self._core.startSequenceAcquisition(self._expected or UNBOUNDED, 0, True)
        except (RuntimeError, ValueError) as error:
            raise SourceError(
                f"camera '{self._camera}' does not start: {one_line(error)} "
                "Is it switched on and free?"
            ) from error

    def _halt(self) -> None:
        """Stop the camera if it runs."""
        if self._running and not self._stopped:
            self._stopped = True
            if self._core.isSequenceRunning():
                self._core.stopSequenceAcquisition()

    def _asked_to_stop(self) -> bool:
        """Whether `stop` was called or the event from outside is set."""
        outside = self._stop_outside
        return self._stop.is_set() or (outside is not None and outside.is_set())

    def _next(self) -> Frame | None:
        """Wait for the next frame; None when the sequence is over and fetched."""
        core = self._core
        while True:
            if self._asked_to_stop():
                self._halt()
            # Asked in this order: what came in between is then still seen.
            running = core.isSequenceRunning()
            if core.getRemainingImageCount():
                try:
                    pixels, tags = core.popNextImageAndMD()
                except IndexError:  # counted, but not there yet
                    time.sleep(self._poll_s)
                    continue
                return self._frame(pixels, tags, time.monotonic_ns())
            if not running:
                return None
            self._stop.wait(self._poll_s)

    def _frame(self, pixels: NDArray[Any], tags: Mapping[str, Any], t_ns: int) -> Frame:
        """Check one frame against START and give it its place in the stream."""
        if pixels.shape != self._shape or pixels.dtype != np.dtype(self._dtype):
            self._fail(
                f"frame {self._received} is {pixels.shape} of {pixels.dtype}, START "
                f"said {self._shape} of {np.dtype(self._dtype)}. Was the ROI or the "
                "binning changed while it ran? Leave the camera alone until the end."
            )
        counts = [
            self._count(tags, tag)
            for tag in (IMAGE_NUMBER_TAG, CAMERA_FRAME_TAG)
            if tag == IMAGE_NUMBER_TAG or tag in tags
        ]
        number = counts[-1]  # the camera's own count where it has one
        if number < self._next_seq:
            self._fail(
                f"its count is {number} after {self._next_seq - 1}. The driver repeats "
                "or restarts its numbers; frames cannot be placed."
            )
        seq = number
        self._received += 1
        self._next_seq = seq + 1
        exposed_ns = t_ns - round(self._interval_ms * 1e6)
        header = FrameHeader(
            seq=seq,
            camera_frame=number,
            t_ns=t_ns,
            missing_total=self.missing,
            laser_seq=self._laser_seq(exposed_ns),
        )
        return Frame(header, np.ascontiguousarray(pixels))

    def _count(self, tags: Mapping[str, Any], tag: str) -> int:
        """Read a counter from the metadata: text, and it must go up."""
        try:
            number = int(tags[tag])
        except (KeyError, ValueError):
            self._fail(
                f"frame {self._received} has no usable {tag} in its metadata, so a "
                "lost frame could not be noticed. Update Micro-Manager."
            )
        if number <= self._last[tag]:
            self._fail(
                f"{tag} is {number} after {self._last[tag]}: the core emptied its "
                "buffer or the driver restarted. Start the acquisition again."
            )
        self._last[tag] = number
        return number

    def _guess_calibration(self) -> CameraCalibration:
        """Start the camera, keep its first frames, guess the gain from them."""
        self._begin()
        wanted = min(self._expected or CALIBRATION_FRAMES, CALIBRATION_FRAMES)
        while len(self._early) < wanted and (frame := self._next()) is not None:
            self._early.append(frame)
        if not self._early:
            self._fail("not one frame came. Is it waiting for a trigger?")
        guess = estimate_calibration(np.stack([f.pixels for f in self._early]))
        _log.warning(
            "camera '%s': offset %.0f ADU and %.3g e/ADU guessed from %d frames; "
            "photon numbers are as good as the guess.",
            self._camera,
            guess.offset_adu,
            guess.e_per_adu,
            len(self._early),
        )
        return guess

    def _check_end(self) -> None:
        """Tell an end that was asked for from one that was not."""
        if self._core.isBufferOverflowed():
            self._fail(
                f"Micro-Manager's circular buffer of {self._buffer_mib} MiB overflowed "
                f"after frame {self._next_seq - 1} and the camera was stopped: frames "
                "were taken more slowly than they came. Set a larger buffer_mib, a "
                "smaller ROI or a longer exposure."
            )
        if self._asked_to_stop() or self._closed:
            return
        wanted = self._expected or UNBOUNDED
        if self._received + self.missing < wanted:
            planned = self._expected or "an unlimited number of"
            self._fail(
                f"stopped by itself after {self._received} of {planned} frames. "
                "Check its cable and power, and Micro-Manager's log."
            )

    def _fail(self, what: str) -> NoReturn:
        raise SourceError(f"camera '{self._camera}': {what}")
