"""How a session ended: one true report, whatever happened to its processes.

Engine, bridge and viewer may each be killed at any time, and the disk may be full. What
is known is then spread: over the report of the engine, its ledger, its last status,
``bridge.json``, ``control.jsonl``, and how each process ended. `collect` joins all of
it. No frame that the bridge took is left out: those that no engine dealt with are named
(`balance.NOT_PROCESSED`).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..balance import BRIDGE_SHED, CAMERA_MISSING, NOT_PROCESSED
from ..broadcast.status import EngineStatus
from ..camera_maps import replace_file
from ..errors import LivelocError
from ..files.session_folder import SessionFolder
from ..recording.segments import SegmentReader
from ..tables.ledger import ProcessedLog
from .control_file import ControlFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..frames import StreamEnd
    from ..report import FrameBalance, SessionReport

_WORST_LAST = ("ok", "aborted", "lost", "failed")


@dataclass(slots=True)
class Outcome:
    """What the process that supervised a session saw of its end.

    Attributes
    ----------
    stopped_by : str
        How the user ended it (``Ctrl-C``, ``SIGTERM``, ``the window was closed``);
        empty if it ended by itself.
    signal : int
        The signal that ended it; 0 if it was none.
    failure : str
        Why it ended before its end; empty if it did not.
    refused : bool
        The failure is a mistake of the user, such as a camera that is not there.
    engine_restarts : int
        How often the engine had to be started again.
    processes : dict[str, str]
        How engine, bridge and viewer ended, in words.
    status : EngineStatus
        The last that the engine sent.
    alarms : list[dict]
        See `Alarms.as_list`.
    begun_ns : int
        Start of the session, monotonic clock.
    """

    stopped_by: str = ""
    signal: int = 0
    failure: str = ""
    refused: bool = False
    engine_restarts: int = 0
    processes: dict[str, str] = field(default_factory=dict)
    status: EngineStatus = field(default_factory=EngineStatus)
    alarms: list[dict[str, Any]] = field(default_factory=list)
    begun_ns: int = 0


def collect(folder: Path, outcome: Outcome) -> SessionReport:
    """Build the report of a session from all that is left of it.

    Parameters
    ----------
    folder : Path
        Of the session. Whatever is missing or damaged in it is done without.
    outcome : Outcome
        What the supervisor saw.

    Returns
    -------
    SessionReport
        Without what has to be computed from the table.
    """
    bridge = read_object(SessionFolder(folder).bridge_result)
    engine = (
        _of_engine(folder) or _of_status(outcome.status) or _of_ledger(folder, outcome)
    )
    frames = _balance(engine, bridge, _recorded(folder))
    status, reason = _verdict(engine, bridge, outcome, frames)
    engine_part = engine.get("engine")
    return {
        **engine,
        "session": str(folder),
        "status": status,
        "reason": reason,
        "stopped_by": outcome.stopped_by or (bridge or {}).get("stopped_by", ""),
        "frames": frames,
        "alarms": outcome.alarms,
        "laser": _laser(folder, bridge, outcome),
        "bridge": bridge,
        "engine": {
            **(engine_part if isinstance(engine_part, dict) else {}),
            "restarts": outcome.engine_restarts,
        },
        "processes": outcome.processes,
    }


def laser_words(folder: Path, begun_ns: int) -> str:
    """Describe where the laser was when its bridge died; empty without a laser."""
    power, unit, safe = _last_power(folder, begun_ns)
    if power is None:
        return ""
    if power == safe:
        return f"The laser was at its safe level, {power:g} {unit}."
    return (
        f"THE LASER MAY STILL BE ON: its last known power is {power:g} {unit}. "
        "Switch it off by hand."
    )


def write_report(report: SessionReport, folder: Path) -> str:
    """Write ``report.json``; where the folder refuses it, elsewhere.

    Returns
    -------
    str
        Empty, or one line that says what was refused and where the report is.
    """
    content = json.dumps(report, indent=1, default=str).encode()
    path = SessionFolder(folder).report
    try:
        replace_file(path, content)
    except OSError as error:
        refused = f"{path} cannot be written: {error.strerror or error}."
        try:
            elsewhere = Path(tempfile.mkdtemp(prefix="liveloc-")) / path.name
            replace_file(elsewhere, content)
        except OSError:
            return f"{refused} There is no report."
        return f"{refused} The report is in {elsewhere}."
    return ""


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None for a missing, torn or foreign file."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _of_engine(folder: Path) -> SessionReport | None:
    """Return the engine's own report if it wrote one."""
    report = read_object(SessionFolder(folder).report)
    frames = report.get("frames") if report else None
    whole = isinstance(frames, dict) and "camera" in frames
    return cast("SessionReport", report) if whole else None


def _of_status(status: EngineStatus) -> SessionReport | None:
    """Make a report of the last status of an engine that had ended its stream."""
    if not status.ended:
        return None
    return {
        "frames": {
            "camera": status.frames or 0,
            "localized": status.localized or 0,
            "lost": status.lost,
            "unexplained": status.unexplained or 0,
        },
        "localizations": status.localizations or 0,
        "status": status.ended,
        "reason": "",
    }


def _of_ledger(folder: Path, outcome: Outcome) -> SessionReport:
    """Make a report of what is on the disk for an engine that left none."""
    end: StreamEnd | None = None
    try:
        point, end = ProcessedLog(SessionFolder(folder).ledger).last()
    except LivelocError:
        return _nothing()
    # What reached the engine after its last line in the ledger died with it.
    seen = outcome.status.frames or 0
    camera = max(point.next_seq, end.last_seq + 1 if end else 0, seen)
    return {
        "frames": {
            "camera": camera,
            "localized": point.localized,
            "lost": dict(point.lost),
            "unexplained": 0,
        },
        "localizations": point.rows,
        "status": end.status if end else "lost",
        "reason": end.reason if end else "the engine left no end of the stream",
    }


def _nothing() -> SessionReport:
    frames: FrameBalance = {"camera": 0, "localized": 0, "lost": {}, "unexplained": 0}
    return {"frames": frames, "localizations": 0, "status": "lost", "reason": ""}


def _recorded(folder: Path) -> int:
    """Return how many exposures a session's recording knows of; 0 without one."""
    try:
        with SegmentReader(folder) as recording:
            return recording.header(len(recording) - 1).seq + 1
    except (LivelocError, IndexError):
        return 0


def _balance(
    engine: SessionReport, bridge: Mapping[str, Any] | None, recorded: int
) -> FrameBalance:
    """Return the fate of every frame that the bridge took, or recorded at least."""
    known = engine["frames"]
    lost = {name: int(frames) for name, frames in known["lost"].items()}
    taken = (bridge or {}).get("frames", {})
    camera = max(int(known["camera"]), int(taken.get("camera", 0)), recorded)
    explained = int(known["localized"]) + sum(lost.values())
    left = camera - explained - int(known["unexplained"])
    for name, total in ((BRIDGE_SHED, "dropped"), (CAMERA_MISSING, "missing")):
        more = min(left, int(taken.get(total, 0)) - lost.get(name, 0))
        if more > 0:
            lost[name] = lost.get(name, 0) + more
            left -= more
    if left > 0:
        lost[NOT_PROCESSED] = left
    localized = int(known["localized"])
    return {
        "camera": camera,
        "localized": localized,
        "lost": dict(sorted(lost.items())),
        "unexplained": camera - localized - sum(lost.values()),
    }


def _verdict(
    engine: SessionReport,
    bridge: Mapping[str, Any] | None,
    outcome: Outcome,
    frames: FrameBalance,
) -> tuple[str, str]:
    """Return how the session ended: the worst that is known, and why."""
    if outcome.failure:
        return "failed", outcome.failure
    verdicts = [(str(engine["status"]), str(engine["reason"]))]
    if bridge is not None:
        verdicts.append((str(bridge.get("status")), str(bridge.get("reason"))))
        laser = bridge.get("laser") or {}
        if laser and not laser.get("safe"):
            text = f"the laser is not at its safe level: {laser.get('fault')}"
            verdicts.append(("failed", f"{text} Switch it off by hand."))
        if signal := bridge.get("stopped_by"):
            verdicts.append(("aborted", f"{signal} was sent to the bridge"))
        localized, sent = engine.get("stream_id"), bridge.get("stream_id")
        if localized and localized != sent:
            text = (
                "these results are not of this session's camera: the engine localized"
            )
            verdicts.append(
                ("failed", f"{text} stream {localized}, the bridge sent {sent}")
            )
    if verdicts[0][0] == "ok" and not frames["camera"]:
        verdicts.append(("failed", "no frame came: nothing was localized"))
    if outcome.stopped_by:
        verdicts.append(("aborted", f"ended by the user: {outcome.stopped_by}"))
        # The end of its parts follows from the user's.
        verdicts = [one for one in verdicts if one[0] != "lost"]
    if missing := frames["lost"].get(NOT_PROCESSED, 0):
        text = f"{missing} frames that the camera took were never processed"
        verdicts.append(("lost" if not outcome.stopped_by else "aborted", text))
    known = [one for one in verdicts if one[0] in _WORST_LAST]
    worst = max((one[0] for one in known), key=_WORST_LAST.index, default="lost")
    reasons = dict.fromkeys(text for status, text in known if status == worst and text)
    return worst, "; ".join(reasons)


def _laser(
    folder: Path, bridge: Mapping[str, Any] | None, outcome: Outcome
) -> dict[str, Any] | None:
    """Return what the bridge reported of its laser, or what is known without it."""
    if bridge is not None:
        laser: dict[str, Any] | None = bridge.get("laser")
        return laser
    power, unit, safe = _last_power(folder, outcome.begun_ns)
    if power is None:
        return None
    return {
        "end": power,
        "unit": unit,
        "safe": True if power == safe else None,
        "fault": "" if power == safe else laser_words(folder, outcome.begun_ns),
    }


def _last_power(folder: Path, begun_ns: int) -> tuple[float | None, str, float | None]:
    """Return the last power that the laser took, its unit, and the safe level."""
    try:
        trace = ControlFile.read(SessionFolder(folder).control)
    except LivelocError:
        return None, "", None
    settings = [line for line in trace.settings if line["t_ns"] >= begun_ns]
    if not settings:
        return None, "", None
    first, last = settings[0], settings[-1]
    safe = float(first["power"]) if first.get("reason") == "opened" else None
    return float(last["power"]), str(last.get("unit", "")), safe
