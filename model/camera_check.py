"""Check a camera calibration against the frames.

Looks in the first frames of a stream for impossible counts (below the offset, above
saturation) and for noise that does not match the brightness. Noise is taken from
differences of two successive frames, in which all that stands still cancels, through
a mask that is blind to slopes (see `stream.camera_estimate`), in
small blocks: emitters that switch add noise to their block and never take any away,
so the quietest blocks show the camera's own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration

_log = logging.getLogger(__name__)

FRAMES = 100
LEAST_FRAMES = 20
WINDOW_PX = 256  # in the middle of the frame: enough for a verdict, and quick
BLOCK_PX, SMALL_BLOCK_PX = 16, 8  # the latter where the window is below SMALL_PX
SMALL_PX = 64
ROUNDING = 1 / 12  # variance that whole counts add
TOO_QUIET = 0.6  # times the variance that the calibration predicts
TOO_NOISY = 1.6
QUIET_BLOCKS, QUIETEST_BLOCKS = 0.25, 0.1  # quantiles
WANTED_ERROR, ALLOWED_ERROR = 0.08, 0.15  # of the variance of a block, relative
LEAST_BLOCKS = 8  # certain enough for a verdict
MASK_OVERLAP = 3.8  # neighbouring results of the mask share pixels
MASK_TAILS = 1 / 8  # how much of a distribution's tails mask and difference leave
BELOW_SIGMA = 6.0
BELOW = 0.01  # share of counts; a few noisy pixels may be
SATURATED = 1e-4  # share of counts
NOISY_PIXEL = 9.0  # times the median variance of a dark pixel
LEAST_NOISY = 20  # pixels, to see whether maps belong to the frames
MISPLACED = 0.35  # times the variance that the maps predict for noisy pixels


@dataclass(frozen=True, slots=True)
class CameraVerdict:
    """Result of checking a calibration against the frames.

    Attributes
    ----------
    frames : int
        Frames checked.
    noise : float or None
        Measured over expected variance in quiet blocks; None if that is too dark.
    below_offset, saturated : float
        Fractions of counts.
    warnings : tuple[str, ...]
        One line for each contradiction.
    """

    frames: int
    noise: float | None
    below_offset: float
    saturated: float
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data for a report."""
        return {
            "frames": self.frames,
            "noise_over_calibration": None
            if self.noise is None
            else round(self.noise, 3),
            "below_offset": round(self.below_offset, 6),
            "saturated": round(self.saturated, 6),
            "warnings": list(self.warnings),
        }


@dataclass(slots=True)
class CameraCheck:
    """Checks the first frames of a stream.

    Parameters
    ----------
    calibration : CameraCalibration
        Its maps, if any, are those of the frames.

    Attributes
    ----------
    verdict : CameraVerdict or None
        None before enough frames, and for a calibration that is itself a guess.
    """

    calibration: CameraCalibration
    verdict: CameraVerdict | None = None
    _frames: int = 0
    _counts: int = 0
    _below: int = 0
    _saturated: int = 0
    _largest: int = 0
    _at_largest: int = 0
    _before: NDArray[np.float32] | None = None
    _pairs: list[_Pair] = field(default_factory=list)
    _model: _Noise | None = None

    def add(self, pixels: Sequence[NDArray[Any]]) -> CameraVerdict | None:
        """Check the next frames; return the verdict once, when it is reached.

        Parameters
        ----------
        pixels : Sequence of NDArray, shape (height, width)
            Counts, in the order of the camera. Not kept.
        """
        if self.verdict is not None or self.calibration.estimated:
            return None
        for frame in pixels:
            self._add(frame)
            if self._frames == FRAMES:
                return self.finish()
        return None

    def finish(self) -> CameraVerdict | None:
        """Return the verdict on the frames so far, if they suffice for a first one.

        Log its warnings.
        """
        if self.verdict is not None or self._frames < LEAST_FRAMES:
            return None
        self.verdict = self._judge()
        for warning in self.verdict.warnings:
            _log.warning("the camera's calibration may be wrong: %s", warning)
        self._pairs, self._before, self._model = [], None, None
        return self.verdict

    @property
    def warnings(self) -> list[str]:
        """Warnings of the verdict, once it is reached."""
        return list(self.verdict.warnings) if self.verdict else []

    def _add(self, frame: NDArray[Any]) -> None:
        largest = int(frame.max())
        if largest >= self._limit(frame):
            self._saturated += int((frame >= self._limit(frame)).sum())
        if largest > self._largest:
            self._largest, self._at_largest = largest, 0
        if largest == self._largest:
            self._at_largest += int((frame == largest).sum())
        self._counts += frame.size
        self._frames += 1
        part = _middle(frame.shape)
        if self._model is None:
            self._model = _Noise(self.calibration, frame.shape)
        now = frame[part].astype(np.float32)
        self._below += int((now < self._model.floor).sum())
        if self._before is None:
            self._before = now
            return
        self._pairs.append(self._model.compare(self._before, now))
        self._before = None

    def _limit(self, frame: NDArray[Any]) -> float:
        return min(self.calibration.saturation_adu, float(np.iinfo(frame.dtype).max))

    def _judge(self) -> CameraVerdict:
        model = self._model
        assert model is not None
        seen = self._frames * model.size
        below, saturated = self._below / seen, self._saturated / self._counts
        quiet, quietest = model.ratios(self._pairs)
        warnings = [
            self._impossible_counts(below, saturated, model),
            self._noise(quiet, quietest, model),
            model.misplaced(self._pairs),
        ]
        return CameraVerdict(
            frames=self._frames,
            noise=quiet,
            below_offset=below,
            saturated=saturated,
            warnings=tuple(warning for warning in warnings if warning),
        )

    def _impossible_counts(self, below: float, saturated: float, model: _Noise) -> str:
        """Name counts that the calibration rules out."""
        limit, offset = self.calibration.saturation_adu, model.offset_adu
        if below > BELOW:
            return (
                f"{100 * below:.2g} % of the counts are below the offset of "
                f"{offset:.0f} ADU by more than its noise: the offset is too high"
            )
        if self._largest > limit:
            return (
                f"counts go up to {self._largest}, above the saturation of "
                f"{limit:.0f} ADU in the calibration"
            )
        if saturated > SATURATED:
            return (
                f"{100 * saturated:.2g} % of the counts are saturated: use less light "
                "or a shorter exposure"
            )
        piled = self._at_largest / self._counts > SATURATED
        if piled and self._largest in (1023, 2047, 4095, 8191, 16383, 32767):
            return (
                f"counts pile up at {self._largest}, below the saturation of "
                f"{limit:.0f} ADU in the calibration"
            )
        return ""

    def _noise(self, quiet: float | None, quietest: float | None, model: _Noise) -> str:
        """Return a warning if the noise does not match the brightness."""
        if quiet is None or quietest is None:
            return ""
        if quiet < TOO_QUIET:
            ratio, sense = quiet, "less"
        elif quietest > TOO_NOISY:
            ratio, sense = quietest, "more"
        else:
            return ""
        text = (
            f"the frames have {sense} noise than the calibration permits: {ratio:.2g} "
        )
        text += "times its variance; "
        return text + model.suspect(self._pairs, ratio)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two successive frames, in blocks."""

    measured: NDArray[Any]  # variance, summed over the block
    expected: NDArray[Any]  # the same from the calibration
    expected2: NDArray[Any]  # its squares
    signal: float  # mean counts above the offset
    noisy: NDArray[Any] | None  # squared differences of noisy pixels


class _Noise:
    """The noise that a calibration predicts for frames of a shape.

    Parameters
    ----------
    calibration : CameraCalibration
        Calibration of the whole frame.
    shape : tuple[int, int]
        Shape of the frame.
    """

    def __init__(self, calibration: CameraCalibration, shape: tuple[int, ...]) -> None:
        part = _middle(shape)
        self._calibration = calibration
        self._offset = _take(calibration.offset_adu, part)
        gain = _take(calibration.e_per_adu, part)
        # Counts squared per count of signal, and of a dark pixel.
        self._transfer = calibration.excess * calibration.em_gain / gain
        self._dark = (_take(calibration.read_noise_e, part) / gain) ** 2 + ROUNDING
        self.floor = self._offset - BELOW_SIGMA * np.sqrt(self._dark)
        self.offset_adu = float(np.median(self._offset))
        self._typical_dark = float(np.median(self._dark))
        rows, columns = part
        self.size = (rows.stop - rows.start) * (columns.stop - columns.start)
        least = min(rows.stop - rows.start, columns.stop - columns.start)
        self._block_px = BLOCK_PX if least >= SMALL_PX else SMALL_BLOCK_PX
        self._noisy, self._kept = self._noisy_pixels()

    def _noisy_pixels(
        self,
    ) -> tuple[NDArray[np.bool_] | None, NDArray[np.float32] | None]:
        """Find noisy pixels of a map, and the places where the mask meets none."""
        if np.ndim(self._dark) == 0:
            return None, None
        noisy = self._dark > NOISY_PIXEL * self._typical_dark
        touched = _over_mask(noisy.astype(np.float32), np.ones(3, np.float32))
        return noisy, (touched < 0.5).astype(np.float32)

    def compare(self, before: NDArray[np.float32], now: NDArray[np.float32]) -> _Pair:
        """Measure the noise between two frames and predict it from the calibration."""
        change = now - before
        signal = (now + before) / 2 - self._offset
        expected = np.broadcast_to(self._transfer * signal + self._dark, change.shape)
        mask = np.array([1, -2, 1], np.float32) / np.sqrt(np.float32(6))
        measured = _over_mask(change, mask) ** 2 / 2
        squares = _over_mask(expected.astype(np.float32), mask**2)
        if self._kept is not None:
            measured, squares = measured * self._kept, squares * self._kept
        noisy = None if self._noisy is None else change[self._noisy] ** 2 / 2
        mean = float(signal.mean())
        side = self._block_px
        return _Pair(
            measured=_blocks(measured, side),
            expected=_blocks(squares, side),
            expected2=_blocks(squares**2, side),
            signal=mean,
            noisy=noisy,
        )

    def ratios(self, pairs: Sequence[_Pair]) -> tuple[float | None, float | None]:
        """Measured over expected variance, in quiet and in the quietest blocks."""
        if not pairs or not pairs[0].measured.size:
            return None, None  # frames smaller than a block
        uncertain = self._uncertainty(pairs)
        together = int(np.ceil(uncertain / (self._block_px * WANTED_ERROR) ** 2))
        groups = len(pairs) // together
        if not groups:
            return None, None
        stack = np.stack(
            [[p.measured, p.expected, p.expected2] for p in pairs[: groups * together]]
        )
        sums = stack.reshape(groups, together, 3, -1).sum(1)
        measured, expected, expected2 = sums.swapaxes(0, 1)
        # A bright spot in a dark block counts as few pixels, not as many.
        pixels = np.maximum(expected, 0.0) ** 2 / np.maximum(expected2, 1e-30)
        certain = pixels * ALLOWED_ERROR**2 > uncertain
        if certain.sum() < LEAST_BLOCKS:
            return None, None
        ratios = measured[certain] / expected[certain]
        low, lowest = np.quantile(ratios, (QUIET_BLOCKS, QUIETEST_BLOCKS))
        return float(low), float(lowest)

    def _uncertainty(self, pairs: Sequence[_Pair]) -> float:
        """Return the relative squared error of a variance from one pixel.

        The tails of few photons, and more so of few multiplied ones, make it larger
        than that of Gaussian noise.
        """
        transfer, dark = float(np.median(self._transfer)), self._typical_dark
        variance = np.mean([p.expected for p in pairs], axis=0) / self._block_px**2
        signal = max(float(np.quantile(variance, QUIET_BLOCKS)) - dark, 0.0) / transfer
        order = 24 if self._calibration.excess > 1 else 1
        scale = transfer / self._calibration.excess  # counts per electron
        tails = order * signal * scale**3 / (transfer * signal + dark) ** 2
        return MASK_OVERLAP * (2 + MASK_TAILS * tails)

    def suspect(self, pairs: Sequence[_Pair], ratio: float) -> str:
        """Name the number that is most likely wrong, and the value that would fit."""
        calibration = self._calibration.typical
        signal = float(np.mean([p.signal for p in pairs]))
        shot = float(np.median(self._transfer)) * signal
        if shot < self._typical_dark:
            noise = float(calibration.read_noise_e) * np.sqrt(ratio)
            return (
                f"is the read noise {noise:.2g} electrons, not "
                f"{calibration.read_noise_e:.2g}?"
            )
        share = ratio * (shot + self._typical_dark) - self._typical_dark
        if share < 0.1 * shot:
            return (
                f"is the offset higher than {self.offset_adu:.0f} ADU, or are there "
                f"more electrons per ADU than {calibration.e_per_adu:.2g}?"
            )
        gain = float(calibration.e_per_adu) * shot / share
        text = f"is it {gain:.2g} electrons per ADU, not {calibration.e_per_adu:.2g}"
        if calibration.em_gain > 1:
            return f"{text}, or another EM gain than {calibration.em_gain:g}?"
        mode = "readout mode" if ratio < 1 else "readout mode, or is there EM gain"
        return f"{text}, another offset or {mode}?"

    def misplaced(self, pairs: Sequence[_Pair]) -> str:
        """Return a warning if pixels that the maps call noisy are not."""
        if self._noisy is None or self._noisy.sum() < LEAST_NOISY or not pairs:
            return ""
        squares = [p.noisy for p in pairs if p.noisy is not None]
        seen = np.mean(squares, axis=0)
        signal = max(float(np.mean([p.signal for p in pairs])), 0.0)
        shot = float(np.median(self._transfer)) * signal
        dark = self._dark[self._noisy]
        telling = dark > 4 * (shot + self._typical_dark)
        if telling.sum() < LEAST_NOISY:
            return ""
        ratio = float(np.median(seen[telling] / (dark[telling] + shot)))
        if ratio > MISPLACED:
            return ""
        return (
            f"{int(telling.sum())} pixels that the camera maps call noisy are not: the "
            "maps belong to another ROI, orientation or camera"
        )


def camera_report(check: CameraCheck) -> dict[str, Any]:
    """Return the camera of the frames and the result of its check, for a report."""
    numbers = check.calibration.typical
    found = check.verdict.as_dict() if check.verdict else {"frames": 0, "warnings": []}
    return {
        "offset_adu": float(numbers.offset_adu),
        "e_per_adu": float(numbers.e_per_adu),
        "em_gain": numbers.em_gain,
        "qe": numbers.qe,
        "read_noise_e": float(numbers.read_noise_e),
        "maps": sorted(check.calibration.maps),
        "estimated": numbers.estimated,
        "check": {name: value for name, value in found.items() if name != "warnings"},
        "warnings": found["warnings"],
    }


def _middle(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the window in the middle of a frame."""
    height, width = (min(side, WINDOW_PX) for side in shape)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)


def _take(value: Any, part: tuple[slice, slice]) -> Any:
    """Cut a map, leave a number."""
    return value[part] if isinstance(value, np.ndarray) else float(value)


def _over_mask(
    image: NDArray[np.float32], mask: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Apply a separable mask of three by three pixels; one pixel less on each side."""
    a, b, c = (np.float32(m) for m in mask)
    rows = a * image[:-2] + b * image[1:-1] + c * image[2:]
    result: NDArray[np.float32] = a * rows[:, :-2] + b * rows[:, 1:-1] + c * rows[:, 2:]
    return result


def _blocks(image: NDArray[Any], side: int) -> NDArray[Any]:
    """Sum over blocks of `side` pixels; those cut off at the edge are left out."""
    height, width = (length // side for length in image.shape)
    whole = image[: height * side, : width * side]
    parts = whole.reshape(height, side, width, side)
    sums: NDArray[Any] = parts.sum(axis=(1, 3)).ravel()
    return sums
