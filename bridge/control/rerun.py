"""What another law would have done with the densities of a recording."""

from __future__ import annotations

import bisect
import json
from typing import TYPE_CHECKING, Any

from ...stream.control_trace import CONTROL_FILE
from ..settings import BridgeSettings, LaserSettings
from .feedback import decision
from .guard import GuardedPower, GuardOptions
from .laws import close_law, open_law
from .readings import join

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ...stream.density import BlockDensity
    from ...stream.session import ControlSection, SessionSettings
    from .controller import Controller

PICTURE_FILE = "control.png"
UNLIMITED = 1e9  # power of a laser whose highest is not given


class RecordedPower:
    """The power that a laser had at any time of a session.

    Parameters
    ----------
    control_file : Path
        ``control.jsonl`` of the session; without one the power is unknown.
    otherwise : float
        Power where none is known.
    """

    def __init__(self, control_file: Path, otherwise: float) -> None:
        self._times: list[int] = []
        self._powers = [otherwise]
        if not control_file.exists():
            return
        for line in control_file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["kind"] == "laser":
                self._times.append(entry["t_ns"])
                self._powers.append(entry["power"])

    @property
    def known(self) -> bool:
        """Whether the session says anything of its laser."""
        return bool(self._times)

    def at(self, t_ns: int) -> float:
        """Give the power in force at a monotonic time of the bridge."""
        return self._powers[bisect.bisect_right(self._times, t_ns)]


def rerun_session(
    settings: SessionSettings,
    blocks: Sequence[BlockDensity],
    recording: Path,
    out: Path,
) -> Path:
    """Run the law of `settings` on densities; write and draw what it decides.

    Parameters
    ----------
    settings : SessionSettings
        Of the recording, with another law.
    blocks : sequence of BlockDensity
        Measured in it.
    recording : Path
        Session folder or movie; a session says what its laser really did.
    out : Path
        Gets ``control.jsonl`` and ``control.png``.

    Returns
    -------
    Path
        Of the picture.

    Raises
    ------
    SettingsError
        A law, an option or limits that do not fit.
    """
    told = BridgeSettings.from_session(settings, None)
    laser = told.laser or LaserSettings(device="", prop="", power=0.0)
    most = told.simulated.highest_mw if told.simulated else UNLIMITED
    limits = (laser.lowest or 0.0, laser.highest or most)
    guard = GuardedPower(*limits, laser.power, GuardOptions(**laser.guard))
    control = settings.control
    law = open_law(control.law, control.options, power=laser.power)
    try:
        lines = rerun(
            blocks,
            law,
            guard,
            RecordedPower(recording / CONTROL_FILE, laser.power),
            target_per_um2=target_of(control, blocks),
            limits=limits,
            ticks_per_s=control.ticks_per_s,
        )
    finally:
        close_law(law)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (out / CONTROL_FILE).write_text(text, encoding="utf-8")
    path = out / PICTURE_FILE
    if lines:
        draw(path, lines, control.law, laser.unit)
    return path


def target_of(control: ControlSection, blocks: Sequence[BlockDensity]) -> float:
    """Give the (first) target; ``present`` is the mean of the first frames."""
    given = control.target_per_um2
    if isinstance(given, list):
        return min(given)[1]  # the first
    if given != "present":
        return float(given or 0.0)
    first = [b for b in blocks if b.last_seq < control.settle_frames] or blocks[:1]
    frames = sum(block.frames for block in first)
    return sum(block.per_um2 * block.frames for block in first) / max(frames, 1)


def rerun(
    blocks: Sequence[BlockDensity],
    law: Controller,
    guard: GuardedPower,
    power: RecordedPower,
    *,
    target_per_um2: float,
    limits: tuple[float, float],
    ticks_per_s: float,
) -> list[dict[str, Any]]:
    """Let a law answer recorded densities, at its own pace.

    The densities are those that the real powers caused: the law is heard, not obeyed.

    Parameters
    ----------
    blocks : sequence of BlockDensity
        In the order of their frames.
    law, guard : Controller, GuardedPower
        Fresh ones.
    power : RecordedPower
        What the laser really did: the readings say so.
    target_per_um2, limits, ticks_per_s : float, (float, float), float
        As in a session.

    Returns
    -------
    list of dict
        Decisions as in ``control.jsonl``; ``power`` is the real one.
    """
    lines: list[dict[str, Any]] = []
    waiting: list[BlockDensity] = []
    last_s: float | None = None
    for block in blocks:
        waiting.append(block)
        if last_s is not None and block.t_ns / 1e9 - last_s < 1 / ticks_per_s:
            continue
        reading = join(
            waiting,
            last_s,
            power=power.at(block.t_ns),
            limits=limits,
            target_per_um2=target_per_um2,
        )
        verdict = guard.step(law, reading, reading.t_s)
        lines.append(decision(reading, verdict.wanted, verdict.power, verdict.reason))
        last_s, waiting = reading.t_s, []
    return lines


def draw(path: Path, lines: Sequence[dict[str, Any]], law: str, unit: str) -> None:
    """Draw the density, the real power and that of the law over time.

    Parameters
    ----------
    path : Path
        PNG.
    lines : sequence of dict
        Of `rerun`, at least one.
    law, unit : str
        For the legend.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    began = lines[0]["exposed_ns"]
    seconds = [(line["exposed_ns"] - began) / 1e9 for line in lines]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.plot(seconds, [line["per_um2"] for line in lines], lw=0.8, label="measured")
    if target := lines[-1]["target_per_um2"]:
        upper.axhline(target, color="0.4", ls="--", label="target")
    upper.set_ylabel("emitters per µm²")
    lower.step(seconds, [line["power"] for line in lines], where="post", label="real")
    lower.step(seconds, [line["given"] for line in lines], where="post", label=law)
    lower.set_ylabel(f"power, {unit}")
    lower.set_xlabel("time, s")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper right", frameon=False)
    figure.savefig(path, dpi=120)
