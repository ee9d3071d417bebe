"""The engine: receive, localize, publish, write.

It takes whatever waits in the ring, up to its largest batch: one frame when idle, many
when loaded. One thread receives into the ring (`FrameReceiver`), the caller's does the
rest.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.balance import NOT_FINITE, NOT_WRITTEN
from liveloc.stream.broadcast.publisher import LocalizationPublisher
from liveloc.stream.broadcast.status import EngineStatus
from liveloc.stream.camera_maps import replace_file
from liveloc.stream.errors import MessageError, SettingsError
from liveloc.stream.files.reserve import Reserve
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.sockets.endpoints import FRAMES_AT, LOCALIZATIONS_AT
from liveloc.stream.tables.arrow import to_batch
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver, Opened

from .backend import (
    OnnxBackend,
    check_memory,
    frames_at_once,
    versions,
    warm_up_shape,
)
from .bundle import load_bundle
from .camera_check import CameraCheck, camera_report
from .density_blocks import DensityBlocks
from .live_stream import LiveStream
from .localizer import Localized, Localizer
from .results import Results

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.frames import StreamEnd, StreamStart
    from liveloc.stream.report import SessionReport
    from liveloc.stream.session.settings import SessionSettings
    from liveloc.stream.sockets.session_key import SessionKey

STATUS_INTERVAL_S = 0.25
WARM_UP_FRAMES = 6
DRAIN_S = 10.0  # for frames that wait in the ring when the engine is stopped
LINGER_S = 1.0  # two repetitions of everything that viewers receive
RESERVE_BYTES = 512 << 10  # for the report and the last rows on a full disk
KEPT_ALARMS, ALARM_LETTERS = 3, 300  # in a status, which has to be small

_log = logging.getLogger(__name__)


class Engine:
    """Localizes the streams that reach its endpoint, one after another.

    Parameters
    ----------
    settings : SessionSettings
        The sections ``engine``, ``stream`` and ``control`` are used.
    folder_for : callable
        Returns the folder for a stream's results. A folder that already holds part of
        the same stream is continued.
    frames_key, viewing_key : SessionKey, optional
        Keys that a sender of frames and a viewer must have.

    Raises
    ------
    SettingsError
        There is no such model or provider, or an address cannot be bound.
    """

    def __init__(
        self,
        settings: SessionSettings,
        folder_for: Callable[[StreamStart], Path],
        *,
        frames_key: SessionKey | None = None,
        viewing_key: SessionKey | None = None,
    ) -> None:
        self._settings, self._folder_for = settings, folder_for
        network = settings.engine
        self._bundle = load_bundle(network.model, refine=network.refine)
        self._backend = OnnxBackend(self._bundle, network.provider, network.threads)
        self._resume: ResumePoint | None = None
        self._receiver = FrameReceiver(
            settings.stream.frames_endpoint or FRAMES_AT,
            ring_frames=network.ring_frames,
            resume=self._prepare,
            key=frames_key,
        )
        try:
            self._publisher = LocalizationPublisher(
                settings.stream.localizations_endpoint or LOCALIZATIONS_AT,
                rows=self._read_rows,
                key=viewing_key,
            )
        except SettingsError:
            self._receiver.close()
            raise
        self._stream: LiveStream | None = None
        self._results: Results | None = None  # of the last stream: late viewers ask
        self._status: EngineStatus | None = None
        self._last_status = 0.0
        self._alarms: list[str] = []  # of the present stream, the newest
        self._reserve: Reserve | None = None

    @property
    def endpoints(self) -> tuple[str, str]:
        """Addresses as bound: for frames, for localizations."""
        return self._receiver.endpoint, self._publisher.endpoint

    def run(
        self, stop: threading.Event, streams: int = 0, *, grace_s: float = 0.0
    ) -> SessionReport | None:
        """Serve streams until `stop` is set, or `streams` of them have ended.

        Parameters
        ----------
        stop : threading.Event
            Set to end.
        streams : int
            Number of streams to serve; 0 for any number.
        grace_s : float
            Time for a connected sender to send its END once `stop` is set, seconds.

        Returns
        -------
        dict or None
            Report of the last stream; None if there was none.
        """
        report: SessionReport | None = None
        ended = 0
        while not stop.is_set() and (streams == 0 or ended < streams):
            closed = self._step()
            report = closed or report
            ended += closed is not None
        until = time.monotonic() + grace_s
        while self._stream and self._receiver.connected and time.monotonic() < until:
            report = self._step() or report
        if self._stream is not None:
            self._receiver.close_lost("the engine was stopped")
            until = time.monotonic() + DRAIN_S
            while self._stream is not None and time.monotonic() < until:
                report = self._step() or report
        self._drain_viewers()
        return report

    def close(self) -> None:
        """Close sockets and end threads. Idempotent."""
        self._receiver.close()
        self._publisher.close()
        if self._reserve is not None:
            self._reserve.release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _step(self) -> SessionReport | None:
        """Handle one event; return the report of a stream that ended with it."""
        report = None
        event = self._receiver.next(self._batch, timeout_s=0.1)
        if isinstance(event, Opened):
            self._begin(event.start)
        elif isinstance(event, Arrived) and self._stream is not None:
            self._deliver(self._stream, self._stream.take(event))
            if self._publisher.preview_wanted:  # the newest frame is not localized yet
                self._stream.previews.look(event.headers[-1].seq, event.pixels[-1])
            self._receiver.release(event.headers[-1].seq)
        elif isinstance(event, Closed) and self._stream is not None:
            report = self._end(self._stream, event.end)
        self._serve_viewers()
        return report

    def _serve_viewers(self) -> None:
        """Resend missing rows on request; publish the status a few times a second."""
        self._publisher.serve(0.0)
        if time.monotonic() - self._last_status > STATUS_INTERVAL_S:
            self._last_status = time.monotonic()
            if self._stream is not None:
                self._status = self._describe(self._stream)
            if self._status:
                self._publisher.status(self._status.to_json())

    def _drain_viewers(self) -> None:
        """Let viewers fetch missing rows and receive the last status."""
        until = time.monotonic() + LINGER_S
        while self._status and time.monotonic() < until:
            self._serve_viewers()
            time.sleep(0.02)

    def _begin(self, start: StreamStart) -> None:
        """Open the results of a stream."""
        folder = self._folder_for(start)
        folder.mkdir(parents=True, exist_ok=True)
        self._alarms = []
        self._reserve = Reserve(folder, RESERVE_BYTES)
        results = Results(
            folder,
            start,
            self._bundle,
            self._settle,
            written=self._receiver.settle,
            refused=self._disk_refuses,
            resume=self._resume,
        )
        control, bundle = self._settings.control, self._bundle
        response, block_frames = bundle.spec.density_response, control.block_frames
        self._stream = LiveStream(
            start,
            folder,
            results,
            Localizer.for_stream(start, bundle, self._backend, control.region),
            DensityBlocks(start.stream_id, response, block_frames=block_frames),
            CameraCheck(start.calibration),
        )
        self._results = results
        self._publisher.begin(start.stream_id, results.metadata, rows=results.rows)

    def _deliver(self, stream: LiveStream, localized: Localized) -> None:
        """Publish first, then count, then write; the preview of a frame goes last."""
        if len(localized.localizations):
            self._publisher.publish(localized.localizations)
        if len(localized.frames):
            self._receiver.published(int(localized.frames[-1]))
        if density := stream.published(localized):
            self._receiver.send_density(density)
        stream.results.add(localized)
        preview = stream.previews.found(localized.frames, localized.localizations)
        if preview is not None:
            self._publisher.preview(preview)

    def _settle(self, last: int, frames: int, failed: int) -> ResumePoint:
        """Count frames whose rows are on disk."""
        self._receiver.localized(frames)
        if failed:
            self._receiver.lose(NOT_FINITE, failed)
        return self._receiver.checkpoint(last)

    def _disk_refuses(self, error: OSError) -> None:
        """Raise an alarm, once, when the disk refuses results; go on without it."""
        why = error.__cause__ or error
        text = (
            f"the disk refuses the results ({why}): frames are localized and their "
            "rows kept in memory. Free some space before the session ends."
        )[:ALARM_LETTERS]
        if text not in self._alarms:
            _log.error("%s", error)
            self._alarms = [*self._alarms, text][-KEPT_ALARMS:]

    def _end(self, stream: LiveStream, end: StreamEnd) -> SessionReport:
        """Localize the last frame, close the balance and write the report."""
        self._deliver(stream, stream.localizer.finish())
        stream.camera.finish()
        if self._reserve is not None:
            self._reserve.release()
        stream.results.close(end)
        if owed := stream.results.owed_frames:
            self._receiver.localized(-owed)
            self._receiver.lose(NOT_WRITTEN, owed)
        report = self._report(stream, end)
        path = SessionFolder(stream.folder).report
        try:
            replace_file(path, json.dumps(report, indent=1).encode())
        except OSError as error:  # a session reports that itself, from the last status
            _log.error("%s: cannot be written: %s", path, error)
        self._status = self._describe(stream, ended=end.status)
        self._stream = None
        return report

    def _report(self, stream: LiveStream, end: StreamEnd) -> SessionReport:
        """Return what happened to every frame, how fast, and with which network."""
        balance = self._receiver.balance
        return {
            "frames": balance.as_dict(),
            "localizations": stream.results.rows,
            "fps": round(stream.fps, 2),
            "latency_ms": stream.latency.as_dict(),
            "latency_after_neighbour_ms": stream.after_neighbour.as_dict(),
            "density_per_um2": round(stream.density.mean_per_um2, 4),
            "session": str(stream.folder),
            "stream_id": end.stream_id.hex(),
            "status": end.status,
            "reason": end.reason,
            "alarms": [{"text": text, "serious": True} for text in self._alarms],
            "rejected": dict(self._receiver.rejected),
            "camera": camera_report(stream.camera),
            "engine": {
                **self._bundle.identity,
                "backend": self._backend.name,
                "threads": self._settings.engine.threads,
                "versions": versions(),
            },
        }

    def _describe(self, stream: LiveStream, ended: str = "") -> EngineStatus:
        """Return the status that viewers receive."""
        balance = self._receiver.balance
        return EngineStatus(
            frames=balance.camera,
            expected_frames=stream.start.expected_frames,
            localized=balance.localized,
            localizations=stream.results.rows,
            fps=round(stream.recent_fps(), 1),
            lost=dict(balance.lost),
            unexplained=balance.unexplained if ended else 0,
            latency_ms=round(stream.latency.percentile(50), 2),
            latency_p99_ms=round(stream.latency.percentile(99), 2),
            density_per_um2=round(stream.recent_density, 3),
            ended=ended,
            warnings=tuple(stream.camera.warnings),
            laser=self._laser(),
            alarms=(*self._receiver.alarms, *self._alarms),
        )

    def _laser(self) -> dict[str, Any] | None:
        """Return what the bridge reported of its laser; None without one."""
        state = self._receiver.laser
        if state is None:
            return None
        plain = asdict(state)
        del plain["stream_id"]
        return plain

    def _prepare(self, start: StreamStart) -> ResumePoint | None:
        """Get ready before the sender is accepted.

        Check that the network fits, run everything a few times (the first runs take
        longest), and return where an earlier engine stopped in this stream.
        """
        try:
            self._bundle.check_pixel_size(start.pixel_size_nm)
            check_memory(start.shape, self._settings.engine.memory_gib)
            region = self._settings.control.region
            Localizer.for_stream(start, self._bundle, self._backend, region)
        except SettingsError as error:  # the sender's mistake, not the engine's
            raise MessageError("model", str(error)) from None
        corner = _corner(
            start
        )  # a large frame would take gigabytes before any has arrived
        trial = Localizer.for_stream(corner, self._bundle, self._backend)
        blank = np.zeros(corner.shape, corner.dtype)
        trial.feed(list(range(WARM_UP_FRAMES)), [blank] * WARM_UP_FRAMES)
        to_batch(empty(1)).serialize()
        log = SessionFolder(self._folder_for(start)).ledger
        self._resume = ProcessedLog(log).resume(start) if log.exists() else None
        return self._resume

    @property
    def _batch(self) -> int:
        """Largest number of frames to take at once."""
        if self._stream is None:
            return self._settings.engine.max_batch
        shape = self._stream.start.shape
        return frames_at_once(shape, self._settings.engine.max_batch)

    def _read_rows(self, first: int, count: int) -> Localizations:
        return self._results.read_rows(first, count) if self._results else empty()


def _corner(start: StreamStart) -> StreamStart:
    """Return the same stream with only a corner of its frames."""
    height, width = shape = warm_up_shape(start.shape)
    calibration = start.calibration.cropped(*start.roi_origin, width, height)
    return replace(start, shape=shape, calibration=calibration)
