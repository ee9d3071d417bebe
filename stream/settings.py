"""Settings as validated YAML: unknown keys are refused with the nearest known one."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .errors import SettingsError

Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read `path` and check it against `model`.

    Raises
    ------
    SettingsError
        One line: the file, the key, what was seen, what is needed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file. Check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise SettingsError(f"{path}: not YAML: {line}") from None
    return check(data if data is not None else {}, model, str(path))


def check(data: Any, model: type[Model], where: str) -> Model:
    """Turn plain data into a typed object, or say in one line what is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SettingsError(f"{where}: {_explain(error, model)}") from None


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say the first thing that is wrong; an unknown key explains a missing one."""
    errors = error.errors()
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    first = (unknown or errors)[0]
    key = ".".join(str(part) for part in first["loc"])
    if unknown:
        return f"unknown setting '{key}'.{_nearest(first['loc'], model)}"
    if first["type"] == "missing":
        return f"setting '{key}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}."
    if isinstance(first["input"], dict):
        return f"{key}: {message}."
    return f"{key} is {first['input']!r}: {message[:1].lower()}{message[1:]}."


def _nearest(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Name the known key that looks most like the unknown one."""
    known = _keys(model)
    wrong = str(location[-1])
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(known)}."


def _keys(model: type[BaseModel]) -> list[str]:
    """All setting names of a model and of the models in it."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        names.append(name)
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names.extend(_keys(annotation))
    return list(dict.fromkeys(names))
