"""A calibrated PSF as a file: one ``.psf.npz`` with numbers only, nothing pickled."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import DAMAGED, one_line

from .psf import SplinePSF

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
SUFFIX = ".psf.npz"
_LARGEST = 1 << 26  # coefficients; a 100 px wide, 6 um deep PSF has a tenth
_NUMBERS = ("z_first_nm", "z_step_nm", "z_low_nm", "z_high_nm", "pixel_size_nm")


def save_psf(path: Path, psf: SplinePSF, metadata: dict[str, Any]) -> None:
    """Write a PSF; a crash leaves no half of one under its name.

    Parameters
    ----------
    path : Path
        Usually ``NAME.psf.npz``.
    psf : SplinePSF
        PSF with NumPy coefficients.
    metadata : dict
        Origin and quality of the fit, as plain JSON data.
    """
    new = path.with_name(path.name + ".new")
    new.write_bytes(psf_bytes(psf, metadata))
    new.replace(path)


def psf_bytes(psf: SplinePSF, metadata: dict[str, Any]) -> bytes:
    """Return the content of a PSF file."""
    header = {name: float(getattr(psf, name)) for name in _NUMBERS} | {
        "format": "liveloc PSF",
        "version": VERSION,
        "centre_px": [float(value) for value in psf.centre_px],
        "metadata": metadata,
    }
    content = io.BytesIO()
    np.savez_compressed(
        content,
        header=np.frombuffer(json.dumps(header).encode(), np.uint8),
        coefficients=np.asarray(psf.coefficients, np.float32),
    )
    return content.getvalue()


def load_psf(path: Path) -> tuple[SplinePSF, dict[str, Any]]:
    """Read a PSF and the record of its origin.

    Raises
    ------
    SettingsError
        Missing, not a PSF file, damaged, or of a newer program.
    """
    if not path.is_file():
        raise SettingsError(
            f"{path}: no such PSF file. Make one with 'liveloc calibrate psf'."
        )
    return read_psf(path.read_bytes(), str(path))


def read_psf(content: bytes, name: str) -> tuple[SplinePSF, dict[str, Any]]:
    """Read the content of a PSF file; errors as `load_psf`."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            coefficients = np.ascontiguousarray(arrays["coefficients"], np.float32)
        version = int(header["version"])
        numbers = {key: float(header[key]) for key in _NUMBERS}
        row, column = map(float, header["centre_px"])
        metadata = dict(header["metadata"])
    except DAMAGED as error:
        raise SettingsError(
            f"{name}: not a PSF file ({one_line(error)}). Use a {SUFFIX} file "
            "made by 'liveloc calibrate psf'."
        ) from None
    if version > VERSION:
        raise SettingsError(
            f"{name}: PSF file of version {version}, this liveloc reads {VERSION}. "
            "Update liveloc."
        )
    values = np.array([*numbers.values(), row, column])
    sound = np.isfinite(values).all() and bool(np.isfinite(coefficients).all())
    sound &= coefficients.ndim == 3 and 64 <= coefficients.size <= _LARGEST
    sound &= numbers["z_step_nm"] > 0 and numbers["pixel_size_nm"] > 0
    if not sound:
        raise SettingsError(
            f"{name}: its {coefficients.shape} coefficients or their scales are not "
            "those of a PSF. Calibrate again."
        )
    return (
        SplinePSF(coefficients=coefficients, centre_px=(row, column), **numbers),
        metadata,
    )
