"""Micro-Manager through pymmcore-plus, lasers, and the simulated microscope.

Importing this package loads nothing: each public name, listed in ``__init__.pyi``,
brings its own module, and Micro-Manager comes with a camera.
"""

import os
import tempfile
from pathlib import Path

import lazy_loader
from platformdirs import user_data_dir

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

LOG_VARIABLE = "PYMM_LOG_FILE"


def _name_a_log() -> None:
    """Name another log file where pymmcore-plus could not make its own.

    It makes one in the user's folder when it is imported, and fails where it cannot.
    """
    if LOG_VARIABLE in os.environ:
        return
    folder = Path(user_data_dir("pymmcore-plus")) / "logs"
    there = next(one for one in (folder, *folder.parents) if os.path.exists(one))
    if not os.access(there, os.W_OK):
        user = os.environ.get("USER") or os.environ.get("USERNAME") or "user"
        name = f"pymmcore-plus-{user}.log"
        os.environ[LOG_VARIABLE] = str(Path(tempfile.gettempdir()) / name)


_name_a_log()
