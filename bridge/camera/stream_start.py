"""START of a stream from a camera of Micro-Manager."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.camera_estimate import estimate_camera
from liveloc.stream.errors import SourceError
from liveloc.stream.frames import StreamStart
from liveloc.stream.pixel_size import SOURCE

from .setup import (
    MICRO_MANAGER,
    calibration_of_roi,
    describe_camera,
    pixel_size_nm_of,
    serial_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.frames import Frame, Policy

    from .setup import CameraSettings, CameraState

CALIBRATION_FRAMES = 8

_log = logging.getLogger(__name__)


def describe_stream(
    core: Any,
    state: CameraState,
    settings: CameraSettings,
    *,
    early: Callable[[], Sequence[Frame]],
    interval_ms: float,
    expected_frames: int = 0,
    policy: Policy = "drop_block",
    metadata: Mapping[str, str] | None = None,
) -> StreamStart:
    """Build START of a new stream; sets nothing.

    Parameters
    ----------
    core : CMMCorePlus
        Loaded; queried about camera and pixel size.
    state : CameraState
        The camera as it stands.
    settings : CameraSettings
        Pixel size and calibration, where they are given.
    early : Callable
        Returns the first frames; called only without a calibration.
    interval_ms : float
        Time from frame to frame, ms.
    expected_frames : int
        Exposures of the stream, 0 if not known.
    policy, metadata
        See `MicroManagerSource`.

    Raises
    ------
    SettingsError
        No pixel size, or camera maps that do not cover the ROI.
    SourceError
        The gain was to be estimated and no frame arrived.
    """
    pixel_nm = pixel_size_nm_of(core, settings.pixel_size_nm, state.binning)
    calibration = settings.calibration or _guess_calibration(state.label, early())
    calibration = calibration_of_roi(
        core, state.label, calibration, state.origin, state.shape
    )
    return StreamStart(
        stream_id=uuid.uuid4().bytes,
        shape=state.shape,
        dtype=state.dtype,
        pixel_size_nm=pixel_nm,
        calibration=calibration,
        exposure_ms=state.exposure_ms,
        interval_ms=interval_ms,
        roi_origin=state.origin,
        expected_frames=expected_frames,
        policy=policy,
        t0_ns=time.monotonic_ns(),
        t0_utc=datetime.now(UTC).isoformat(timespec="milliseconds"),
        producer="liveloc bridge",
        camera_label=state.label,
        camera_serial=serial_number(core, state.label),
        metadata=describe_camera(core, state.label)
        | {
            SOURCE: MICRO_MANAGER
            if settings.pixel_size_nm is None
            else "session settings"
        }
        | dict(metadata or {}),
    )


def _guess_calibration(camera: str, frames: Sequence[Frame]) -> CameraCalibration:
    """Estimate the gain from the first frames, with a warning."""
    if not frames:
        raise SourceError(
            f"camera '{camera}': no frame arrived. Is it waiting for a trigger?"
        )
    guess = estimate_camera(np.stack([f.pixels for f in frames]))
    _log.warning("camera '%s' is not calibrated: %s.", camera, guess.in_words)
    return guess.calibration
