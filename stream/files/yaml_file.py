"""Settings as validated YAML: unknown keys are refused with the nearest known one.

Values are read as YAML 1.2 says: ``off`` and ``no`` are words, ``010`` is ten and
``1e5`` a number. A key that is there twice, an alias that repeats itself without end,
and values nested deeper than any settings are refused.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import SettingsError
from .input_file import read_file

Model = TypeVar("Model", bound=BaseModel)

LARGEST_BYTES = 1 << 20
MOST_VALUES = 100_000  # with every alias written out
DEEPEST = 30
SHOWN_LETTERS = 80  # of a wrong value
_SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", "~nN\0"),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
}


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read `path` and check it against `model`.

    Raises
    ------
    SettingsError
        One line: the file, the key, what was seen, what is needed.
    """
    path = Path(path)
    content = read_file(path, "settings file", LARGEST_BYTES)
    data = from_yaml(content, str(path))
    if data is None:
        raise SettingsError(
            f"{path}: is empty, or all of it is comments. Write a setting into it, or "
            "leave the file out."
        )
    return check(data, model, str(path))


def from_yaml(content: bytes, where: str) -> Any:
    """Return the plain data of a YAML document.

    Parameters
    ----------
    content : bytes
        UTF-8.
    where : str
        Its file, for messages.

    Raises
    ------
    SettingsError
        Not UTF-8, not YAML, a key twice, or nested or repeated without end.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{where}: is not UTF-8 (byte {error.start}). Save it as UTF-8."
        ) from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, where)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        line = " ".join(str(error).split())
        raise SettingsError(f"{where}: not YAML: {line}") from None
    except RecursionError:
        raise SettingsError(_too_deep(where)) from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        # A number of thousands of digits, or a value that does not fit its tag (!!).
        raise SettingsError(f"{where}: not YAML: a value is wrong: {error}.") from None


def to_yaml(data: Any, **style: Any) -> str:
    """Write plain data as a YAML document that every version reads alike."""
    text: str = yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **style
    )
    return text


class _Loader(yaml.SafeLoader):
    """Scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Read an integer: decimal, also with leading zeros, or 0x, 0o."""
        text = str(self.construct_scalar(node))
        base = {"0x": 16, "0o": 8}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)


class _Dumper(yaml.SafeDumper):
    """Quotes what any version of YAML would not take for text."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012
        letter: list(known)
        for letter, known in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Escape rare line breaks, which PyYAML writes as they are and reads as one."""
        style = '"' if set(text) & set("\x85\u2028\u2029") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


for _name, (_pattern, _letters) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}",
            re.compile(rf"^(?:{_pattern})$"),
            [letter.replace("\0", "") for letter in _letters],
        )
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^(?:<<)$"), ["<"])
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _check_nodes(root: yaml.Node, where: str) -> None:
    """Refuse a key twice, what is too deep, and what its aliases make too much."""
    sizes: dict[int, int] = {}  # of nodes that are done, by identity

    def size(node: yaml.Node, depth: int) -> int:
        if depth > DEEPEST:
            raise SettingsError(_too_deep(where))
        if id(node) not in sizes:
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                _check_keys(node, where)
                parts = [part for pair in parts for part in pair]
            sizes[id(node)] = 1 + sum(size(part, depth + 1) for part in parts)
        return sizes[id(node)]

    if size(root, 0) > MOST_VALUES:
        raise SettingsError(
            f"{where}: its aliases (*) stand for more than {MOST_VALUES} values. "
            "Write out what is meant."
        )


def _check_keys(mapping: yaml.MappingNode, where: str) -> None:
    """Refuse a key that is there twice: one of the two values would be ignored."""
    seen = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and key.value != "<<":
            if key.value in seen:
                line = key.start_mark.line + 1
                raise SettingsError(
                    f"{where}: the key '{key.value}' appears twice, again in line "
                    f"{line}. Leave out one of them."
                )
            seen.add(key.value)


def _too_deep(where: str) -> str:
    return (
        f"{where}: values are nested more than {DEEPEST} deep, or an alias (*) "
        "contains itself. Write out what is meant."
    )


def check(data: Any, model: type[Model], where: str) -> Model:
    """Turn plain data into a typed object, or say in one line what is wrong."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SettingsError(f"{where}: {explain(error, model)}") from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Describe the first thing that is wrong; an unknown key explains a missing one."""
    errors = error.errors()
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    first = (unknown or errors)[0]
    path = [str(part) for part in first["loc"]]
    if unknown:
        key = ".".join(path)
        return f"unknown setting '{key}'.{_nearest(first['loc'], model)}"
    # Where several types are allowed, pydantic adds the one it tried to the path.
    key = ".".join(part for part in path if part.isdigit() or part.isidentifier())
    if first["type"] == "missing":
        return f"setting '{key}' is missing."
    message = first["msg"].removeprefix("Value error, ")
    if not key:
        return f"{message}."
    if isinstance(first["input"], dict):
        return f"{key}: {message}."
    seen = repr(first["input"])
    if len(seen) > SHOWN_LETTERS:
        seen = f"{seen[:SHOWN_LETTERS]}..."
    return f"{key} is {seen}: {message[:1].lower()}{message[1:]}."


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
