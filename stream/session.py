"""The settings of a session: one YAML file, checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from .calibration import CameraCalibration
from .settings import check, load_yaml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
SETTINGS_FILE = "session.yaml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraSection(_Section):
    """Which camera, and what its counts mean.

    Attributes
    ----------
    config : str
        ``simulated``, ``demo``, or the path of a Micro-Manager ``.cfg``.
    device : str, optional
        Camera label; the configuration's own camera if not given.
    roi : (x, y, width, height), optional
        Pixels of the chip; the camera's present ROI if not given.
    frames : int
        0 goes on until stopped.
    offset_adu, e_per_adu : float, optional
        Give both, or neither: then they are estimated from the first frames.
    """

    config: str = "simulated"
    device: str | None = None
    roi: tuple[int, int, int, int] | None = None
    exposure_ms: Positive | None = None
    frames: Annotated[int, Field(ge=0)] = 0
    pixel_size_nm: Positive | None = None
    offset_adu: NotNegative | None = None
    e_per_adu: Positive | None = None
    em_gain: Positive = 1.0
    qe: Annotated[float, Field(gt=0, le=1)] = 1.0
    read_noise_e: NotNegative = 1.6

    @property
    def calibration(self) -> CameraCalibration | None:
        """None asks for an estimate from the frames."""
        if self.offset_adu is None or self.e_per_adu is None:
            return None
        return CameraCalibration(
            offset_adu=self.offset_adu,
            e_per_adu=self.e_per_adu,
            em_gain=self.em_gain,
            qe=self.qe,
            read_noise_e=self.read_noise_e,
        )


class SimulationSection(_Section):
    """The simulated microscope; see ``bridge.simulated.SimulatedSettings``."""

    shape: tuple[int, int] = (128, 128)
    seed: Annotated[int, Field(ge=0)] = 1
    density_per_um2: NotNegative = 0.2
    photons: Positive = 2500.0
    background: NotNegative = 10.0


class LaserSection(_Section):
    """The activation laser: a property of a device, inside fixed limits.

    Attributes
    ----------
    device, property : str, optional
        Without a device no laser is touched. The simulated microscope has its own.
    power, safe, lowest, highest : float
        In `unit`. `safe` is what the laser falls to when anything ends or fails.
    """

    device: str | None = None
    property: str | None = None
    power: NotNegative | None = None
    safe: NotNegative = 0.0
    lowest: NotNegative = 0.0
    highest: Positive | None = None
    unit: str = "mW"


class StreamSection(_Section):
    """How frames travel and whether they are kept.

    Attributes
    ----------
    frames_endpoint, localizations_endpoint : str
        ZeroMQ addresses; loopback only.
    policy : {"drop_block", "stop"}
        What happens to frames that the engine has no room for.
    record : bool
        Keep every frame next to the results, before anything is shed.
    """

    frames_endpoint: str = "tcp://127.0.0.1:5555"
    localizations_endpoint: str = "tcp://127.0.0.1:5556"
    policy: Literal["drop_block", "stop"] = "drop_block"
    record: bool = False


class EngineSection(_Section):
    """What localizes.

    Attributes
    ----------
    model : str
        Name of a shipped bundle, or path of a ``.liveloc`` file.
    max_batch : int
        Most frames taken from the ring at once.
    """

    model: str = "gaussian-2d"
    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    ring_frames: Annotated[int, Field(ge=8, le=65536)] = 256


class ViewerSection(_Section):
    """What is shown."""

    super_pixel_nm: Positive = 20.0


class SessionSettings(_Section):
    """Everything a session runs with; written next to its results."""

    camera: CameraSection = CameraSection()
    simulation: SimulationSection = SimulationSection()
    laser: LaserSection = LaserSection()
    stream: StreamSection = StreamSection()
    engine: EngineSection = EngineSection()
    viewer: ViewerSection = ViewerSection()

    @classmethod
    def load(cls, path: Path) -> SessionSettings:
        """Read a session file, or the one in a session's folder.

        Raises
        ------
        SettingsError
            One line that names the file, the key and the remedy.
        """
        path = Path(path)
        return load_yaml(path / SETTINGS_FILE if path.is_dir() else path, cls)

    def changed(self, where: str = "command line", **values: Any) -> SessionSettings:
        """Override single values, named ``section__key``; None changes nothing."""
        data = self.model_dump()
        for name, value in values.items():
            section, key = name.split("__")
            if value is not None:
                data[section][key] = value
        return check(data, SessionSettings, where)

    def save(self, folder: Path) -> Path:
        """Write the settings as run into a session's folder."""
        path = folder / SETTINGS_FILE
        text = yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path
