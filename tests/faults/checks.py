"""What must hold after any fault: checked against the files, not against the words."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liveloc.stream.errors import LivelocError
from liveloc.stream.recording.segments import SegmentReader
from liveloc.stream.session.control_file import ControlFile
from liveloc.stream.tables.ledger import ProcessedLog
from liveloc.stream.tables.opening import read_table

MARK = "LIVELOC_CAMPAIGN"  # in the environment of every process of a fault
ORPHANS_S = 30.0  # in which all processes have ended; some still load on a busy machine


@dataclass
class Ended:
    """A command that has ended, or was ended after its time."""

    code: int | None  # None: it did not end
    output: str


class Running:
    """A ``liveloc`` command, with its processes found by their environment."""

    def __init__(self, *arguments: str, log: Path, mark: str, **popen: Any) -> None:
        self.log, self.mark = log, f"{os.getpid()}-{mark}"
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "liveloc", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, "COLUMNS": "200"},
                start_new_session=True,
                **popen,
            )

    def processes(self) -> dict[int, str]:
        """Return the command lines of all its living processes, by identifier."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                environment = (entry / "environ").read_bytes()
                line = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended, or is not ours
                continue
            if f"{MARK}={self.mark}".encode() in environment.split(b"\0") and line:
                words = line.decode("utf-8", "replace").split("\0")
                found[int(entry.name)] = " ".join(words).strip()
        return found

    def child(self, name: str) -> int | None:
        """Return the process of one command, such as ``engine``."""
        for pid, line in self.processes().items():
            if f"-m liveloc {name} " in f"{line} " and pid != self.process.pid:
                return pid
        return None

    def wait(self, timeout_s: float) -> Ended:
        """Wait for its end; after that time everything is killed."""
        try:
            code: int | None = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            code = None
            self.kill_all()
            self.process.wait()
        return Ended(code, self.log.read_text(encoding="utf-8", errors="replace"))

    def orphans(self) -> dict[int, str]:
        """Return what still lives after a while; it is killed."""
        end = time.monotonic() + ORPHANS_S
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.1)
        self.kill_all()
        return left

    def kill_all(self) -> None:
        """Kill every process of it."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def run_liveloc(*arguments: str, log: Path, mark: str, timeout_s: float) -> Ended:
    """Run one command to its end."""
    return Running(*arguments, log=log, mark=mark).wait(timeout_s)


def no_traceback(texts: dict[str, str]) -> list[str]:
    """Complain of every text with a traceback in it."""
    return [
        f"traceback in {name} ({_last_error(text)})"
        for name, text in texts.items()
        if "Traceback (most recent call last)" in text
    ]


def _last_error(text: str) -> str:
    errors = re.findall(r"^\w[\w.]*(?:Error|Exit|Exception)\b.*$", text, re.MULTILINE)
    return errors[-1][:120] if errors else "?"


def logs(folder: Path) -> dict[str, str]:
    """Read what the processes of a session have printed."""
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in sorted((folder / "logs").glob("*.log"))
    }


def read_report(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Read ``report.json``; complain if it is missing or no report."""
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        report["frames"]["localized"] + report["frames"]["unexplained"]
    except FileNotFoundError:
        return {}, ["no report.json"]
    except (ValueError, KeyError, TypeError) as error:
        return {}, [f"report.json is no report: {error!r}"]
    return report, []


def true_report(report: dict[str, Any], folder: Path) -> list[str]:
    """Compare a report with the table, the ledger and the recording beside it."""
    wrong = []
    frames = report["frames"]
    camera, localized = frames["camera"], frames["localized"]
    sum_ = localized + sum(frames["lost"].values()) + frames["unexplained"]
    if camera != sum_:
        wrong.append(f"balance: {camera} of the camera, {sum_} accounted for")
    ledger = folder / "processed.jsonl"
    done = len(ProcessedLog(ledger).localized_frames()) if ledger.exists() else 0
    if done != localized:
        wrong.append(f"{localized} frames reported as localized, {done} in the ledger")
    table = folder / "localizations.arrow"
    try:
        rows = len(read_table(table)[0]) if table.exists() else 0
    except LivelocError as error:
        rows = 0
        if localized:
            wrong.append(f"table: {error}")
    if report.get("localizations", 0) != rows:
        wrong.append(
            f"{report.get('localizations')} rows reported, {rows} in the table"
        )
    return wrong


def agrees(report: dict[str, Any], code: int | None, *, stopped: bool) -> list[str]:
    """Compare status and exit code of a session.

    Parameters
    ----------
    stopped : bool
        It was asked to end before its time: ``aborted`` is then a good end.
    """
    status, alarms = report.get("status"), report.get("alarms") or []
    whole = report["frames"]["localized"] == report["frames"]["camera"]
    serious = [alarm for alarm in alarms if alarm.get("serious")]
    if status not in ("ok", "aborted", "failed", "lost"):
        return [f"status {status!r}"]
    if code == 0 and status not in (("ok", "aborted") if stopped else ("ok",)):
        return [f"exit code 0, but status {status}: {report.get('reason')}"]
    if code == 0 and (report["frames"]["unexplained"] or serious):
        return [f"exit code 0, but {frames_in_words(report)} and {serious}"]
    if code not in (0, None) and status == "ok" and whole and not serious:
        return [f"exit code {code}, but status ok and every frame localized"]
    return []


def frames_in_words(report: dict[str, Any]) -> str:
    """Say the balance of a report in a few words."""
    frames = report["frames"]
    return (
        f"{frames['localized']} of {frames['camera']} frames, lost {frames['lost']}, "
        f"{frames['unexplained']} unexplained"
    )


def recorded_as_reported(report: dict[str, Any], folder: Path) -> list[str]:
    """Complain of frames in the recording that the report does not know."""
    try:
        with SegmentReader(folder / "stream") as recording:
            seen = max((frame.header.seq + 1 for frame in recording), default=0)
    except LivelocError:
        return []
    if seen > report["frames"]["camera"]:
        return [f"{seen} frames recorded, the report says {report['frames']['camera']}"]
    return []


def laser_safe(report: dict[str, Any], folder: Path) -> list[str]:
    """Complain of a laser that may be on without a word of it."""
    settings = ControlFile.read(folder / "control.jsonl").settings
    if not settings or settings[-1]["power"] == 0:
        return []
    said = json.dumps(report).lower()
    if re.search(r"laser (is|may|might|was|could|can)\b[^.]*\bon\b", said):
        return []
    return [f"the laser was left at {settings[-1]['power']} without a word of it"]
