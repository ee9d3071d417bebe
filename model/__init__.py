"""From frames to localizations: physics, networks, training, the engine.

Here is what needs NumPy only: physics, emitters, metrics. What localizes is in
``bundle``, ``backend``, ``localizer``, ``engine`` and ``fitting``; what needs torch in
``network``, ``simulation``, ``training`` and ``export``.
"""

from .camera import NumpyNoise, expose
from .emitters import Geometry, Thresholds, find_emitters
from .metrics import Score, evaluate, match
from .psf import AstigmaticPSF, Defocus, DoubleHelixPSF, GaussianPSF, SplinePSF

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
