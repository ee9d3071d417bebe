"""Replays a movie or a recording as if its camera were running."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..camera_estimate import CameraEstimate, estimate_camera
from ..errors import SettingsError, SourceError
from ..frames import Frame, FrameHeader, StreamStart
from ..pixel_size import SOURCE, PixelSize, from_user
from ..recording.segments import SegmentReader
from . import Movie, is_recording, open_movie

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..calibration import CameraCalibration

DEFAULT_INTERVAL_MS = 10.0
GUESSED_FROM = 20  # frames
_log = logging.getLogger(__name__)
_NAMESPACE = uuid.UUID("6c2f3c1e-6a53-5d53-9c0e-8f4cf6f7b0a1")


class ReplaySource:
    """A `FrameSource` that reads frames from disk.

    The same file and arguments give the same START and the same frames, always.
    A whole recording keeps its stream id, sequence numbers, times and losses.
    A part of it (`first`, `count`) is a stream of its own, numbered from 0.

    Parameters
    ----------
    path : str or Path
        See `open_movie`.
    speed : float or None
        1 for the recorded pace, N for N times that, None for as fast as frames
        are taken.
    pixel_size_nm, interval_ms : float, optional
        Override what the file says. A file that does not say its interval gets
        10 ms; one that does not say its pixel size needs `pixel_size_nm`.
    pixel_size : PixelSize, optional
        In place of `pixel_size_nm`, with the place it was taken from.
    calibration : CameraCalibration, optional
        Overrides a recorded one; estimated from 20 frames where there is none. Its
        maps are cropped to the frames.
    roi_origin : tuple[int, int], optional
        (x, y) of the frames on the chip, for a file that does not say it.
    first, count : int, int or None
        Part of the movie to replay; None for the rest.

    Attributes
    ----------
    estimate : CameraEstimate or None
        How sure a calibration is that was estimated now.

    Raises
    ------
    SettingsError
        No such movie, a part outside it, no pixel size, or camera maps that do not
        cover the frames.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        speed: float | None = 1.0,
        pixel_size_nm: float | None = None,
        pixel_size: PixelSize | None = None,
        calibration: CameraCalibration | None = None,
        interval_ms: float | None = None,
        roi_origin: tuple[int, int] | None = None,
        first: int = 0,
        count: int | None = None,
    ) -> None:
        for name, value in {
            "speed": speed,
            "interval_ms": interval_ms,
        }.items():
            if value is not None and not 0 < value < float("inf"):
                raise SettingsError(f"{name} is {value}; it must be above 0.")
        if pixel_size_nm is not None:
            pixel_size = from_user(pixel_size_nm, "pixel_size_nm")
        self._path, self._speed, self._missing = Path(path), speed, 0
        self.estimate: CameraEstimate | None = None
        self._stop = threading.Event()
        self._recording: SegmentReader | None = None
        self._movie = open_movie(path)
        if roi_origin is not None and not self._movie.roi_known:
            self._movie.roi_origin, self._movie.roi_known = roi_origin, True
        try:
            if calibration is not None:
                calibration = _of_region(calibration, self._movie)
            if is_recording(self._path):
                self._recording = SegmentReader(path)
            self._range = _part(self._movie, first, count)
            if self._recording is None:
                start = self._describe(pixel_size, calibration, interval_ms)
            else:
                start = self._recorded(pixel_size, calibration, interval_ms)
            if len(self._range) != len(self._movie):
                start = _of_part(start, self._range)
            self._start = start
        except BaseException:
            self.close()
            raise

    @property
    def start(self) -> StreamStart:
        """START of the stream: policy ``block``, so that a replay loses nothing."""
        return self._start

    @property
    def missing(self) -> int:
        """Exposures that never came out of the camera, so far."""
        return self._missing

    @property
    def path(self) -> Path:
        """The movie."""
        return self._path

    def frames(self) -> Iterator[Frame]:
        """Yield the frames at their pace.

        Raises
        ------
        SourceError
            The file is damaged; frames yielded before are good. A recording
            that was merely interrupted ends without an error.
        """
        began: tuple[int, int] | None = None
        for frame in self._read():
            if began is None:
                began = frame.header.t_ns, time.monotonic_ns()
            if self._speed is not None:
                due = (frame.header.t_ns - began[0]) / self._speed
                self._stop.wait(max(0.0, (began[1] + due - time.monotonic_ns()) / 1e9))
            if self._stop.is_set():
                return
            self._missing = frame.header.missing_total
            yield frame

    def stop(self) -> None:
        """Ask `frames` to end soon. Any thread may call it."""
        self._stop.set()

    def close(self) -> None:
        """Close the files. Idempotent."""
        self._movie.close()
        if self._recording is not None:
            self._recording.close()

    def __enter__(self) -> ReplaySource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _describe(
        self,
        pixel_size: PixelSize | None,
        calibration: CameraCalibration | None,
        interval_ms: float | None,
    ) -> StreamStart:
        """Make the START of a file that was not recorded by us."""
        movie = self._movie
        pixel_size = pixel_size or movie.pixel_size
        if pixel_size.nm is None:
            said = pixel_size.oblong or pixel_size.remark
            raise SettingsError(
                f"{self._path}: {said or 'does not say its pixel size'}; without it "
                "positions cannot be converted to nm. Specify the pixel size in the "
                "sample, pixel_size_nm."
            )
        interval = interval_ms or movie.interval_ms or movie.exposure_ms
        metadata = {"source": self._path.name, SOURCE: pixel_size.source}
        if interval is None:
            interval, metadata["assumed"] = DEFAULT_INTERVAL_MS, "interval_ms"
        return StreamStart(
            stream_id=_content_id(movie),
            shape=movie.shape,
            dtype=movie.dtype,
            pixel_size_nm=pixel_size.nm,
            calibration=calibration or movie.calibration or self._estimated(),
            exposure_ms=movie.exposure_ms or interval,
            interval_ms=interval,
            roi_origin=movie.roi_origin,
            expected_frames=len(self._range),
            policy="block",
            metadata=metadata,
        )

    def _estimated(self) -> CameraCalibration:
        """Guess the camera from frames all over the movie."""
        movie = self._movie
        indices = np.unique(np.linspace(0, len(movie) - 1, GUESSED_FROM).astype(int))
        frames = []
        for index in indices:
            try:
                frames.append(movie.read(int(index)))
            except SourceError as error:  # whoever reads that frame learns of it
                if index == indices[0]:
                    raise
                _log.debug("%s", error)
        self.estimate = estimate_camera(np.stack(frames))
        return self.estimate.calibration

    def _recorded(
        self,
        pixel_size: PixelSize | None,
        calibration: CameraCalibration | None,
        interval_ms: float | None,
    ) -> StreamStart:
        """Take the START of a recording, with what the caller overrides."""
        assert self._recording is not None
        start = self._recording.start
        if pixel_size is not None and pixel_size.nm not in (None, start.pixel_size_nm):
            said = start.metadata | {SOURCE: pixel_size.source}
            start = replace(start, pixel_size_nm=pixel_size.nm, metadata=said)
        return replace(
            start,
            policy="block",
            interval_ms=interval_ms or start.interval_ms,
            calibration=calibration or start.calibration,
        )

    def _read(self) -> Iterator[Frame]:
        if self._recording is None:
            yield from self._read_movie()
        elif len(self._range) == len(self._movie):
            yield from self._read_recording(self._recording)
        else:
            yield from self._read_part(self._recording)

    def _read_movie(self) -> Iterator[Frame]:
        interval_ns = round(self._start.interval_ms * 1e6)
        for seq, index in enumerate(self._range):
            header = FrameHeader(seq=seq, camera_frame=index, t_ns=seq * interval_ns)
            yield Frame(header, self._movie.read(index))

    def _read_recording(self, recording: SegmentReader) -> Iterator[Frame]:
        yield from recording
        end, recovered = recording.end, recording.recovered
        if end is None and recovered.frames == len(recording):
            # Interrupted: what was written is what there is, a torn last frame or not.
            _log.warning("%s was interrupted: %s", self._path, recovered)
            return
        if recovered.reason:
            raise SourceError(f"{self._path}: the recording is damaged. {recovered}")
        if end is not None:
            self._missing = end.missing

    def _read_part(self, recording: SegmentReader) -> Iterator[Frame]:
        base: FrameHeader | None = None
        for index in self._range:
            frame = recording.read(index)
            head = frame.header
            base = base or head
            head = replace(
                head,
                seq=head.seq - base.seq,
                missing_total=head.missing_total - base.missing_total,
            )
            yield Frame(head, frame.pixels)


def _part(movie: Movie, first: int, count: int | None) -> range:
    last = len(movie) if count is None else first + count
    if not 0 <= first < last <= len(movie):
        raise SettingsError(
            f"{movie.path}: has {len(movie)} frames; frames {first} to {last - 1} "
            "(counted from 0) are not all among them."
        )
    return range(first, last)


def _of_part(start: StreamStart, part: range) -> StreamStart:
    name = f"{part.start}:{part.stop}"
    return replace(
        start,
        stream_id=uuid.uuid5(uuid.UUID(bytes=start.stream_id), name).bytes,
        expected_frames=len(part),
        metadata=start.metadata | {"part": name},
    )


def _content_id(movie: Movie) -> bytes:
    """Name a movie by size and first frame: the same file, the same stream."""
    digest = hashlib.sha256(movie.read(0).tobytes()).hexdigest()
    name = f"{movie.shape} {movie.dtype} {movie.length} {digest}"
    return uuid.uuid5(_NAMESPACE, name).bytes


def _of_region(calibration: CameraCalibration, movie: Movie) -> CameraCalibration:
    """Crop the maps of a chip to the frames of a movie."""
    height, width = movie.shape
    if not calibration.has_maps:
        return calibration
    if not movie.roi_known:
        if calibration.shape == movie.shape:
            return replace(calibration, origin=movie.roi_origin)
        raise SettingsError(
            f"{movie.path}: does not say where on the chip its {width}x{height} pixels "
            f"lie, but the camera maps are of shape {calibration.shape}. Set "
            "roi_origin, column and row of the first pixel."
        )
    try:
        return calibration.cropped(*movie.roi_origin, width, height)
    except ValueError as error:
        raise SettingsError(f"{movie.path}: {error}.") from None
