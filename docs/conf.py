"""The documentation site: `just docs` builds it."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path += map(str, [Path(__file__).parent / "_extensions", Path(__file__).parents[1]])  # the other: for `tests.cases`

project = "dagster-gcf-pipes"
author = "the dagster-gcf-pipes authors"
copyright = author  # noqa: A001  # Sphinx's name
version = release = version_of(project)
repository = "https://github.com/dagster-gcf-pipes/dagster-gcf-pipes"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
    "from_code",
]
smartquotes_action = "D"  # dashes only: quoted values stay as they are
default_role = "code"  # docstrings write `name`, as Markdown does
nitpicky = True
# types of other packages, and of ours in signatures: there is no network for their inventories
nitpick_ignore_regex = [("py:.*", r"(?!dagster_gcf_pipes\.\w+$|gcf_pipes\.\w+$).*")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_url_schemes = {
    "http": None,
    "https": None,
    "mailto": None,
    "source": f"{repository}/blob/main/{{{{path}}}}",  # a file of the repository
}

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"

html_theme = "furo"
html_title = project
html_baseurl = "https://dagster-gcf-pipes.github.io/dagster-gcf-pipes/"
html_static_path = ["_static"]
html_extra_path = ["protocol"]  # the JSON Schemas, where their `$id`s say
html_css_files = ["errors.css"]
html_js_files = ["search.js"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
}
