"""PSFs that SMAP calibrated: its ``_3dcal.mat`` files, as B-splines.

SMAP (J. Ries, Nature Methods 17, 870 (2020)) and fit3Dcspline hold a PSF as one cubic
polynomial of 64 coefficients per voxel (Li et al., Nature Methods 15, 367 (2018)).
Where the pieces join smoothly, which is how SMAP makes them, they are a B-spline, and
nothing is lost but the rounding of 32-bit numbers.

Its conventions, and how they become ours:

- the first axis of an image is the row: ``coeff[r, c, k, 16 p + 4 q + s]`` multiplies
  ``dz^p dcolumn^q drow^s`` within voxel (r, c, k);
- ``x0`` is the emitter's place among the knots, counted from 1, on both lateral axes;
- the axial axis counts the steps of the objective towards the sample, from 0: an
  emitter's z is ``-(k - z0) dz``, positive away from the objective as ours;
- with EM gain SMAP mirrors beads and frames left to right. We never do: such a PSF is
  mirrored back.

z is in nm of the objective's movement, not corrected for a mismatch of refractive
indices.
"""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import DAMAGED, one_line

from .psf import SplinePSF
from .psf_file import load_psf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SUFFIX = ".mat"
LARGEST_MISFIT = 0.02  # of the brightest value: beyond, the pieces are no spline
# What is read of a file. The rest, such as all bead images, may be large.
_READER = Path(__file__).with_name("matlab_reader.py")
LONGEST_S = 120.0  # for a file of some GB
_WANTED = "SXY,cspline,parameters,coeff,x0,z0,dz,normf,EMon,pixelsize,cam_pixelsize_um"


def open_psf(
    path: Path, pixel_size_nm: float | None = None
) -> tuple[SplinePSF, dict[str, Any]]:
    """Read a measured PSF from a file of liveloc or SMAP.

    Parameters
    ----------
    path : Path
        ``*.psf.npz`` or ``*.mat``.
    pixel_size_nm : float, optional
        See `read_smap`.

    Raises
    ------
    SettingsError
        Missing, damaged, or not a PSF.
    """
    if path.suffix.lower() == SUFFIX:
        return read_smap(path, pixel_size_nm)
    return load_psf(path)


def read_smap(
    path: Path, pixel_size_nm: float | None = None
) -> tuple[SplinePSF, dict[str, Any]]:
    """Read the PSF of a ``_3dcal.mat`` file of SMAP or fit3Dcspline.

    Parameters
    ----------
    path : Path
        MATLAB file of version 5 to 7, or 7.3.
    pixel_size_nm : float, optional
        Pixel size of the camera that recorded the beads, if the file does not state it.

    Returns
    -------
    SplinePSF, dict
        The PSF, normalised as in the file, and where it comes from.

    Raises
    ------
    SettingsError
        Missing, not such a file, of several channels or regions, or of an unknown
        pixel size.
    """
    if not path.is_file():
        raise SettingsError(f"{path}: no such file.")
    content = _contents(path)
    entry = _one(content.get("SXY", content), path, "regions of the field")
    spline = entry.get("cspline") if isinstance(entry, dict) else None
    spline = _one(spline, path, "regions of the field")
    if not isinstance(spline, dict):
        raise SettingsError(
            f"{path}: holds no cubic-spline PSF (SXY.cspline is missing). Use a "
            "_3dcal.mat file saved by SMAP or fit3Dcspline."
        )
    polynomials = np.asarray(_one(spline.get("coeff"), path, "channels"))
    if (
        polynomials.ndim != 4
        or polynomials.shape[3] != 64
        or polynomials.dtype.kind == "O"
    ):
        raise SettingsError(
            f"{path}: SXY.cspline.coeff has shape {polynomials.shape}, but needs 64 "
            "coefficients for each (row, column, z). Save the calibration again."
        )
    numbers = {name: _number(spline, name, path) for name in ("x0", "z0", "dz")}
    parameters = content.get("parameters")
    stated = _pixel_size_nm(entry) or _pixel_size_nm(parameters) or pixel_size_nm
    if stated is None:
        raise SettingsError(
            f"{path}: does not state the camera's pixel size, which is needed."
        )
    mirrored = bool(np.any(entry.get("EMon", False)))
    with np.errstate(over="ignore", invalid="ignore"):  # refused below
        psf, misfit = _convert(
            polynomials.astype(np.float64), numbers, stated, mirrored
        )
    brightness = float(np.ravel(spline.get("normf", 1.0))[0])
    if brightness > 0 and brightness != 1:
        psf = _scaled(psf, 1 / brightness)
    if not np.isfinite(psf.coefficients).all():
        misfit = np.inf
    if not misfit <= LARGEST_MISFIT:
        raise SettingsError(
            f"{path}: the polynomials do not join to a smooth PSF: they are off by "
            f"{misfit:.0%} of its height. Save the calibration again."
        )
    return psf, {
        "source": path.name,
        "made_by": "SMAP",
        "mirrored_back": mirrored,
        "conversion_error": misfit,
    }


def _convert(
    polynomials: Floats,
    numbers: Mapping[str, float],
    pixel_size_nm: float,
    mirrored: bool,
) -> tuple[SplinePSF, float]:
    """Turn polynomials (rows, columns, depths, 64) into a PSF; return its misfit."""
    rows, columns, depths, _ = polynomials.shape
    pieces = polynomials.reshape(rows, columns, depths, 4, 4, 4)  # of z, column, row
    knots = np.tensordot(_to_knots(rows), pieces, ([1, 2], [5, 0]))
    knots = np.tensordot(_to_knots(columns), knots, ([1, 2], [4, 1]))
    knots = np.tensordot(_to_knots(depths), knots, ([1, 2], [3, 2]))
    knots = knots.transpose(0, 2, 1)  # (z, row, column)
    misfit = _misfit(knots, pieces)
    row = column = numbers["x0"]  # counted from 1, but one knot lies before the first
    if mirrored:
        knots, column = knots[:, :, ::-1], columns + 2 - column
    dz, z0 = numbers["dz"], numbers["z0"]
    psf = SplinePSF(
        coefficients=np.ascontiguousarray(knots[::-1], np.float32),
        z_first_nm=(z0 - depths - 1) * dz,
        z_step_nm=dz,
        centre_px=(row, column),
        z_low_nm=(z0 - depths) * dz,
        z_high_nm=z0 * dz,
        pixel_size_nm=pixel_size_nm,
    )
    return psf, misfit


def _to_knots(n: int) -> Floats:
    """Return the B-spline coefficients of n cubic polynomials that join smoothly.

    A spline is known by its values at the n + 1 knots and its slopes at both ends.

    Returns
    -------
    NDArray, shape (n + 3, 4, n)
        Factors of the four coefficients of each polynomial, lowest power first.
    """
    spline, pieces = np.zeros((n + 3, n + 3)), np.zeros((n + 3, 4, n))
    for knot in range(n + 1):
        spline[knot, knot : knot + 3] = np.array([1, 4, 1]) / 6
    spline[n + 1, [0, 2]] = spline[n + 2, [n, n + 2]] = -0.5, 0.5
    pieces[np.arange(n), 0, np.arange(n)] = 1
    pieces[n, :, -1] = 1
    pieces[n + 1, 1, 0] = 1
    pieces[n + 2, :, -1] = np.arange(4)
    solved = np.linalg.solve(spline, pieces.reshape(n + 3, 4 * n))
    return np.asarray(solved, np.float64).reshape(n + 3, 4, n)


def _misfit(knots: Floats, pieces: Floats) -> float:
    """Compare both in the middle of every voxel, relative to the brightest."""
    powers: Floats = np.array([1, 1 / 2, 1 / 4, 1 / 8])
    middle: Floats = np.einsum("rckpqs,p,q,s->krc", pieces, powers, powers, powers)
    for axis, n in enumerate(middle.shape):
        parts = [knots.take(range(first, first + n), axis) for first in range(4)]
        knots = np.asarray(parts[0] + 23 * (parts[1] + parts[2]) + parts[3], float) / 48
    return float(np.abs(knots - middle).max() / np.abs(middle).max())


def _scaled(psf: SplinePSF, factor: float) -> SplinePSF:
    return replace(psf, coefficients=psf.coefficients * np.float32(factor))


def _one(value: Any, path: Path, what: str) -> Any:
    """Unpack a cell or a list of one."""
    while isinstance(value, list) or (
        isinstance(value, np.ndarray) and value.dtype.kind == "O"
    ):
        flat = value if isinstance(value, list) else list(np.ravel(value))
        if len(flat) != 1:
            raise SettingsError(
                f"{path}: holds PSFs of {len(flat)} {what}, but must hold one. "
                "Calibrate one channel and the whole field in SMAP."
            )
        value = flat[0]
    return value


def _number(spline: Mapping[str, Any], name: str, path: Path) -> float:
    """Return one number of the spline."""
    try:
        value = float(np.ravel(spline[name])[0])
    except (KeyError, IndexError, TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value) or (name == "dz" and value <= 0):
        raise SettingsError(
            f"{path}: SXY.cspline.{name} is missing or not a number. Save the "
            "calibration again."
        )
    return value


def _pixel_size_nm(parameters: Any) -> float | None:
    """Find the pixel size, um in SMAP, among parameters of several versions."""
    if not isinstance(parameters, dict):
        return None
    for name in ("cam_pixelsize_um", "pixelsize"):
        try:
            value = float(np.ravel(parameters[name])[0])
        except (KeyError, IndexError, TypeError, ValueError):
            continue
        if 0.01 <= value <= 1:
            return value * 1000
    return None


def _contents(path: Path) -> dict[str, Any]:
    """Read what is wanted of a MATLAB file of any version, as plain dicts."""
    try:
        return _read_apart(path)
    except DAMAGED as error:
        raise SettingsError(
            f"{path}: cannot be read as a MATLAB file ({one_line(error)}). Use a "
            "_3dcal.mat file saved by SMAP or fit3Dcspline."
        ) from None


def _read_apart(path: Path) -> dict[str, Any]:
    """Read a file in a process of its own, which it may end."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_READER), str(path.resolve()), _WANTED],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"not done after {LONGEST_S:g} s") from None
    if done.returncode:
        reason = done.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise OSError(reason if done.returncode == 1 and reason else "damaged")
    found: dict[str, Any] = {}
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as arrays:
        for name in arrays.files:
            place, parts = found, name.split("/")
            for part in parts[:-1]:
                place = place.setdefault(part, {})
            place[parts[-1]] = arrays[name]
    return {name: _cells(value) for name, value in found.items()}


def _cells(value: Any) -> Any:
    """Turn what has numbers for names into lists."""
    if not isinstance(value, dict):
        return value
    held = {name: _cells(inner) for name, inner in value.items()}
    return list(held.values()) if all(name.isdigit() for name in held) else held
