"""Frames of a multi-dimensional acquisition, taken where they are announced."""

from __future__ import annotations

import logging
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from useq import AcquireImage

from liveloc.stream.errors import LivelocError, SourceAborted, SourceError
from liveloc.stream.frames import Frame, FrameHeader

from .handover import QUEUE_BYTES, Handover
from .mda_plan import (
    Key,
    alternating_axis,
    axes_of,
    describe_key,
    frames_per_stream,
    interval_ms_of,
    is_known,
    key_of,
)
from .sequence_reader import CAMERA_FRAME_TAG, IMAGE_NUMBER_TAG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from useq import MDAEvent, MDASequence

    from liveloc.stream.frames import Policy

# Names of frames that belong to no stream.
OTHER_CAMERA = "other_camera"
OTHER_SHAPE = "other_shape"
OTHER_AXIS = "other_axis"
NO_TIME_AXIS = "no_time_axis"
NOT_MONOCHROME = "not_monochrome"
BEFORE_ATTACH = "before_attach"
AFTER_END = "after_end"
NOT_ASKED_FOR = "not_asked_for"

_ADVICE = {
    OTHER_CAMERA: "they come from another camera than the one that is followed",
    OTHER_SHAPE: "they are not of the shape and type that the stream began with",
    OTHER_AXIS: "positions, planes or channels alternate with time, and a stream "
    "follows one of them: put t last in axis_order, e.g. 'pczt'",
    NO_TIME_AXIS: "the plan has no time axis, so its images are no stream",
    NOT_MONOCHROME: "a stream takes 8 or 16 bit monochrome",
    BEFORE_ATTACH: "the acquisition had begun already; the next one will be taken",
    AFTER_END: "their stream has ended with an error",
    NOT_ASKED_FOR: "their acquisition was not given the output of `as_output`",
}
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class MDAStream:
    """One stream of an acquisition while it comes in.

    Attributes
    ----------
    handover : Handover
        Its frames.
    key : tuple
        Position, plane, channel; see `key_of`.
    shape, dtype, exposure_ms
        Of its first frame.
    interval_ms : float
        Time from frame to frame by the plan, ms; 0 if it has none.
    expected_frames : int
        Number of frames by the plan, 0 if not known.
    """

    handover: Handover
    key: Key
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    exposure_ms: float
    interval_ms: float
    expected_frames: int
    next_seq: int = 0
    taken: int = 0


class MDAFrames:
    """Listens to an acquisition and copies its frames into streams.

    Its methods have the names of the signals of ``core.mda.events`` and are connected
    to them. They are called in the acquisition's thread: each copies and returns,
    waits for nothing and raises nothing. `seq` is the place in the plan; in
    hardware-timed parts the camera's own count decides, so a lost exposure is a gap
    where it was lost.

    Each position, plane and channel is a stream of its own, one after the other.
    Where they alternate in time only the first of them is taken. What belongs to no
    stream is counted in `others` by name.

    Parameters
    ----------
    camera : str
        Label of the camera to take.
    on_stream : Callable[[MDAStream], None]
        Called with each new stream when its first frame is there. Must not block.
    status : Callable[[], str]
        Called at the end of an acquisition: ``completed``, ``canceled``, ``errored``.
    wanted : Callable[[], bool], optional
        Called at the start of an acquisition: whether to take its frames.
    first : Handover, optional
        Of the first stream, where it is already being waited for.
    errors_explained : bool
        The caller of the acquisition calls `fail` when it ended with an error.
    queue_bytes, policy
        See `Handover`.
    laser_seq : Callable[[int], int], optional
        Number of the laser setting in force at a monotonic time in ns.
    """

    def __init__(
        self,
        camera: str,
        on_stream: Callable[[MDAStream], None],
        status: Callable[[], str],
        *,
        wanted: Callable[[], bool] | None = None,
        first: Handover | None = None,
        errors_explained: bool = False,
        queue_bytes: int = QUEUE_BYTES,
        policy: Policy = "drop_block",
        laser_seq: Callable[[int], int] | None = None,
    ) -> None:
        self._wanted = wanted or (lambda: True)
        self._first, self._errors_explained = first, errors_explained
        self._camera, self._on_stream, self._status = camera, on_stream, status
        self._queue_bytes, self._policy = queue_bytes, policy
        self._laser_seq = laser_seq or (lambda t_ns: 0)
        self.others: Counter[str] = Counter()
        self.running = False
        self._reset()

    def _reset(self) -> None:
        self._stream: MDAStream | None = None
        self._planned: Counter[Key] = Counter()
        self._ended: set[Key] = set()
        self._refused = ""  # name for all frames of this acquisition
        self._only_first = self._one_key = False
        self._interval_ms, self._expected = 0.0, 0
        self._keys: Sequence[Key] = ()
        self._seqs: Sequence[int] = ()
        self._came = 0
        self._last_number = -1

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """Keep our faults from the acquisition; they end the stream."""
        try:
            yield
        except Exception as error:
            _log.exception("the acquisition goes on, its stream ends")
            self._end(SourceError(f"a bug in liveloc: {error!r}"))

    def sequenceStarted(self, sequence: MDASequence, meta: Mapping[str, Any]) -> None:
        """Learn the plan."""
        with self._contained():
            self._end(SourceAborted("another acquisition began"))
            self._reset()
            if not self._wanted():
                self._refused = NOT_ASKED_FOR
                return
            self.running = True
            if not is_known(sequence):
                self._only_first = True
                return
            axes = axes_of(sequence)
            if axes and "t" not in axes:
                self._refused = NO_TIME_AXIS
            self._only_first = bool(alternating_axis(sequence))
            self._one_key = set(axes) == {"t"}
            self._interval_ms = interval_ms_of(sequence)
            self._expected = frames_per_stream(sequence)

    def eventStarted(self, event: MDAEvent) -> None:
        """Assign each exposure of the next part of the plan its place."""
        with self._contained():
            self._came, self._last_number = 0, -1
            if self._refused:
                return
            if event.action is not None and not isinstance(event.action, AcquireImage):
                self._keys = self._seqs = ()
                return
            events = getattr(event, "events", None) or (event,)
            if self._one_key:
                key, count = key_of(events[0]), len(events)
                self._keys = (key,) * count
                first = self._next_place(key)
                self._seqs = range(first, first + count)
                self._planned[key] = first + count
                return
            self._keys, seqs = [key_of(one) for one in events], []
            for key in self._keys:
                seqs.append(self._next_place(key))
                self._planned[key] = seqs[-1] + 1
            self._seqs = seqs

    def _next_place(self, key: Key) -> int:
        """Return the next place in a stream.

        A camera that lost exposures may have gone on beyond its part of the plan
        until it had delivered as many frames as requested.
        """
        stream = self._stream
        went_on = stream.next_seq if stream is not None and stream.key == key else 0
        return max(self._planned[key], went_on)

    def frameReady(
        self, image: NDArray[Any], event: MDAEvent, meta: Mapping[str, Any]
    ) -> None:
        """Copy a frame and put it in the queue of its stream."""
        t_ns = time.monotonic_ns()
        with self._contained():
            name = self._refused or self._take(image, meta, t_ns)
            if name:
                if not self.others[name]:
                    _log.warning("frames are left out (%s): %s.", name, _ADVICE[name])
                self.others[name] += 1

    def sequenceCanceled(self, sequence: MDASequence) -> None:
        """End the stream: the acquisition was cancelled."""
        with self._contained():
            seen = self._stream.next_seq if self._stream else 0
            self._end(
                SourceAborted(f"the acquisition was cancelled after {seen} exposures")
            )

    def sequenceFinished(self, sequence: MDASequence) -> None:
        """End the stream, with what is missing from the plan."""
        with self._contained():
            if self._status() == "errored":
                if self._errors_explained:
                    return
                self._end(
                    SourceError(
                        "the acquisition ended with an error: Micro-Manager's buffer "
                        "overflowed, a device failed or frames were too late. See its "
                        "own log. The frames so far are good."
                    )
                )
            self._end(None)
            self.running = False

    def fail(self, error: LivelocError) -> None:
        """End the stream with what ended the acquisition."""
        self._end(error)
        self.running = False

    def detach(self) -> None:
        """End the stream though the acquisition goes on."""
        self._end(SourceAborted("detached before the acquisition ended"))
        self.running = False

    def _end(self, error: LivelocError | None) -> None:
        """End the present stream, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._ended.add(stream.key)
            planned = 0 if error is not None else self._planned[stream.key]
            stream.handover.end(error, planned)

    def _take(self, image: NDArray[Any], meta: Mapping[str, Any], t_ns: int) -> str:
        """Put one frame in its stream, or name why it belongs to none."""
        if not self._seqs:
            return BEFORE_ATTACH
        if str(meta.get("camera_device", self._camera)) != self._camera:
            return OTHER_CAMERA
        number = self._number(meta)
        if number is None:
            return AFTER_END
        last = min(number, len(self._seqs) - 1)
        key, seq = self._keys[last], self._seqs[last] + number - last
        stream = self._stream_of(key, image, meta)
        if isinstance(stream, str):
            return stream
        if image.shape != stream.shape or image.dtype != stream.dtype:
            return OTHER_SHAPE
        exposure_ms = float(meta.get("exposure_ms", stream.exposure_ms))
        if abs(exposure_ms - stream.exposure_ms) > 1e-3 * stream.exposure_ms:
            self._end(
                SourceError(
                    f"the exposure changed from {stream.exposure_ms:g} to "
                    f"{exposure_ms:g} ms at frame {seq}. A stream has "
                    "one exposure: make it another acquisition."
                )
            )
            return AFTER_END
        self._put(stream, image, seq, number, t_ns)
        return ""

    def _number(self, meta: Mapping[str, Any]) -> int | None:
        """Count exposures within this part of the plan, by the camera if it does."""
        number, self._came = self._came, self._came + 1
        tags = meta.get("camera_metadata") if meta.get("hardware_triggered") else None
        for tag in (IMAGE_NUMBER_TAG, CAMERA_FRAME_TAG):
            if tags and tag in tags:
                number = int(tags[tag])
        last, self._last_number = self._last_number, number
        beyond = number >= len(self._seqs) and self._keys[0] != self._keys[-1]
        if number > last and not beyond:
            return number
        self._end(
            SourceError(
                f"the camera's count is {number} after {last} in a part of "
                f"{len(self._seqs)} exposures: frames cannot be put in order."
            )
        )
        return None

    def _stream_of(
        self, key: Key, image: NDArray[Any], meta: Mapping[str, Any]
    ) -> MDAStream | str:
        """Return the stream of a key, a new one where the plan goes on to the next."""
        stream = self._stream
        if stream is not None and stream.key == key:
            if stream.handover.ended:  # policy stop, or its reader is gone
                self._end(None)
                return AFTER_END
            return stream
        if key in self._ended:
            return AFTER_END
        if self._only_first and (stream is not None or self._ended):
            return OTHER_AXIS
        if image.ndim != 2 or image.dtype.str not in ("|u1", "<u2"):
            return NOT_MONOCHROME
        self._end(None)
        first, self._first = self._first, None
        self._stream = stream = MDAStream(
            handover=first or Handover(self._queue_bytes, self._policy),
            key=key,
            shape=image.shape,
            dtype=image.dtype,
            exposure_ms=float(meta.get("exposure_ms", 0.0)),
            interval_ms=self._interval_ms,
            expected_frames=self._expected,
        )
        if key:
            _log.info("a stream begins with %s.", describe_key(key))
        self._on_stream(stream)
        return stream

    def _put(
        self, stream: MDAStream, image: NDArray[Any], seq: int, number: int, t_ns: int
    ) -> None:
        """Copy a frame into the queue."""
        interval_ms = max(stream.interval_ms, stream.exposure_ms)
        header = FrameHeader(
            seq=seq,
            camera_frame=number,
            t_ns=t_ns,
            missing_total=seq - stream.taken,
            laser_seq=self._laser_seq(t_ns - round(interval_ms * 1e6)),
        )
        stream.next_seq = seq + 1
        if stream.handover.put(Frame(header, np.array(image, order="C", copy=True))):
            stream.taken += 1
