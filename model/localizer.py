"""Frames in, localizations out, in any chunking: the three-frame context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.localizations import Flag, Localizations, empty

from .density import ExpectedEmitters
from .emitters import Geometry, Thresholds, find_emitters
from .maps import SIZE_MULTIPLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from liveloc.stream.calibration import CameraCalibration
    from liveloc.stream.frames import StreamStart

    from .backend import Backend
    from .bundle import Bundle
    from .density import Region
    from .refinement import Refinement


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A frame and its features."""

    seq: int
    features: NDArray[np.float32]  # (c, rows, columns)
    photons: NDArray[np.float32]  # (h, w)


@dataclass(frozen=True, slots=True)
class Localized:
    """Frames whose localizations are final.

    Attributes
    ----------
    frames : NDArray[np.int64], shape (n,)
        Frame numbers, increasing; a frame without emitters is in here, too.
    localizations : Localizations
        Of those frames, ordered by frame.
    expected : NDArray[np.float64], shape (n, 3)
        Expected emitters in each of those frames, their variance, and the area that
        they are in (um2); see `density.ExpectedEmitters`.
    failed : tuple[int, ...]
        Frames whose maps are not finite; not in `frames`.
    """

    frames: NDArray[np.int64]
    localizations: Localizations
    expected: NDArray[np.float64]
    failed: tuple[int, ...] = ()


class Localizer:
    """Localizes a stream of frames; the features of each are computed once.

    A frame is localized when the next one has arrived. Where a neighbour is lost,
    and at the ends of a stream, the centre frame takes its place and the rows are
    flagged. The result is the same for every chunking.

    Parameters
    ----------
    backend : Backend
        Runs the network.
    calibration : CameraCalibration
        Calibration of the camera.
    geometry : Geometry
        Shape and position of the frames.
    thresholds : Thresholds
        Thresholds for a localization.
    region : (x, y, width, height), optional
        In pixels of the chip, for the expected emitters; by default the whole frame.
    sees_noise : bool
        Whether the network takes the read variance of every pixel.
    refinement : Refinement, optional
        Fits the emitters of each frame again.
    """

    def __init__(
        self,
        backend: Backend,
        calibration: CameraCalibration,
        geometry: Geometry,
        thresholds: Thresholds,
        *,
        region: Region | None = None,
        sees_noise: bool = False,
        refinement: Refinement | None = None,
    ) -> None:
        self._backend, self._calibration = backend, calibration
        self._geometry, self._thresholds = geometry, thresholds
        self._refinement = refinement
        self._expected = ExpectedEmitters(geometry, region)
        self._read_variance = None
        if sees_noise:
            variance = np.float32(calibration.read_variance_photons)
            chip = np.broadcast_to(variance, geometry.shape)
            self._read_variance = _padded(chip[None, None])
        self._previous: _Encoded | None = None  # localized, kept for its features
        self._waiting: _Encoded | None = None  # localized when the next one is there

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        backend: Backend,
        calibration: CameraCalibration,
        *,
        shape: tuple[int, int],
        pixel_size_nm: float,
        roi_origin: tuple[int, int] = (0, 0),
        region: Region | None = None,
    ) -> Localizer:
        """Set up a localizer for a bundle."""
        spec = bundle.spec
        geometry = Geometry(
            shape=shape,
            pixel_size_nm=pixel_size_nm,
            roi_origin=roi_origin,
            grid=spec.grid,
        )
        refinement = None
        if bundle.refine:
            from .refinement import Refinement  # loads SciPy

            z_range = spec.training.z_range_nm
            refinement = Refinement(bundle.psf(), calibration, geometry, z_range)
        return cls(
            backend,
            calibration,
            geometry,
            spec.thresholds,
            region=region,
            sees_noise=spec.sees_noise,
            refinement=refinement,
        )

    @classmethod
    def for_stream(
        cls,
        start: StreamStart,
        bundle: Bundle,
        backend: Backend,
        region: Region | None = None,
    ) -> Localizer:
        """Set up the localizer of a stream: the same live, for a replay and a file."""
        return cls.of(
            bundle,
            backend,
            start.calibration,
            shape=start.shape,
            pixel_size_nm=start.pixel_size_nm,
            roi_origin=start.roi_origin,
            region=region,
        )

    def feed(self, seqs: list[int], pixels: list[NDArray[Any]]) -> Localized:
        """Localize what the next frames of the stream complete.

        Parameters
        ----------
        seqs : list[int]
            Sequence numbers, increasing, above all earlier ones. A step larger
            than 1 is a gap.
        pixels : list[NDArray], each of shape (height, width)
            Camera counts. Not kept.

        Returns
        -------
        Localized
            Every frame that can be localized now; the newest waits.
        """
        frames = [] if self._waiting is None else [self._waiting]
        if seqs:
            photons = self._calibration.photons(np.stack(pixels))
            features = self._backend.features(
                _padded(photons[:, None]), self._read_variance
            )
            frames += map(_Encoded, seqs, features, photons)
        return self._localize(frames, ends=False)

    def finish(self) -> Localized:
        """Localize the frame that waits: the stream ends or the next one is lost."""
        frames = [] if self._waiting is None else [self._waiting]
        return self._localize(frames, ends=True)

    def _localize(self, frames: list[_Encoded], ends: bool) -> Localized:
        """Localize all `frames` but the last, which waits unless the stream ends."""
        ready = frames if ends else frames[:-1]
        windows, flags = [], []
        for k, centre in enumerate(ready):
            before = frames[k - 1] if k else self._previous
            after = frames[k + 1] if k + 1 < len(frames) else None
            has_before = before is not None and before.seq == centre.seq - 1
            has_after = after is not None and after.seq == centre.seq + 1
            first = before.features if has_before and before else centre.features
            last = after.features if has_after and after else centre.features
            windows.append((first, centre.features, last))
            flag = (0 if has_before else Flag.NO_PREVIOUS) | (
                0 if has_after else Flag.NO_NEXT
            )
            flags.append(int(flag))
        self._previous = ready[-1] if ready else self._previous
        self._waiting = frames[-1] if frames and not ends else None
        if not ready:
            return Localized(np.empty(0, np.int64), empty(), np.empty((0, 3)))
        maps = self._backend.maps(windows)
        return self._read_out(maps, ready, flags)

    def _read_out(
        self, maps: NDArray[np.float32], ready: list[_Encoded], flags: list[int]
    ) -> Localized:
        """Find the emitters, except in frames whose maps are not finite."""
        frames = np.array([frame.seq for frame in ready], np.int64)
        finite = np.isfinite(maps).all(axis=(1, 2, 3))
        failed = tuple(int(seq) for seq in frames[~finite])
        table = find_emitters(
            maps[finite], frames[finite], self._geometry, self._thresholds
        )
        of_frame = dict(zip(frames.tolist(), flags, strict=True))
        table["flags"] = [of_frame[seq] for seq in table["frame"].tolist()]
        if self._refinement is not None:
            for frame in ready:
                rows = table["frame"] == frame.seq
                table[rows] = self._refinement.refine(table[rows], frame.photons)
        expected = self._expected.of(maps[finite, 0])
        return Localized(frames[finite], table, expected, failed)


def _padded(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Repeat the last row and column up to the network's multiple: (n, 1, h, w)."""
    bottom, right = (-side % SIZE_MULTIPLE for side in images.shape[2:])
    if bottom or right:
        images = np.pad(images, ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    return images
