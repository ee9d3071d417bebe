"""Run a useq plan as the acquisition."""

from __future__ import annotations

import logging
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from useq import MDASequence

from liveloc.stream.errors import SettingsError, SourceError

from .attach import SIGNALS, describe_mda_stream
from .handover import QUEUE_BYTES, HandedSource, Handover
from .mda_frames import MDAFrames, MDAStream
from .mda_plan import (
    alternating_axis,
    axes_of,
    frames_per_stream,
    interval_ms_of,
    key_of,
)
from .properties import one_line
from .python_core import PatientMDA
from .running_queries import avoid_live_queries
from .setup import (
    CameraSettings,
    frame_interval_ms,
    read_camera,
    set_buffer,
    set_up_camera,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from liveloc.stream.frames import FrameSource, Policy, StreamStart

    from .setup import CameraState

WAIT_S = 0.1
JOIN_S = 30.0
PREPARE_S = 60.0
MOST_TEXT = 8 << 10  # characters of a plan in START

_log = logging.getLogger(__name__)


def load_plan(path: str | Path) -> MDASequence:
    """Read a useq ``MDASequence`` from YAML or JSON and check that it makes streams.

    Raises
    ------
    SettingsError
        No such file, not a plan, or one that `check_plan` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise SettingsError(f"{path}: no such plan. Give a useq MDASequence in YAML.")
    try:
        plan = MDASequence.from_file(path)
    except Exception as error:  # YAML, JSON and pydantic each raise their own
        raise SettingsError(
            f"{path} is no useq MDASequence: {one_line(error)}"
        ) from error
    check_plan(plan, str(path))
    return plan


def check_plan(plan: MDASequence, name: str = "the plan") -> None:
    """Refuse a plan whose frames make no streams, or endless ones of one frame.

    Raises
    ------
    SettingsError
        No time plan, or positions, planes or channels that alternate in time.
    """
    axes = axes_of(plan)
    if "t" not in axes:
        raise SettingsError(
            f"{name} has no time_plan, so it has no stream of frames. Add one, e.g. "
            "time_plan: {interval: 0, loops: 10000}."
        )
    axis = alternating_axis(plan)
    if axis:
        order = "".join(a for a in dict.fromkeys(axes) if a != "t") + "t"
        raise SettingsError(
            f"{name} changes axis '{axis}' between two time points. A stream is one "
            "position, plane and channel over time: set axis_order so that t comes "
            f"last, e.g. '{order}'; each then becomes a stream of its own."
        )


class MDAAcquisition:
    """Runs a plan: a source of frames for each position, plane and channel.

    Hardware timing is used where pymmcore-plus can: with an interval of 0, the frames
    of a time plan are one sequence at the camera's own rate. The acquisition waits,
    set up, until the first frame is requested; without `calibration`, or with a ROI
    in the plan, it starts at once.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded and owned by the caller.
    plan : MDASequence
        See `check_plan`; an exposure in it wins over `exposure_ms`.
    settings, policy, laser_seq, metadata, stop, **camera
        See `MicroManagerSource`; set before the plan runs. The plan has the
        number of frames.
    queue_bytes : int
        Bytes of pixels that may wait for the reader of the sources. The acquisition
        never waits for them, so ``block`` is refused.

    Raises
    ------
    SettingsError
        A plan that makes no streams, or a camera that cannot be set like this.

    Examples
    --------
    >>> with MDAAcquisition(core, load_plan("plan.yaml")) as run:  # doctest: +SKIP
    ...     for source in run.sources():
    ...         with FrameSender(engine, source.start) as sender:
    ...             transmit(source, sender)
    """

    def __init__(
        self,
        core: Any,
        plan: MDASequence,
        settings: CameraSettings | None = None,
        *,
        policy: Policy = "drop_block",
        queue_bytes: int = QUEUE_BYTES,
        laser_seq: Callable[[int], int] | None = None,
        metadata: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
        **camera: Any,
    ) -> None:
        if policy == "block":
            raise SettingsError(
                "policy block would make the acquisition wait. Use drop_block or stop."
            )
        check_plan(plan)
        self._core, self._plan, self._stop = core, plan, stop
        self._settings = CameraSettings(**dict(settings or ()) | camera)
        if self._settings.frames:
            raise SettingsError(
                "frames is given beside a plan, which has their number."
            )
        self._policy = policy
        self._metadata = dict(metadata or {}) | {"mda_plan": plan_text(plan)}
        state = set_up_camera(core, self._settings)
        self._camera = state.label
        self._first_event = next(iter(plan))
        exposure = self._first_event.exposure or state.exposure_ms
        interval = frame_interval_ms(
            core, state.label, exposure, self._settings.interval_ms
        )
        interval = max(interval, interval_ms_of(plan))
        set_buffer(core, state, interval, self._settings.buffer_mib)
        if interval_ms_of(plan) > 0:
            _log.warning(
                "the plan has an interval of %g ms: each frame is timed by software. "
                "With interval: 0 the camera runs at its own rate.",
                interval_ms_of(plan),
            )
        self._first = Handover(queue_bytes, policy)
        self._first_start: StreamStart | None = None
        self._streams: queue.SimpleQueue[MDAStream | None] = queue.SimpleQueue()
        self._go, self._prepared = threading.Event(), threading.Event()
        self._closed = False
        self._listener = MDAFrames(
            state.label,
            self._on_stream,
            lambda: str(core.mda.status.finish_reason or ""),
            first=self._first,
            errors_explained=True,
            queue_bytes=queue_bytes,
            policy=policy,
            laser_seq=laser_seq,
        )
        self._thread = threading.Thread(
            target=self._run, name="liveloc-mda", daemon=True
        )

    def sources(self) -> Iterator[FrameSource]:
        """Yield a source for each stream of the plan, in the order of the plan.

        Read one to its end before the next is requested; it is closed then.

        Raises
        ------
        SettingsError, SourceError
            The acquisition cannot be set up, or delivered no frame at all.
        """
        if self._thread.ident is not None:
            raise SettingsError(
                "this plan has been run already: create another acquisition."
            )
        for name in SIGNALS:
            getattr(self._core.mda.events, name).connect(getattr(self._listener, name))
        self._core.mda.events.sequenceStarted.connect(self._wait_for_go)
        avoid_live_queries(self._core)
        self._patience = PatientMDA(self._core)
        self._thread.start()
        source = self._first_source()
        yield source
        source.close()
        while (stream := self._next_stream()) is not None:
            if stream.handover is self._first:
                continue
            yield (source := self._source(stream))
            source.close()

    def cancel(self) -> None:
        """End the acquisition; streams end as aborted. Any thread may call it."""
        core = self._core
        core.mda.cancel()
        self._go.set()
        try:
            if self._listener.running and core.isSequenceRunning():
                core.stopSequenceAcquisition()
        except RuntimeError as error:
            _log.error("camera '%s' does not stop: %s", self._camera, one_line(error))

    def close(self) -> None:
        """Cancel what runs, and end the thread. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._thread.ident is None:
            return
        if self._thread.is_alive():
            self.cancel()
        self._thread.join(JOIN_S)
        self._patience.undo()
        events = self._core.mda.events
        events.sequenceStarted.disconnect(self._wait_for_go)
        for name in SIGNALS:
            getattr(events, name).disconnect(getattr(self._listener, name))
        if self._thread.is_alive():
            raise SourceError(
                f"camera '{self._camera}': the acquisition did not end in {JOIN_S:g} s."
            )

    def __enter__(self) -> MDAAcquisition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        """Run the plan; end its streams with the reason if it fails."""
        error: SourceError | None = None
        try:
            self._core.mda.run(self._plan)
        except Exception as raised:  # devices raise what they like
            error = SourceError(
                f"the acquisition failed: {type(raised).__name__}: {one_line(raised)} "
                "If the buffer overflowed, set a larger buffer_mib."
            )
            self._listener.fail(error)
        finally:
            self._first.end(error or SourceError("the acquisition delivered no frame."))
            self._prepared.set()
            self._streams.put(None)

    def _wait_for_go(self, sequence: MDASequence, meta: Mapping[str, Any]) -> None:
        """Hold the acquisition, set up, until frames are wanted."""
        self._prepared.set()
        self._go.wait()

    def _first_source(self) -> FrameSource:
        """Describe the first stream before it begins, where that can be."""
        if not self._prepared.wait(PREPARE_S):
            raise SourceError(f"the acquisition was not set up in {PREPARE_S:g} s.")
        if self._settings.calibration is not None and self._first_event.roi is None:
            state = read_camera(self._core, self._camera)
            stream = self._as_planned(state)
        else:
            self._go.set()
            waiting = self._next_stream()
            if waiting is None:
                self._first.raise_error()
                raise SourceError("the acquisition delivered no frame.")
            stream = waiting
        source = self._source(stream)
        self._first_start = source.start
        return source

    def _as_planned(self, state: CameraState) -> MDAStream:
        """Return the first stream as the plan has it."""
        return MDAStream(
            handover=self._first,
            key=key_of(self._first_event),
            shape=state.shape,
            dtype=np.dtype(state.dtype),
            exposure_ms=self._first_event.exposure or state.exposure_ms,
            interval_ms=interval_ms_of(self._plan),
            expected_frames=frames_per_stream(self._plan),
        )

    def _source(self, stream: MDAStream) -> HandedSource:
        """Make a source of a stream."""
        start = describe_mda_stream(
            self._core,
            self._camera,
            stream,
            self._settings,
            policy=self._policy,
            metadata=self._metadata,
        )
        return HandedSource(
            stream.handover,
            start,
            on_begin=self._go.set,
            on_stop=self.cancel,
            stop=self._stop,
        )

    def _next_stream(self) -> MDAStream | None:
        """Wait for the next stream; None when the acquisition is over."""
        while True:
            try:
                return self._streams.get(timeout=WAIT_S)
            except queue.Empty:
                if self._stop is not None and self._stop.is_set():
                    self.cancel()

    def _on_stream(self, stream: MDAStream) -> None:
        """Check the first stream against its START. In the acquisition's thread."""
        start = self._first_start
        if start is not None and stream.handover is self._first:
            seen = (stream.shape, stream.dtype.str[1:], round(stream.exposure_ms, 3))
            said = (start.shape, start.dtype, round(start.exposure_ms, 3))
            if seen != said:
                stream.handover.end(
                    SourceError(
                        f"the first frame is {seen} (shape, type, exposure in ms), "
                        f"but {said} was expected. Does a channel of the plan change "
                        "the camera? Set it before, or leave it out of the channel."
                    )
                )
                self._core.mda.cancel()
        self._streams.put(stream)


def plan_text(plan: MDASequence) -> str:
    """Write a plan as JSON for START, shortened where it is long."""
    text = str(plan.model_dump_json(exclude_unset=True))
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 3] + "..."
