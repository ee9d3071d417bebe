"""The vocabulary of a frame stream: how it starts, its frames, how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .calibration import CameraCalibration

PixelType = Literal["u1", "u2"]
Policy = Literal["block", "drop_block", "stop"]
EndStatus = Literal["ok", "aborted", "failed", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """One exposure of the camera, described before its pixels arrive.

    Attributes
    ----------
    seq : int
        Counts every exposure of the camera from 0, lost ones included: a gap
        is a loss. Given before anything can drop the frame.
    camera_frame : int
        The camera's own count of this exposure (Micro-Manager's ImageNumber).
    t_ns : int
        Monotonic clock of the bridge when the frame was read out, nanoseconds.
    missing_total : int
        Exposures before this one that never came out of the camera driver.
    laser_seq : int
        Number of the laser setting under which the frame was exposed.
    """

    seq: int
    camera_frame: int
    t_ns: int
    missing_total: int = 0
    laser_seq: int = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A header and its pixels.

    Attributes
    ----------
    header : FrameHeader
        Describes the exposure.
    pixels : NDArray[np.uint8] or NDArray[np.uint16], shape (height, width)
        Camera counts (ADU), C order. Owned by the frame, never written again.
    """

    header: FrameHeader
    pixels: NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStart:
    """What must be known before the first frame of an acquisition.

    Attributes
    ----------
    stream_id : bytes
        16-byte UUID of the acquisition.
    incarnation : int
        Counts starts of the producer for this acquisition, from 0.
    shape : tuple[int, int]
        (height, width) of every frame, camera pixels.
    dtype : {"u1", "u2"}
        Little-endian unsigned counts (ADU).
    roi_origin : tuple[int, int]
        (x, y) = (column, row) of the frame's first pixel on the full chip.
    pixel_size_nm : float
        Edge of a pixel in the sample plane.
    exposure_ms, interval_ms : float
        Exposure, and time from frame to frame.
    expected_frames : int
        0 for an acquisition without a planned end.
    calibration : CameraCalibration
        Turns counts into photons.
    policy : {"block", "drop_block", "stop"}
        What the sender does with a frame that finds no room: wait (replay),
        shed a contiguous block (live), or end the stream (measurement).
    t0_ns, t0_utc : int, str
        Monotonic clock and ISO-8601 UTC at the start of the stream.
    producer, camera_label, camera_serial : str
        Who sends, from which camera.
    metadata : dict[str, str]
        Anything else, at most 64 KiB together.
    """

    stream_id: bytes
    shape: tuple[int, int]
    dtype: PixelType
    pixel_size_nm: float
    calibration: CameraCalibration
    exposure_ms: float
    interval_ms: float
    incarnation: int = 0
    roi_origin: tuple[int, int] = (0, 0)
    expected_frames: int = 0
    policy: Policy = "drop_block"
    t0_ns: int = 0
    t0_utc: str = ""
    producer: str = "liveloc"
    camera_label: str = ""
    camera_serial: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def frame_nbytes(self) -> int:
        """Bytes of one frame's pixels."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """How an acquisition ended.

    Attributes
    ----------
    last_seq : int
        Sequence number of the last exposure, -1 if there was none.
    sent : int
        Frames that left the bridge.
    dropped : int
        Frames that the bridge shed for want of credit.
    missing : int
        Exposures that never came out of the camera driver.
    status : {"ok", "aborted", "failed", "lost"}
        ``lost`` is never sent: a receiver reports it of a peer that fell silent.
    reason : str
        For people; with ``ok`` the rule that ended it, if one did.
    """

    stream_id: bytes
    last_seq: int
    sent: int
    dropped: int
    missing: int
    status: EndStatus = "ok"
    reason: str = ""


class FrameSource(Protocol):
    """Where frames come from: a camera, or a recording of one.

    One acquisition per source: ``start`` is known at construction, ``frames``
    is iterated once.
    """

    @property
    def start(self) -> StreamStart:
        """What the stream's START says."""
        ...

    def frames(self) -> Iterator[Frame]:
        """Yield every frame that came out, waiting for the next.

        Raises
        ------
        SourceError
            The camera or the file failed; frames yielded before are good.
        SourceFinished
            A rule ended the acquisition, which has succeeded.
        """
        ...

    @property
    def missing(self) -> int:
        """Exposures that never came out, so far."""
        ...

    def stop(self) -> None:
        """Ask ``frames`` to end soon. Any thread may call it."""
        ...

    def close(self) -> None:
        """Release the device or file. Idempotent."""
        ...
