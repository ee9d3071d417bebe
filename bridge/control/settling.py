"""How well a control law held the density, for the report."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.files.session_folder import SessionFolder
from liveloc.stream.session.control_file import ControlFile
from liveloc.stream.tables.opening import read_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

BLOCK_FRAMES = 50
TOLERANCE = 0.10


@dataclass(frozen=True, slots=True)
class Settling:
    """A density over its target, in means over 50 frames.

    Attributes
    ----------
    settled_after_frames : int or None
        End of the first 50 frames whose mean is within a tenth of the target; None if
        there are none.
    within_10_percent_fraction : float
        Share of the blocks of 50 frames after that which are within a tenth.
    overshoot_percent : float
        Largest mean of 50 frames, over the target.
    """

    settled_after_frames: int | None
    within_10_percent_fraction: float
    overshoot_percent: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a report."""
        return asdict(self)


def judge(per_um2: ArrayLike, target_per_um2: float) -> Settling:
    """Compare a density with its target.

    Parameters
    ----------
    per_um2 : array_like, shape (frames,)
        Of consecutive frames.
    target_per_um2 : float
        Density to be held in all of these frames.
    """
    ratio = np.asarray(per_um2, np.float64) / target_per_um2
    if len(ratio) < BLOCK_FRAMES:
        return Settling(None, 0.0, 0.0)
    sums = np.cumsum(np.concatenate([[0.0], ratio]))
    means = (sums[BLOCK_FRAMES:] - sums[:-BLOCK_FRAMES]) / BLOCK_FRAMES
    overshoot = round(100 * max(float(means.max()) - 1, 0.0), 2)
    near = np.flatnonzero(np.abs(means - 1) <= TOLERANCE)
    if not len(near):
        return Settling(None, 0.0, overshoot)
    settled = int(near[0]) + BLOCK_FRAMES
    after = means[settled::BLOCK_FRAMES]  # whole blocks that begin later
    within = np.abs(after - 1) <= TOLERANCE
    share = float(within.mean()) if len(after) else 0.0
    return Settling(settled, round(share, 4), overshoot)


def true_density(truth: Path) -> NDArray[np.float64]:
    """Return the density of each frame from the truth of a simulated session.

    Parameters
    ----------
    truth : Path
        Table of who emitted in which frame; it states shape and pixel size.
    """
    table, metadata = read_table(truth)
    height, width = json.loads(metadata["shape"])
    area_um2 = height * width * (float(metadata["pixel_size_nm"]) / 1000) ** 2
    density: NDArray[np.float64] = np.bincount(table["frame"]) / area_um2
    return density


def measured_density(session: Path) -> NDArray[np.float64]:
    """Return the density of each frame as the decisions of a session had it."""
    decisions = ControlFile.read(SessionFolder(session).control).decisions
    if not decisions:
        return np.empty(0)
    decisions.sort(key=lambda line: line["frames"][1])
    last = [line["frames"][1] for line in decisions]
    density = np.array([line["per_um2"] for line in decisions])
    frames = np.arange(decisions[0]["frames"][0], last[-1] + 1)
    return density[np.searchsorted(last, frames)]


def judged_feedback(
    folder: Path, feedback: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Judge how well a session held its density: by the truth, else as measured.

    Parameters
    ----------
    folder : Path
        Of the session.
    feedback : dict or None
        What its bridge reported; returned as it is without a target.
    """
    if feedback is None or not feedback["target_per_um2"]:
        return feedback
    truth = SessionFolder(folder).truth
    density = true_density(truth) if truth.exists() else measured_density(folder)
    since, target = feedback["target_since_frame"], feedback["target_per_um2"]
    judged = judge(density[since:], target).as_dict()
    return {**feedback, **judged, "judged_by_truth": truth.exists()}
