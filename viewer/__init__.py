"""Accumulating and showing the super-resolution image.

Importing this package needs NumPy only; Qt and vispy are loaded when a window opens.
"""

from .display import display_available
from .reconstruction import Reconstruction
from .render import Look, Picture

__all__ = ["Look", "Picture", "Reconstruction", "display_available"]
