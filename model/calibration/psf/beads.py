"""Find beads of any shape in a stack of planes, and choose those fit for use.

A bead is where light adds up over all planes. The sum over depth of any PSF - a disk,
an astigmatic spot, two lobes that turn - is one spot around the emitter once it is
smoothed, so nothing is assumed about the shape. Beads that are not fit for a
calibration are refused, each with a reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WINDOW_NM = 3300.0  # edge of the default window
SMALLEST_PX = 7  # window
SIGNIFICANT = 8.0  # peak over the noise of the smoothed sum
FAINTEST = 0.05  # of the brightest bead: what else counts as light
WIDE = 3  # windows: a field that shows what is beside the beads
SMOOTHING = 1 / 8  # of the window
LIKE_THE_OTHERS = 0.7  # correlation with the bead most like all others
LIKELY_TIES = 5  # pixels of one highest count: more are saturation


@dataclass(frozen=True, slots=True)
class Spot:
    """A place where light adds up.

    Attributes
    ----------
    x_px, y_px : float
        Column and row in the stack.
    brightness : float
        Photons in the window above its edge, mean of the planes.
    """

    x_px: float
    y_px: float
    brightness: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A spot that is not used, and the reason."""

    x_px: float
    y_px: float
    reason: str


def default_window(pixel_size_nm: float) -> int:
    """Return the odd number of pixels nearest to 3.3 um."""
    return max(SMALLEST_PX, 2 * round((WINDOW_NM / pixel_size_nm - 1) / 2) + 1)


def find_spots(photons: NDArray[Any], window_px: int) -> list[Spot]:
    """Find all places where light adds up over the planes, brightest first.

    Parameters
    ----------
    photons : NDArray, shape (planes, height, width)
        Photons, or any unit of light.
    window_px : int
        Edge of the square that holds one bead.

    Raises
    ------
    SettingsError
        Nothing stands out.
    """
    from scipy import ndimage

    light: Floats = np.mean(photons, 0, dtype=np.float64)
    light = light - float(np.median(frame_of(light)))
    width = window_px * SMOOTHING
    smooth = ndimage.gaussian_filter(light, width, mode="constant")
    halves = np.mean(photons[::2], 0) - np.mean(photons[1::2], 0)
    noise = 0.5 * float(ndimage.gaussian_filter(halves - halves.mean(), width).std())
    level = float(np.median(smooth))
    if min(light.shape) > WIDE * window_px:  # most of it is no bead
        noise = max(noise, 1.4826 * float(np.median(np.abs(smooth - level))))
    highest = smooth == ndimage.maximum_filter(smooth, max(3, window_px // 2))
    rows, columns = np.nonzero(highest & (smooth > level + SIGNIFICANT * noise))
    if not len(rows):
        peak = (float(smooth.max()) - level) / noise if noise else 0.0
        raise SettingsError(
            f"no beads found: over {len(photons)} planes the brightest spot stands out "
            f"by {peak:.1f} standard deviations, must be {SIGNIFICANT:g} or more. Is "
            "this a stack of beads? Brighter beads or more planes help."
        )
    spots = [
        _centred(light, float(x), float(y), window_px)
        for y, x in zip(rows, columns, strict=True)
    ]
    spots.sort(key=lambda spot: -spot.brightness)
    bright = [s for s in spots if s.brightness > FAINTEST * spots[0].brightness]
    return _apart(bright, window_px / 4)


def frame_of(image: Floats) -> Floats:
    """Return the outermost pixels of an image or of the last axes of images."""
    edges = (image[..., 0, :], image[..., -1, :], image[..., 1:-1, 0])
    return np.concatenate([*edges, image[..., 1:-1, -1]], -1)


def _centred(light: Floats, x: float, y: float, window_px: int) -> Spot:
    """Move to the centre of the light around a peak."""
    height, width = light.shape
    rows, columns = np.arange(height)[:, None], np.arange(width)
    spread = window_px * SMOOTHING * 1.5
    for _ in range(5):
        near = (rows - y) ** 2 + (columns - x) ** 2
        weight = np.maximum(light, 0) * np.exp(-0.5 * near / spread**2)
        total = float(weight.sum())
        if total <= 0:
            break
        x, y = float((weight * columns).sum()), float((weight * rows).sum())
        x, y = x / total, y / total
    half = window_px // 2
    top, left = max(0, round(y) - half), max(0, round(x) - half)
    part = light[top : round(y) + half + 1, left : round(x) + half + 1]
    return Spot(x, y, float(np.sum(part - np.median(frame_of(part)))))


def _apart(spots: list[Spot], distance_px: float) -> list[Spot]:
    """Keep one of several spots that moved to the same place."""
    kept: list[Spot] = []
    for spot in spots:
        if all(_distance(spot, other) > distance_px for other in kept):
            kept.append(spot)
    return kept


def choose_beads(
    spots: list[Spot],
    photons: NDArray[Any],
    window_px: int,
    *,
    min_distance_px: float | None = None,
    saturated: NDArray[np.bool_] | None = None,
    most: int = 30,
) -> tuple[list[Spot], list[Refusal]]:
    """Separate beads fit for a calibration from those that are not.

    Parameters
    ----------
    spots : list of Spot
        All light in the stack, brightest first; unusable ones too, because they
        shine into the windows of others.
    photons : NDArray, shape (planes, height, width)
    window_px : int
        Odd edge of the square of pixels used of each.
    min_distance_px : float, optional
        Smallest distance to the next spot; by default `window_px`.
    saturated : NDArray of bool, shape (height, width), optional
        Pixels that were saturated in any plane.
    most : int
        Beads used: the brightest.

    Returns
    -------
    beads : list of Spot
    refused : list of Refusal
    """
    apart = window_px if min_distance_px is None else min_distance_px
    good: list[Spot] = []
    refused: list[Refusal] = []
    for spot in spots:
        reason = _fault(spot, spots, photons.shape[1:], window_px, apart, saturated)
        if not reason and len(good) >= most:
            reason = f"{most} brighter beads are enough"
        if reason:
            refused.append(Refusal(spot.x_px, spot.y_px, reason))
        else:
            good.append(spot)
    return _alike(good, refused, photons, window_px)


def _fault(
    spot: Spot,
    spots: list[Spot],
    shape: tuple[int, ...],
    window_px: int,
    apart_px: float,
    saturated: NDArray[np.bool_] | None,
) -> str:
    """Return why a spot cannot be used; empty if it can."""
    half = window_px // 2
    x, y = round(spot.x_px), round(spot.y_px)
    edge = min(x, y, shape[1] - 1 - x, shape[0] - 1 - y)
    if edge < half:
        return f"{edge} px from the edge, must be {half} or more"
    others = [_distance(spot, o) for o in spots if o is not spot]
    if others and min(others) < apart_px:
        return f"{min(others):.1f} px from another, must be {apart_px:g} or more"
    if saturated is not None:
        count = int(np.sum(saturated[_window(spot, half)]))
        if count:
            return f"saturated in {count} pixels"
    return ""


def _alike(
    good: list[Spot], refused: list[Refusal], photons: NDArray[Any], window_px: int
) -> tuple[list[Spot], list[Refusal]]:
    """Refuse beads whose images differ from those of the others."""
    if len(good) < 3:
        return good, refused
    images = cut(photons, good, window_px).reshape(len(good), -1)
    images -= images.mean(1, keepdims=True)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    likeness = images @ images.T
    typical = likeness[np.argmax(np.median(likeness, 1))]
    kept: list[Spot] = []
    for spot, value in zip(good, typical, strict=True):
        if value >= LIKE_THE_OTHERS:
            kept.append(spot)
            continue
        reason = f"looks different: correlation {value:.2f}, below {LIKE_THE_OTHERS:g}"
        refused.append(Refusal(spot.x_px, spot.y_px, reason))
    return kept, refused


def cut(photons: NDArray[Any], beads: list[Spot], window_px: int) -> Floats:
    """Cut out the beads: (beads, planes, window, window), float64, a copy."""
    half = window_px // 2
    parts = [photons[(slice(None), *_window(bead, half))] for bead in beads]
    return np.stack(parts).astype(np.float64)


def saturated_pixels(
    stack: NDArray[Any], saturation_adu: float | None
) -> NDArray[np.bool_]:
    """Return which pixels were saturated in any plane: (height, width).

    Parameters
    ----------
    stack : NDArray, shape (planes, height, width)
        Counts.
    saturation_adu : float, optional
        Saturation level of the camera. In stacks of whole numbers the largest count,
        too, is taken for saturation if it occurs more often than noise explains.
    """
    top = stack.max()
    level = float(top) + 1 if saturation_adu is None else saturation_adu
    if stack.dtype.kind in "iu" and np.count_nonzero(stack == top) > LIKELY_TIES:
        level = min(level, float(top))
    return np.asarray((stack >= level).any(0))


def _window(spot: Spot, half: int) -> tuple[slice, slice]:
    x, y = round(spot.x_px), round(spot.y_px)
    return slice(y - half, y + half + 1), slice(x - half, x + half + 1)


def _distance(one: Spot, other: Spot) -> float:
    return float(np.hypot(one.x_px - other.x_px, one.y_px - other.y_px))
