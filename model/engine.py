"""The engine: receive, ring, localize, publish, write.

It takes whatever waits in the ring, up to its largest batch: one frame when
idle, many when loaded. One thread receives into the ring (`FrameReceiver`), the
caller's thread does everything else.
"""

from __future__ import annotations

import json
import logging
import math
import platform
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from liveloc import __version__
from liveloc.stream.balance import NOT_FINITE, NOT_WRITTEN
from liveloc.stream.broadcast.channel import LocalizationPublisher
from liveloc.stream.camera_maps import replace_file
from liveloc.stream.density import BLOCK_FRAMES
from liveloc.stream.errors import MessageError, SettingsError
from liveloc.stream.files.reserve import Reserve
from liveloc.stream.latency import Latency
from liveloc.stream.localizations import Localizations, empty
from liveloc.stream.preview import PreviewTaker
from liveloc.stream.sockets.endpoints import FRAMES_AT, LOCALIZATIONS_AT
from liveloc.stream.tables.arrow import to_batch
from liveloc.stream.tables.ledger import ProcessedLog, ResumePoint
from liveloc.stream.transport.receiver import Arrived, Closed, FrameReceiver, Opened

from .backend import Backend, OnnxBackend
from .bundle import Bundle, load_bundle
from .camera_check import CameraCheck, camera_report
from .density_blocks import DensityBlocks
from .frame_memory import check_memory, frames_at_once, warm_up_shape
from .localizer import Localized, Localizer
from .results import PROCESSED_FILE, Results

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from liveloc.stream.density import BlockDensity
    from liveloc.stream.frames import StreamEnd, StreamStart
    from liveloc.stream.session.settings import SessionSettings
    from liveloc.stream.sockets.session_key import SessionKey

    from .density import Region

STATUS_INTERVAL_S = 0.25
WARM_UP_FRAMES = 6
DRAIN_S = 10.0  # for frames that wait in the ring when the engine is stopped
FAREWELL_S = 1.0  # two repetitions of everything that viewers are told
REPORT_FILE = "report.json"
RESERVE_BYTES = 512 << 10  # for the report and the last rows on a full disk
KEPT_ALARMS, ALARM_LETTERS = 3, 300  # of a status, which is small
PIXEL_SIZE_TOLERANCE = 0.02  # relative; a 3D network's PSF is in pixels and nm

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What the engine runs with.

    Attributes
    ----------
    frames_endpoint, localizations_endpoint : str
        Where frames come in and localizations go out; port 0 takes a free one.
    model : str
        Name of a shipped bundle, or path of one.
    refine : bool
        Fit emitters again with its PSF.
    provider, threads : str, int
        See `OnnxBackend`.
    max_batch : int
        Most frames taken from the ring at once, fewer where they are large.
    memory_gib : float
        Most memory that the network may take; larger frames are refused.
    region : (x, y, width, height), optional
        Pixels of the chip within which the density of emitters is measured.
    block_frames : int
        Least frames between two reports of the density to the bridge.
    ring_frames : int
        Slots of the ring.
    """

    frames_endpoint: str = FRAMES_AT
    localizations_endpoint: str = LOCALIZATIONS_AT
    model: str = "gaussian-2d"
    refine: bool = False
    provider: str = "cpu"
    threads: int = 2
    max_batch: int = 16
    memory_gib: float = 8.0
    region: Region | None = None
    block_frames: int = BLOCK_FRAMES
    ring_frames: int = 256

    @classmethod
    def from_session(cls, settings: SessionSettings) -> EngineSettings:
        """Take the engine's part of a session's settings."""
        return cls(
            frames_endpoint=settings.stream.frames_endpoint or FRAMES_AT,
            localizations_endpoint=settings.stream.localizations_endpoint
            or LOCALIZATIONS_AT,
            region=settings.control.region,
            block_frames=settings.control.block_frames,
            **settings.engine.model_dump(),
        )


class Engine:
    """Localizes the streams that reach its endpoint, one after another.

    Parameters
    ----------
    settings : EngineSettings
        What to run with.
    folder_for : callable
        Gives the folder of a stream's results. A folder that already holds part
        of the same stream is continued.
    frames_key, viewing_key : SessionKey, optional
        What a sender of frames and a viewer have to know.

    Raises
    ------
    SettingsError
        No such model or provider, or an address that cannot be bound.
    """

    def __init__(
        self,
        settings: EngineSettings,
        folder_for: Callable[[StreamStart], Path],
        *,
        frames_key: SessionKey | None = None,
        viewing_key: SessionKey | None = None,
    ) -> None:
        self.settings, self._folder_for = settings, folder_for
        self._bundle = load_bundle(settings.model, refine=settings.refine)
        self._backend = OnnxBackend(self._bundle, settings.provider, settings.threads)
        self._resume: ResumePoint | None = None
        self._receiver = FrameReceiver(
            settings.frames_endpoint,
            ring_frames=settings.ring_frames,
            resume=self._prepare,
            key=frames_key,
        )
        try:
            self._publisher = LocalizationPublisher(
                settings.localizations_endpoint, rows=self._read_rows, key=viewing_key
            )
        except SettingsError:
            self._receiver.close()
            raise
        self._stream: _Stream | None = None
        self._results: Results | None = None  # of the last stream: late viewers ask
        self._status: dict[str, Any] = {}
        self._last_status = 0.0
        self._alarms: list[str] = []  # of the present stream, the newest
        self._reserve: Reserve | None = None

    @property
    def endpoints(self) -> tuple[str, str]:
        """Addresses that are really bound: frames, localizations."""
        return self._receiver.endpoint, self._publisher.endpoint

    def run(
        self, stop: threading.Event, streams: int = 0, *, grace_s: float = 0.0
    ) -> dict[str, Any] | None:
        """Serve streams until `stop` is set, or `streams` of them have ended.

        Parameters
        ----------
        stop : threading.Event
            Set to end.
        streams : int
            0: any number.
        grace_s : float
            How long a sender that is still there may take to send its END once `stop`
            is set, seconds.

        Returns
        -------
        dict or None
            Report of the last stream; None if there was none.
        """
        report: dict[str, Any] | None = None
        ended = 0
        while not stop.is_set() and (streams == 0 or ended < streams):
            closed = self._turn()
            report = closed or report
            ended += closed is not None
        until = time.monotonic() + grace_s
        while self._stream and self._receiver.connected and time.monotonic() < until:
            report = self._turn() or report
        if self._stream is not None:
            self._receiver.close_lost("the engine was stopped")
            until = time.monotonic() + DRAIN_S
            while self._stream is not None and time.monotonic() < until:
                report = self._turn() or report
        self._see_viewers_off()
        return report

    def close(self) -> None:
        """Give up sockets and threads. Idempotent."""
        self._receiver.close()
        self._publisher.close()
        if self._reserve is not None:
            self._reserve.release()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn(self) -> dict[str, Any] | None:
        """Handle one event; give the report of a stream that ended with it."""
        report = None
        event = self._receiver.next(self._batch, timeout_s=0.1)
        if isinstance(event, Opened):
            self._begin(event.start)
        elif isinstance(event, Arrived) and self._stream is not None:
            self._hand_on(self._stream, self._stream.take(event))
            if self._publisher.preview_wanted:  # the newest frame is not localized yet
                self._stream.previews.look(event.headers[-1].seq, event.pixels[-1])
            self._receiver.release(event.headers[-1].seq)
        elif isinstance(event, Closed) and self._stream is not None:
            report = self._end(self._stream, event.end)
        self._talk_to_viewers()
        return report

    def _talk_to_viewers(self) -> None:
        """Answer those that lack rows; say how it goes, a few times a second."""
        self._publisher.serve(0.0)
        if time.monotonic() - self._last_status > STATUS_INTERVAL_S:
            self._last_status = time.monotonic()
            if self._stream is not None:
                self._status = self._describe(self._stream)
            if self._status:
                self._publisher.status(self._status)

    def _see_viewers_off(self) -> None:
        """Let viewers fetch what they lack, and hear of the end, before leaving."""
        until = time.monotonic() + FAREWELL_S
        while self._status and time.monotonic() < until:
            self._talk_to_viewers()
            time.sleep(0.02)

    def _begin(self, start: StreamStart) -> None:
        """Open what a stream needs."""
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
        self._stream = _Stream(
            start, folder, results, self._bundle, self._backend, self.settings
        )
        self._results = results
        self._publisher.begin(start.stream_id, results.metadata, rows=results.rows)

    def _hand_on(self, stream: _Stream, localized: Localized) -> None:
        """Publish first, then count, then write; a raw frame to look at goes last."""
        if len(localized.localizations):
            self._publisher.publish(localized.localizations)
        if len(localized.frames):
            self._receiver.published(int(localized.frames[-1]))
        if density := stream.published(localized):
            self._receiver.tell(density)
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
        """Raise an alarm, once, for a disk that refuses results; go on without it."""
        why = error.__cause__ or error
        text = (
            f"the disk refuses the results ({why}): frames are localized and their "
            "rows wait in memory. Free some space before the session ends."
        )[:ALARM_LETTERS]
        if text not in self._alarms:
            _log.error("%s", error)
            self._alarms = [*self._alarms, text][-KEPT_ALARMS:]

    def _end(self, stream: _Stream, end: StreamEnd) -> dict[str, Any]:
        """Localize the last frame, close the balance and write the report."""
        self._hand_on(stream, stream.localizer.finish())
        stream.camera.finish()
        if self._reserve is not None:
            self._reserve.release()
        stream.results.close(end)
        if owed := stream.results.owed_frames:
            self._receiver.localized(-owed)
            self._receiver.lose(NOT_WRITTEN, owed)
        report = self._report(stream, end)
        path = stream.folder / REPORT_FILE
        try:
            replace_file(path, json.dumps(report, indent=1).encode())
        except OSError as error:  # a session has the last status, and says so itself
            _log.error("%s: cannot be written: %s", path, error)
        self._status = self._describe(stream, ended=end.status)
        self._stream = None
        return report

    def _report(self, stream: _Stream, end: StreamEnd) -> dict[str, Any]:
        """Say what became of every frame, how fast, and with what."""
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
                "model": self._bundle.spec.name,
                "model_digest": self._bundle.digest,
                "refined": self._bundle.refine,
                "backend": self._backend.name,
                "threads": self.settings.threads,
                "versions": versions(),
            },
        }

    def _describe(self, stream: _Stream, ended: str = "") -> dict[str, Any]:
        """Give the figures that a viewer shows."""
        balance = self._receiver.balance
        return {
            "frames": balance.camera,
            "expected_frames": stream.start.expected_frames,
            "localized": balance.localized,
            "localizations": stream.results.rows,
            "fps": round(stream.recent_fps(), 1),
            "lost": dict(balance.lost),
            "unexplained": balance.unexplained if ended else 0,
            "latency_ms": round(stream.latency.percentile(50), 2),
            "latency_p99_ms": round(stream.latency.percentile(99), 2),
            "density_per_um2": round(stream.recent_density, 3),
            "ended": ended,
            "warnings": stream.camera.warnings,
            "laser": self._laser(),
            "alarms": [*self._receiver.alarms, *self._alarms],
        }

    def _laser(self) -> dict[str, Any] | None:
        """Give what the bridge said of its laser; None without one."""
        state = self._receiver.laser
        if state is None:
            return None
        plain = asdict(state)
        del plain["stream_id"]
        return plain

    def _prepare(self, start: StreamStart) -> ResumePoint | None:
        """Get ready before the sender hears that frames are welcome.

        Checks that the network fits, lets everything run a few times (the first
        runs take longest), and looks whether an earlier engine did part of this
        stream.
        """
        try:
            check_fits(self._bundle, start)
            check_memory(start.shape, self.settings.memory_gib)
            open_localizer(start, self._bundle, self._backend, self.settings.region)
        except SettingsError as error:  # the sender's mistake, not the engine's
            raise MessageError("model", str(error)) from None
        corner = _corner(start)  # a large frame takes gigabytes, before any has come
        trial = open_localizer(corner, self._bundle, self._backend)
        blank = np.zeros(corner.shape, corner.dtype)
        trial.feed(list(range(WARM_UP_FRAMES)), [blank] * WARM_UP_FRAMES)
        to_batch(empty(1)).serialize()
        log = self._folder_for(start) / PROCESSED_FILE
        self._resume = ProcessedLog(log).resume(start) if log.exists() else None
        return self._resume

    @property
    def _batch(self) -> int:
        """Most frames to take at once."""
        if self._stream is None:
            return self.settings.max_batch
        return frames_at_once(self._stream.start.shape, self.settings.max_batch)

    def _read_rows(self, first: int, count: int) -> Localizations:
        return self._results.read_rows(first, count) if self._results else empty()


@dataclass(slots=True)
class _Stream:
    """What the engine knows of the stream that it localizes."""

    start: StreamStart
    folder: Path
    results: Results
    bundle: Bundle
    backend: Backend
    settings: EngineSettings
    localizer: Localizer = field(init=False)
    density: DensityBlocks = field(init=False)
    camera: CameraCheck = field(init=False)
    previews: PreviewTaker = field(default_factory=PreviewTaker)
    latency: Latency = field(default_factory=Latency)
    after_neighbour: Latency = field(default_factory=Latency)
    recent_density: float = 0.0
    _arrivals: dict[int, int] = field(default_factory=dict)  # seq -> ns, not published
    _read_out: dict[int, int] = field(default_factory=dict)  # the same, bridge's clock
    _first_ns: int = 0
    _last_ns: int = 0
    _frames: int = 0
    _recent: tuple[int, int] = (0, 0)  # frames and time at the last look

    def __post_init__(self) -> None:
        self.localizer = open_localizer(
            self.start, self.bundle, self.backend, self.settings.region
        )
        self.density = DensityBlocks(
            self.start.stream_id,
            self.bundle.spec.density_response,
            block_frames=self.settings.block_frames,
        )
        self.camera = CameraCheck(self.start.calibration)

    def take(self, event: Arrived) -> Localized:
        """Localize what arrived."""
        self._first_ns = self._first_ns or event.received_ns[0]
        seqs = [header.seq for header in event.headers]
        self._arrivals.update(zip(seqs, event.received_ns, strict=True))
        self._read_out.update({h.seq: h.t_ns for h in event.headers})
        localized = self.localizer.feed(seqs, event.pixels)
        self.camera.add(event.pixels)
        return localized

    def published(self, localized: Localized) -> BlockDensity | None:
        """Measure from arrival to now; give the density of a block that is complete."""
        now = self._last_ns = time.monotonic_ns()
        self._frames += len(localized.frames)
        density = self.density.add(localized, self._read_out.__getitem__)
        if density is not None:
            weight = 1 - math.exp(-density.frames / 50)
            self.recent_density += weight * (density.per_um2 - self.recent_density)
        for seq in [*localized.frames.tolist(), *localized.failed]:
            self._read_out.pop(seq, None)
            arrived = self._arrivals.pop(seq, None)
            if arrived is None:
                continue
            neighbour = self._arrivals.get(seq + 1, arrived)
            self.latency.add((now - arrived) / 1e6)
            self.after_neighbour.add((now - neighbour) / 1e6)
        return density

    @property
    def fps(self) -> float:
        """Frames per second from the first arrival to the last publication."""
        elapsed = (self._last_ns - self._first_ns) / 1e9
        return self._frames / elapsed if elapsed > 0 else 0.0

    def recent_fps(self) -> float:
        """Frames per second since the last call."""
        frames, then = self._recent
        now = time.monotonic_ns()
        self._recent = (self._frames, now)
        return (self._frames - frames) * 1e9 / (now - then) if then else 0.0


def open_localizer(
    start: StreamStart, bundle: Bundle, backend: Backend, region: Region | None = None
) -> Localizer:
    """Set a localizer up for a stream: the same for live, replay and files."""
    return Localizer.of(
        bundle,
        backend,
        start.calibration,
        shape=start.shape,
        pixel_size_nm=start.pixel_size_nm,
        roi_origin=start.roi_origin,
        region=region,
    )


def _corner(start: StreamStart) -> StreamStart:
    """Return the same stream with frames that are the corner of its own."""
    height, width = shape = warm_up_shape(start.shape)
    calibration = start.calibration.cropped(*start.roi_origin, width, height)
    return replace(start, shape=shape, calibration=calibration)


def versions() -> dict[str, str]:
    """Say what computed the results."""
    return {
        "liveloc": __version__,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def check_fits(bundle: Bundle, start: StreamStart) -> None:
    """Refuse a network whose PSF belongs to another pixel size."""
    trained = bundle.spec.training.pixel_size_nm
    off = abs(start.pixel_size_nm / trained - 1)
    if bundle.spec.is_3d and off > PIXEL_SIZE_TOLERANCE:
        raise SettingsError(
            f"model '{bundle.spec.name}' was trained for {trained:g} nm pixels, the "
            f"camera has {start.pixel_size_nm:g} nm. Train a network for this "
            "microscope, or use the model 'gaussian-2d'."
        )
