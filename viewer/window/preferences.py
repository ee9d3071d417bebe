"""What the window remembers from one start to the next: look and layout.

The file lies in the user's folder for settings; the environment variable
LIVELOC_CONFIG_DIR names another. Nothing in it is needed: what is missing, damaged or
from another version is replaced by defaults, and said.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from liveloc.stream.files.input_file import read_file
from liveloc.stream.files.yaml_file import from_yaml, to_yaml

from ..image.colouring import DisplaySettings

FOLDER = "LIVELOC_CONFIG_DIR"
FILE = "viewer.yaml"
LARGEST = 1 << 20  # bytes: more is no file of ours
MODES = ("sigma", "fixed", "histogram", "density")
COLOURS = ("auto", "intensity", "z")


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered.

    Attributes
    ----------
    look : DisplaySettings
        Without a held limit: that belongs to one session.
    geometry, layout : bytes
        As Qt returns them; empty: the initial ones.
    problem : str
        Why it could not be read; empty where it could, or where there is none.
    """

    look: DisplaySettings = field(default_factory=DisplaySettings)
    geometry: bytes = b""
    layout: bytes = b""
    problem: str = ""


def config_path() -> Path:
    """Return the path of the settings file."""
    named = os.environ.get(FOLDER)
    if named:
        return Path(named) / FILE
    from platformdirs import user_config_dir

    return Path(user_config_dir("liveloc", appauthor=False)) / FILE


def load() -> Memory:
    """Read what is remembered. Never raises for what it finds."""
    path = config_path()
    try:
        path.stat()
        plain = from_yaml(read_file(path, "settings file", LARGEST), str(path))
        if not isinstance(plain, dict):
            raise ValueError("not a mapping")
        window = plain.get("window") or {}
        return Memory(
            _look(plain.get("look") or {}),
            base64.b64decode(window.get("geometry") or "", validate=True),
            base64.b64decode(window.get("layout") or "", validate=True),
        )
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Memory(problem=f"{path} cannot be read ({reason}): settings are as new")


def save(memory: Memory) -> str:
    """Write it; give why it could not be, or nothing. Never raises for that."""
    path = config_path()
    look = replace(memory.look, limit=None, depth_range_nm=None)
    plain = {
        "look": {name.name: getattr(look, name.name) for name in _kept()},
        "window": {
            "geometry": base64.b64encode(memory.geometry).decode(),
            "layout": base64.b64encode(memory.layout).decode(),
        },
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            part.write_text(to_yaml(plain), "utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        return f"settings are not remembered: {error}"
    return ""


def _kept() -> list[Any]:
    return [
        f for f in fields(DisplaySettings) if f.name not in ("limit", "depth_range_nm")
    ]


def _look(plain: dict[str, Any]) -> DisplaySettings:
    """Take what is usable: a kind of value that the default has, and known names."""
    from ..image.colouring import colour_table

    default = DisplaySettings()
    found: dict[str, Any] = {}
    for entry in _kept():
        value, usual = plain.get(entry.name), getattr(default, entry.name)
        if isinstance(usual, str) and isinstance(value, str):
            found[entry.name] = value
        elif isinstance(usual, float) and isinstance(value, int | float):
            found[entry.name] = float(value)
    look = replace(default, **found)
    if look.mode not in MODES or look.colour not in COLOURS:
        raise ValueError(f"mode {look.mode!r}, colour {look.colour!r}")
    for name in (look.intensity_map, look.depth_map):
        colour_table(name)
    good = 0.05 <= look.gamma <= 5 and 0 < look.percentile <= 100
    if not (good and 0 <= look.smooth <= 100 and 0.1 <= look.width_nm <= 10_000):
        raise ValueError("a number is out of range")
    return look
