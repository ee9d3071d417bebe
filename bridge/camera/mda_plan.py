"""Frames of a useq plan: axes, times, how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from useq import MDAEvent, MDASequence

TIME = "t"
POSITION = "p"
_NO_STREAM = (TIME, "cam")  # axes that do not part streams

Key = tuple[tuple[str, int], ...]


def key_of(event: MDAEvent) -> Key:
    """Name the stream that an event belongs to: every index but the time's."""
    return tuple(
        (str(getattr(axis, "value", axis)), index)
        for axis, index in event.index.items()
        if getattr(axis, "value", axis) not in _NO_STREAM
    )


def describe_key(key: Key) -> str:
    """Write a stream's place in the plan, e.g. ``p=0, z=3``."""
    return ", ".join(f"{axis}={index}" for axis, index in key)


def is_known(sequence: MDASequence) -> bool:
    """Whether the sequence is known beforehand; that of a generator is not."""
    return bool(sequence.axis_order)


def axes_of(sequence: MDASequence) -> list[str]:
    """List the axes that a plan steps along, the slowest first, sub-plans unrolled.

    Time counts if there is a time plan, the others if they have two steps or more.
    """
    names: list[str] = []
    sizes = {getattr(a, "value", a): n for a, n in sequence.sizes.items()}
    for axis in (getattr(a, "value", a) for a in sequence.axis_order):
        if sizes.get(axis, 0) > (0 if axis == TIME else 1):
            names.append(axis)
        if axis == POSITION:
            for position in sequence.stage_positions:
                if position.sequence is not None:
                    names += axes_of(position.sequence)
    return names


def alternating_axis(sequence: MDASequence) -> str:
    """Name an axis that changes between two time points; empty if none does."""
    axes = axes_of(sequence)
    if TIME not in axes:
        return ""
    inner = [axis for axis in axes[axes.index(TIME) :] if axis != TIME]
    return inner[0] if inner else ""


def interval_ms_of(sequence: MDASequence) -> float:
    """Return the time from frame to frame that the (first) time plan sets."""
    plans: list[Any] = [sequence.time_plan]
    plans += [p.sequence.time_plan for p in sequence.stage_positions if p.sequence]
    for plan in plans:
        phases = getattr(plan, "phases", None) or [plan]
        interval = getattr(phases[0], "interval", None)
        if interval is not None:
            return float(interval.total_seconds()) * 1e3
    return 0.0


def frames_per_stream(sequence: MDASequence) -> int:
    """Return the time points of each stream, 0 where they may differ."""
    uneven = any(position.sequence for position in sequence.stage_positions)
    uneven |= any(channel.acquire_every > 1 for channel in sequence.channels)
    sizes = {getattr(a, "value", a): n for a, n in sequence.sizes.items()}
    return 0 if uneven else int(sizes.get(TIME, 0))
