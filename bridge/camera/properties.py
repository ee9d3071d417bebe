"""Properties of a camera and its binning: set, checked, read back."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError

from .running_queries import property_of

if TYPE_CHECKING:
    from collections.abc import Mapping

BINNING = "Binning"


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, ended like a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else text + "."


def set_properties(core: Any, camera: str, values: Mapping[str, Any]) -> None:
    """Set properties of the camera, in the order given, each read back.

    Parameters
    ----------
    values : Mapping[str, Any]
        Property -> value, e.g. ``{"TriggerMode": "External"}``. The binning is set
        first, because cameras forget other settings with it.

    Raises
    ------
    SettingsError
        A property that the camera does not have or that cannot be set, a value that
        it does not allow, or one that reads back as another.
    """
    for name in sorted(values, key=lambda name: name != BINNING):
        _set_property(core, camera, name, values[name])


def _set_property(core: Any, camera: str, name: str, value: Any) -> None:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if not core.hasProperty(camera, name):
        known = ", ".join(sorted(core.getDevicePropertyNames(camera)))
        raise SettingsError(
            f"camera '{camera}' has no property '{name}'. It has: {known}."
        )
    if core.isPropertyReadOnly(camera, name) or core.isPropertyPreInit(camera, name):
        raise SettingsError(
            f"camera '{camera}': property '{name}' is read-only here. Leave it "
            "out, or set it in the Micro-Manager configuration."
        )
    allowed = [str(v) for v in core.getAllowedPropertyValues(camera, name)]
    if allowed and not any(_alike(text, other) for other in allowed):
        raise SettingsError(
            f"camera '{camera}': property '{name}' cannot be '{text}'. "
            f"It can be: {', '.join(allowed)}."
        )
    text = next((other for other in allowed if _alike(text, other)), text)
    try:
        core.setProperty(camera, name, text)
    except (RuntimeError, ValueError, TypeError) as error:
        raise SettingsError(
            f"camera '{camera}' refuses '{text}' for property '{name}'"
            f"{_limits(core, camera, name)}: {one_line(error)}"
        ) from error
    core.waitForDevice(camera)
    seen = str(core.getProperty(camera, name))
    if not _alike(text, seen):
        raise SettingsError(
            f"camera '{camera}': property '{name}' was set to '{text}' and reads back "
            f"as '{seen}'. Set it to what the camera can do."
        )


def _alike(one: str, other: str) -> bool:
    """Whether two texts mean the same value; Micro-Manager writes four decimals."""
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-4, abs_tol=5e-5)
    except ValueError:
        return one == other


def _limits(core: Any, camera: str, name: str) -> str:
    """Return the limits of a number as text, if it has any."""
    if not core.hasPropertyLimits(camera, name):
        return ""
    low = core.getPropertyLowerLimit(camera, name)
    high = core.getPropertyUpperLimit(camera, name)
    return f" (allowed: {low:g} to {high:g})"


def set_binning(core: Any, camera: str, binning: int | None) -> int:
    """Set the binning, if one is given; return the present one.

    Raises
    ------
    SettingsError
        The camera does not bin, or not by this number.
    """
    if binning is None:
        return binning_of(core, camera)
    if not core.hasProperty(camera, BINNING):
        if binning == 1:
            return 1
        raise SettingsError(f"camera '{camera}' does not bin. Leave binning out.")
    allowed = [str(v) for v in core.getAllowedPropertyValues(camera, BINNING)]
    texts = [text for text in allowed if _parse_binning(text) == binning]
    if allowed and not texts:
        raise SettingsError(
            f"camera '{camera}' does not bin by {binning}. "
            f"Its binning can be: {', '.join(allowed)}."
        )
    _set_property(core, camera, BINNING, texts[0] if texts else str(binning))
    return binning_of(core, camera)


def binning_of(core: Any, camera: str) -> int:
    """Return by how much the camera bins now, 1 if it does not."""
    if not core.hasProperty(camera, BINNING):
        return 1
    text = property_of(core, camera, BINNING)
    binning = _parse_binning(text)
    if binning is None:
        raise SettingsError(
            f"camera '{camera}' has binning '{text}'; pixels must be square. "
            "Set it to 1, or to the same number along both edges."
        )
    return binning


def _parse_binning(text: str) -> int | None:
    """Read "2" or "2x2"; None for anything that is not square."""
    numbers = [int(n) for n in re.findall(r"\d+", text.split(".")[0])]
    square = len(numbers) in (1, 2) and len(set(numbers)) == 1 and numbers[0] > 0
    return numbers[0] if square else None
