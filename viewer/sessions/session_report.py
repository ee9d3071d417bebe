"""What a session's folder says besides its table: report, density and laser."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import read_file
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.session.control_file import ControlFile

if TYPE_CHECKING:
    from pathlib import Path

    from ..curves.traces import Traces

LARGEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class FinishedSession:
    """A finished session, as far as it is known.

    Attributes
    ----------
    status : dict
        What its engine would say now, see `EngineStatus`; empty without a report.
    end_status : str
        How it ended; ``ok`` if unknown.
    curve : list[dict]
        Statuses along the session, with density and laser.
    """

    status: dict[str, Any] = field(default_factory=dict)
    end_status: str = "ok"
    curve: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> FinishedSession:
        """Read a session's folder; what is missing or damaged is left out."""
        report = _read_json(SessionFolder(folder).report)
        try:
            trace = ControlFile.read(SessionFolder(folder).control)
        except SettingsError:
            trace = ControlFile()
        status = _status(report) if report else {}
        curve = _curve(trace, status.get("frames"))
        if curve:
            status["laser"] = curve[-1]["laser"]
        return cls(status, str(report.get("status") or "ok"), curve)

    def add_curve_to(self, traces: Traces) -> None:
        """Add the curve to `traces`."""
        for status in self.curve:
            traces.add_status(status)


def _status(report: dict[str, Any]) -> dict[str, Any]:
    """Put a report's figures under the names that an engine's status has."""
    frames, latency = report.get("frames"), report.get("latency_ms")
    frames = frames if isinstance(frames, dict) else {}
    latency = latency if isinstance(latency, dict) else {}
    return {
        "frames": frames.get("camera"),
        "lost": frames.get("lost"),
        "fps": report.get("fps"),
        "latency_ms": latency.get("p50"),
        "density_per_um2": report.get("density_per_um2"),
    }


def _curve(trace: ControlFile, last_frame: Any) -> list[dict[str, Any]]:
    """Return the decisions, by the frames they rest on.

    Without decisions, which alone know frames, the laser's last power stands for
    the whole session.
    """
    curve = [
        {
            "frames": line["frames"][1],
            "density_per_um2": line["per_um2"],
            "laser": {
                "power": line["power"],
                "unit": trace.unit,
                "target_per_um2": line["target_per_um2"],
            },
        }
        for line in trace.decisions
    ]
    powers = [line["power"] for line in trace.settings if line["power"] > 0]
    if not curve and powers:
        laser = {"power": powers[-1], "unit": trace.unit}
        ends = (0, last_frame) if isinstance(last_frame, int) else (0,)
        curve = [{"frames": frame, "laser": laser} for frame in ends]
    return curve


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_file(path, "report", LARGEST_BYTES))
    except (ValueError, RecursionError):  # SettingsError is a ValueError
        return {}
    return found if isinstance(found, dict) else {}
