"""The report of a session as one page that opens in any browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.session.control_file import ControlFile

from .control_plots import control_plots

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from liveloc.stream.report import SessionReport

_STYLE = (
    "body{font:15px system-ui,sans-serif;background:#0b0d12;color:#d8dce6;"
    "max-width:60em;margin:2em auto;padding:0 1em}"
    "h1{font-weight:500}h2{font-weight:500;font-size:1.1em;margin-top:2em}"
    "table{border-collapse:collapse}td{padding:.2em 1.5em .2em 0;color:#9aa3b5}"
    "td+td{color:#fff;font-variant-numeric:tabular-nums}"
    "img{width:100%;image-rendering:pixelated;background:#000}.bad{color:#ff6b6b}"
    "svg{width:100%;margin:.4em 0}"
)
_TITLES = {
    "frames": "Balance of frames",
    "latency_ms": "Latency from arrival to publication, ms",
    "latency_after_neighbour_ms": "Latency from arrival of the next frame, ms",
    "accuracy": "Compared with the ground truth",
    "laser": "Laser",
    "feedback": "Density control by the laser",
    "camera": "Camera",
    "engine": "Engine",
    "viewer": "Viewer",
    "processes": "How the processes ended",
}


def write_report_page(report: SessionReport, folder: Path) -> Path:
    """Write ``report.html`` beside ``report.json`` and ``reconstruction.png``.

    Where there was feedback, ``control.jsonl`` is read and drawn.

    Parameters
    ----------
    report : SessionReport
    folder : Path
        Of the session.
    """
    unexplained = report["frames"]["unexplained"]
    verdict = (
        f'<p class="bad">{unexplained} frames are not accounted for.</p>'
        if unexplained
        else "<p>Every frame is accounted for.</p>"
    )
    if report.get("status", "ok") != "ok":
        ended = f"{report['status']}: {report.get('reason', '')}".rstrip(": ")
        verdict = f'<p class="bad">{escape(ended)}</p>{verdict}'
    for warning in report.get("camera", {}).get("warnings", []):
        verdict += (
            '<p class="bad">The camera\'s calibration may be wrong: '
            f"{escape(warning)}</p>"
        )
    verdict += "".join(map(_alarm, report.get("alarms") or []))
    single = {k: v for k, v in report.items() if not isinstance(v, dict | list)}
    sections = [_table("Session", single)]
    sections += [
        _table(title, part)
        for name, title in _TITLES.items()
        if isinstance(part := report.get(name), dict)
    ]
    picture = ""
    if (file := SessionFolder(folder).picture).exists():
        picture = f'<img src="{file.name}" alt="super-resolution image">'
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>liveloc report'
        f"</title><style>{_STYLE}</style><h1>{escape(folder.name)}</h1>{verdict}"
        f"{picture}"
        f"{_control(report.get('feedback'), folder)}{''.join(sections)}</html>\n"
    )
    path = SessionFolder(folder).page
    path.write_text(page, encoding="utf-8")
    return path


def _control(feedback: dict[str, Any] | None, folder: Path) -> str:
    """Draw what density and laser did; nothing without feedback."""
    if not feedback:
        return ""
    trace, problem = ControlFile(), ""
    try:
        trace = ControlFile.read(SessionFolder(folder).control)
        problem = trace.problem
    except SettingsError as error:
        problem = str(error)
    plots = control_plots(trace, feedback)
    torn = f'<p class="bad">{escape(problem)}</p>' if problem else ""
    if not plots and not torn:
        return ""
    return f"<h2>Density and activation laser</h2>{torn}{plots}"


def _alarm(alarm: dict[str, Any]) -> str:
    """Return one alarm with its time and the frames that it concerns."""
    after_s, frames = alarm.get("after_s"), alarm.get("frames")
    when = "" if after_s is None else f"After {after_s:.1f} s"
    where = f", frames {frames[0]} to {frames[1]}" if frames else ""
    kind = ' class="bad"' if alarm.get("serious") else ""
    lead = f"{when}{where}: " if when else ""
    return f"<p{kind}>{lead}{escape(str(alarm.get('text')))}</p>"


def _table(title: str, values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(text)}</td></tr>"
        for name, text in _flat(values)
    )
    return f"<h2>{escape(title)}</h2><table>{rows}</table>"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of every value, nested ones with their path."""
    for name, value in values.items():
        label = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from _flat(value, f"{label}: ")
        elif value not in (None, ""):
            yield label, f"{value:,.6g}" if isinstance(value, float) else str(value)
