from .attached import Attached as Attached
from .attached import attach as attach
from .bridge import run_bridge as run_bridge
from .control.controller import Controller as Controller
from .control.controller import Reading as Reading
from .following import SequenceFollower as SequenceFollower
from .laser import GuardedLaser as GuardedLaser
from .laser import Laser as Laser
from .laser import MicroManagerLaser as MicroManagerLaser
from .mda import MDAAcquisition as MDAAcquisition
from .mda import load_plan as load_plan
from .micromanager import MicroManagerSource as MicroManagerSource
from .micromanager import open_core as open_core
from .repeat import repeated as repeated
from .settings import BridgeSettings as BridgeSettings
from .simulated import SimulatedMicroscope as SimulatedMicroscope
from .simulated import SimulatedSettings as SimulatedSettings
from .simulated import open_simulated as open_simulated

LOG_VARIABLE: str
