"""What several commands ask for, and how it is read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SettingsError
from ..files.session_folder import SessionFolder
from ..pixel_size import UNSAID, PixelSize, from_user
from .terminal import say

if TYPE_CHECKING:
    from ..calibration import CameraCalibration
    from ..movies import Movie
    from ..movies.replay import ReplaySource
    from ..session.settings import SessionSettings

ASSUMED_PIXEL_NM = 100.0  # of a movie that does not say it
ALIKE = 0.005  # relative difference of pixel sizes that are one

Model = Annotated[
    str | None,
    typer.Option(help="Name of a shipped model, or path of a .liveloc bundle."),
]
Refine = Annotated[
    bool | None,
    typer.Option(
        "--refine/--no-refine",
        help="Refine each emitter with a fit of the model's PSF.",
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the report to this file.")
]
SessionPath = Annotated[
    Path | None, typer.Option("--session", help="Folder for the results.")
]
Headless = Annotated[bool, typer.Option(help="Do not open a window.")]
Config = Annotated[
    str | None,
    typer.Option(help="Micro-Manager .cfg file, 'demo' (DemoCamera) or 'simulated'."),
]
Frames = Annotated[
    int | None, typer.Option(min=0, help="Number of exposures; 0: until stopped.")
]
CameraPath = Annotated[
    Path | None,
    typer.Option(
        "--camera", help="Camera calibration file; see 'liveloc calibrate camera'."
    ),
]
PixelSizeNm = Annotated[
    float | None, typer.Option(help="Camera pixel size in the sample, nm.")
]
Offset = Annotated[float | None, typer.Option(help="Camera offset, ADU.")]
Gain = Annotated[float | None, typer.Option(help="Camera gain, electrons per ADU.")]
RoiOrigin = Annotated[
    tuple[int, int] | None,
    typer.Option(
        help="Column and row on the chip of the first pixel, if the file does not say."
    ),
]
TargetDensity = Annotated[
    str | None,
    typer.Option(
        help="Density for the laser to hold, emitters per um2; 'present': as measured."
    ),
]
Law = Annotated[
    str | None,
    typer.Option(help="Control law; see docs/control.md. Default: 'ratio'."),
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]


def settings_from(path: Path | None) -> SessionSettings:
    """Read a session file; the defaults without one."""
    from ..session.settings import SessionSettings

    return SessionSettings.load(path) if path else SessionSettings()


def with_target_density(
    settings: SessionSettings, target: str | None, law: str | None
) -> SessionSettings:
    """Let the laser follow the density, if a target or a law is given."""
    if target is not None and law is None and settings.control.law == "constant":
        law = "ratio"
    return settings.changed(control__law=law, control__target_per_um2=target)


def recorded_settings(path: Path) -> SessionSettings:
    """Use the settings that a recorded session ran with, if there are any."""
    recorded = SessionFolder(path).settings
    return settings_from(recorded if recorded.exists() else None)


def given_camera(
    file: Path | None, offset: float | None, gain: float | None
) -> tuple[CameraCalibration | None, float | None]:
    """Take calibration and pixel size as given; None for what is not."""
    from ..calibration import CameraCalibration
    from ..camera_file import load_camera

    if (offset is None) != (gain is None):
        raise SettingsError("--offset and --gain go together: use both, or neither.")
    if file is None:
        if offset is None or gain is None:
            return None, None
        return CameraCalibration(offset_adu=offset, e_per_adu=gain), None
    if offset is not None:
        raise SettingsError(
            "--camera already sets offset and gain: leave out --offset and --gain."
        )
    camera = load_camera(file)
    return camera.calibration, camera.pixel_size_nm


def open_given_movie(
    path: Path,
    pixel_size: float | None,
    camera: tuple[CameraCalibration | None, float | None],
    roi_origin: tuple[int, int] | None = None,
    speed: float | None = None,
) -> ReplaySource:
    """Open a movie; say so where its camera had to be guessed."""
    from ..movies import open_movie
    from ..movies.replay import ReplaySource

    calibration, camera_pixel = camera
    given = UNSAID
    if pixel_size is not None:
        given = from_user(pixel_size, "--pixel-size")
    elif camera_pixel is not None:
        given = from_user(camera_pixel, "the camera file")
    with open_movie(path) as movie:
        for remark in movie.remarks:
            say(f"{path.name}: {remark}")
        size = _pixel_size(movie, given)
    source = ReplaySource(
        path,
        speed=speed,
        pixel_size=size,
        calibration=calibration,
        roi_origin=roi_origin,
    )
    used = source.start.calibration
    if used.estimated:
        said = (
            source.estimate.in_words
            if source.estimate
            else f"offset {used.offset_adu:.0f} ADU and {used.photons_per_adu:.3g} "
            "photons/ADU estimated when it was recorded"
        )
        say(f"camera not calibrated: {said}; use --camera for true photon numbers")
    return source


def _pixel_size(movie: Movie, given: PixelSize) -> PixelSize:
    """Choose the pixel size of a movie, and say where it is from."""
    name, file = movie.path.name, movie.pixel_size
    if given.nm is not None:
        if file.oblong:
            say(f"{name} {file.oblong}; using {given.nm:g} nm ({given.source})")
        elif file.nm is not None and abs(file.nm / given.nm - 1) > ALIKE:
            say(
                f"{name} states a pixel size of {file.nm:.6g} nm ({file.source}); "
                f"using {given.nm:g} nm ({given.source}) instead"
            )
        return given
    if file.oblong:
        raise SettingsError(
            f"{movie.path} {file.oblong}. Record without binning along one axis; or, "
            "if the file is wrong, use --pixel-size."
        )
    if file.nm is not None:
        say(f"{name}: pixels of {file.nm:.6g} nm, from {file.source}")
        return file
    said = file.remark or "does not state its pixel size"
    say(
        f"{name} {said}: {ASSUMED_PIXEL_NM:g} nm assumed; use --pixel-size for true "
        "nanometres"
    )
    return PixelSize(nm=ASSUMED_PIXEL_NM, source="assumed")


def table_path(path: Path) -> Path:
    """Take a session's folder for its table."""
    return SessionFolder(path).table if path.is_dir() else path


def session_folder(given: Path | None) -> Path:
    """Take the folder as given, else one named after the time."""
    return given or Path("sessions") / time.strftime("%Y-%m-%d_%H-%M-%S")
