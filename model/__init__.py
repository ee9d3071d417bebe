"""From frames to localizations: physics, networks, training, the engine.

Here is what localizes: ``bundle``, ``backend``, ``localizer``, ``emitters``,
``fitting`` and ``engine``. Beside it, in folders of their own: ``physics``,
``calibration``, ``training`` (the only one that needs torch) and ``evaluation``.
"""

from .emitters import Geometry, Thresholds, find_emitters
from .evaluation.metrics import Score, evaluate, match
from .physics.camera import NumpyNoise, expose
from .physics.psf import AstigmaticPSF, Defocus, DoubleHelixPSF, GaussianPSF, SplinePSF

__all__ = [
    "AstigmaticPSF",
    "Defocus",
    "DoubleHelixPSF",
    "GaussianPSF",
    "Geometry",
    "NumpyNoise",
    "Score",
    "SplinePSF",
    "Thresholds",
    "evaluate",
    "expose",
    "find_emitters",
    "match",
]
