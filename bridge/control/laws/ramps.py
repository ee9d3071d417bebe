"""Powers that follow no density: constant, linear, exponential, or from a file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import read_file

from .controller import Finite, NotNegative, Options, Positive

if TYPE_CHECKING:
    from .controller import Reading

Frames = Annotated[int, Field(ge=1)]


class ConstantOptions(Options):
    """Options of `ConstantLaw`.

    Attributes
    ----------
    power : float, optional
        Power in the laser's unit; the present one if not given.
    """

    power: NotNegative | None = None


class LinearOptions(Options):
    """Options of `LinearLaw`.

    Attributes
    ----------
    start : float, optional
        First power, in the laser's unit; the present one if not given.
    increment : float
        Power added every `every_frames`, in the laser's unit.
    every_frames : int
        Length of a step, frames.
    """

    start: NotNegative | None = None
    increment: Finite
    every_frames: Frames = 100


class ExponentialOptions(Options):
    """Options of `ExponentialLaw`.

    Attributes
    ----------
    start : float, optional
        First power, in the laser's unit; the present one if not given. 0 stays 0.
    factor : float
        Factor by which the power grows every `every_frames`.
    every_frames : int
        Length of a step, frames.
    """

    start: NotNegative | None = None
    factor: Positive = 1.05
    every_frames: Frames = 100


class FileOptions(Options):
    """Options of `FileLaw`.

    Attributes
    ----------
    path : Path
        Text; line n is for frame n of the stream, counted from 0. Powers are in the
        laser's unit, ``#`` begins a comment, lines of comments only do not count.
    column : int
        Which of the numbers on a line, counted from 0: one for each laser.
    """

    path: Path
    column: Annotated[int, Field(ge=0)] = 0


class ConstantLaw:
    """The same power, always."""

    def __init__(self, options: ConstantOptions | None = None) -> None:
        self._power = (options or ConstantOptions()).power

    def control(self, reading: Reading) -> float | None:
        """Return the power to set."""
        return self._power


class _Steps:
    """Counts the steps of a ramp, from its first frame on."""

    def __init__(self, start: float | None, every_frames: int) -> None:
        self._start, self._every = start, every_frames
        self._first = 0
        self.power: float | None = None  # at the first frame

    def taken(self, reading: Reading) -> int:
        if self.power is None or reading.last_seq < self._first:  # or a new stream
            self._first = reading.first_seq
            self.power = reading.power if self._start is None else self._start
        return (reading.last_seq + 1 - self._first) // self._every


class LinearLaw:
    """Adds the same to the power every so many frames.

    Parameters
    ----------
    options : LinearOptions
        The ramp.
    """

    def __init__(self, options: LinearOptions) -> None:
        self._options = options
        self._steps = _Steps(options.start, options.every_frames)

    def control(self, reading: Reading) -> float | None:
        """Return the power to set."""
        taken = self._steps.taken(reading)
        wanted = (self._steps.power or 0.0) + taken * self._options.increment
        return min(max(wanted, reading.lowest), reading.highest)


class ExponentialLaw:
    """Multiplies the power with the same factor every so many frames.

    Parameters
    ----------
    options : ExponentialOptions, optional
        The ramp.
    """

    def __init__(self, options: ExponentialOptions | None = None) -> None:
        self._options = options or ExponentialOptions()
        self._steps = _Steps(self._options.start, self._options.every_frames)

    def control(self, reading: Reading) -> float | None:
        """Return the power to set."""
        taken = self._steps.taken(reading)
        start = self._steps.power or 0.0
        if start <= 0:
            return reading.lowest
        # In logarithms, where a long ramp does not overflow.
        wanted = math.log(start) + taken * math.log(self._options.factor)
        if wanted >= math.log(max(reading.highest, start)):
            return reading.highest
        return min(max(math.exp(wanted), reading.lowest), reading.highest)


class FileLaw:
    """Replays powers from a file, one for each frame; the last one stays.

    Parameters
    ----------
    options : FileOptions
        The file.

    Raises
    ------
    SettingsError
        No such file, or a line without a power; names the line.
    """

    def __init__(self, options: FileOptions) -> None:
        self._powers = load_powers(options.path, options.column)

    def control(self, reading: Reading) -> float | None:
        """Return the power for the frame after the newest one."""
        return self._powers[min(reading.last_seq + 1, len(self._powers) - 1)]


def load_powers(path: Path, column: int = 0) -> list[float]:
    """Read the powers of a file, one for each frame.

    Raises
    ------
    SettingsError
        Names the file, the line, what is there and what is needed.
    """
    raw = read_file(Path(path), "table of powers", 64 << 20)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"power file {path} cannot be read: {error}. Give a text file with one "
            "line of powers for each frame."
        ) from None
    powers = []
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        content = line.split("#")[0].replace(",", " ").split()
        if content:
            powers.append(_power(content, column, f"power file {path}, line {number}"))
        elif not line.strip():
            raise SettingsError(
                f"power file {path}, line {number} is empty. Give a power for each "
                "frame, or begin the line with # for a comment."
            )
    if not powers:
        raise SettingsError(
            f"power file {path} contains no powers. Give one line for each frame."
        )
    return powers


def _power(content: list[str], column: int, where: str) -> float:
    """Take one number of a line."""
    if column >= len(content):
        raise SettingsError(
            f"{where} has {len(content)} numbers; column {column} (counted from 0) "
            "is not among them. Correct `column` or the line."
        )
    try:
        power = float(content[column])
    except ValueError:
        power = math.nan
    if not (math.isfinite(power) and power >= 0):
        raise SettingsError(
            f"{where}: {content[column]!r} is not a power. Give a number of 0 or more."
        )
    return power
