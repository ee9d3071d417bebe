"""Localize a movie file: the engine's path without the stream."""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import TYPE_CHECKING

from liveloc.stream.balance import CAMERA_MISSING, NOT_FINITE, Balance
from liveloc.stream.errors import SourceError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.tables.ledger import ResumePoint

from .backend import frames_at_once, versions
from .camera_check import CameraCheck, camera_report
from .localizer import Localizer
from .results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from liveloc.stream.frames import Frame, FrameSource
    from liveloc.stream.report import SessionReport

    from .backend import Backend
    from .bundle import Bundle

BATCH = 16


def fit(
    source: FrameSource,
    folder: Path,
    bundle: Bundle,
    backend: Backend,
    progress: Callable[[int, int], None] = lambda frames, localizations: None,
) -> SessionReport:
    """Localize every frame of a source.

    The table is the one that the engine writes for the same frames, byte for byte. Of a
    damaged source, the frames before the damage are localized; the report's ``status``
    is then ``failed``, with the ``reason``.

    Parameters
    ----------
    source : FrameSource
        A movie; see `stream.movies.replay.ReplaySource`.
    folder : Path
        Folder for table and report; created if need be.
    bundle, backend : Bundle, Backend
        Network that localizes.
    progress : callable
        Called with the numbers of frames and localizations so far.

    Returns
    -------
    SessionReport
    """
    start = source.start
    bundle.check_pixel_size(start.pixel_size_nm)
    balance, began = Balance(), time.monotonic()

    def settle(last: int, frames: int, failed: int) -> ResumePoint:
        balance.localized += frames
        balance.lose(NOT_FINITE, failed)
        return ResumePoint(
            next_seq=last + 1, localized=balance.localized, lost=dict(balance.lost)
        )

    results = Results(folder, start, bundle, settle)
    localizer = Localizer.for_stream(start, bundle, backend)
    camera = CameraCheck(start.calibration)
    damage: list[SourceError] = []
    for batch in _batches(source, damage, frames_at_once(start.shape, BATCH)):
        seqs = [frame.header.seq for frame in batch]
        balance.lose(CAMERA_MISSING, seqs[-1] + 1 - balance.camera - len(seqs))
        balance.camera = seqs[-1] + 1
        pixels = [frame.pixels for frame in batch]
        results.add(localizer.feed(seqs, pixels))
        camera.add(pixels)
        progress(balance.localized, results.rows)
    results.add(localizer.finish())
    camera.finish()
    results.close()
    progress(balance.localized, results.rows)
    area_um2 = start.shape[0] * start.shape[1] * (start.pixel_size_nm / 1000) ** 2
    report: SessionReport = {
        "frames": balance.as_dict(),
        "localizations": results.rows,
        "fps": round(balance.localized / max(time.monotonic() - began, 1e-9), 2),
        "density_per_um2": round(
            results.rows / max(balance.localized, 1) / area_um2, 4
        ),
        "status": "failed" if damage else "ok",
        "reason": str(damage[0]) if damage else "",
        "session": str(folder),
        "camera": camera_report(camera),
        "engine": {
            **bundle.identity,
            "backend": backend.name,
            "versions": versions(),
        },
    }
    path = SessionFolder(folder).report
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    return report


def _batches(
    source: FrameSource, damage: list[SourceError], size: int
) -> Iterator[list[Frame]]:
    """Group the frames of a source; an error that ends it is added to `damage`."""
    frames = source.frames()
    batch: list[Frame] = []
    while True:
        try:
            batch.extend(islice(frames, size))
        except SourceError as error:
            damage.append(error)
        if batch:
            yield batch
        if damage or not batch:
            return
        batch = []
