"""Recordings of ours as movies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pixel_size import SOURCE, PixelSize, stated
from ..recording.segments import SegmentReader
from .movie import Movie

if TYPE_CHECKING:
    from pathlib import Path


def open_recording(folder: Path) -> Movie:
    """Open a recording's folder, or a session that holds one."""
    reader = SegmentReader(folder)
    start = reader.start
    size = stated(start.pixel_size_nm, "nm", None, "nm", "the recording")
    if size.nm is not None:
        source = start.metadata.get(SOURCE, size.source)
        size = PixelSize(nm=start.pixel_size_nm, source=source)
    return Movie(
        path=folder,
        shape=start.shape,
        dtype=start.dtype,
        length=len(reader),
        read_frame=lambda index: reader.read(index).pixels,
        close_file=reader.close,
        pixel_size=size,
        interval_ms=start.interval_ms,
        exposure_ms=start.exposure_ms,
        roi_origin=start.roi_origin,
        roi_known=True,
        calibration=start.calibration,
    )
