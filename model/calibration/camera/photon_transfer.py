"""Photon transfer: offset, gain and read noise from dark and lit frames.

Light arrives with shot noise: a pixel with a mean of n electrons varies by n. Its
counts have the mean ``n em_gain / e_per_adu`` above the dark ones, and the variance
``excess n (em_gain / e_per_adu)^2`` above theirs, so the ratio of the two, the
photon transfer, is the gain (J. R. Janesick, Photon Transfer, SPIE 2007). It is
taken pixel by pixel in time, so that neither an uneven lamp nor the pattern of the
chip matters; what the lamp does to all pixels together is removed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_estimate import LARGEST_E_PER_ADU
from liveloc.stream.camera_file import LevelRecord, short
from liveloc.stream.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .stack_statistics import StackStatistics

LEAST_FRAMES = 10
MAP_FRAMES = 100  # dark ones: read noise to 7 % and offset to a tenth of it, each pixel
ROUNDING = 1 / 12  # variance that whole counts add
SATURATED = 1e-4  # share of counts
UNSTEADY = 0.2  # change of the lamp, relative, 5th to 95th percentile
AGREE = 0.05  # gains of two levels, relative
NOISY = 9.0  # times the median variance: left out where one number stands for all
DEAD = 0.2  # of the light that the pixels around it see
HIGH_READ_NOISE_E = 15.0
LOW_READ_NOISE_E = 0.3  # no camera has less
SMOOTHED = 0.15  # correlation of noise with that beside it or in the next frame
USUAL_SPREAD = 0.01  # of the gains of an sCMOS chip's pixels, relative
WORTH_A_MAP = 0.2  # share of real differences in those measured


@dataclass(frozen=True, slots=True)
class PhotonTransfer:
    """Result of a photon transfer measurement.

    Attributes
    ----------
    calibration : CameraCalibration
        With maps where there were enough frames.
    levels : tuple[LevelRecord, ...]
        Every light level: whether it was used, and why not.
    residual : float
        Relative standard deviation of the gains of the levels used.
    notes : tuple[str, ...]
        Remarks for the user.
    """

    calibration: CameraCalibration
    levels: tuple[LevelRecord, ...]
    residual: float
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Dark:
    """The camera without light."""

    stack: StackStatistics
    variance: NDArray[np.float64]  # counts squared, per pixel
    median_variance: float
    good: NDArray[np.bool_]  # not so noisy that it spoils a mean


@dataclass(frozen=True, slots=True)
class _Level:
    """One level of light above the dark."""

    record: LevelRecord
    signal: NDArray[np.float64]  # counts above the dark, per pixel
    variance: NDArray[np.float64]  # counts squared above the dark, per pixel
    frames: int

    @property
    def transfer(self) -> float:
        """Variance over signal, counts."""
        return self.record.variance_adu2 / self.record.signal_adu

    def weight(self, transfer: float, dark_variance: float) -> float:
        """Inverse variance of one pixel's transfer at this level."""
        signal = self.record.signal_adu
        noise = transfer * signal + dark_variance
        return (self.frames - 1) / 2 * (signal / noise) ** 2

    def error(self, transfer: float, dark: _Dark) -> float:
        """Return the relative standard deviation of the chip's transfer."""
        weight = self.weight(transfer, dark.median_variance) * dark.good.sum()
        return float(1 / (transfer * np.sqrt(weight)))


def photon_transfer(
    dark: StackStatistics,
    light: Sequence[StackStatistics],
    *,
    em_gain: float = 1.0,
    qe: float = 1.0,
    saturation_adu: float | None = None,
    maps: bool = True,
    origin: tuple[int, int] = (0, 0),
) -> PhotonTransfer:
    """Find offset, gain and read noise of a camera.

    Parameters
    ----------
    dark : StackStatistics
        Frames without light, as the camera is used: exposure, temperature, ROI.
    light : Sequence[StackStatistics]
        Frames of an even, still scene, one stack for each level of light.
    em_gain : float
        EM gain set on the camera: photon transfer yields only ``em_gain / e_per_adu``.
        Its excess noise, a factor of 2, is taken into account.
    qe : float
        Quantum efficiency from the data sheet; it cannot be measured here.
    saturation_adu : float, optional
        Saturation level, ADU; by default where the brightest levels pile up.
    maps : bool
        Measure each pixel by itself where there are enough frames.
    origin : tuple[int, int]
        Column and row of the first pixel on the chip.

    Raises
    ------
    SettingsError
        Too few frames, stacks that do not belong together, light in the dark frames,
        no level that can be used, or levels that contradict each other.
    """
    _check_stacks(dark, light)
    largest = _saturation(light, saturation_adu)
    excess = CameraCalibration(em_gain=em_gain).excess
    without = _without_light(dark)
    levels = [_level(without, stack, largest) for stack in light]
    levels = _agreeing(levels, without, excess * em_gain)
    used = [level for level in levels if level.record.used]
    responding = _responding(used)
    transfer, residual = _fit(used, without, responding)
    _check_dark(without, transfer)
    whole = CameraCalibration(
        offset_adu=float(np.median(dark.mean)),
        e_per_adu=excess * em_gain / transfer,
        em_gain=em_gain,
        qe=qe,
        saturation_adu=largest,
    )
    noise_adu = np.sqrt(max(without.median_variance - ROUNDING, 0.0))
    whole = replace(whole, read_noise_e=float(noise_adu * whole.e_per_adu))
    _check_gain(whole)
    notes = _remarks(whole, used)
    if em_gain == 1 and maps and dark.frames >= MAP_FRAMES:
        calibration, more = _mapped(whole, without, used, responding, origin)
        notes += more
    else:
        calibration = whole
        notes += [_why_no_maps(dark, em_gain, maps)]
    return PhotonTransfer(
        calibration,
        tuple(level.record for level in levels),
        residual,
        tuple(note for note in notes if note),
    )


def _check_stacks(dark: StackStatistics, light: Sequence[StackStatistics]) -> None:
    """Refuse stacks that are too short or of different chips."""
    if not light:
        raise SettingsError("no lit frames: at least one stack with light is needed.")
    for stack in (dark, *light):
        if stack.frames < LEAST_FRAMES:
            raise SettingsError(
                f"{stack.name}: {stack.frames} frames are too few to measure how its "
                f"pixels vary. Record {LEAST_FRAMES} or more; {MAP_FRAMES} for maps."
            )
        if stack.shape != dark.shape:
            raise SettingsError(
                f"{stack.name}: frames of {stack.shape}, the dark frames are "
                f"{dark.shape}. Record all stacks with the same ROI."
            )
    for stack in light:
        for likeness, where, how in (
            (stack.like_neighbours, "of neighbouring pixels", "smoothed or resized"),
            (stack.like_next, "of successive frames", "averaged over time"),
        ):
            if likeness > SMOOTHED:
                raise SettingsError(
                    f"{stack.name}: the noise {where} is correlated ({likeness:.2f}, "
                    f"must be below {SMOOTHED:g}): the counts were {how}. Record "
                    "them as they come from the camera, with its noise filter off."
                )


def _saturation(light: Sequence[StackStatistics], given: float | None) -> float:
    """Return the saturation: as given, or where the brightest stacks pile up."""
    if given is not None:
        return given
    seen = [stack.pile_up for stack in light]
    found = [float(count) for count in seen if count is not None]
    return max(found, default=CameraCalibration().saturation_adu)


def _without_light(dark: StackStatistics) -> _Dark:
    """Measure the dark frames; refuse a level that drifts."""
    variance = dark.steadied(1.0)
    median = float(np.median(variance)) / _median_of_variances(dark.frames)
    low, high = np.percentile(dark.frame_means, (5, 95))
    if high - low > max(np.sqrt(median), 1.0):
        raise SettingsError(
            f"{dark.name}: the level of the dark frames drifts: their means go from "
            f"{low:.1f} to {high:.1f} counts while a pixel varies by "
            f"{np.sqrt(median):.1f}. Is light getting in, or is the camera still "
            "cooling? Close it, wait, and record them again."
        )
    return _Dark(dark, variance, median, variance <= NOISY * max(median, ROUNDING))


def _median_of_variances(frames: int) -> float:
    """Median of unbiased variances of normal numbers, over their mean."""
    return float((1 - 2 / (9 * (frames - 1))) ** 3)


def _level(dark: _Dark, stack: StackStatistics, saturation_adu: float) -> _Level:
    """Measure one light level, and record why it cannot be used if so."""
    signal = stack.mean - dark.stack.mean
    good = dark.good
    mean, lamp = float(signal[good].mean()), float(signal.mean())
    share = signal / lamp if lamp > 0 else np.zeros_like(signal)
    variance = stack.steadied(share) - dark.variance
    flicker = float(np.std(stack.frame_means) / mean) if mean > 0 else 0.0
    reason = _unusable(dark, stack, mean, saturation_adu)
    record = LevelRecord(
        file=stack.name,
        frames=stack.frames,
        signal_adu=short(mean),
        variance_adu2=short(variance[good].mean()),
        flicker=short(flicker),
        used=not reason,
        reason=reason,
    )
    return _Level(record, signal, variance, stack.frames)


def _unusable(
    dark: _Dark, stack: StackStatistics, signal: float, saturation_adu: float
) -> str:
    """Return why a level cannot be used; empty if it can."""
    pixel_error = np.sqrt(dark.median_variance / min(stack.frames, dark.stack.frames))
    if signal < max(0.5, 10 * pixel_error / np.sqrt(dark.good.sum())):
        return f"no brighter than the dark frames ({signal:+.2f} counts)"
    share = stack.share_from(saturation_adu)
    if share > SATURATED:
        return f"saturated: {100 * share:.3g} % of its counts are {saturation_adu:.0f}"
    low, high = np.percentile(stack.frame_means, (5, 95))
    if high - low > UNSTEADY * signal:
        return (
            f"the lamp drifted: the light of its frames differs by "
            f"{100 * (high - low) / signal:.0f} %"
        )
    if not np.any(stack.variance > 0):
        return "all its frames are identical"
    return ""


def _agreeing(levels: list[_Level], dark: _Dark, electrons: float) -> list[_Level]:
    """Drop levels whose gain is not that of most; record the gain of each."""
    usable = [level for level in levels if level.record.used]
    if not usable:
        reasons = "; ".join(f"{v.record.file}: {v.record.reason}" for v in levels)
        raise SettingsError(f"no level of light can be used. {reasons}.")
    if min(level.transfer for level in usable) <= 0:
        wrong = min(usable, key=lambda level: level.transfer).record.file
        raise SettingsError(
            f"{wrong}: varies less than the dark frames although it is brighter. Are "
            "these the counts as they came from the camera?"
        )
    centre = float(np.median([level.transfer for level in usable]))
    found = []
    for level in levels:
        record = level.record
        if record.used:
            off = level.transfer / centre - 1
            away = abs(off) > AGREE + 4 * level.error(centre, dark)
            record = record.model_copy(
                update={
                    "e_per_adu": short(electrons / level.transfer),
                    "used": not away,
                    "reason": f"its noise differs by {100 * off:+.0f} % from the others"
                    if away
                    else "",
                }
            )
        found.append(replace(level, record=record))
    agree = sum(level.record.used for level in found)
    if 2 * agree <= len(usable) and len(usable) > 1:
        gains = ", ".join(
            f"{v.record.file} {v.record.e_per_adu:.3g}"
            for v in found
            if v.record.e_per_adu
        )
        raise SettingsError(
            "noise and brightness do not match: electrons per count are "
            f"{gains}. Is the light coherent (laser speckle), does the scene move, or "
            "is the camera's own correction on? Use a lamp and an empty, even field."
        )
    return found


def _responding(used: Sequence[_Level]) -> NDArray[np.bool_]:
    """Return which pixels respond to light, judged by their neighbours."""
    from scipy.ndimage import median_filter

    brightest = max(used, key=lambda level: level.record.signal_adu).signal
    alive: NDArray[np.bool_] = brightest > DEAD * median_filter(brightest, 5)
    return alive


def _fit(
    used: Sequence[_Level], dark: _Dark, responding: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the transfer of the whole chip and how well the levels agree."""
    good = dark.good & responding
    ratios = np.array([v.variance[good].mean() / v.signal[good].mean() for v in used])
    guess = float(np.median(ratios))
    weights = np.array([v.weight(guess, dark.median_variance) for v in used])
    transfer = float(np.average(ratios, weights=weights))
    spread = np.average((ratios / transfer - 1) ** 2, weights=weights)
    return transfer, float(np.sqrt(spread))


def _check_gain(whole: CameraCalibration) -> None:
    """Refuse a gain that no camera has."""
    if np.max(whole.e_per_adu) > LARGEST_E_PER_ADU:
        raise SettingsError(
            f"{np.max(whole.e_per_adu):.3g} electrons per count: no camera has more "
            f"than {LARGEST_E_PER_ADU:g}. The frames vary too little for their "
            "brightness: were they averaged or scaled? Record single frames as they "
            "come from the camera."
        )


def _check_dark(dark: _Dark, transfer: float) -> None:
    """Refuse dark frames with light in them: brighter where they vary more.

    An uneven offset varies no more where it is high; light and the glow of an
    amplifier do, by the photon transfer.
    """
    means = _blocks(dark.stack.mean)
    noises = _blocks(dark.variance)
    if means.size < 16 or np.ptp(means) * transfer < dark.median_variance / 4:
        return
    x, y = means - means.mean(), noises - noises.mean()
    slope = float((x * y).sum() / (x * x).sum())
    left = float(np.sqrt(((y - slope * x) ** 2).sum() / (means.size - 2)))
    error = left / float(np.sqrt((x * x).sum()))
    if 0.5 * transfer < slope < 1.5 * transfer and slope > 6 * error:
        raise SettingsError(
            f"{dark.stack.name}: light in the dark frames: they are up to "
            f"{np.ptp(means):.0f} counts brighter in places, with the noise of light. "
            "Close the camera, switch the room light off and record them again; if the "
            "chip itself glows, use a shorter exposure."
        )


def _blocks(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the medians of 8 x 8 parts of an image, without the remainder."""
    height, width = (side // 8 for side in image.shape)
    if not (height and width):
        return np.empty(0)
    parts = image[: 8 * height, : 8 * width].reshape(8, height, 8, width)
    medians: NDArray[np.float64] = np.median(parts, axis=(1, 3)).ravel()
    return medians


def _mapped(
    whole: CameraCalibration,
    dark: _Dark,
    used: Sequence[_Level],
    responding: NDArray[np.bool_],
    origin: tuple[int, int],
) -> tuple[CameraCalibration, list[str]]:
    """Return maps of offset and read noise, and of the gain if it is significant."""
    gain, note = _gain_map(whole, dark, used, responding)
    noise = np.sqrt(np.maximum(dark.variance - ROUNDING, 0.0025)) * gain
    dead = int((~responding).sum())
    noise = np.where(responding, noise, noise.max())
    notes = [f"maps of {noise.shape[1]}x{noise.shape[0]} pixels; {note}"]
    if dead:
        notes.append(
            f"{dead} pixels do not respond to light: they get the gain of the others "
            "and the largest read noise"
        )
    mapped = replace(
        whole,
        offset_adu=dark.stack.mean,
        e_per_adu=gain,
        read_noise_e=noise,
        origin=origin,
    )
    return mapped, notes


def _gain_map(
    whole: CameraCalibration,
    dark: _Dark,
    used: Sequence[_Level],
    responding: NDArray[np.bool_],
) -> tuple[float | NDArray[Any], str]:
    """Return the gain of each pixel, as far from the mean as is significant.

    Measured differences are partly chance. Each is multiplied by the share of real
    differences in their variance, the best linear estimate, so that a map is never
    worse than one number.
    """
    mean = float(np.max(whole.e_per_adu))  # one number
    transfer = 1 / mean
    levels = [(v, v.weight(transfer, dark.median_variance)) for v in used]
    total = sum(weight for _, weight in levels)
    found = np.zeros_like(dark.variance)
    for level, weight in levels:
        found += weight / total * level.variance / np.maximum(level.signal, 0.1)
    relative = found / transfer - 1
    # Chance: the variance of each level, and that of the dark frames, which all share.
    shared = sum(weight / level.record.signal_adu for level, weight in levels) / total
    of_dark = 2 / (dark.stack.frames - 1) * (shared * dark.median_variance) ** 2
    chance = (1 / total + of_dark) / transfer**2
    low, high = np.percentile(relative[responding & dark.good], (15.87, 84.13))
    real = max(((high - low) / 2) ** 2 - chance, 0.0)
    share = real / (real + chance)
    error = f"{100 * np.sqrt(chance):.1f} %"
    if share < WORTH_A_MAP:
        times = max(2, int(np.ceil(chance / USUAL_SPREAD**2)))
        return mean, (
            f"one gain for all pixels: single ones are known to {error} only, a map "
            f"needs {times} times as many lit frames"
        )
    believed = np.where(responding & dark.good, share * relative, 0.0)
    gain = mean / (1 + np.clip(believed, -0.5, 0.5))
    return gain, f"gains differ by {100 * np.sqrt(real):.1f} %, each known to {error}"


def _remarks(whole: CameraCalibration, used: Sequence[_Level]) -> list[str]:
    """Return remarks on anything unusual."""
    notes = []
    if len(used) == 1:
        notes.append(
            "one level of light: not checked whether the noise follows the brightness"
        )
    if whole.em_gain == 1 and np.max(whole.read_noise_e) > HIGH_READ_NOISE_E:
        notes.append(
            f"a read noise of {whole.read_noise_e:.0f} electrons is high: were the "
            "dark frames really dark, and is EM gain off?"
        )
    if whole.em_gain == 1 and np.max(whole.read_noise_e) < LOW_READ_NOISE_E:
        notes.append(
            f"a read noise of {whole.read_noise_e:.2g} electrons is lower than "
            "any camera has: is EM gain on? Then measure again with --em-gain; without "
            "it the electrons per count come out at half their value"
        )
    return notes


def _why_no_maps(dark: StackStatistics, em_gain: float, wanted: bool) -> str:
    """Return why all pixels share one set of numbers."""
    if not wanted:
        return ""
    if em_gain > 1:
        return "no maps: all pixels of an EMCCD share one amplifier"
    return f"no maps: they need {MAP_FRAMES} dark frames, {dark.name} has {dark.frames}"
