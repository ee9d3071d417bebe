"""Send what another program acquires with its ``CMMCorePlus``."""

from __future__ import annotations

import logging
import queue
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import LivelocError, SettingsError, SourceError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.recording.recorder import FrameRecorder
from liveloc.stream.sockets.endpoints import FRAMES_AT, loopback
from liveloc.stream.transport.sender import FrameSender
from liveloc.stream.transport.transmission import transmit

from .handover import QUEUE_BYTES, HandedSource
from .mda_frames import MDAFrames, MDAStream
from .mda_plan import describe_key
from .python_core import PatientMDA
from .running_queries import avoid_live_queries
from .sequence_follower import SequenceFollower, current_camera
from .setup import (
    CameraSettings,
    frame_interval_ms,
    pixel_size_nm_of,
    read_camera,
)
from .stream_start import CALIBRATION_FRAMES, describe_stream

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping

    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.frames import FrameSource, Policy, StreamEnd, StreamStart

ENGINE = FRAMES_AT
SETTLED_S = 0.3  # so long without an acquisition, and `wait` believes there is none
JOIN_S = 40.0
SIGNALS = (
    "sequenceStarted",
    "eventStarted",
    "frameReady",
    "sequenceCanceled",
    "sequenceFinished",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentStream:
    """What became of one acquisition.

    Attributes
    ----------
    end : StreamEnd
        As sent to the engine and written to the recording.
    shed : int
        Of ``end.missing``: frames for which there was no room on the way here.
    recorded : int or None
        Frames in the recording; None without one.
    folder : Path or None
        Where the recording is.
    """

    end: StreamEnd
    shed: int
    recorded: int | None
    folder: Path | None


def attach(core: Any, **options: Any) -> Attached:
    """Send every acquisition of a core from now on; see `Attached` for the options.

    Examples
    --------
    >>> with attach(core, engine="tcp://127.0.0.1:5555") as live:  # doctest: +SKIP
    ...     core.run_mda(plan)
    """
    return Attached(core, **options)


class Attached:
    """Follows the core of another program: each acquisition becomes a stream.

    Multi-dimensional acquisitions (``core.run_mda``) are followed by themselves,
    plain sequences with `follow_sequence`. The core is only listened to: no device,
    no laser and no setting is touched, frames are copied in the acquisition's thread
    and everything else happens in a thread of its own. Nothing of ours reaches the
    acquisition, whatever fails here.

    Leaving the ``with`` block waits for the acquisition that runs, then for the
    engine to take the last frames; after an exception it detaches at once.

    Parameters
    ----------
    core : CMMCorePlus
        With a camera.
    engine : str or None
        Address of the engine; it need not be there yet. None only records.
    record : str or Path, optional
        Folder for recordings: each stream gets ``acquisition-0001`` and so on in it,
        which ``liveloc replay`` takes.
    camera : str, optional
        Label of the camera to follow; the core's current one if not given.
    pixel_size_nm, calibration, interval_ms, laser_seq, metadata
        See `MicroManagerSource`. `laser_seq` is called in the acquisition's thread.
    policy : {"drop_block", "stop"}
        What happens when the disk or the engine is too slow. The acquisition never
        waits, so ``block`` is refused.
    queue_bytes : int
        Pixels that may wait between the acquisition and our thread.

    Raises
    ------
    SettingsError
        No camera, no pixel size, an address that leaves this machine, a policy that
        would wait.
    """

    def __init__(
        self,
        core: Any,
        *,
        engine: str | None = ENGINE,
        record: str | Path | None = None,
        camera: str | None = None,
        pixel_size_nm: float | None = None,
        calibration: CameraCalibration | None = None,
        interval_ms: float | None = None,
        policy: Policy = "drop_block",
        queue_bytes: int = QUEUE_BYTES,
        laser_seq: Callable[[int], int] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if policy == "block":
            raise SettingsError(
                "policy block would make the acquisition wait. Use drop_block or stop."
            )
        if engine is None and record is None:
            raise SettingsError(
                "neither an engine nor a folder to record to: the frames would go "
                "nowhere. Give engine or record."
            )
        self._engine = loopback(engine) if engine is not None else None
        self._record = Path(record) if record is not None else None
        self._core = core
        self._camera = current_camera(core, camera)
        pixel_size_nm_of(core, pixel_size_nm)
        self._laser_seq = laser_seq
        self._policy, self._metadata = policy, metadata
        self._settings = CameraSettings(
            camera=self._camera,
            pixel_size_nm=pixel_size_nm,
            calibration=calibration,
            interval_ms=interval_ms,
        )
        self._closed = False
        self._streams: list[SentStream] = []
        self._failure: LivelocError | None = None
        self._work: queue.SimpleQueue[MDAStream | SequenceFollower | None] = (
            queue.SimpleQueue()
        )
        self._busy = threading.Event()
        self._current: FrameSource | None = None
        self._listener = MDAFrames(
            self._camera,
            self._enqueue,
            lambda: str(core.mda.status.finish_reason or ""),
            wanted=self._is_wanted,
            queue_bytes=queue_bytes,
            policy=policy,
            laser_seq=laser_seq,
        )
        self._output: _Output | None = None
        self._connect()
        self._thread = threading.Thread(
            target=self._run, name="liveloc-attach", daemon=True
        )
        self._thread.start()

    @property
    def streams(self) -> list[SentStream]:
        """What became of each stream that has ended."""
        return list(self._streams)

    @property
    def others(self) -> Counter[str]:
        """Frames that belong to no stream, by name: other_camera, other_axis, ..."""
        return self._listener.others.copy()

    @property
    def failure(self) -> LivelocError | None:
        """What kept the last stream from being sent at all; None if nothing did."""
        return self._failure

    def as_output(self) -> _Output:
        """Return an output for ``core.run_mda(plan, output=...)``, alone or in a list.

        From now on only acquisitions with this output are sent.
        """
        if self._output is None:
            self._output = _Output()
        return self._output

    def _is_wanted(self) -> bool:
        """Whether the acquisition that begins is to be sent.

        pymmcore-plus keeps the outputs of a run in a private set; where it does not
        do so any more, every acquisition is sent.
        """
        outputs = getattr(self._core.mda, "_handlers", (self._output,))
        return self._output is None or self._output in outputs

    def follow_sequence(self) -> None:
        """Follow the sequence acquisition that runs now, to its end.

        Raises
        ------
        SettingsError
            None is running; see `SequenceFollower`.
        """
        follower = SequenceFollower(
            self._core,
            self._settings,
            policy=self._policy,
            laser_seq=self._laser_seq,
            metadata=self._metadata,
        )
        self._enqueue(follower)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no acquisition runs and its frames are sent.

        Parameters
        ----------
        timeout_s : float, optional
            Longest wait; without end if not given.

        Returns
        -------
        bool
            False when time ran out first.
        """
        deadline = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
        idle_since = time.monotonic()
        while time.monotonic() < deadline:
            if self._core.mda.is_running() or self._listener.running:
                idle_since = time.monotonic()
            elif self._busy.is_set() or not self._work.empty():
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= SETTLED_S:
                return True
            time.sleep(0.01)
        return False

    def close(self) -> None:
        """Detach: end the stream that runs, send what waits. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._disconnect()
        self._listener.detach()
        current = self._current
        if isinstance(current, SequenceFollower):
            current.stop()
        self._work.put(None)
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            _log.error(
                "the engine or the disk does not respond: gave up after %g s.", JOIN_S
            )

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self.close()

    def _connect(self) -> None:
        avoid_live_queries(self._core)
        self._patience = PatientMDA(self._core)
        for name in SIGNALS:
            getattr(self._core.mda.events, name).connect(getattr(self._listener, name))

    def _disconnect(self) -> None:
        self._patience.undo()
        for name in SIGNALS:
            try:
                signal = getattr(self._core.mda.events, name)
                signal.disconnect(getattr(self._listener, name))
            except (ValueError, TypeError, RuntimeError) as error:  # gone already
                _log.debug("%s: %s", name, error)

    def _enqueue(self, stream: MDAStream | SequenceFollower) -> None:
        """Pass a stream to our thread. Called in the acquisition's thread."""
        if not self._closed:
            self._work.put(stream)
        elif isinstance(stream, MDAStream):
            stream.handover.end(None)

    def _run(self) -> None:
        """Carry one stream after the other."""
        while (stream := self._work.get()) is not None:
            self._busy.set()
            try:
                self._carry(stream)
            except LivelocError as error:
                self._fail(stream, error)
            except Exception as error:
                _log.exception("a bug in liveloc; the acquisition goes on")
                self._fail(stream, SourceError(f"a bug in liveloc: {error!r}"))
            finally:
                self._current = None
                self._busy.clear()

    def _fail(self, stream: MDAStream | SequenceFollower, error: LivelocError) -> None:
        """Keep why a stream was not sent, and take no more of it."""
        _log.error("a stream is not sent: %s", error)
        self._failure = error
        if isinstance(stream, MDAStream):
            stream.handover.end(error)

    def _carry(self, stream: MDAStream | SequenceFollower) -> None:
        """Record and send one stream to its end."""
        if isinstance(stream, SequenceFollower):
            source: FrameSource = stream
        else:
            start = describe_mda_stream(
                self._core,
                self._camera,
                stream,
                self._settings,
                policy=self._policy,
                metadata=self._metadata,
            )
            source = HandedSource(stream.handover, start)
        self._current = source
        if self._closed:
            source.stop()
        self._failure = None
        with ExitStack() as stack:
            stack.callback(source.close)
            folder = self._folder()
            recorder = self._recorder(folder, source.start, stack)
            sender = None
            if self._engine is not None:
                sender = FrameSender(
                    self._engine,
                    source.start,
                    on_standstill=lambda now: _log.warning("%s", now.text),
                )
                stack.callback(sender.close)
            end = transmit(source, sender, recorder)
        shed = stream.handover.shed if isinstance(stream, MDAStream) else 0
        written = recorder.written if recorder is not None else None
        self._streams.append(
            SentStream(end=end, shed=shed, recorded=written, folder=folder)
        )
        _log.info("stream ended: %s %s", end.status, end.reason)

    def _folder(self) -> Path | None:
        """Name the folder of the next recording."""
        if self._record is None:
            return None
        number = 1
        while (folder := self._record / f"acquisition-{number:04d}").exists():
            number += 1
        return folder

    @staticmethod
    def _recorder(
        folder: Path | None, start: StreamStart, stack: ExitStack
    ) -> FrameRecorder | None:
        if folder is None:
            return None
        recorder = FrameRecorder(SessionFolder(folder).recording, start)
        stack.callback(recorder.close)
        return recorder


class _Output:
    """Marks an acquisition that is to be sent.

    pymmcore-plus hands frames to outputs late, in a thread of its own that keeps them
    in memory without a bound. So this one takes none: they are taken where they are
    announced.
    """

    def frameReady(self) -> None:
        """Do nothing; pymmcore-plus expects this method of an output."""


def describe_mda_stream(
    core: Any,
    camera: str,
    stream: MDAStream,
    settings: CameraSettings,
    *,
    policy: Policy,
    metadata: Mapping[str, str] | None,
) -> StreamStart:
    """Build START of a stream whose first frame is there; sets nothing.

    Raises
    ------
    SettingsError
        Its frames cannot be placed; see `describe_stream`.
    """
    state = read_camera(core, camera)
    if state.shape != stream.shape:
        raise SettingsError(
            f"camera '{camera}': the first frame is {stream.shape} but frames are now "
            f"{state.shape}. Leave its ROI alone while an acquisition runs."
        )
    state = replace(state, exposure_ms=stream.exposure_ms or state.exposure_ms)
    given_ms = settings.interval_ms
    interval = frame_interval_ms(core, camera, state.exposure_ms, given_ms)
    place = {"mda_index": describe_key(stream.key)} if stream.key else {}
    return describe_stream(
        core,
        state,
        settings,
        early=lambda: stream.handover.first(CALIBRATION_FRAMES),
        interval_ms=interval if given_ms else max(interval, stream.interval_ms),
        expected_frames=stream.expected_frames,
        policy=policy,
        metadata=dict(metadata or {}) | place,
    )
