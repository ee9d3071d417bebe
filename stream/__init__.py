"""The vocabulary of frames and localizations, and how they travel and are kept.

What users need is importable from here; a module loads when its name is first used.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Balance": "balance",
    "CameraCalibration": "calibration",
    "Frame": "frames",
    "FrameHeader": "frames",
    "FrameReceiver": "receiver",
    "FrameRing": "ring",
    "FrameSender": "sender",
    "FrameSource": "frames",
    "LOCALIZATION": "localizations",
    "LivelocError": "errors",
    "LocalizationSubscriber": "broadcast",
    "ReplaySource": "replay",
    "SegmentReader": "segments",
    "SessionSettings": "session",
    "StreamEnd": "frames",
    "StreamStart": "frames",
    "TableWriter": "table",
    "estimate_calibration": "calibration",
    "open_movie": "movies",
    "read_table": "table",
    "transmit": "transmission",
    "write_csv": "coordinates",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"liveloc.stream has no {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
