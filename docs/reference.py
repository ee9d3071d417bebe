"""The reference pages, written from the code whenever the site is built.

    python docs/reference.py docs/reference/settings.md

prints one of them without the site.

A page holds lines such as ``<!-- from the code: command_line -->``; `fill` puts the
text of that name in their place. Nothing else in the documentation imports what lies
deeper than the public names of the four rooms.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import sys
import types
from functools import partial
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import typer
from pydantic import BaseModel

from liveloc.__main__ import app
from liveloc.bridge import SimulatedSettings
from liveloc.bridge.simulated.photophysics import Photophysics
from liveloc.model import Defocus, DoubleHelixPSF
from liveloc.model.physics.pupil import Optics
from liveloc.model.training_config import TrainingConfig
from liveloc.stream import LOCALIZATION, CameraCalibration, balance
from liveloc.stream.camera_file import CameraFile
from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.recording.start_file import END_FILE, MAPS_FILE, START_FILE
from liveloc.stream.session.settings import SessionSettings
from liveloc.viewer.view_file import View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOMS = ("stream", "model", "bridge", "viewer")
SETTINGS: dict[str, type[BaseModel]] = {
    "session": SessionSettings,
    "training": TrainingConfig,
    "camera": CameraFile,
    "optics": Optics,
    "view": View,
}
SAME: dict[str, type[Any]] = {  # parts whose keys another class describes
    "CameraSection": CameraCalibration,
    "SimulationSection": SimulatedSettings,
    "DefocusConfig": Defocus,
    "DoubleHelixConfig": DoubleHelixPSF,
}
POINTED_TO: dict[str, type[Any]] = {  # where "See `...`" leads
    "CameraCalibration": CameraCalibration,
    "Photophysics": Photophysics,
}
PATHS = SessionFolder("SESSION")
SESSION_FILES = {
    PATHS.settings.name: "The settings as run; `liveloc run FOLDER` repeats them.",
    PATHS.camera.name: "The camera's calibration, if it has a file; maps beside it.",
    PATHS.table.name: "The localizations, an Arrow stream.",
    PATHS.ledger.name: "Which frames are dealt with, their rows, what was lost.",
    PATHS.control.name: "Laser settings, decisions, targets and alarms, one a line.",
    PATHS.report.name: "Settings, frames and losses, latency, alarms, status.",
    PATHS.page.name: "The same for people, with curves.",
    PATHS.bridge_result.name: "How the bridge ended, and what the camera took.",
    PATHS.viewer_result.name: "How the window ended, and how fast it drew.",
    PATHS.target.name: "The density asked for while the session runs.",
    PATHS.truth.name: "Every emitter, in sessions of the simulated microscope.",
    PATHS.picture.name: "The picture.",
    PATHS.picture_tiff.name: "The picture, 32 bits, for ImageJ.",
    "logs/": "What bridge, engine and viewer wrote.",
    f"stream/{START_FILE}": "With `--record`: camera, ROI, calibration, time.",
    f"stream/{MAPS_FILE}": "The camera's maps, if it has any.",
    "stream/seg-000000.bin": "The frames, each with a checksum; more files follow.",
    f"stream/{END_FILE}": "How the recording ended.",
}
COLUMNS = {
    "frame": "Exposure of the camera, from 0.",
    "x_nm": "Column, from the centre of the chip's first pixel.",
    "y_nm": "Row, the same.",
    "z_nm": "Depth, positive away from the objective; 0 with a 2D network.",
    "photons": "Detected photons of the emitter in this frame.",
    "background": "Detected photons per pixel.",
    "x_sigma_nm": "Standard deviation expected of `x_nm`.",
    "y_sigma_nm": "Of `y_nm`.",
    "z_sigma_nm": "Of `z_nm`.",
    "photons_sigma": "Of `photons`.",
    "probability": "That there is an emitter.",
    "flags": "1: the frame before was lost. 2: the frame after was lost.",
}
LOSSES = {
    balance.CAMERA_MISSING: "The camera's driver lost it.",
    balance.BRIDGE_SHED: "The engine was too slow, and the bridge had no more room.",
    balance.CONNECTION_LOST: "On the way when the connection broke.",
    balance.ENGINE_STOPPED: "On the way to an engine that died.",
    balance.REJECTED: "The message broke the protocol.",
    balance.LATE: "It came after its place was given up.",
    balance.NOT_FINITE: "The network's answer was no number.",
    balance.NOT_WRITTEN: "Localized, but the disk took no more rows.",
    balance.NOT_PROCESSED: "The camera took it, and no engine saw it.",
}
DATA = {
    "LOCALIZATION": "NumPy type of a row of the table: its columns.",
    "Localizations": "Type of an array of such rows.",
    "LOG_VARIABLE": "Environment variable that names pymmcore-plus's log file.",
}
_MARK = re.compile(r"^<!-- from the code: (\w+) -->$", re.MULTILINE)
_WORDS = {int: "whole number", float: "number", str: "text", bool: "true, false"}
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}


def fill(text: str) -> str:
    """Return a page with its marks replaced by what the code says."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), text)


def command_line() -> str:
    """Return a section for each command: usage, purpose, arguments and options."""
    return "\n\n".join(_command(name, command) for name, command in commands().items())


def commands() -> dict[str, Any]:
    """Return the commands that do something, by their whole names."""
    found = {}

    def walk(command: Any, name: str) -> None:
        for part, child in getattr(command, "commands", {}).items():
            walk(child, f"{name} {part}")
        if not hasattr(command, "commands"):
            found[name] = command

    walk(typer.main.get_command(app), "liveloc")
    return found


def _command(name: str, command: Any) -> str:
    context = command.make_context(name, [], resilient_parsing=True)
    usage = command.get_usage(context).removeprefix("Usage: ")
    what, _, example = inspect.cleandoc(command.help or "").partition("Example:")
    lines = [f"## {name}", f"```text\n{usage}\n```", _plain(what.strip())]
    if example:
        lines.append(f"```bash\n{example.strip()}\n```")
    rows = [
        (
            _names(parameter),
            _value(parameter),
            _default(parameter),
            _plain(parameter.help or ""),
        )
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
    ]
    lines.append(_table(("option", "value", "default", "meaning"), rows))
    return "\n\n".join(lines)


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{n}`" for n in (*parameter.opts, *parameter.secondary_opts))


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    kind = _kind(parameter.type_descriptor.annotation)
    bounds = "".join(
        f" {sign} {bound:g}"
        for sign, bound in (("≥", parameter.min), ("≤", parameter.max))
        if bound is not None
    )
    return kind + bounds


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    default = parameter.default
    if default is None or default == () or "Sentinel" in type(default).__name__:
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"`{default}`"


def settings(name: str) -> str:
    """Return the sections and keys of one kind of YAML file."""
    return "\n\n".join(_sections(SETTINGS[name], ""))


def _sections(model: type[Any], path: str, kind: str = "") -> Iterator[str]:
    """Yield a heading and a table for each part of a model, outermost first.

    `kind` names the alternative that the part belongs to.
    """
    about, notes = _described(model)
    rows, below = [], []
    for key, annotation, default, bounds in _fields(model):
        full = f"{path}.{key}" if path else key
        parts = _models(annotation)
        for part in parts:
            alternative = _alternative(part) if len(parts) > 1 else kind
            below += _sections(part, full, alternative)
        row = (f"`{key}`", _kind(annotation, bounds), _shown(default))
        rows.append((*row, notes.get(key, "")))
    head = f"### {path}{kind and f' of kind {kind}'}\n\n" if path else ""
    yield f"{head}{about}\n\n{_table(('key', 'value', 'default', 'meaning'), rows)}"
    yield from below


def _alternative(model: type[Any]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])


def _fields(model: type[Any]) -> Iterator[tuple[str, Any, Any, list[Any]]]:
    """Yield name, type, default and bounds of the keys of a model or dataclass."""
    if dataclasses.is_dataclass(model):
        hints = get_type_hints(model, include_extras=True)
        for one in dataclasses.fields(model):
            missing = one.default is dataclasses.MISSING
            yield one.name, hints[one.name], ... if missing else one.default, []
        return
    for name, field in model.model_fields.items():
        default = ... if field.is_required() else field.get_default()
        yield field.alias or name, field.annotation, default, field.metadata


def _models(kind: Any) -> list[type[Any]]:
    """Return the parts of a file that a type is made of."""
    if isinstance(kind, type):
        return [kind] if issubclass(kind, BaseModel) or _is_part(kind) else []
    if get_origin(kind) is Annotated:
        first, *marks = get_args(kind)
        opaque = any(type(mark).__name__ == "InstanceOf" for mark in marks)
        return [] if opaque else _models(first)
    if get_origin(kind) in (Union, types.UnionType):
        return [model for part in get_args(kind) for model in _models(part)]
    return []


def _is_part(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _kind(kind: Any, bounds: list[Any] | tuple[Any, ...] = ()) -> str:
    """Return a type in words, with its bounds."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(parts[0], parts[1:])
    if _models(kind):
        return "section"
    if origin in (Union, types.UnionType):
        return " or ".join(
            _kind(part, bounds) for part in parts if part is not type(None)
        )
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin is tuple and parts[-1] is ...:
        return f"list of {_kind(parts[0])}"
    if origin is tuple and len(set(parts)) == 1:
        return f"list of {len(parts)}, each {_kind(parts[0])}"
    if origin is tuple:
        return f"[{', '.join(_kind(part) for part in parts)}]"
    if origin is list:
        return f"list of {_kind(parts[0])}"
    if origin is dict or kind is dict:
        return "keys and values"
    limits = [
        f"{sign} {_number(value)}"
        for bound in _single(bounds)
        for word, sign in _BOUNDS.items()
        if (value := getattr(bound, word, None)) is not None
    ]
    word = _WORDS.get(
        kind, "path" if kind is Path else getattr(kind, "__name__", "any")
    )
    return " ".join([word, ", ".join(limits)]).strip()


def _single(bounds: Any) -> Iterator[Any]:
    """Yield bounds, those within a `Field` too."""
    for bound in bounds:
        yield from _single(getattr(bound, "metadata", ())) or ()
        yield bound


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def _shown(default: Any) -> str:
    if default is ...:
        return "needed"
    if isinstance(default, BaseModel) or _is_part(type(default)):
        return ""
    if default is None or default in ({}, (), [], (None, None)):
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(f'{part:g}' for part in default)}]`"
    return f"`{default}`" if default != "" else ""


def _described(model: type[Any]) -> tuple[str, Mapping[str, str]]:
    """Return a part's description and those of its keys, from where they are."""
    about, notes = _docstring(model)
    if other := SAME.get(model.__name__):
        notes = {**_docstring(other)[1], **notes}
    notes = dict(notes)
    for key, note in notes.items():
        pointed = re.search(r"[Ss]ee `(\w+)`", note)
        if pointed and pointed[1] in POINTED_TO:
            notes[key] = _docstring(POINTED_TO[pointed[1]])[1].get(key, note)
    return about, notes


def _docstring(model: type[Any]) -> tuple[str, Mapping[str, str]]:
    """Return a class's description and what its docstring says of each attribute."""
    text = inspect.cleandoc(model.__doc__ or "")
    about, _, rest = text.partition("\nAttributes\n----------\n")
    notes: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", rest.strip("\n")):
        head, _, body = entry.partition("\n")
        for name in head.partition(":")[0].split(","):
            if name.strip():
                notes[name.strip()] = _plain(" ".join(body.split()))
    return _plain(about.strip()), notes


def session_files() -> str:
    """Return what lies in the folder of a session."""
    rows = [(f"`{name}`", text) for name, text in SESSION_FILES.items()]
    return _table(("file", "holds"), rows)


def table_columns() -> str:
    """Return the columns of the localization table."""
    fields = LOCALIZATION.fields or {}
    rows = [
        (f"`{n}`", f"`{fields[n][0]}`", COLUMNS[n]) for n in LOCALIZATION.names or ()
    ]
    return _table(("column", "type", "meaning"), rows)


def losses() -> str:
    """Return the names under which lost frames are counted."""
    return _table(
        ("name", "the frame"), [(f"`{n}`", text) for n, text in LOSSES.items()]
    )


def python() -> str:
    """Return the public names of the four rooms, for Sphinx to document."""
    return "\n\n".join(_room(room) for room in ROOMS)


def _room(name: str) -> str:
    module = importlib.import_module(f"liveloc.{name}")
    about = inspect.cleandoc(module.__doc__ or "").split("\n")[0]
    names = sorted(module.__all__, key=str.lower)
    directives = "\n".join(_directive(f"liveloc.{name}", public) for public in names)
    return f"## liveloc.{name}\n\n{about}\n\n```{{eval-rst}}\n{directives}\n```"


def _directive(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    if isinstance(value, type):
        return f".. autoclass:: {module}.{name}\n   :members:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {module}.{name}\n"
    return f".. py:data:: {module}.{name}\n\n   {DATA[name]}\n"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Return text of a docstring or help as Markdown."""
    return text.replace("``", "`").replace("<", "&lt;").replace("*", "\\*")


PARTS = {
    "command_line": command_line,
    "session_files": session_files,
    "table_columns": table_columns,
    "losses": losses,
    "python": python,
    **{f"{name}_settings": partial(settings, name) for name in SETTINGS},
}
"""What can stand in a mark, by name."""

if __name__ == "__main__":
    for page in sys.argv[1:]:
        print(fill(Path(page).read_text(encoding="utf-8")))
