"""What the bridge is told: camera, laser, where frames go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from liveloc.stream.session.settings import ControlSection
from liveloc.stream.sockets.endpoints import FRAMES_AT

from .camera.setup import CameraSettings
from .control.laws.registry import check_options
from .simulated import LASER, POWER_PROPERTY, SimulatedSettings

if TYPE_CHECKING:
    from pathlib import Path

    from liveloc.stream.frames import Policy
    from liveloc.stream.session.settings import SessionSettings, ShutterSection
    from liveloc.stream.sockets.session_key import SessionKey

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class LaserSettings:
    """Which laser, how bright, and how bright at most; see `GuardedLaser`.

    Attributes
    ----------
    device, prop : str
        Device and property of the core.
    power : float
        While the engine is connected and nothing else is wanted, in `unit`.
    settle_s : float
        See `LaserInterlock`.
    guard : dict
        See `control.guard.GuardOptions`.
    shutter : ShutterSection, optional
        See `ShutterWatch`.
    """

    device: str
    prop: str
    power: float
    unit: str = "mW"
    lowest: float | None = None
    highest: float | None = None
    safe: float | None = None
    settle_s: float = 0.0
    guard: dict[str, Any] = field(default_factory=dict)
    shutter: ShutterSection | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """What `run_bridge` does.

    Attributes
    ----------
    simulated : SimulatedSettings, optional
        The simulated microscope; None uses `camera.config`.
    camera : CameraSettings
        Camera, how many frames it takes, and what its counts mean.
    laser : LaserSettings, optional
        None touches no laser; the simulated microscope's own is then on at its
        default power.
    control : ControlSection
        How the laser follows the density of emitters, and when to end.
    endpoint : str
        Where the engine listens.
    without_engine : bool
        Only record: nothing is sent, and the laser is on while the camera runs.
    wait_for_engine_s : float
        How long to wait for the engine before the camera starts, with or without.
    policy : {"block", "drop_block", "stop"}
        What happens to a frame that finds no room on the way to the engine.
    session : Path, optional
        Folder for the recording and the truth of a simulated session.
    record : bool
        Keep every frame in ``SESSION/stream``.
    send_queue_bytes, record_queue_bytes : int
        Bounds of the two queues.
    key : SessionKey, optional
        What the engine has to know before it gets frames and is believed.
    """

    simulated: SimulatedSettings | None = None
    camera: CameraSettings = field(default_factory=CameraSettings)
    laser: LaserSettings | None = None
    control: ControlSection = field(default_factory=ControlSection)
    endpoint: str = FRAMES_AT
    without_engine: bool = False
    wait_for_engine_s: float = 10.0
    policy: Policy = "drop_block"
    session: Path | None = None
    record: bool = False
    send_queue_bytes: int = 256 * MIB
    record_queue_bytes: int = 256 * MIB
    key: SessionKey | None = None

    @classmethod
    def from_session(
        cls,
        settings: SessionSettings,
        folder: Path | None,
        *,
        without_engine: bool = False,
        key: SessionKey | None = None,
    ) -> BridgeSettings:
        """Take the bridge's part of a session's settings; `folder` is its session's.

        Raises
        ------
        SettingsError
            Numbers that make no microscope, a camera file that cannot be read, or a
            control law or option that does not exist.
        """
        camera, laser, stream = settings.camera, settings.laser, settings.stream
        simulated = _simulated(settings) if camera.config == "simulated" else None
        device, prop, power = laser.device, laser.property, laser.power
        if simulated is not None:
            device, prop = device or LASER, prop or POWER_PROPERTY
            power = simulated.power_mw if power is None else power
        lit = device is not None
        check_options(settings.control.law, settings.control.options)
        return cls(
            simulated=simulated,
            camera=CameraSettings(**camera.model_dump()),
            laser=LaserSettings(
                device=device or "",
                prop=prop or "",
                power=laser.safe if power is None else power,
                unit=laser.unit,
                lowest=laser.lowest,
                highest=laser.highest,
                safe=laser.safe,
                settle_s=laser.settle_s,
                guard=laser.guard(),
                shutter=laser.shutter,
            )
            if lit
            else None,
            control=settings.control,
            endpoint=stream.frames_endpoint or FRAMES_AT,
            without_engine=without_engine,
            policy=stream.policy,
            session=folder,
            record=stream.record,
            key=key,
        )


def _simulated(settings: SessionSettings) -> SimulatedSettings:
    """Take the simulated microscope's part of a session's settings."""
    camera = settings.camera
    known = {"pixel_size_nm": camera.pixel_size_nm, "exposure_ms": camera.exposure_ms}
    given = {name: value for name, value in known.items() if value is not None}
    return SimulatedSettings(**settings.simulation.model_dump(), **given)
