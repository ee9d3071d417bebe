"""Frames and localizations: their vocabulary, how they travel, and how they are kept.

Importing this package loads nothing: each public name, listed in ``__init__.pyi``,
brings its own module.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
