"""Movies on disk: TIFF of many programs, .dax, .raw, folders of images, recordings.

One module a format; `opening` chooses among them, ``tiff`` among the writers of TIFF,
and all build on ``pages`` and ``movie``. A movie in several files is read
whole, or refused with the name of the file that is missing.
"""

from __future__ import annotations

from .movie import Movie
from .opening import is_recording, open_movie

__all__ = ["Movie", "is_recording", "open_movie"]
