"""From stacks on disk to a camera file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from liveloc import __version__
from liveloc.stream.camera_file import Camera, CameraFile, Measurement, short
from liveloc.stream.errors import SettingsError
from liveloc.stream.movies import open_movie

from .photon_transfer import photon_transfer
from .stack_statistics import stack_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from liveloc.stream.movies import Movie

    from .stack_statistics import StackStatistics


def calibrate_camera(
    dark: Path,
    light: Sequence[Path],
    *,
    em_gain: float = 1.0,
    qe: float = 1.0,
    saturation_adu: float | None = None,
    maps: bool = True,
    name: str = "",
    pixel_size_nm: float | None = None,
    progress: Callable[[int, int], None] = lambda done, frames: None,
) -> Camera:
    """Measure a camera by photon transfer.

    Parameters
    ----------
    dark, light : Path, Sequence[Path]
        Movies as `stream.movies.open_movie` reads them: one without light, and one
        for each level of light.
    em_gain, qe, saturation_adu, maps : float, float, float, bool
        See `photon_transfer`.
    name, pixel_size_nm : str, float
        Recorded in the file.
    progress : callable
        Called with the number of frames read and the total.

    Returns
    -------
    Camera
        Ready for `stream.camera_file.save_camera`.

    Raises
    ------
    SettingsError
        See `open_movie` and `photon_transfer`; stacks of different regions of
        the chip.
    """
    movies: list[Movie] = []
    try:
        for path in (dark, *light):
            movies.append(open_movie(path))
        _check_places(movies)
        statistics = _read(movies, progress)
    finally:
        for movie in movies:
            movie.close()
    found = photon_transfer(
        statistics[0],
        statistics[1:],
        em_gain=em_gain,
        qe=qe,
        saturation_adu=saturation_adu,
        maps=maps,
        origin=movies[0].roi_origin,
    )
    measurement = Measurement(
        method="photon transfer",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        program=f"liveloc {__version__}",
        dark_file=statistics[0].name,
        dark_frames=statistics[0].frames,
        levels=found.levels,
        residual=short(found.residual),
        notes=(
            *found.notes,
            *(f"{each.path.name}: {text}" for each in movies for text in each.remarks),
        ),
    )
    calibration = found.calibration
    file = CameraFile.of(
        calibration,
        name=name,
        pixel_size_nm=pixel_size_nm,
        measurement=measurement,
    )
    return Camera(file, calibration)


def describe_camera(camera: Camera) -> str:
    """Return a few lines on what was measured, and how well."""
    numbers, measured = camera.calibration.typical, camera.file.measurement
    lines = []
    if measured is not None:
        lines += [f"{'level':20} {'signal':>9} {'variance':>11} {'e/ADU':>8}  flicker"]
        for level in measured.levels:
            gain = f"{level.e_per_adu:.4g}" if level.e_per_adu else "-"
            lines.append(
                f"{level.file:20} {level.signal_adu:9.1f} {level.variance_adu2:11.1f} "
                f"{gain:>8}  {100 * level.flicker:.1f} %"
                f"{'' if level.used else f'  left out: {level.reason}'}"
            )
    lines.append(
        f"offset {numbers.offset_adu:.1f} ADU, {numbers.e_per_adu:.4g} electrons/ADU, "
        f"read noise {numbers.read_noise_e:.3g} electrons, saturation "
        f"{numbers.saturation_adu:.0f} ADU"
    )
    if numbers.em_gain > 1:
        effective = numbers.read_noise_e / numbers.em_gain
        lines.append(
            f"EM gain {numbers.em_gain:g}, as given: effective read noise "
            f"{effective:.2g} electrons"
        )
    if measured is not None:
        used = sum(level.used for level in measured.levels)
        lines.append(f"{used} levels agree to {100 * measured.residual:.1f} %")
        lines += measured.notes
    return "\n".join(lines)


def _check_places(movies: Sequence[Movie]) -> None:
    """Refuse stacks of different regions of the chip."""
    first = movies[0]
    for movie in movies[1:]:
        if movie.roi_origin != first.roi_origin:
            raise SettingsError(
                f"{movie.path}: starts at {movie.roi_origin} on the chip, "
                f"{first.path.name} at {first.roi_origin}. Record all stacks with the "
                "same ROI."
            )


def _read(
    movies: Sequence[Movie], progress: Callable[[int, int], None]
) -> list[StackStatistics]:
    """Read every stack once."""
    total, done = sum(len(movie) for movie in movies), 0

    def frames(movie: Movie) -> Iterator[NDArray[Any]]:
        nonlocal done
        for index in range(len(movie)):
            yield movie.read(index)
            done += 1
            progress(done, total)

    found = []
    for movie in movies:
        if len(movie) < 2:
            raise SettingsError(f"{movie.path}: has one frame, a stack needs more.")
        found.append(stack_statistics(movie.path.name, frames(movie)))
    return found
