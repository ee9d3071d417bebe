"""The bridge: camera and laser on one side, engine and recording on the other."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import (
    RecordingError,
    SettingsError,
    SourceFinished,
    StreamError,
)
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.localizations import empty
from liveloc.stream.recording.recorder import FrameRecorder
from liveloc.stream.tables.arrow import TableWriter
from liveloc.stream.tables.coordinates import stream_metadata
from liveloc.stream.transport.sender import FrameSender
from liveloc.stream.transport.transmission import transmit

from .camera.mda import MDAAcquisition, load_plan
from .camera.mda_plan import TIME, axes_of
from .camera.python_core import close_core
from .camera.sequence_source import MicroManagerSource, open_core
from .feedback_setup import ControlLog, laser_state, lease_s, open_feedback
from .laser.interlock import LaserInterlock
from .laser.laser import GuardedLaser, MicroManagerLaser
from .laser.shutter import MicroManagerShutter, ShutterWatch
from .settings import laser_of
from .simulated import SimulatedMicroscope, open_simulated

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from liveloc.stream.frames import Frame, FrameSource, StreamEnd, StreamStart
    from liveloc.stream.session.settings import LaserSection
    from liveloc.stream.transport.localization_watch import Standstill

    from .control.feedback import Feedback
    from .settings import BridgeSettings

TRUTH_EVERY = 500  # frames
WAIT_SLICE_S = 0.25
STALL_S = 0.9  # without a frame, or
STALL_FRAMES = 3  # these, if longer: then the laser goes safe

_log = logging.getLogger(__name__)


def run_bridge(
    settings: BridgeSettings,
    *,
    progress: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Run one acquisition from the camera to the engine and the recording.

    Whatever happens, the laser is at its safe level when this returns or raises,
    and as soon as the camera has ended.

    Parameters
    ----------
    settings : BridgeSettings
        Everything it needs.
    progress : Callable[[int], None], optional
        See `transmit`.
    stop : threading.Event, optional
        Ends the acquisition when set. Ctrl-C does, too.

    Returns
    -------
    dict[str, Any]
        ``status``, ``reason``, ``stream_id``, ``frames`` {camera, sent, dropped,
        missing}, ``recorded`` (frames, None without a recording), ``truth`` (rows,
        None for a real sample), ``laser`` {start, end, unit, safe, fault} or None,
        ``feedback`` (see `Feedback.report`) or None, ``not_localized`` (a list of
        `Standstill`: times in which frames arrived and none was localized).

    Raises
    ------
    SettingsError
        A camera, laser or file that is not there or does not fit.
    """
    _check(settings)
    with ExitStack() as stack:
        core, microscope = _open_microscope(settings, stack)
        laser = settings.laser
        if laser is None and settings.simulated is not None:
            laser = laser_of(settings.simulated)
        log = ControlLog(settings.session, laser.unit if laser else "")
        stack.callback(log.close)
        guard = _open_guard(laser, core, log, stack) if laser else None
        source = _open_source(settings, core, microscope, guard, stop, log, stack)
        stack.callback(source.close)
        interlock = feedback = None
        if laser is not None and guard is not None:
            interval_ms = source.start.interval_ms
            interlock = LaserInterlock(
                guard,
                laser.start_power(),
                keep_without_engine=settings.without_engine,
                stall_s=max(STALL_S, STALL_FRAMES * interval_ms / 1e3),
                lease_s=lease_s(settings, interval_ms),
                settle_s=laser.settle_s,
            )
            stack.callback(interlock.close)
            feedback = open_feedback(
                settings, laser, guard, interlock, log, lambda _: source.stop()
            )
            stack.callback(feedback.close)
        truth = _open_truth(settings, microscope, source.start, stack)
        recorder = _open_recorder(settings, source.start, stack)
        watched = _WatchedSource(source, interlock, feedback, truth)
        standstills: list[Standstill] = []
        try:
            if recorder is not None and settings.without_engine:
                end = transmit(watched, None, recorder, progress)
            else:

                def stand(now: Standstill) -> None:
                    known = bool(standstills) and not standstills[-1].over
                    if known:
                        standstills.pop()
                    standstills.append(now)
                    frames = (now.first_seq, now.last_seq)
                    log.alarm(now.text, frames=frames, serious=not known)

                sender = _open_sender(
                    settings, source.start, interlock, feedback, stand, stack
                )
                log.forward = sender.alarm
                if interlock is not None:
                    interlock.localizing = lambda: sender.localizing
                if guard and interlock and feedback:
                    feedback.send_state = _laser_state_sender(
                        sender, guard, interlock, feedback
                    )
                _wait_for_engine(sender, settings, stop)
                end = transmit(watched, sender, recorder, progress, stop, log.alarm)
        finally:  # before anything that may wait for a peer or a disk
            if feedback:
                feedback.close()
            safe = interlock.close() if interlock else True
        if truth is not None:
            truth.update(end.last_seq)
        return _result(end, recorder, truth, guard, feedback, safe, standstills)


def _check(settings: BridgeSettings) -> None:
    """Refuse settings with which frames would go nowhere."""
    if settings.record and settings.session is None:
        raise SettingsError("record is on but there is no session folder. Give one.")
    if settings.without_engine and not settings.record:
        raise SettingsError(
            "neither an engine nor a recording: the frames would go nowhere. "
            "Switch record on, or give an engine."
        )


def _open_microscope(
    settings: BridgeSettings, stack: ExitStack
) -> tuple[Any, SimulatedMicroscope | None]:
    """Open the core, that of the simulated microscope if `simulated` is set."""
    if settings.simulated is not None:
        microscope = open_simulated(settings.simulated)
        stack.callback(microscope.close)
        return microscope.core, microscope
    core = open_core(settings.camera.config)
    stack.callback(close_core, core)
    return core, None


def _open_guard(
    laser: LaserSection, core: Any, log: ControlLog, stack: ExitStack
) -> GuardedLaser:
    """Open the laser, log what it is set to, and bring it to its safe level."""
    shutter = _open_shutter(laser, core, log, stack)
    guard = GuardedLaser(
        MicroManagerLaser(core, laser.device or "", laser.property or "", laser.unit),
        lowest=laser.lowest,
        highest=laser.highest,
        safe=laser.safe,
        on_change=log.changed,
        shutter=shutter,
    )
    is_safe = guard.to_safe("opened")  # else `LaserInterlock` raises
    if shutter and is_safe and laser.shutter and laser.shutter.open is not None:
        stack.callback(shutter.close, "closed", planned=True)
        shutter.open()
    stack.callback(guard.to_safe, "closed")
    return guard


def _open_shutter(
    laser: LaserSection, core: Any, log: ControlLog, stack: ExitStack
) -> ShutterWatch | None:
    """Watch over the backup shutter, if there is one."""
    given = laser.shutter
    if given is None:
        return None
    shutter = MicroManagerShutter(
        core, given.device, given.property, given.closed, given.open
    )
    names = laser.device, given.device
    drivers = [str(core.getDeviceLibrary(name)) for name in names]
    python = core.isPyDevice(laser.device) if hasattr(core, "isPyDevice") else False
    if drivers[0] == drivers[1] and not python:
        log.alarm(
            f"shutter {given.device} has the same driver as laser {laser.device} "
            f"({drivers[0]}): if it hangs, the shutter cannot close either.",
            serious=False,
        )
    watch = ShutterWatch(
        shutter, given.after_s, on_change=log.shuttered, on_alarm=log.alarm
    )
    stack.callback(watch.end)
    return watch


def _open_source(
    settings: BridgeSettings,
    core: Any,
    microscope: SimulatedMicroscope | None,
    guard: GuardedLaser | None,
    stop: threading.Event | None,
    log: ControlLog,
    stack: ExitStack,
) -> FrameSource:
    """Set up the camera: a sequence of its own, or a plan."""
    camera, laser_seq = settings.camera, guard.seq_at if guard else None
    if microscope is not None:
        known = {
            "pixel_size_nm": microscope.settings.pixel_size_nm,
            "calibration": camera.calibration or microscope.calibration,
        }
        camera = camera.model_copy(update=known)
    if camera.plan is None:
        return MicroManagerSource(
            core,
            camera,
            policy=settings.policy,
            laser_seq=laser_seq,
            stop=stop,
            on_alarm=lambda text, certain: log.alarm(text, serious=certain),
        )
    plan = load_plan(camera.plan)
    if (axes := axes_of(plan)) != [TIME]:
        raise SettingsError(
            f"{camera.plan} has the axes {', '.join(axes)}: a session is one "
            "stream, along t only. Run one plan for each position, or use "
            "liveloc.bridge.MDAAcquisition (docs/micromanager.md)."
        )
    run = MDAAcquisition(
        core, plan, camera, policy=settings.policy, laser_seq=laser_seq, stop=stop
    )
    return next(stack.enter_context(run).sources())


def _open_recorder(
    settings: BridgeSettings, start: StreamStart, stack: ExitStack
) -> FrameRecorder | None:
    """Open the recording if one is asked for; `transmit` closes it."""
    if not settings.record or settings.session is None:
        return None
    folder = SessionFolder(settings.session).recording
    recorder = FrameRecorder(folder, start, queue_bytes=settings.record_queue_bytes)
    stack.callback(recorder.close)
    return recorder


def _open_sender(
    settings: BridgeSettings,
    start: StreamStart,
    interlock: LaserInterlock | None,
    feedback: Feedback | None,
    on_standstill: Callable[[Standstill], None],
    stack: ExitStack,
) -> FrameSender:
    """Start connecting to the engine."""
    sender = FrameSender(
        settings.endpoint,
        start,
        queue_bytes=settings.send_queue_bytes,
        on_peer=interlock.peer if interlock else None,
        on_density=feedback.take if feedback else None,
        on_standstill=on_standstill,
        key=settings.key,
    )
    stack.callback(sender.close)
    return sender


def _laser_state_sender(
    sender: FrameSender,
    laser: GuardedLaser,
    interlock: LaserInterlock,
    feedback: Feedback,
) -> Callable[[], None]:
    """Return what sends the state of the laser to the engine, for the viewers."""

    def send() -> None:
        sender.send_laser_state(laser_state(sender.start, laser, interlock, feedback))

    return send


def _wait_for_engine(
    sender: FrameSender, settings: BridgeSettings, stop: threading.Event | None
) -> None:
    """Wait for the engine; go on without one that is silent when the time is over.

    Raises
    ------
    StreamError
        The engine answers, but refuses the stream.
    """
    deadline = time.monotonic() + settings.wait_for_engine_s
    while not sender.wait_connected(WAIT_SLICE_S):
        if stop is not None and stop.is_set():
            return
        if time.monotonic() >= deadline:
            if sender.refusal:
                raise StreamError(
                    f"the engine at {settings.endpoint} refuses the stream: "
                    f"{sender.refusal}"
                )
            _log.warning(
                "no engine answers at %s: continuing without one. Frames that do not "
                "fit in the queue are handled by policy %s; the laser stays at its "
                "safe level.",
                settings.endpoint,
                settings.policy,
            )
            return


def _open_truth(
    settings: BridgeSettings,
    microscope: SimulatedMicroscope | None,
    start: StreamStart,
    stack: ExitStack,
) -> _TruthFile | None:
    """Open the truth table of a simulated session."""
    if microscope is None or settings.session is None:
        return None
    settings.session.mkdir(parents=True, exist_ok=True)
    path = SessionFolder(settings.session).truth
    truth = _TruthFile(microscope, TableWriter(path, stream_metadata(start)))
    stack.callback(truth.close)
    return truth


class _TruthFile:
    """Moves the truth of delivered frames from the microscope to its table."""

    def __init__(self, microscope: SimulatedMicroscope, writer: TableWriter) -> None:
        self._microscope = microscope
        self._writer = writer
        self._later = empty()
        self.failed = False

    def close(self) -> None:
        """End the table; it is complete only if every row of it was written."""
        try:
            self._writer.close(complete=not self.failed)
        except RecordingError as error:
            self.failed = True
            _log.error("%s", error)

    @property
    def rows(self) -> int:
        """Rows in the table."""
        return self._writer.rows

    def update(self, last_seq: int) -> None:
        """Write all rows up to frame `last_seq`; keep those after it for later."""
        rows = np.concatenate([self._later, self._microscope.take_truth()])
        done = rows["frame"] <= last_seq
        self._later = rows[~done]
        if not self.failed:
            try:
                self._writer.append(rows[done])
            except RecordingError as error:  # the session is worth more than its truth
                self.failed = True
                _log.error("%s", error)


class _WatchedSource:
    """A source that turns the laser down when it ends, and keeps the truth."""

    def __init__(
        self,
        source: FrameSource,
        interlock: LaserInterlock | None,
        feedback: Feedback | None,
        truth: _TruthFile | None,
    ) -> None:
        self._source = source
        self._interlock = interlock
        self._feedback = feedback
        self._truth = truth

    @property
    def start(self) -> StreamStart:
        """Description of the stream."""
        return self._source.start

    @property
    def missing(self) -> int:
        """Exposures that never came out, so far."""
        return self._source.missing

    def frames(self) -> Iterator[Frame]:
        """Yield the frames; the laser is safe when this ends in any way."""
        try:
            if self._interlock is not None:
                self._interlock.camera_alive()
            for count, frame in enumerate(self._source.frames(), start=1):
                if self._interlock is not None:
                    self._interlock.camera_alive()
                yield frame
                if self._truth is not None and count % TRUTH_EVERY == 0:
                    self._truth.update(frame.header.seq)
            if self._feedback is not None and self._feedback.stopped_by:
                raise SourceFinished(self._feedback.stopped_by)
        finally:
            if self._interlock is not None:
                self._interlock.close()

    def stop(self) -> None:
        """Ask `frames` to end soon."""
        self._source.stop()

    def close(self) -> None:
        """Release the camera."""
        self._source.close()


def _result(
    end: StreamEnd,
    recorder: FrameRecorder | None,
    truth: _TruthFile | None,
    guard: GuardedLaser | None,
    feedback: Feedback | None,
    safe: bool,
    standstills: list[Standstill],
) -> dict[str, Any]:
    """Return the summary of the acquisition."""
    laser: dict[str, Any] | None = None
    if guard is not None:
        lit = [change.power for change in guard.changes if change.power != guard.safe]
        laser = {
            "start": lit[0] if lit else guard.safe,
            "end": lit[-1] if lit else guard.safe,
            "unit": guard.unit,
            "safe": safe,
            "fault": guard.fault,
            "shutter": guard.shutter_closed,
        }
    return {
        "status": end.status,
        "reason": end.reason,
        "stream_id": end.stream_id.hex(),
        "frames": {
            "camera": end.last_seq + 1,
            "sent": end.sent,
            "dropped": end.dropped,
            "missing": end.missing,
        },
        "recorded": recorder.written if recorder is not None else None,
        "truth": truth.rows if truth is not None and not truth.failed else None,
        "laser": laser,
        "feedback": feedback.report() if feedback is not None else None,
        "not_localized": [asdict(standstill) for standstill in standstills],
    }
