"""Frames of a running sequence acquisition, every exposure accounted for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from liveloc.stream.errors import SourceError
from liveloc.stream.frames import Frame, FrameHeader

from .properties import one_line
from .running_queries import avoid_live_queries

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from .exposure_watch import ExposureWatch
    from .setup import CameraState

# A camera that counts its own exposures from 0 puts the count under this tag.
CAMERA_FRAME_TAG = "CameraFrame"
IMAGE_NUMBER_TAG = "ImageNumber"
ROI_TAGS = ("ROI-X-start", "ROI-Y-start")

PATIENCE_FRAMES = 20
WATCH_S = 0.1  # how often a running camera 's exposure is checked


class SequenceReader:
    """Takes the frames of a sequence acquisition out of the core's buffer.

    It neither starts nor stops the camera. `seq` follows the camera's own count, so
    an exposure that never arrived is a gap in `seq` and counted in `missing`.

    Parameters
    ----------
    core : CMMCorePlus
        Nothing else may pop its images meanwhile.
    state : CameraState
        The camera as START describes it; a frame that does not fit is an error.
    interval_ms : float
        Time from frame to frame.
    laser_seq : Callable[[int], int], optional
        Number of the laser setting in force at a monotonic time in ns.
    patience_s : float
        Time without a frame, s, after which a camera that has begun and reports that
        it is running has failed; at least 20 frame intervals. 0 waits for ever.
    from_first : bool
        Count from the first frame that is seen, for a sequence that runs already.
    watch : ExposureWatch, optional
        Receives every frame.
    """

    def __init__(
        self,
        core: Any,
        state: CameraState,
        interval_ms: float,
        *,
        laser_seq: Callable[[int], int] | None = None,
        patience_s: float,
        from_first: bool = False,
        watch: ExposureWatch | None = None,
    ) -> None:
        avoid_live_queries(core)
        self._core = core
        self._state = state
        self._interval_ns = round(interval_ms * 1e6)
        self._watch = watch
        self._laser_seq = laser_seq or (lambda t_ns: 0)
        self._poll_s = min(max(interval_ms / 20e3, 2e-4), 2e-3)
        self._patience_s = max(patience_s, PATIENCE_FRAMES * interval_ms / 1e3)
        if patience_s == 0:
            self._patience_s = float("inf")
        self._last = {IMAGE_NUMBER_TAG: -1, CAMERA_FRAME_TAG: -1}
        self._first: int | None = None if from_first else 0
        self._roi_tags = tuple(str(n) for n in state.roi[:2])
        self._watched_s = 0.0
        self.next_seq = 0
        self.received = 0

    @property
    def missing(self) -> int:
        """Exposures so far that never came out of the camera driver."""
        return self.next_seq - self.received

    def next(self, before_wait: Callable[[], object]) -> Frame | None:
        """Wait for the next frame; None when the sequence is over and fetched.

        Parameters
        ----------
        before_wait : Callable
            Called before each look at the camera: the place to stop it.

        Raises
        ------
        SourceError
            A frame that START does not describe, a count that goes back, an
            exposure or a ROI that was changed, or a camera that fell silent.
        """
        since_s = time.monotonic()
        while True:
            before_wait()
            try:
                # Asked in this order: what came in between is then still seen.
                running = self._core.isSequenceRunning()
                if waiting := self._core.getRemainingImageCount():
                    self._check_size()
                    pixels, tags = self._core.popNextImageAndMD()
                    t_ns = time.monotonic_ns()
                    return self._frame(pixels, tags, t_ns, fresh=waiting == 1)
                self._watch_exposure()
            except IndexError:  # counted, but not there yet
                running = True
            except (RuntimeError, ValueError) as error:
                self.fail(
                    f"{one_line(error)} Is it unplugged or switched off? The "
                    f"{self.received} frames before are good."
                )
            if not running:
                return None
            if self.received and time.monotonic() - since_s > self._patience_s:
                self.fail(
                    f"delivered no frame for {self._patience_s:.0f} s after frame "
                    f"{self.next_seq - 1}, although it reports that it is running. Is "
                    "it unplugged? With an external trigger that pauses set patience_s "
                    "to 0."
                )
            time.sleep(self._poll_s)

    def fail(self, what: str) -> NoReturn:
        """Raise SourceError, naming the camera."""
        raise SourceError(f"camera '{self._state.label}': {what}")

    def _check_size(self) -> None:
        """Notice another size before a frame of it is fetched.

        pymmcore copies as many bytes as a frame has now, also from one that was taken
        before and is smaller.
        """
        core, state = self._core, self._state
        shape = int(core.getImageHeight()), int(core.getImageWidth())
        if shape != state.shape:
            self._fail_size(shape, np.dtype(state.dtype))

    def _fail_size(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NoReturn:
        state = self._state
        self.fail(
            f"frame {self.received} is {shape} of {dtype}, but the stream began with "
            f"{state.shape} of {np.dtype(state.dtype)}. Was the ROI or the binning "
            "changed while it ran? Leave the camera alone until the end."
        )

    def _watch_exposure(self) -> None:
        """Notice a change of the exposure, at most ten times a second."""
        now_s = time.monotonic()
        if now_s - self._watched_s < WATCH_S:
            return
        self._watched_s = now_s
        seen_ms = float(self._core.getExposure(self._state.label))
        if abs(seen_ms - self._state.exposure_ms) > 1e-3 * self._state.exposure_ms:
            self.fail(
                f"its exposure was changed from {self._state.exposure_ms:g} to "
                f"{seen_ms:g} ms near frame {self.next_seq - 1}. Photons per frame and "
                "times would be wrong: start a new acquisition with the new exposure."
            )

    def _frame(
        self, pixels: NDArray[Any], tags: Mapping[str, Any], t_ns: int, *, fresh: bool
    ) -> Frame:
        """Check a frame against START and number it."""
        self._watch_exposure()
        state = self._state
        if pixels.shape != state.shape or pixels.dtype != np.dtype(state.dtype):
            self._fail_size(pixels.shape, pixels.dtype)
        if all(tag in tags for tag in ROI_TAGS):
            place = tuple(str(tags[tag]) for tag in ROI_TAGS)
            if place != self._roi_tags:
                self.fail(
                    f"the ROI of frame {self.received} begins at ({', '.join(place)}), "
                    f"of the stream at ({', '.join(self._roi_tags)}). It was moved "
                    "while the camera ran: leave the camera alone until the end."
                )
        number = self._number(tags)
        if self._watch is not None:
            self._watch.frame(number, t_ns if fresh else None, tags)
        self.received += 1
        self.next_seq = number + 1
        header = FrameHeader(
            seq=number,
            camera_frame=number,
            t_ns=t_ns,
            missing_total=self.missing,
            laser_seq=self._laser_seq(t_ns - self._interval_ns),
        )
        return Frame(header, np.ascontiguousarray(pixels))

    def _number(self, tags: Mapping[str, Any]) -> int:
        """Return the camera's own count where it has one, Micro-Manager's otherwise."""
        number = self._count(tags, IMAGE_NUMBER_TAG)
        if CAMERA_FRAME_TAG in tags:
            number = self._count(tags, CAMERA_FRAME_TAG)
        if self._first is None:
            self._first = number
        number -= self._first
        if number < self.next_seq:
            self.fail(
                f"its frame number is {number} after {self.next_seq - 1}. The driver "
                "repeats or restarts its numbers; frames cannot be put in order."
            )
        return number

    def _count(self, tags: Mapping[str, Any], tag: str) -> int:
        """Read a counter from the metadata: text, and it must go up."""
        try:
            number = int(tags[tag])
        except (KeyError, ValueError):
            self.fail(
                f"frame {self.received} has no usable {tag} in its metadata, so a "
                "lost frame could not be noticed. Update Micro-Manager."
            )
        if number <= self._last[tag]:
            self.fail(
                f"{tag} is {number} after {self._last[tag]}: the core emptied its "
                "buffer or the driver restarted. Start the acquisition again."
            )
        self._last[tag] = number
        return number


def was_set(*events: threading.Event | None) -> bool:
    """Whether any of the events that are there is set."""
    return any(event is not None and event.is_set() for event in events)
