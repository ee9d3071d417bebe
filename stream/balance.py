"""The balance of a stream: camera frames = localized + each named loss."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import FrameBalance, SessionReport

CAMERA_MISSING = "camera_missing"  # never came out of the camera driver
BRIDGE_SHED = "bridge_shed"  # shed by the bridge for want of credit
CONNECTION_LOST = "connection_lost"  # on the way when the connection broke
ENGINE_STOPPED = "engine_stopped"  # on the way to an engine that died
REJECTED = "rejected"  # broke the protocol
LATE = "late"  # came after its place in the stream was given up
NOT_FINITE = "not_finite"  # the network gave no finite answer
NOT_WRITTEN = "not_written"  # localized, but the disk refused the rows to the end
NOT_PROCESSED = "not_processed"  # taken by the camera, never seen by an engine

# Exit codes of a job besides 0, everything as asked for, and 2, a mistake of the user.
FAILED = 1  # a part of it failed, or its end is missing
UNEXPLAINED = 3  # the balance does not close
WINDOW_CLOSED = "the window was closed"  # the usual end of a session that is watched
SIGNALLED = 128  # ended by the signal with this number added
ALARM = 4  # it ended in order, but there was a serious alarm


@dataclass(slots=True)
class Balance:
    """Where every exposure of the camera went.

    Attributes
    ----------
    camera : int
        Exposures of the camera so far: highest sequence number plus one.
    localized : int
        Frames whose localizations are in the table (none found counts, too).
    lost : Counter[str]
        Frames lost, by name.
    """

    camera: int = 0
    localized: int = 0
    lost: Counter[str] = field(default_factory=Counter)

    @property
    def unexplained(self) -> int:
        """Frames that are neither localized nor in a named loss. Must be 0.

        While a stream runs this is what is still under way.
        """
        return self.camera - self.localized - sum(self.lost.values())

    def lose(self, reason: str, frames: int) -> None:
        """Count `frames` lost under `reason`."""
        if frames:
            self.lost[reason] += frames

    def as_dict(self) -> FrameBalance:
        """Return the ``frames`` entry of a report."""
        return {
            "camera": self.camera,
            "localized": self.localized,
            "lost": {name: n for name, n in sorted(self.lost.items()) if n},
            "unexplained": self.unexplained,
        }


def exit_code(report: SessionReport, signal: int = 0) -> int:
    """Return the exit code of a job: 0 only for success.

    Parameters
    ----------
    report : SessionReport
        As in ``report.json``.
    signal : int
        The signal that ended the job in order; 0 if it was none.

    Returns
    -------
    int
        The first that holds: `UNEXPLAINED`, `FAILED` (also without an end, or without
        any frame), 128 and
        the signal as shells count it (Ctrl-C: 130, SIGTERM: 143), `ALARM`, 0.
    """
    if report["frames"]["unexplained"]:
        return UNEXPLAINED
    empty = report.get("status") == "ok" and not report["frames"]["camera"]
    if report.get("status") in ("failed", "lost") or empty:
        return FAILED
    aborted = report.get("status") == "aborted" and "stopped_by" in report
    if aborted and not signal and report["stopped_by"] != WINDOW_CLOSED:
        return FAILED
    if signal:
        return SIGNALLED + signal
    if report.get("not_made"):
        return FAILED
    serious = any(alarm.get("serious") for alarm in report.get("alarms") or [])
    return ALARM if serious else 0
