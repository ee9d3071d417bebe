"""A network of microtubules around a nucleus, and where its labels sit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP_NM = 50.0
TUBE_RADIUS_NM = 12.5  # a microtubule is 25 nm wide
DEPTH_NM = 335.0  # centre lines stay within, so that labels stay within 350 nm
FILAMENTS = 40  # in a field of
FIELD_NM = 12_800.0
TURN_RAD_PER_STEP = 0.0016  # how fast the curvature wanders
RELAXATION = 0.02  # how fast it forgets


def microtubules(
    rng: np.random.Generator, width_nm: float, height_nm: float
) -> list[NDArray[np.float64]]:
    """Lay gently curved filaments that radiate from a nucleus across the field.

    The nucleus stays empty. Two of five filaments begin on its rim and run
    outward, the others pass by it and cross the field, so that the labels are
    spread over much length and crowding stays moderate.

    Parameters
    ----------
    rng : np.random.Generator
        Decides the network.
    width_nm, height_nm : float
        The field runs from 0 to these.

    Returns
    -------
    list[NDArray[np.float64]], each of shape (n, 3)
        Centre lines, a point every 50 nm: x, y, z in nm. The last point of a
        line, and its first, may lie outside the field.
    """
    size = np.array([width_nm, height_nm])
    edge = float(size.mean())
    centre = size * rng.uniform(0.40, 0.60, 2)
    rim = edge * rng.uniform(0.13, 0.17, 2)  # half axes of the nucleus
    count = max(6, round(FILAMENTS * edge / FIELD_NM))
    angles = (np.arange(count) + rng.uniform(-0.4, 0.4, count)) * math.tau / count
    lines = []
    for i, angle in enumerate(angles):
        outward = np.array([math.cos(angle), math.sin(angle)])
        if i % 5 < 2:
            start, heading = centre + outward * rim * 1.05, rng.normal(angle, 0.5)
            line = _grow(rng, start, heading, size, (centre, rim))
        else:
            start = centre + outward * rim * rng.uniform(1.1, 2.6)
            heading = rng.normal(angle + math.pi / 2, 0.5)
            back = _grow(rng, start, heading + math.pi, size, (centre, rim))
            ahead = _grow(rng, start, heading, size, (centre, rim))
            line = np.concatenate([back[:0:-1], ahead])
        along = np.arange(len(line)) * STEP_NM
        lines.append(np.column_stack([line, _depth(rng, along)]))
    return lines


def _grow(
    rng: np.random.Generator,
    start: NDArray[np.float64],
    heading: float,
    size: NDArray[np.float64],
    nucleus: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Let one filament grow until it leaves the field or meets the nucleus."""
    centre, rim = nucleus
    longest = int(1.5 * float(size.sum()) / STEP_NM) + 2
    bend = rng.normal(0.0, TURN_RAD_PER_STEP, longest)
    curvature = 0.0
    points = [start]
    for turn in bend:
        curvature += turn - RELAXATION * curvature
        curvature = float(np.clip(curvature, -0.02, 0.02))  # radius at least 2.5 um
        heading += curvature
        step = np.array([math.cos(heading), math.sin(heading)]) * STEP_NM
        points.append(points[-1] + step)
        inside = np.all((points[-1] >= 0) & (points[-1] <= size))
        if not inside or np.linalg.norm((points[-1] - centre) / rim) < 1:
            break
    return np.array(points)


def _depth(
    rng: np.random.Generator, along_nm: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Let a filament rise and sink smoothly, within `DEPTH_NM`."""
    share = rng.uniform(0.55, 0.9)
    slow, fast = rng.uniform(9_000, 20_000), rng.uniform(4_000, 8_000)
    phases = rng.uniform(0, math.tau, 2)
    wave = share * np.sin(along_nm * math.tau / slow + phases[0])
    ripple = (1 - share) * np.sin(along_nm * math.tau / fast + phases[1])
    return np.asarray(DEPTH_NM * (wave + ripple))


def label(
    rng: np.random.Generator,
    lines: list[NDArray[np.float64]],
    count: int,
    width_nm: float,
    height_nm: float,
) -> NDArray[np.float64]:
    """Put `count` fluorophores on the walls of the tubes, evenly along them.

    Parameters
    ----------
    rng : np.random.Generator
        Decides the places.
    lines : list of NDArray, shape (n, 3)
        Centre lines, from `microtubules`.
    count : int
        Fluorophores wanted.
    width_nm, height_nm : float
        Only places between 0 and these are used.

    Returns
    -------
    NDArray[np.float64], shape (count, 3)
        x, y, z in nm.
    """
    starts = np.concatenate([line[:-1] for line in lines])
    steps = np.concatenate([np.diff(line, axis=0) for line in lines])
    lengths = np.linalg.norm(steps, axis=1)
    kept = np.empty((0, 3))
    while len(kept) < count:
        pick = rng.choice(len(steps), 2 * count, p=lengths / lengths.sum())
        centre = starts[pick] + rng.random((2 * count, 1)) * steps[pick]
        places = centre + _wall(rng, steps[pick] / lengths[pick, None])
        inside = np.all(
            (places[:, :2] >= 0) & (places[:, :2] < [width_nm, height_nm]), 1
        )
        kept = np.concatenate([kept, places[inside]])
    return kept[:count]


def _wall(
    rng: np.random.Generator, tangent: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Draw offsets from the axis of a tube to its wall, shape (n, 3)."""
    level = np.column_stack(
        [-tangent[:, 1], tangent[:, 0], np.zeros(len(tangent))]
    )  # in the plane, across the tube
    level /= np.linalg.norm(level, axis=1, keepdims=True)
    upright = np.cross(tangent, level)
    turn = rng.uniform(0, math.tau, (len(tangent), 1))
    return np.asarray(TUBE_RADIUS_NM * (np.cos(turn) * level + np.sin(turn) * upright))
