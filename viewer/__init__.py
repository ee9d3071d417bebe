"""Accumulating and showing the super-resolution image.

Importing this package loads nothing: each public name, listed in ``__init__.pyi``,
brings its own module, and Qt and vispy come with a window.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
