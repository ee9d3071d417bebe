"""The model bundle: everything a trained network needs, in one checked file.

``NAME.liveloc`` is a zip without compression: ``model.json``,
``weights.safetensors``, ``frame.onnx`` (photons of a frame to its features),
``context.onnx`` (features of three frames to the maps of the centre one) and, where
the PSF is a measured one, ``psf.npz``. Nothing in it is ever unpickled or executed.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from liveloc.stream.errors import SettingsError
from liveloc.stream.files.input_file import DAMAGED, one_line

from .emitters import Thresholds
from .maps import Grid
from .onnx_graph import reads_outside
from .physics.psf_file import read_psf
from .training_config import TrainingConfig

if TYPE_CHECKING:
    from .physics.psf import PSF

SCHEMA: Literal[2] = 2
SUFFIX = ".liveloc"
PIXEL_SIZE_TOLERANCE = 0.02  # relative; a 3D network's PSF is in pixels and nm
LARGEST_BYTES = 512 * 1024**2
PARTS = ("weights.safetensors", "frame.onnx", "context.onnx")
PSF_PART = "psf.npz"
SHIPPED = Path(__file__).parent / "bundles"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip time stamps: the same bundle, the same bytes


class Part(BaseModel):
    """Size and SHA-256 of one file of the bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    nbytes: int
    sha256: str


class ModelSpec(BaseModel):
    """``model.json``: what the network is for and how good it is.

    Attributes
    ----------
    training : TrainingConfig
        Pixel size, PSF, camera, ranges and thresholds: what it was trained on.
    grid : Grid
        Cells of the maps.
    network, scaling : dict[str, float]
        Widths and units; both are also inside the exported graphs.
    sees_noise : bool
        The camera's map of read variance is a second input of ``frame.onnx``.
    provenance : dict[str, str]
        Versions, device and time of the training.
    accuracy : dict[str, float]
        Measured on the validation movie of the training (`training.validation`).
    kflop_per_px : float
        Cost per camera pixel and frame.
    density_response : tuple of (expected, true)
        Calibration of the sum of the probabilities, emitters per um2; see
        `training.response`. Empty: taken as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[2] = SCHEMA
    name: str
    description: str
    training: TrainingConfig
    grid: Grid
    network: dict[str, float]
    scaling: dict[str, float]
    sees_noise: bool
    provenance: dict[str, str]
    accuracy: dict[str, float]
    kflop_per_px: float
    density_response: tuple[tuple[float, float], ...] = ()
    parts: dict[str, Part]

    @property
    def is_3d(self) -> bool:
        """Whether z is measured."""
        return self.training.z_range_nm is not None

    @property
    def thresholds(self) -> Thresholds:
        """Probabilities that decide what is reported."""
        return Thresholds(**self.training.thresholds.model_dump())


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded and checked bundle.

    Attributes
    ----------
    spec : ModelSpec
        ``model.json``.
    parts : dict[str, bytes]
        The other files by name.
    digest : str
        SHA-256 of ``model.json``, which holds those of the parts.
    refine : bool
        Whether emitters are fitted again with the PSF, see `refinement`.
    """

    spec: ModelSpec
    parts: dict[str, bytes]
    digest: str
    refine: bool = False

    @property
    def identity(self) -> dict[str, str | bool]:
        """Name, digest and use of the bundle, for a report."""
        return {
            "model": self.spec.name,
            "model_digest": self.digest,
            "refined": self.refine,
        }

    def check_pixel_size(self, pixel_size_nm: float) -> None:
        """Raise SettingsError if depths would be wrong with pixels of this size."""
        trained = self.spec.training.pixel_size_nm
        off = abs(pixel_size_nm / trained - 1)
        if self.spec.is_3d and off > PIXEL_SIZE_TOLERANCE:
            raise SettingsError(
                f"model '{self.spec.name}' was trained for {trained:g} nm pixels, the "
                f"camera has {pixel_size_nm:g} nm. Train a network for this "
                "microscope, or use the model 'gaussian-2d'."
            )

    def psf(self) -> PSF:
        """Return the PSF that the network was trained on."""
        if PSF_PART in self.parts:
            return read_psf(self.parts[PSF_PART], self.spec.name)[0]
        return self.spec.training.optics().psf


def shipped_bundles() -> list[str]:
    """Names of the bundles that come with liveloc."""
    return sorted(path.stem for path in SHIPPED.glob(f"*{SUFFIX}"))


def load_bundle(name: str | Path, *, refine: bool = False) -> Bundle:
    """Load a shipped bundle by name, or any bundle by path.

    Parameters
    ----------
    name : str or Path
        Name or path.
    refine : bool
        Fit emitters again with the PSF.

    Raises
    ------
    SettingsError
        No such bundle, not a bundle, damaged, or of another schema; or `refine` is set
        and it was trained for a range of widths.
    """
    path = Path(name)
    if not path.exists() and not path.suffix and path.parent == Path():
        path = SHIPPED / f"{name}{SUFFIX}"
    if not path.is_file():
        raise SettingsError(
            f"{name}: no such model. Give the path of a {SUFFIX} file, or one of: "
            f"{', '.join(shipped_bundles())}."
        )
    if not zipfile.is_zipfile(path):
        raise SettingsError(
            f"{path}: not a model bundle (a {SUFFIX} file made by 'liveloc train')."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            bundle = _read(archive, path)
    except SettingsError:
        raise
    except DAMAGED as error:
        raise SettingsError(
            f"{path}: damaged ({one_line(error)}). Copy or download it again."
        ) from None
    if refine and not bundle.spec.training.has_one_psf:
        raise SettingsError(
            f"{name}: cannot refine: this network is for spots of any width within a "
            "range, and emitters can only be fitted again with one PSF. Train a "
            "network for your PSF (docs/training.md), or leave out --refine."
        )
    return replace(bundle, refine=refine)


def _read(archive: zipfile.ZipFile, path: Path) -> Bundle:
    """Check names, sizes and hashes before anything is used."""
    names = sorted(("model.json", *PARTS))
    if sorted(set(archive.namelist()) - {PSF_PART}) != names:
        raise SettingsError(
            f"{path}: not a model bundle: it holds {archive.namelist()[:8]}, "
            f"but must hold {names}."
        )
    if sum(info.file_size for info in archive.infolist()) > LARGEST_BYTES:
        raise SettingsError(f"{path}: larger than {LARGEST_BYTES >> 20} MiB.")
    described = archive.read("model.json")
    parts = {
        name: archive.read(name) for name in archive.namelist() if name != "model.json"
    }
    spec = _spec(described, path, set(parts))
    for name, content in parts.items():
        if spec.parts[name] != _describe(content):
            raise SettingsError(
                f"{path}: {name} does not match its hash in model.json: the file is "
                "damaged or was altered. Copy or download it again."
            )
        if name.endswith(".onnx"):
            _check_graph(content, name, path)
    return Bundle(spec, parts, hashlib.sha256(described).hexdigest())


def _check_graph(graph: bytes, name: str, path: Path) -> None:
    """Refuse a graph that would be read from other files than the bundle."""
    try:
        outside = reads_outside(graph)
    except ValueError as error:
        raise SettingsError(
            f"{path}: {name} is not an ONNX graph ({error}). Train or "
            "download it again."
        ) from None
    if outside is not None:
        thing, file = outside
        raise SettingsError(
            f"{path}: {name} reads '{thing}' from {file}, outside the bundle and its "
            "hashes. A bundle holds all its weights: export the network without "
            "external data, as 'liveloc train' does."
        )


def _spec(described: bytes, path: Path, names: set[str]) -> ModelSpec:
    """Validate ``model.json``."""
    try:
        data = json.loads(described)
        version = data.get("schema_version")
        if version != SCHEMA:
            raise SettingsError(
                f"{path}: bundle schema {version}, this liveloc reads {SCHEMA}. "
                "Use the version of liveloc that wrote it, or train it again."
            )
        spec = ModelSpec.model_validate(data)
        missing = set(names) ^ set(spec.parts)
    except (ValidationError, AttributeError, ValueError) as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"{path}: model.json is not valid.") from None
    if missing:
        raise SettingsError(
            f"{path}: model.json and the archive differ in {sorted(missing)}."
        )
    return spec


def write_bundle(path: Path, spec: ModelSpec, parts: dict[str, bytes]) -> None:
    """Write a bundle; a crash leaves no half of one under its name.

    Parameters
    ----------
    path : Path
        Usually ``NAME.liveloc``.
    spec : ModelSpec
        Its ``parts`` are filled in here.
    parts : dict[str, bytes]
        The files of `PARTS`, and `PSF_PART` for a measured PSF.
    """
    described = {name: _describe(content) for name, content in parts.items()}
    spec = spec.model_copy(update={"parts": described})
    files = {"model.json": spec.model_dump_json(indent=1).encode(), **parts}
    new = path.with_name(path.name + ".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    new.replace(path)


def _describe(content: bytes) -> Part:
    return Part(nbytes=len(content), sha256=hashlib.sha256(content).hexdigest())
