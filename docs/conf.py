"""How Sphinx builds the documentation: `tox run -e docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from coinfer import __version__

project = "coinfer"
author = "The coinfer authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_pages"]
exclude_patterns = ["_ext"]
myst_heading_anchors = 3

# Single backquotes are code, as in Markdown.
default_role = "code"
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_default_options = {"ignore-module-all": True}
python_use_unqualified_type_names = True
# Classes of one name in two modules: an annotation says only the name.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"coinfer {release}"
html_show_sourcelink = False
html_show_copyright = False
