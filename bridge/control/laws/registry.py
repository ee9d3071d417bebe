"""Control laws by name, from plain settings."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.yaml_file import check

from .dead_band import DeadBandLaw, DeadBandOptions
from .htsmlm import HtsmlmLaw, HtsmlmOptions
from .pi import PiLaw, PiOptions
from .ramps import (
    ConstantLaw,
    ConstantOptions,
    ExponentialLaw,
    ExponentialOptions,
    FileLaw,
    FileOptions,
    LinearLaw,
    LinearOptions,
)
from .ratio import RatioLaw, RatioOptions
from .user import UserLaw, UserOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .controller import Controller, Options


@dataclass(frozen=True, slots=True)
class _Kind:
    """A law, its options, whether it needs a target, and whether it uses one."""

    law: Callable[[Any], Controller]
    options: type[Options]
    needs_target: bool
    uses_target: bool


_KINDS = {
    "ratio": _Kind(RatioLaw, RatioOptions, True, True),
    "pi": _Kind(PiLaw, PiOptions, True, True),
    "dead_band": _Kind(DeadBandLaw, DeadBandOptions, True, True),
    "htsmlm": _Kind(HtsmlmLaw, HtsmlmOptions, True, True),
    "constant": _Kind(ConstantLaw, ConstantOptions, False, False),
    "linear": _Kind(LinearLaw, LinearOptions, False, False),
    "exponential": _Kind(ExponentialLaw, ExponentialOptions, False, False),
    "file": _Kind(FileLaw, FileOptions, False, False),
    "user": _Kind(UserLaw, UserOptions, False, True),
}
LAWS = tuple(_KINDS)


def needs_target(name: str) -> bool:
    """Whether a law cannot do without a target density; raises SettingsError."""
    return _kind(name).needs_target


def uses_target(name: str) -> bool:
    """Whether a target density means anything to a law; raises SettingsError."""
    return _kind(name).uses_target


def check_options(
    name: str, options: dict[str, Any] | None = None, where: str = "control.options"
) -> Options:
    """Check the options of a law without opening anything.

    Raises
    ------
    SettingsError
        No such law, or an option that it does not have or that does not fit.
    """
    return check(options or {}, _kind(name).options, where)


def open_law(
    name: str,
    options: dict[str, Any] | None = None,
    *,
    power: float | None = None,
    folder: Path | None = None,
    on_alarm: Callable[[str], None] | None = None,
) -> Controller:
    """Make a control law.

    Parameters
    ----------
    name : str
        One of `LAWS`.
    options : dict, optional
        See the options of the law; its defaults if not given.
    power : float, optional
        First power of ``constant``, ``linear`` and ``exponential`` without one in
        `options`; the present power of the laser if not given either.
    folder : Path, optional
        Relative paths in `options` begin here.
    on_alarm : Callable[[str], None], optional
        Called by ``user`` with what went wrong.

    Returns
    -------
    Controller
        Close it with `close_law`: ``user`` has a process of its own.

    Raises
    ------
    SettingsError
        As `check_options`, or a file that cannot be read.
    """
    checked = check_options(name, options)
    if isinstance(checked, ConstantOptions) and checked.power is None:
        checked = checked.model_copy(update={"power": power})
    if (
        isinstance(checked, LinearOptions | ExponentialOptions)
        and checked.start is None
    ):
        checked = checked.model_copy(update={"start": power})
    if isinstance(checked, FileOptions | UserOptions) and folder is not None:
        checked = checked.model_copy(update={"path": folder / checked.path})
    if isinstance(checked, UserOptions):
        return UserLaw(checked, on_alarm)
    return _kind(name).law(checked)


def close_law(law: Controller) -> None:
    """Release what a law holds. Idempotent."""
    if isinstance(law, UserLaw):
        law.close()


def _kind(name: str) -> _Kind:
    if name not in _KINDS:
        close = difflib.get_close_matches(name, _KINDS, n=1, cutoff=0.5)
        hint = f"Did you mean '{close[0]}'? " if close else ""
        raise SettingsError(
            f"there is no control law '{name}'. {hint}Available: {', '.join(_KINDS)}."
        )
    return _KINDS[name]
