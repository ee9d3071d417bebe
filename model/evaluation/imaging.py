"""PSF and camera behind a table, which set its Cramér-Rao limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveloc.stream.calibration import CameraCalibration
from liveloc.stream.camera_maps import from_plain
from liveloc.stream.errors import LivelocError, SettingsError

from ..bundle import load_bundle
from ..physics.psf_file import load_psf

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..physics.psf import PSF
    from ..training_config import CameraConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Imaging:
    """What Cramér-Rao limits depend on.

    Attributes
    ----------
    psf : PSF
        PSF of the microscope.
    camera : CameraCalibration
        Its camera.
    overlap : bool
        Limits are for emitters fitted together with their neighbours, not alone.
    """

    psf: PSF
    camera: CameraCalibration
    overlap: bool = False


def camera_of(metadata: Mapping[str, str]) -> CameraCalibration | None:
    """Return the calibration that a table of liveloc states, if any."""
    try:
        return from_plain(json.loads(metadata["calibration"]))[0]
    except (KeyError, ValueError, LivelocError):
        return None


def imaging_for(
    psf: Path | None,
    model: str | None,
    camera: Path | None,
    metadata: Mapping[str, str],
    *,
    overlap: bool = False,
) -> Imaging | None:
    """Find PSF and camera for the limits: in files, else in the table or the model.

    Parameters
    ----------
    psf, camera : Path or None
        Files made by ``liveloc calibrate``.
    model : str or None
        Name or path of a bundle.
    metadata : Mapping[str, str]
        Metadata of the table.
    overlap : bool
        See `Imaging`.

    Returns
    -------
    Imaging or None
        None where neither a PSF nor a model is given.

    Raises
    ------
    SettingsError
        A file is missing or damaged, or there is no camera.
    """
    bundle = load_bundle(model) if model else None
    if psf is not None:
        shape: PSF = load_psf(psf)[0]
    elif bundle is not None:
        shape = bundle.psf()
    else:
        return None
    if camera is not None:
        from liveloc.stream.camera_file import load_camera

        calibration: CameraCalibration | None = load_camera(camera).calibration
    else:
        calibration = camera_of(metadata)
    if calibration is None and bundle is not None:
        calibration = _trained_on(bundle.spec.training.camera)
    if calibration is None:
        raise SettingsError(
            "limits need the camera, which the table does not state. Use --camera FILE."
        )
    return Imaging(psf=shape, camera=calibration, overlap=overlap)


def _trained_on(camera: CameraConfig) -> CameraCalibration | None:
    """Return the camera of a training that states its numbers."""
    if camera.file is not None:
        return None
    numbers = camera.model_dump(include={"read_noise_e", "e_per_adu", "em_gain", "qe"})
    return CameraCalibration(**numbers)
