"""What another law would have done with the densities of a recording."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.session.control_file import ControlFile
from liveloc.stream.session.settings import LaserSection

from .control.feedback import decision
from .control.guard import GuardedPower
from .control.laws.controller import join
from .control.laws.registry import close_law, open_law
from .settings import BridgeSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from liveloc.stream.density import BlockDensity
    from liveloc.stream.session.settings import ControlSection, SessionSettings

    from .control.laws.controller import Controller

PICTURE_FILE = "control.png"
UNLIMITED = 1e9  # power of a laser whose highest is not given


def rerun_session(
    settings: SessionSettings,
    blocks: Sequence[BlockDensity],
    recording: Path,
    out: Path,
) -> tuple[Path, str]:
    """Run the law of `settings` on densities; write and draw what it decides.

    Parameters
    ----------
    settings : SessionSettings
        Of the recording, with another law.
    blocks : sequence of BlockDensity
        Measured in it.
    recording : Path
        Session folder or movie; the ``control.jsonl`` of a session has the powers that
        its laser really had.
    out : Path
        Gets ``control.jsonl`` and ``control.png``.

    Returns
    -------
    Path
        Of the picture.
    str
        What of the recorded powers could not be read; empty if all could.

    Raises
    ------
    SettingsError
        A law, an option or limits that do not fit.
    """
    bridge = BridgeSettings.from_session(settings, None)
    laser = bridge.laser or LaserSection()
    most = bridge.simulated.highest_mw if bridge.simulated else UNLIMITED
    limits = (laser.lowest, laser.highest or most)
    power = laser.start_power()
    guard = GuardedPower(*limits, power, laser)
    control = settings.control
    recorded = ControlFile.read(SessionFolder(recording).control)
    law = open_law(control.law, control.options, power=power)
    try:
        lines = rerun(
            blocks,
            law,
            guard,
            lambda t_ns: recorded.power_at(t_ns, power),
            target_per_um2=target_of(control, blocks),
            limits=limits,
            ticks_per_s=control.ticks_per_s,
        )
    finally:
        close_law(law)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    SessionFolder(out).control.write_text(text, encoding="utf-8")
    path = out / PICTURE_FILE
    if lines:
        draw(path, lines, control.law, laser.unit)
    return path, recorded.problem


def target_of(control: ControlSection, blocks: Sequence[BlockDensity]) -> float:
    """Return the (first) target; ``present`` is the mean of the first frames."""
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
    power: Callable[[int], float],
    *,
    target_per_um2: float,
    limits: tuple[float, float],
    ticks_per_s: float,
) -> list[dict[str, Any]]:
    """Let a law answer recorded densities, at its own pace.

    The densities are those that the real powers caused, not those of the law.

    Parameters
    ----------
    blocks : sequence of BlockDensity
        In the order of their frames.
    law, guard : Controller, GuardedPower
        Fresh ones.
    power : Callable[[int], float]
        Power that the laser really had at a monotonic time in ns, for the readings.
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
            power=power(block.t_ns),
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
