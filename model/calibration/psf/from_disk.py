"""From a bead stack on disk to a PSF file and its picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from liveloc.stream.errors import SettingsError

from ...physics.psf_file import SUFFIX, save_psf
from .bead_stack import read_positions, read_stack
from .calibration import calibrate_psf
from .record import describe, metadata_of
from .report import write_report

if TYPE_CHECKING:
    from pathlib import Path

    from .calibration import BeadSettings, Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a calibration wrote to disk.

    Attributes
    ----------
    psf, picture : Path
        The PSF file, and the report beside it.
    metadata : dict
        Metadata of the PSF file.
    text : str
        Summary of a few lines for the terminal.
    """

    psf: Path
    picture: Path
    metadata: dict[str, Any]
    text: str


def calibrate_psf_from(
    beads: Path,
    settings: BeadSettings,
    out: Path,
    positions: Path | None = None,
    progress: Progress | None = None,
) -> Written:
    """Calibrate a PSF from a stack on disk, and write PSF and picture.

    Parameters
    ----------
    beads : Path
        Stack of planes; see `read_stack`.
    settings : BeadSettings
    out : Path
        PSF file to write; the suffix is added if missing. The picture is written
        beside it.
    positions : Path, optional
        Table of true positions; see `read_positions`.
    progress : callable, optional
        See `calibrate_psf`.

    Raises
    ------
    SettingsError
        A file that is missing or exists already; see `calibrate_psf`.
    """
    name = out.name.removesuffix(SUFFIX)
    psf, picture = out.with_name(name + SUFFIX), out.with_name(name + ".png")
    for path in (psf, picture):
        if path.exists():
            raise SettingsError(
                f"{path} exists and is not overwritten. Give another --out."
            )
    if positions is not None:
        places = read_positions(positions, settings.pixel_size_nm)
        settings = replace(settings, positions_px=places)
    done = calibrate_psf(read_stack(beads), settings, progress)
    metadata = metadata_of(done, beads.name)
    psf.parent.mkdir(parents=True, exist_ok=True)
    write_report(done, picture, beads.name)
    save_psf(psf, done.psf, metadata)
    return Written(psf=psf, picture=picture, metadata=metadata, text=describe(done))
