"""The vocabulary of frames and localizations, and how they travel and are kept.

Here is the vocabulary, which needs NumPy only. Sockets, files and settings are in
their modules: ``sender``, ``receiver``, ``broadcast``; ``table``, ``segments``,
``recorder``, ``movies``, ``replay``; ``session``.
"""

from .balance import Balance
from .calibration import CameraCalibration
from .camera_estimate import estimate_calibration
from .errors import (
    LivelocError,
    MessageError,
    OverflowStop,
    RecordingError,
    SettingsError,
    SourceError,
    StreamError,
)
from .frames import Frame, FrameHeader, FrameSource, StreamEnd, StreamStart
from .localizations import LOCALIZATION, Flag, Localizations

__all__ = [
    "LOCALIZATION",
    "Balance",
    "CameraCalibration",
    "Flag",
    "Frame",
    "FrameHeader",
    "FrameSource",
    "LivelocError",
    "Localizations",
    "MessageError",
    "OverflowStop",
    "RecordingError",
    "SettingsError",
    "SourceError",
    "StreamEnd",
    "StreamError",
    "StreamStart",
    "estimate_calibration",
]
