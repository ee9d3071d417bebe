"""The density that a running session shall hold from now on, as a file in its folder.

Whoever may write there may ask: the viewer, the command line, a script. The bridge
looks twice a second. The file says a density and nothing else: limits, safe level and
dose of the laser cannot be set with it. It is JSON: ``{"target_per_um2": 0.8}``.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import SettingsError
from ..files.input_file import regular_file
from ..files.session_folder import SessionFolder
from .settings import SessionSettings

PRESENT: Literal["present"] = "present"
MOST_BYTES = 4096
ORIGIN_LETTERS = 80
TRIES, PAUSE_S = 50, 0.01  # Windows does not replace a file that is being read
_KEYS = {"target_per_um2", "origin", "written"}


@dataclass(frozen=True, slots=True)
class AskedTarget:
    """A density that was asked for.

    Attributes
    ----------
    per_um2 : float or "present"
        Density to hold: a number above 0, or the one that is there.
    origin : str
        Who asks, for people; may be empty.
    """

    per_um2: float | Literal["present"]
    origin: str = ""


def write_target(folder: Path, target: float | str, *, origin: str = "") -> Path:
    """Ask the bridge of a running session to hold another density.

    The file is there as a whole or not at all. Any process may call it.

    Parameters
    ----------
    folder : Path
        Of the session.
    target : float or str
        Emitters per um2 and frame; ``present`` for the density that is there.
    origin : str
        Who asks, for people.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SettingsError
        No density, one above ``control.highest_target_per_um2``, or a folder without
        a running session.
    """
    folder = Path(folder)
    asked = _checked(target, "target density")
    _check_session(folder, asked)
    request = {"target_per_um2": asked, "origin": _line(origin), "written": time.time()}
    path = SessionFolder(folder).target
    part = folder / f".{path.name}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        part.write_text(json.dumps(request), encoding="utf-8")
        _replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise SettingsError(
            f"{path}: cannot be written: {error}. Check the folder's permissions."
        ) from None
    return path


def read_target(folder: Path) -> AskedTarget | None:
    """Read what is asked for; None without a file.

    Raises
    ------
    SettingsError
        What is there is no target.
    """
    path = SessionFolder(folder).target
    if not path.exists():
        return None
    regular_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error}.") from None
    if len(content) > MOST_BYTES:
        raise SettingsError(
            f"{path}: longer than {MOST_BYTES} bytes. {_example(path.name)}"
        )
    try:
        request: Any = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise SettingsError(f"{path}: not JSON. {_example(path.name)}") from None
    if not isinstance(request, dict) or "target_per_um2" not in request:
        raise SettingsError(f"{path}: names no target. {_example(path.name)}")
    if unknown := sorted(set(request) - _KEYS):
        raise SettingsError(
            f"{path}: {_line(unknown[0])!r} cannot be requested here. "
            f"{_example(path.name)}"
        )
    origin = request.get("origin", "")
    return AskedTarget(
        _checked(request["target_per_um2"], str(path), text=False),
        _line(origin) if isinstance(origin, str) else "",
    )


def _example(name: str) -> str:
    return f'A {name} is {{"target_per_um2": 0.8}}, or "present" instead of the number.'


def _checked(
    value: Any, where: str, *, text: bool = True
) -> float | Literal["present"]:
    """Return a density above 0, or `PRESENT`; `text` allows a number as a text."""
    if value == PRESENT:
        return PRESENT
    number = math.nan
    kinds = (int, float, str) if text else (int, float)
    if isinstance(value, kinds) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            number = math.nan
    if not (math.isfinite(number) and number > 0):
        seen = _line(repr(value))
        raise SettingsError(
            f"{where} is {seen}. Write emitters per um2, above 0, or {PRESENT!r}."
        )
    return number


def _check_session(folder: Path, asked: float | Literal["present"]) -> None:
    """Refuse a folder without a running session, and what its session forbids."""
    if not folder.is_dir():
        raise SettingsError(f"{folder}: no such session. Check the path.")
    if SessionFolder(folder).bridge_result.exists():
        raise SettingsError(
            f"{folder}: this session has ended. Give one that is running."
        )
    if not SessionFolder(folder).settings.exists():
        return
    highest = SessionSettings.load(folder).control.highest_target_per_um2
    if asked != PRESENT and asked > highest:
        raise SettingsError(
            f"target density is {asked:g} per um2, this session allows {highest:g} at "
            "most (control.highest_target_per_um2)."
        )


def _replace(part: Path, path: Path) -> None:
    """Put the finished file in its place."""
    for left in reversed(range(TRIES)):
        try:
            part.replace(path)
            return
        except PermissionError:
            if left == 0:
                raise
            time.sleep(PAUSE_S)


def _line(text: str) -> str:
    """Return a text on one line and not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.strip()[:ORIGIN_LETTERS]
