"""Frames from any camera of Micro-Manager, every exposure accounted for."""

from __future__ import annotations

import logging
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pymmcore_plus import CMMCorePlus, find_micromanager

from liveloc.stream.errors import SettingsError, SourceError

from .exposure_watch import ExposureWatch
from .properties import one_line
from .python_core import FrameExactCore, close_core, silence_at_exit
from .running_queries import avoid_live_queries
from .sequence_reader import CAMERA_FRAME_TAG, SequenceReader, was_set
from .setup import CameraSettings, frame_interval_ms, set_buffer, set_up_camera
from .stream_start import CALIBRATION_FRAMES, describe_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from liveloc.stream.frames import Frame, Policy, StreamStart

__all__ = ["CAMERA_FRAME_TAG", "MicroManagerSource", "open_core"]

DEMO_CONFIG = "MMConfig_demo.cfg"
UNBOUNDED = 2**31 - 1  # frames; the largest number that every platform takes

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
    avoid_live_queries(core)
    try:
        core.loadSystemConfiguration(path)
    except Exception as error:  # adapters raise what they like
        close_core(core)
        raise SettingsError(
            f"Micro-Manager configuration {path}: {one_line(error)} "
            "Switch the device on, or load the file in Micro-Manager to repair it."
        ) from error
    return core


def _find_config(name: str) -> Path:
    """Find a configuration here or in the folder of the adapters."""
    here = Path(name).expanduser()
    if here.is_file():
        return here
    adapters = find_micromanager()
    folders = [here.parent] if adapters is None else [here.parent, Path(adapters)]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    looked = ", ".join(str(folder) for folder in folders)
    raise SettingsError(
        f"{name}: no such Micro-Manager configuration (looked in {looked}). "
        "Give the path of a .cfg file, or 'demo' for the demo devices."
    )


class MicroManagerSource:
    """One acquisition of the core's camera, as a `stream.frames.FrameSource`.

    The sequence runs with ``stopOnOverflow``: Micro-Manager then stops instead of
    silently emptying its buffer. `seq` follows the camera's own count, so an
    exposure that never arrived is a gap in `seq` and counted in `missing`.

    The camera is set up here, and starts with the first frame requested; without
    `calibration` it starts at once, because START needs the gain estimated from the
    first frames.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded and owned by the caller. Nothing else may pop its images meanwhile.
    settings : CameraSettings, optional
        Camera and how to set it; the defaults if not given.
    policy : {"block", "drop_block", "stop"}
        For START.
    laser_seq : Callable[[int], int], optional
        Number of the laser setting in force at a monotonic time in ns.
    metadata : Mapping[str, str], optional
        More for START.
    stop : threading.Event, optional
        Ends the acquisition when set, as `stop` does; only read here.
    on_alarm : Callable[[str, bool], None], optional
        See `ExposureWatch`; logged if not given.
    **camera
        Fields of `CameraSettings`, in place of those of `settings`: ``frames``
        (exposures to take, 0 until `stop`), ``camera`` (label), ``binning``,
        ``properties``, ``exposure_ms``, ``interval_ms``, ``roi``, ``pixel_size_nm``,
        ``calibration``, ``buffer_mib``, ``patience_s``.

    Raises
    ------
    SettingsError
        No camera, a property, a ROI, a binning or a pixel type that the camera does
        not have, an exposure or a pixel size that is missing, camera maps that do not
        cover the ROI.
    """

    def __init__(
        self,
        core: Any,
        settings: CameraSettings | None = None,
        *,
        policy: Policy = "drop_block",
        laser_seq: Callable[[int], int] | None = None,
        metadata: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
        on_alarm: Callable[[str, bool], None] | None = None,
        **camera: Any,
    ) -> None:
        settings = CameraSettings(**dict(settings or ()) | camera)
        frames = settings.frames
        if frames > UNBOUNDED:
            raise SettingsError(f"frames is {frames}. Give 0 to {UNBOUNDED}.")
        self._core = core
        self._planned = frames
        self._stop = threading.Event()
        self._stop_outside = stop
        self._early: deque[Frame] = deque()
        self._running = self._stopped = self._closed = False
        state = set_up_camera(core, settings)
        self._camera = state.label
        interval = frame_interval_ms(
            core, state.label, state.exposure_ms, settings.interval_ms
        )
        self._buffer_mib = set_buffer(core, state, interval, settings.buffer_mib)
        self._watch = ExposureWatch(
            state.label,
            state.exposure_ms,
            on_alarm or (lambda text, certain: _log.warning("%s", text)),
        )
        self._reader = SequenceReader(
            core,
            state,
            interval,
            laser_seq=laser_seq,
            patience_s=settings.patience_s,
            watch=self._watch,
        )
        try:
            self._start = describe_stream(
                core,
                state,
                settings,
                early=self._take_early,
                interval_ms=interval,
                expected_frames=frames,
                policy=policy,
                metadata=metadata,
            )
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> StreamStart:
        """Description of the stream."""
        return self._start

    @property
    def missing(self) -> int:
        """Exposures so far that never came out of the camera driver."""
        return self._reader.missing

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that came out, waiting for the next.

        Raises
        ------
        SourceError
            The buffer overflowed, the camera stopped early or fell silent, its count
            went back, or exposure, ROI or shape were changed. Frames yielded before
            are good.
        """
        self._begin()
        while self._early:
            yield self._early.popleft()
        while (frame := self._reader.next(self._heed_stop)) is not None:
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

    def _begin(self) -> None:
        """Start the camera, once."""
        if self._running or self._closed:
            return
        self._running = True
        try:
            self._core.startSequenceAcquisition(self._planned or UNBOUNDED, 0, True)
        except (RuntimeError, ValueError) as error:
            raise SourceError(
                f"camera '{self._camera}' does not start: {one_line(error)} "
                "Is it switched on and free?"
            ) from error

    def _halt(self) -> None:
        """Stop the camera if it runs; one that does not answer is left alone."""
        if self._running and not self._stopped:
            self._stopped = True
            try:
                if self._core.isSequenceRunning():
                    self._core.stopSequenceAcquisition()
            except (RuntimeError, ValueError) as error:
                _log.error(
                    "camera '%s' does not stop: %s", self._camera, one_line(error)
                )

    def _asked_to_stop(self) -> bool:
        """Whether `stop` was called or the event from outside is set."""
        return was_set(self._stop, self._stop_outside)

    def _heed_stop(self) -> None:
        if self._asked_to_stop():
            self._halt()

    def _take_early(self) -> list[Frame]:
        """Start the camera and keep its first frames, for a guess of the gain."""
        self._begin()
        wanted = min(self._planned or CALIBRATION_FRAMES, CALIBRATION_FRAMES)
        while len(self._early) < wanted:
            frame = self._reader.next(self._heed_stop)
            if frame is None:
                break
            self._early.append(frame)
        return list(self._early)

    def _ask_exposure(self) -> None:
        """Ask the camera once, now that its sequence has stopped."""
        try:
            if not self._core.isSequenceRunning():
                self._watch.stopped(float(self._core.getExposure(self._camera)))
        except (RuntimeError, ValueError) as error:
            _log.warning("camera '%s': %s", self._camera, one_line(error))

    def _check_end(self) -> None:
        """Raise what ended the sequence, unless it was meant to end."""
        reader = self._reader
        self._ask_exposure()
        if self._core.isBufferOverflowed():
            reader.fail(
                f"Micro-Manager's circular buffer of {self._buffer_mib} MiB overflowed "
                f"after frame {reader.next_seq - 1} and the camera was stopped: frames "
                "arrived faster than they were read. Set a larger buffer_mib, a "
                "smaller ROI or a longer exposure."
            )
        if self._asked_to_stop() or self._closed:
            return
        if reader.next_seq < (self._planned or UNBOUNDED):
            planned = self._planned or "an unlimited number of"
            error = getattr(self._core, "sequence_error", "")  # of a Python camera
            reason = f": {error}" if error else "."
            reader.fail(
                f"stopped by itself after {reader.received} of {planned} "
                f"frames{reason} Check its cable and power, and Micro-Manager's log."
            )
