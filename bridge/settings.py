"""Settings of a bridge: camera, laser, control, and where frames go."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from liveloc.stream.session.settings import ControlSection, LaserSection
from liveloc.stream.sockets.endpoints import FRAMES_AT

from .camera.setup import CameraSettings
from .control.laws.registry import check_options
from .simulated import LASER, POWER_PROPERTY, SimulatedSettings

if TYPE_CHECKING:
    from pathlib import Path

    from liveloc.stream.frames import Policy
    from liveloc.stream.session.settings import SessionSettings
    from liveloc.stream.sockets.session_key import SessionKey

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """What `run_bridge` does.

    Attributes
    ----------
    simulated : SimulatedSettings, optional
        The simulated microscope; None uses `camera.config`.
    camera : CameraSettings
        Camera, how many frames it takes, and what its counts mean.
    laser : LaserSection, optional
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
        Key that the engine must prove to know.
    """

    simulated: SimulatedSettings | None = None
    camera: CameraSettings = field(default_factory=CameraSettings)
    laser: LaserSection | None = None
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
        if simulated is not None:
            laser = laser_of(simulated, laser)
        check_options(settings.control.law, settings.control.options)
        return cls(
            simulated=simulated,
            camera=CameraSettings(**camera.model_dump()),
            laser=laser if laser.device is not None else None,
            control=settings.control,
            endpoint=stream.frames_endpoint or FRAMES_AT,
            without_engine=without_engine,
            policy=stream.policy,
            session=folder,
            record=stream.record,
            key=key,
        )


def laser_of(
    microscope: SimulatedSettings, laser: LaserSection | None = None
) -> LaserSection:
    """Name the activation laser of the simulated microscope where none is named."""
    laser = laser or LaserSection()
    named = {
        "device": laser.device or LASER,
        "property": laser.property or POWER_PROPERTY,
        "power": microscope.power_mw if laser.power is None else laser.power,
    }
    return laser.model_copy(update=named)


def _simulated(settings: SessionSettings) -> SimulatedSettings:
    """Take the simulated microscope's part of a session's settings."""
    camera = settings.camera
    known = {"pixel_size_nm": camera.pixel_size_nm, "exposure_ms": camera.exposure_ms}
    given = {name: value for name, value in known.items() if value is not None}
    return SimulatedSettings(**settings.simulation.model_dump(), **given)
