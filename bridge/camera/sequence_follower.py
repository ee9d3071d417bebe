"""A sequence acquisition that another program started, as a frame source."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError, SourceAborted

from .properties import one_line
from .sequence_reader import SequenceReader
from .setup import CameraSettings, frame_interval_ms, read_camera
from .stream_start import CALIBRATION_FRAMES, describe_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from liveloc.stream.frames import Frame, Policy, StreamStart


def current_camera(core: Any, label: str | None) -> str:
    """Return the label of the core's camera; `label` must be it, if given.

    Raises
    ------
    SettingsError
        The core has no camera, or another one.
    """
    seen = str(core.getCameraDevice())
    if not seen:
        raise SettingsError(
            "the core has no camera: load a configuration, or set one with "
            "core.setCameraDevice, before attaching."
        )
    known = {seen, *map(str, core.getLoadedDevices())}
    if label is not None and label not in known:
        raise SettingsError(
            f"no camera '{label}' in the core; its camera is '{seen}'. Leave camera "
            "out to take that."
        )
    return label or seen


class SequenceFollower:
    """Takes the frames of a running sequence and leaves the camera alone.

    For ``startSequenceAcquisition`` and ``startContinuousSequenceAcquisition`` of a
    script or a program. Frames are popped from the core's buffer, so nothing else may
    pop them; a live view that peeks (``getLastImage``) is not disturbed. It ends with
    the sequence, and when a multi-dimensional acquisition begins. `seq` counts from
    the first frame taken here.

    Parameters
    ----------
    core : CMMCorePlus
        Driven by another program. Nothing in it is set, started or stopped.
    settings, policy, laser_seq, metadata, **camera
        See `MicroManagerSource`; only ``camera``, ``interval_ms``, ``pixel_size_nm``,
        ``calibration`` and ``patience_s`` matter here.

    Raises
    ------
    SettingsError
        No sequence is running, or START cannot be built.
    """

    def __init__(
        self,
        core: Any,
        settings: CameraSettings | None = None,
        *,
        policy: Policy = "drop_block",
        laser_seq: Callable[[int], int] | None = None,
        metadata: Mapping[str, str] | None = None,
        **camera: Any,
    ) -> None:
        settings = CameraSettings(**dict(settings or ()) | camera)
        self._core, self._stop = core, threading.Event()
        label = current_camera(core, settings.device)
        if not (core.isSequenceRunning() or core.getRemainingImageCount()):
            raise SettingsError(
                f"camera '{label}' runs no sequence. Call "
                "core.startSequenceAcquisition first, then follow it."
            )
        state = read_camera(core, label)
        interval = frame_interval_ms(
            core, label, state.exposure_ms, settings.interval_ms
        )
        self._early: deque[Frame] = deque()
        self._reader = SequenceReader(
            core,
            state,
            interval,
            laser_seq=laser_seq,
            patience_s=settings.patience_s,
            from_first=True,
        )
        self._start = describe_stream(
            core,
            state,
            settings,
            early=self._take_early,
            interval_ms=interval,
            policy=policy,
            metadata=metadata,
        )

    @property
    def start(self) -> StreamStart:
        """Description of the stream."""
        return self._start

    @property
    def missing(self) -> int:
        """Exposures since the first one taken that did not come here."""
        return self._reader.missing

    def frames(self) -> Iterator[Frame]:
        """Yield the frames until the sequence ends.

        Raises
        ------
        SourceAborted
            `stop` was called, or a multi-dimensional acquisition took the camera.
        SourceError
            The buffer overflowed, frames cannot be placed, or the camera failed.
        """
        while self._early:
            yield self._early.popleft()
        while (frame := self._reader.next(self._heed_others)) is not None:
            yield frame
        try:
            overflowed = self._core.isBufferOverflowed()
        except RuntimeError as error:
            self._reader.fail(one_line(error))
        if overflowed:
            self._reader.fail(
                f"Micro-Manager's circular buffer overflowed after frame "
                f"{self._reader.next_seq - 1} and the sequence ended. Set a larger one "
                "with core.setCircularBufferMemoryFootprint."
            )

    def stop(self) -> None:
        """Take no more frames; the camera goes on. Any thread may call it."""
        self._stop.set()

    def close(self) -> None:
        """Take no more frames. Idempotent."""
        self.stop()

    def _take_early(self) -> list[Frame]:
        """Keep the first frames, for a guess of the gain."""
        while len(self._early) < CALIBRATION_FRAMES:
            frame = self._reader.next(self._heed_others)
            if frame is None:
                break
            self._early.append(frame)
        return list(self._early)

    def _heed_others(self) -> None:
        """Leave the buffer to an acquisition that pops its frames itself."""
        if self._stop.is_set():
            raise SourceAborted("detached while the sequence was running")
        if self._core.mda.is_running():
            raise SourceAborted("a multi-dimensional acquisition took the camera")
