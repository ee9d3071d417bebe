from .bridge import run_bridge as run_bridge
from .camera.attach import Attached as Attached
from .camera.attach import attach as attach
from .camera.mda import MDAAcquisition as MDAAcquisition
from .camera.mda import load_plan as load_plan
from .camera.repeat import repeated as repeated
from .camera.sequence_follower import SequenceFollower as SequenceFollower
from .camera.sequence_source import MicroManagerSource as MicroManagerSource
from .camera.sequence_source import open_core as open_core
from .control.laws.controller import Controller as Controller
from .control.laws.controller import Reading as Reading
from .laser.laser import GuardedLaser as GuardedLaser
from .laser.laser import Laser as Laser
from .laser.laser import MicroManagerLaser as MicroManagerLaser
from .settings import BridgeSettings as BridgeSettings
from .simulated import SimulatedMicroscope as SimulatedMicroscope
from .simulated import SimulatedSettings as SimulatedSettings
from .simulated import open_simulated as open_simulated

LOG_VARIABLE: str
