"""Plots of a session's control loop, as SVG that needs nothing but a browser."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.session.control_file import frame_to_laser_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from liveloc.stream.session.control_file import ControlFile

DEADLINE_MS = 100.0  # from the end of an exposure to the laser
BIN_MS = 5.0
MOST_MS = 200.0  # the last bin holds all that took longer, too
MEAN_FRAMES = 50  # over which a density is judged
TOLERANCE = 0.10  # half the height of the target's band
COLUMNS = 800  # a line keeps two points in each
TICKS = 6  # at most

WIDTH, LEFT, RIGHT = 880.0, 52.0, 16.0  # px, as are all places below
TOP, PANEL, BOTTOM = 30.0, 150.0, 24.0
TEXT, GRID, BRIGHT = "#9aa3b5", "#222838", "#e8eaee"
BLUE, GREEN, VIOLET, RED = "#4cc9f0", "#3ddc84", "#b794f6", "#ff6b6b"


def control_plots(trace: ControlFile, feedback: dict[str, Any]) -> str:
    """Draw density and laser power over time, and how fast one followed the other.

    Parameters
    ----------
    trace : ControlFile
        Of the session.
    feedback : dict
        That of its report.

    Returns
    -------
    str
        HTML; empty if nothing was decided and no laser set.
    """
    starts = [line["exposed_ns"] for line in trace.decisions[:1]]
    starts += [line["t_ns"] for line in trace.settings[:1]]
    ends = [line["exposed_ns"] for line in trace.decisions[-1:]]
    ends += [line["t_ns"] for line in trace.settings[-1:]]
    if not starts:
        return ""
    time = _Time(min(starts), max(ends))
    took_ms = frame_to_laser_ms(trace, str(feedback.get("law")))
    return (
        (_density(trace, time) if trace.decisions else "")
        + (_power(trace, time) if trace.settings else "")
        + (_answers(np.array(took_ms), feedback) if took_ms else "")
    )


@dataclass(frozen=True, slots=True)
class _Panel:
    """Axes from 0 to the largest value, and what is drawn in them."""

    most_x: float
    most_y: float

    def x(self, values: ArrayLike) -> NDArray[np.float64]:
        share = np.clip(np.asarray(values, np.float64) / self.most_x, 0.0, 1.0)
        return np.asarray(LEFT + share * (WIDTH - LEFT - RIGHT))

    def y(self, values: ArrayLike) -> NDArray[np.float64]:
        share = np.clip(np.asarray(values, np.float64) / self.most_y, 0.0, 1.0)
        return np.asarray(TOP + (1.0 - share) * PANEL)

    def line(self, x: ArrayLike, y: ArrayLike, style: str) -> str:
        """Draw a line; of a long one, the extremes in each column of the picture."""
        places, heights = self.x(x), self.y(y)
        keep = _extremes(places, heights)
        points = " ".join(
            f"{a:.1f},{b:.1f}" for a, b in zip(places[keep], heights[keep], strict=True)
        )
        return f'<polyline points="{points}" fill="none" {style}/>'

    def area(self, x: tuple[float, float], y: tuple[float, float], style: str) -> str:
        """Draw a rectangle."""
        left, right = self.x(x)
        bottom, top = self.y(y)
        return (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}" {style}/>'
        )

    def svg(self, title: str, legend: Iterable[tuple[str, str]], inside: str) -> str:
        """Put grid, numbers and words around what is inside."""
        height = TOP + PANEL + BOTTOM
        parts = [_text(LEFT, 16, title, BRIGHT)]
        for value in _round_values(self.most_y):
            y = float(self.y(value))
            parts.append(_rule(LEFT, y, WIDTH - RIGHT, y, GRID))
            parts.append(_text(LEFT - 8, y + 4, f"{value:.6g}", TEXT, "end"))
        for value in _round_values(self.most_x):
            x = float(self.x(value))
            parts.append(_text(x, TOP + PANEL + 17, f"{value:.6g}", TEXT, "middle"))
        words = f'<tspan fill="{TEXT}">\u00a0 \u00b7 \u00a0</tspan>'.join(
            f'<tspan fill="{colour}">{escape(word)}</tspan>' for word, colour in legend
        )
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="16" text-anchor="end" xml:space="preserve">'
            f"{words}</text>"
        )
        return (
            f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" '
            f'aria-label="{escape(title)}" font-family="system-ui,sans-serif" '
            f'font-size="12">{"".join(parts)}{inside}</svg>'
        )


class _Time:
    """The time axis of a session: seconds, or minutes for a long one."""

    def __init__(self, first_ns: int, last_ns: int) -> None:
        self._first_ns = first_ns
        length_s = max((last_ns - first_ns) / 1e9, 1e-3)
        self.unit, self._unit_s = ("min", 60.0) if length_s > 600 else ("s", 1.0)
        self.length = length_s / self._unit_s

    def of(self, times_ns: Iterable[int]) -> NDArray[np.float64]:
        """Return times since the start, in `unit`."""
        since = [t_ns - self._first_ns for t_ns in times_ns]
        return np.array(since, np.float64) / 1e9 / self._unit_s


def _density(trace: ControlFile, time: _Time) -> str:
    """Draw readings, their means and the target."""
    lines = trace.decisions
    at = time.of(line["exposed_ns"] for line in lines)
    read = np.array([line["per_um2"] for line in lines], np.float64)
    aims = np.array([line["target_per_um2"] for line in lines], np.float64)
    frames = [line["frames"][1] - line["frames"][0] + 1 for line in lines]
    means = running_mean(read, np.array(frames, np.float64))
    highest = float(max(read.max(), aims.max() * (1 + TOLERANCE)))
    panel = _Panel(time.length, 1.05 * highest or 1.0)
    changes = [0, *(np.flatnonzero(np.diff(aims)) + 1).tolist(), len(aims)]
    bands = ""
    for first, last in pairwise(changes):
        aim, until = float(aims[first]), min(last, len(at) - 1)
        ends = (float(at[first]), float(at[until]))
        band = (aim * (1 - TOLERANCE), aim * (1 + TOLERANCE))
        bands += panel.area(ends, band, f'fill="{GREEN}" fill-opacity="0.16"')
        dashes = f'stroke="{GREEN}" stroke-dasharray="5 4"'
        bands += panel.line(ends, (aim, aim), dashes)
    style = f'stroke="{BLUE}" stroke-linejoin="round"'
    thin = panel.line(at, read, f'{style} stroke-opacity="0.4"')
    known = np.isfinite(means)
    thick = panel.line(at[known], means[known], f'{style} stroke-width="2.2"')
    legend = [(f"mean of {MEAN_FRAMES} frames (thin: each reading)", BLUE)]
    if aims.any():
        legend.append((f"target ± {100 * TOLERANCE:.0f} %", GREEN))
    title = f"Density, emitters per µm², over time, {time.unit}"
    return panel.svg(title, legend, (bands if aims.any() else "") + thin + thick)


def _power(trace: ControlFile, time: _Time) -> str:
    """Draw the power as the steps in which it was set."""
    at = time.of(line["t_ns"] for line in trace.settings)
    powers = np.array([line["power"] for line in trace.settings], np.float64)
    panel = _Panel(time.length, 1.05 * float(powers.max()) or 1.0)
    x = np.append(np.repeat(at, 2)[1:], time.length)
    steps = panel.line(x, np.repeat(powers, 2), f'stroke="{VIOLET}" stroke-width="1.6"')
    return panel.svg(f"Laser power, {trace.unit}, over time, {time.unit}", [], steps)


def _answers(took_ms: NDArray[np.float64], feedback: dict[str, Any]) -> str:
    """Draw how long the laser's answers took, and how many missed the deadline."""
    edges = np.arange(0.0, MOST_MS + BIN_MS, BIN_MS)
    counts, _ = np.histogram(np.clip(took_ms, 0.0, MOST_MS), edges)
    panel = _Panel(MOST_MS, 1.08 * float(counts.max()))
    bars = ""
    for start, count in zip(edges[:-1].tolist(), counts.tolist(), strict=True):
        if count:
            colour = BLUE if start < DEADLINE_MS else RED
            ends = (start + 0.04 * BIN_MS, start + 0.96 * BIN_MS)
            seen = max(count, panel.most_y / PANEL)  # a pixel
            bars += panel.area(ends, (0, seen), f'fill="{colour}"')
    x = float(panel.x(DEADLINE_MS))
    bars += _rule(x, TOP - 6, x, TOP + PANEL, RED, 'stroke-dasharray="5 4"')
    bars += _text(x + 6, TOP + 6, f"deadline {DEADLINE_MS:.0f} ms", RED)
    beyond = int((took_ms >= MOST_MS).sum())
    if beyond:
        words = f"{beyond} longer than {MOST_MS:.0f} ms, up to {took_ms.max():.0f} ms"
        before = float(panel.x(MOST_MS - BIN_MS)) - 6  # not across the last bar
        bars += _text(before, TOP + 24, words, RED, "end")
    late = feedback.get("later_than_100_ms", int((took_ms > DEADLINE_MS).sum()))
    p50, p99 = (_percentile(took_ms, feedback, name) for name in ("p50", "p99"))
    legend = [
        (f"median {p50:.0f} ms, p99 {p99:.0f} ms", BLUE),
        (f"{late} of {len(took_ms)} missed the deadline", RED if late else GREEN),
    ]
    title = f"Frame to laser, ms: settings of the laser in each {BIN_MS:.0f} ms"
    return panel.svg(title, legend, bars)


def running_mean(
    values: NDArray[np.float64], frames: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the mean up to each value over the last 50 frames, or a few more.

    Parameters
    ----------
    values : NDArray[np.float64], shape (n,)
        Each is a mean itself.
    frames : NDArray[np.float64], shape (n,)
        Over so many frames.

    Returns
    -------
    NDArray[np.float64], shape (n,)
        NaN where there were fewer frames so far.
    """
    count = np.concatenate([[0.0], np.cumsum(frames)])
    total = np.concatenate([[0.0], np.cumsum(values * frames)])
    since = np.searchsorted(count, count[1:] - MEAN_FRAMES, side="right") - 1
    known = since >= 0
    since = np.maximum(since, 0)
    mean = (total[1:] - total[since]) / np.maximum(count[1:] - count[since], 1.0)
    return np.where(known, mean, np.nan)


def _percentile(
    took_ms: NDArray[np.float64], feedback: dict[str, Any], name: str
) -> float:
    """Return it as in the report, which counts every answer."""
    reported = feedback.get("frame_to_laser_ms") or {}
    return float(reported.get(name, np.percentile(took_ms, float(name[1:]))))


def _extremes(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.intp]:
    """Choose the lowest and the highest point of each column, in their order."""
    if len(x) <= 2 * COLUMNS:
        return np.arange(len(x))
    column = np.floor((x - LEFT) / (WIDTH - LEFT - RIGHT) * COLUMNS)
    order = np.lexsort((y, column))
    new = np.diff(column[order]) > 0
    lowest, highest = order[np.append(True, new)], order[np.append(new, True)]
    return np.unique(np.concatenate([lowest, highest]))


def _round_values(most: float) -> list[float]:
    """Return round values from 0 to `most`, evenly spaced."""
    step = 10.0 ** math.floor(math.log10(most / TICKS))
    step *= next(n for n in (1, 2, 5, 10) if n * step * TICKS >= most * 0.999)
    return [n * step for n in range(math.floor(most / step + 1e-6) + 1)]


def _text(x: float, y: float, words: str, colour: str, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _rule(
    x: float, y: float, to_x: float, to_y: float, colour: str, style: str = ""
) -> str:
    return (
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" '
        f'stroke="{colour}" {style}/>'
    )
