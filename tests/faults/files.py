"""Faults in files: torn ones of a recorded session, and inputs that are none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checks import (
    Running,
    agrees,
    no_traceback,
    read_report,
    true_report,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

MOST_S = 60.0
CODES = (0, 1, 2, 3, 4)
TORN = (
    "session.yaml",
    "control.jsonl",
    "stream/stream.json",
    "stream/end.json",
    "stream/seg-000000.bin",
    "localizations.arrow",
    "processed.jsonl",
    "report.json",
    "bundle",
)
COMMANDS = ("replay", "fit", "evaluate")
INPUTS = ("pipe", "folder", "empty", "random", "text", "device", "deep", "zeros")
TAKERS = ("fit", "replay", "evaluate", "render", "run", "camera", "model", "target")
BUNDLES = Path(__file__).parents[2] / "model" / "bundles"


def _torn(rng: random.Random) -> dict[str, Any]:
    file = rng.choice(TORN)
    return {
        "file": file,
        "command": "fit" if file == "bundle" else rng.choice(COMMANDS),
        "how": rng.choice(["cut", "flip", "zeros", "insert", "empty", "gone"]),
        "at": round(rng.random(), 4),
    }


def _input(rng: random.Random) -> dict[str, Any]:
    return {
        "what": rng.choice(INPUTS),
        "taker": rng.choice(TAKERS),
        "seed": rng.randrange(10**6),
    }


DRAW: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "torn": _torn,
    "input": _input,
}


def run(
    kind: str, parameters: dict[str, Any], folder: Path, recorded: Path
) -> list[str]:
    """Give a damaged file to a command; return what was not as it must be."""
    if kind == "torn":
        arguments = _tear(parameters, folder, recorded)
    else:
        arguments = _bad_input(parameters, folder, recorded)
    running = Running(
        *arguments, log=folder / "terminal.log", mark=f"file {folder.name}"
    )
    try:
        ended = running.wait(MOST_S)
    finally:
        orphans = running.orphans()
    complaints = [f"orphan: {line}" for line in orphans.values()]
    complaints += no_traceback({"terminal": ended.output})
    if ended.code is None:
        complaints.append("did not end")
    elif ended.code not in CODES:
        complaints.append(f"exit code {ended.code}")
    if ended.code == 2 and len(_said(ended.output)) != 1:
        complaints.append(f"not one line: {_said(ended.output)[:3]}")
    out = folder / "out"
    if ended.code == 0 and "--out" in arguments and arguments[0] != "render":
        complaints += [] if (out / "report.json").exists() else ["no report.json"]
    if ended.code is not None and (out / "report.json").exists():
        report, wrong = read_report(out)
        complaints += wrong
        if report:
            complaints += true_report(report, out)
            complaints += agrees(report, ended.code, stopped=True)
            if not (out / "report.html").exists():
                complaints.append("no report.html")
    return complaints


def _said(output: str) -> list[str]:
    """Return the lines that say what the user has to mend."""
    lines = [line for line in output.splitlines() if line.strip()]
    return [line for line in lines if line.startswith("liveloc: ")]


def _tear(parameters: dict[str, Any], folder: Path, recorded: Path) -> tuple[str, ...]:
    session, out = folder / "session", folder / "out"
    shutil.copytree(recorded, session)
    model: tuple[str, ...] = ()
    path = session / parameters["file"]
    if parameters["file"] == "bundle":
        path = folder / "m.liveloc"
        shutil.copyfile(BUNDLES / "simulated-microscope.liveloc", path)
        model = ("--model", str(path))
    damage(path, parameters["how"], parameters["at"])
    match parameters["command"]:
        case "replay":
            law = ("--control", "pi", "--target-density", "0.3")
            return ("replay", str(session), "--out", str(out), *law)
        case "fit":
            return ("fit", str(session), "--out", str(out), *model)
        case _:
            return ("evaluate", str(session), str(session / "truth.arrow"))


def damage(path: Path, how: str, at: float) -> None:
    """Damage a file at a part of its length."""
    content = bytearray(path.read_bytes())
    place = int(at * len(content))
    match how:
        case "cut":
            del content[place:]
        case "flip":
            content[place : place + 1] = bytes(b ^ 0x41 for b in content[place:][:1])
        case "zeros":
            end = min(place + 512, len(content))
            content[place:end] = bytes(end - place)
        case "insert":
            content[place:place] = b"\xff{[,\x00"
        case "empty":
            content.clear()
        case "gone":
            path.unlink()
            return
    path.write_bytes(content)


def _bad_input(
    parameters: dict[str, Any], folder: Path, recorded: Path
) -> tuple[str, ...]:
    bad = str(_make(parameters["what"], parameters["seed"], folder))
    out = ("--out", str(folder / "out"))
    table = str(recorded / "truth.arrow")
    match parameters["taker"]:
        case "fit" | "replay" as command:
            return (command, bad, *out)
        case "evaluate":
            return ("evaluate", bad, table)
        case "render":
            return ("render", bad, "--out", str(folder / "out.png"))
        case "run":
            return ("run", bad, "--headless", "--session", str(folder / "session"))
        case "camera":
            return ("fit", str(recorded), *out, "--camera", bad)
        case "model":
            return ("fit", str(recorded), *out, "--model", bad)
        case _:
            return ("target", bad, "0.5")


def _make(what: str, seed: int, folder: Path) -> Path:
    path = folder / ("bad.tif", "bad.yaml", "bad.csv", "bad.arrow")[seed % 4]
    match what:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            return Path("/dev/zero")
        case "empty":
            path.write_bytes(b"")
        case "random":
            path.write_bytes(b"II*\0" * (seed % 2) + os.urandom(5000))
        case "deep":
            path.write_text("[" * 5000, encoding="utf-8")
        case "zeros":
            with path.open("wb") as file:
                file.truncate(1 << 33)
        case _:
            path.write_text("frame,x [nm],y [nm]\n1,nan,inf\n" * 3, encoding="utf-8")
    return path
