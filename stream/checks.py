"""Checks for values that come from outside: exact type, finite, within bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import MessageError

Check = Callable[[Any], Any]

INT64_MAX = 2**63 - 1


def show(value: Any) -> str:
    """Show a hostile value in a few characters, however deep it is nested."""
    if type(value) in (dict, list):
        return f"a {type(value).__name__} of {len(value)}"
    return repr(value)[:60]


def integer(low: int = 0, high: int = INT64_MAX) -> Check:
    """Whole number in [low, high]; a boolean is none."""

    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"needs a whole number in {low}..{high}")
        return value

    return check


def number(low: float, high: float, *, above: bool = False) -> Check:
    """Finite number in [low, high], or in (low, high] with `above`."""
    bounds = f"{'above' if above else 'from'} {low:g} to {high:g}"

    def check(value: Any) -> float:
        if type(value) not in (int, float):
            raise ValueError(f"needs a number {bounds}")
        # Compared before conversion: a huge int does not fit a float.
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"needs a finite number {bounds}")
        if above and value == low:
            raise ValueError(f"needs a number {bounds}")
        return float(value)

    return check


def text(longest: int = 256) -> Check:
    """Text of at most `longest` characters."""

    def check(value: Any) -> str:
        if type(value) is not str or len(value) > longest:
            raise ValueError(f"needs text of at most {longest} characters")
        return value

    return check


def one_of(*names: str) -> Check:
    """One of the given words."""

    def check(value: Any) -> str:
        if type(value) is not str or value not in names:
            raise ValueError(f"needs one of {', '.join(names)}")
        return value

    return check


def uuid(value: Any) -> bytes:
    """Accept sixteen bytes."""
    if type(value) is not bytes or len(value) != 16:
        raise ValueError("needs 16 bytes")
    return value


def flag(value: Any) -> bool:
    """Accept true and false only."""
    if type(value) is not bool:
        raise ValueError("needs true or false")
    return value


def pair(item: Check) -> Check:
    """Two values of one kind."""

    def check(value: Any) -> tuple[Any, Any]:
        if type(value) is not list or len(value) != 2:
            raise ValueError("needs two values")
        return item(value[0]), item(value[1])

    return check


def optional(item: Check) -> Check:
    """Accept nil as well."""

    def check(value: Any) -> Any:
        return None if value is None else item(value)

    return check


def text_map(longest_key: int, longest_value: int) -> Check:
    """Map from text to text."""
    key, value = text(longest_key), text(longest_value)

    def check(pairs: Any) -> dict[str, str]:
        if type(pairs) is not dict:
            raise ValueError("needs a map of text to text")
        return {key(k): value(v) for k, v in pairs.items()}

    return check


def record(
    raw: Any, checks: Mapping[str, Check], where: str, ignore: Sequence[str] | None
) -> dict[str, Any]:
    """Check every field of a decoded map.

    Parameters
    ----------
    raw : Any
        What the decoder gave.
    checks : Mapping[str, Check]
        Every field that must be there.
    where : str
        Names the message in errors.
    ignore : Sequence[str] or None
        Fields that are looked at elsewhere; None lets any other field pass.

    Raises
    ------
    MessageError
        Reason ``field``: a field is missing, unknown or has a wrong value.
    """
    if type(raw) is not dict:
        raise MessageError("field", f"{where} is not a map")
    values = {}
    for name, check in checks.items():
        if name not in raw:
            raise MessageError("field", f"{where} has no field '{name}'")
        try:
            values[name] = check(raw[name])
        except (ValueError, OverflowError) as error:
            if isinstance(error, MessageError):
                raise
            detail = f"{where}: '{name}' is {show(raw[name])}, {error}"
            raise MessageError("field", detail) from None
    if ignore is not None:
        for name in raw:
            if name not in checks and name not in ignore:
                detail = f"{where} has an unknown field '{str(name)[:60]}'"
                raise MessageError("field", detail)
    return values
