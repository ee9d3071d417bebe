"""Accumulating and showing the super-resolution image.

Importing this package loads nothing: each name brings its own module, and Qt and vispy
come with a window.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
_HOMES = {
    "Document": "document",
    "Look": "render",
    "Picture": "render",
    "Reconstruction": "reconstruction",
    "Selection": "selection",
    "Viewport": "viewport",
    "display_available": "display",
    "save_picture": "export",
    "save_table": "export_table",
}


def __getattr__(name: str) -> Any:
    """Load the module of a name when it is asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
