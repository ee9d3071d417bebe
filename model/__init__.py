"""From frames to localizations: physics, networks, training, the engine.

Importing this package loads nothing: each public name, listed in ``__init__.pyi``,
brings its own module. Only ``model.training`` needs torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
