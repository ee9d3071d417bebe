"""Accumulating and showing the super-resolution image.

Importing this package loads no Qt and no vispy: these come with a window.
"""

from .display import display_available
from .document import Document
from .export import save_picture
from .export_table import save_table
from .reconstruction import Reconstruction
from .render import Look, Picture
from .selection import Selection
from .viewport import Viewport

__all__ = [
    "Document",
    "Look",
    "Picture",
    "Reconstruction",
    "Selection",
    "Viewport",
    "display_available",
    "save_picture",
    "save_table",
]
