"""Check that the planes of a bead stack are one steady run through z.

If the stage goes up and comes back, scans several times or waits at each depth for
several planes, the planes are not where their numbers put them. It shows in planes that
look alike although they are far apart in the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TELLING = 4.0  # times as unlike as neighbours: planes at different depths
ALIKE = 0.2  # of how unlike planes far apart are: the same depth
FEWEST_PAIRS = 5
SHARE = 8  # of the planes, one in so many, come a second time
FOCUS = 1.2  # times the usual brightness of the brightest pixel: a PSF with a focus
NEAR_FOCUS = 1 / 6  # of the planes: where an aberrated PSF may be symmetric
MOST_WAITING = 10  # planes at one depth
STEP = 1.2  # times as unlike across a step as while the stage waits
CHANCE = 1e-5  # that steps of one size look so
_REMEDY = "Save one run in one direction, with one plane per depth."


def check_run(images: Floats) -> None:
    """Refuse a stack in which the stage turned round, started again or waited.

    A turn near the plane of best focus is not refused: it cannot be distinguished from
    a PSF that is similar above and below it.

    Parameters
    ----------
    images : NDArray, shape (beads, planes, window, window)
        Images of the beads, photons.

    Raises
    ------
    SettingsError
        The message names the planes.
    """
    planes = images.shape[1]
    _check_same(images)
    unlike = _unlike(images)
    _check_waiting(unlike)
    floor = float(np.median(np.diagonal(unlike, 1)))
    lags = [float(np.median(np.diagonal(unlike, lag))) for lag in range(1, planes)]
    apart = next((k + 1 for k, u in enumerate(lags) if u > TELLING * floor), planes)
    far = unlike[np.triu_indices(planes, apart)]
    if not far.size:  # all planes look alike: nothing shows
        return
    share = (unlike - floor) / (float(np.median(far)) - floor)
    sharp = np.mean(np.max(images, axis=(2, 3)), axis=0)
    sharpest = int(np.argmax(sharp))
    has_focus = sharp.max() > FOCUS * np.median(sharp)
    found: dict[str, float] = {}
    for twice in range(2 * FEWEST_PAIRS, 2 * (planes - FEWEST_PAIRS)):
        first = np.arange(max(0, twice - planes + 1), (twice - apart) // 2 + 1)
        at_focus = has_focus and abs(twice / 2 - sharpest) <= planes * NEAR_FOCUS
        if not at_focus and (score := _again(share, first, twice - first)) < ALIKE:
            found[
                f"the stage turned round near plane {round(twice / 2)} of {planes}: "
                "the planes after it look like those before"
            ] = score
    for lag in range(apart, planes - FEWEST_PAIRS):
        first = np.arange(planes - lag)
        score, half = (_again(share, first, first + d) for d in (lag, lag // 2))
        if score < min(ALIKE, half / 2):  # farther apart and yet more alike
            found[
                f"the planes repeat: plane {lag} and those after it look like plane 0 "
                "and those after it"
            ] = score
    if found:
        raise SettingsError(f"{min(found, key=lambda k: found[k])}. {_REMEDY}")


def _unlike(images: Floats) -> Floats:
    """Return 1 minus the correlation of every two planes, mean of the beads."""
    beads, planes = images.shape[:2]
    flat = images.reshape(beads, planes, -1)
    flat = flat - flat.mean(axis=2, keepdims=True)
    norm = np.linalg.norm(flat, axis=2, keepdims=True)
    flat = flat / np.maximum(norm, np.finfo(np.float64).tiny)
    return np.asarray(1 - np.mean(flat @ flat.transpose(0, 2, 1), axis=0))


def _again(share: Floats, first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
    """Return how unlike pairs of planes are, 1 for planes far apart; 1 for too few."""
    if len(first) < max(FEWEST_PAIRS, len(share) / SHARE):
        return 1.0
    return float(np.mean(share[first, second]))


def _check_same(images: Floats) -> None:
    """Refuse a plane that is a copy of the one before it."""
    same = np.all(images[:, 1:] == images[:, :-1], axis=(0, 2, 3))
    if same.any():
        first = int(np.argmax(same))
        raise SettingsError(
            f"planes {first} and {first + 1} are identical, as are {same.sum()} "
            f"pairs in all. {_REMEDY}"
        )


def _check_waiting(unlike: Floats) -> None:
    """Refuse several planes at each depth."""
    from scipy.ndimage import median_filter
    from scipy.stats import mannwhitneyu

    steps = np.diagonal(unlike, 1)
    around = median_filter(steps, 2 * MOST_WAITING + 1, mode="nearest")
    steps = steps / np.maximum(around, 1e-12)  # noise and PSF change with depth
    least, waits = CHANCE, 0
    for count in range(2, min(MOST_WAITING, len(steps) // 4) + 1):
        for first in range(count):
            moves = np.arange(len(steps)) % count == first
            across, within = steps[moves], steps[~moves]
            if np.median(across) > STEP * np.median(within):
                p = mannwhitneyu(across, within, alternative="greater").pvalue
                if p < least:
                    least, waits = float(p), count
    if waits:
        raise SettingsError(
            f"the stage waited for {waits} planes at each depth: planes within a group "
            f"look alike, those of the next group differ. {_REMEDY}"
        )
