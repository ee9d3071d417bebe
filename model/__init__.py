"""From frames to localizations: physics, networks, training, the engine.

Importing this package loads nothing: each public name, listed in ``__init__.pyi``,
brings its own module. Only ``model.training`` needs torch. Order of imports: commands >
engine, fitting, training > calibration, evaluation > modules of this folder > physics.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
