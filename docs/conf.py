"""The documentation site: ``python -m sphinx -W -b html docs build/docs``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reference

from liveloc import __version__

project = "liveloc"
author = "The liveloc developers"
copyright = author
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"liveloc {release}"
html_show_copyright = False
default_role = "code"
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types are in the docstrings, with units and shapes
suppress_warnings = ["ref.python"]  # "shape" in a type is a word, not a link


def setup(app):
    """Put what the code says into the reference pages."""

    def fill(_app, _name, source):
        source[0] = reference.fill(source[0])

    app.connect("source-read", fill)
