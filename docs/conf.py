"""How these documents become a site: ``python -m tests.site FOLDER`` builds it, with warnings as errors.

Sphinx, MyST and Furo, all in active development. The docstrings are written in Sphinx's roles, so that a link from one
to another that leads nowhere is an error here. Every page also reads as plain Markdown where it lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sphinx.util.inspect import TypeAliasForwardRef

from modelarchive.version import VERSION

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project: Final = "modelarchive"
author: Final = "The modelarchive authors"
project_copyright: Final = "The modelarchive authors, Apache-2.0"
release: Final = VERSION
version: Final = VERSION

extensions: Final = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors: Final = 4
smartquotes_action: Final = "D"  # dashes; what is quoted is typed as it stands
default_role: Final = "code"  # `x` in a docstring is an argument's name

# Signatures show types as they are written, not what NumPy's aliases stand for.
autodoc_typehints_format: Final = "short"
# Inside of other types, too, an alias is shown by its name.
TypeAliasForwardRef.__repr__ = lambda self: str(self.name)  # type: ignore[method-assign]
autodoc_type_aliases: Final = {name: name for name in ("ArrayLike", "DTypeLike", "Array", "Patterns", "Source")}
autodoc_member_order: Final = "bysource"
python_use_unqualified_type_names: Final = True
python_maximum_signature_line_length: Final = 90
napoleon_use_rtype: Final = False

nitpicky: Final = True
#: What belongs to other libraries is named, not linked, as the site is built without the network; and what is no
#: public name.
nitpick_ignore_regex: Final = [
    ("py:.*", r"(numpy|np|os|collections|typing)\..*|modelarchive\.nn\.trials\..*"),
    ("py:class", r"modelarchive\.store\.deferred\.(Extent|Origin)"),
]

html_theme: Final = "furo"
html_title: Final = "modelarchive"
html_copy_source: Final = False
html_static_path: Final = ["static"]
html_css_files: Final = ["site.css"]
html_theme_options: Final = {
    "source_repository": "https://github.com/modelarchive/modelarchive/",
    "source_branch": "main",
    "source_directory": "docs/",
}


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _plain)
    app.connect("missing-reference", _of_another_module)
    app.connect("warn-missing-reference", _is_a_type)


def _plain(app: Sphinx, what: str, name: str, item: Any, options: Any, signature: str | None, returns: Any) -> Any:
    """What a dataclass makes when it is asked is no expression, and stops links in the rest of its signature."""
    return signature and signature.replace("<factory>", "..."), returns


def _of_another_module(app: Sphinx, env: Any, node: Any, text: Any) -> Any:
    """What a docstring names as its own module has it, and this site as a part of the public module."""
    if node.get("refdomain") != "py" or node.get("refspecific"):
        return None
    found = node.deepcopy()
    found["refspecific"] = True
    python = env.domains["py"]
    return python.resolve_xref(env, node["refdoc"], app.builder, found["reftype"], found["reftarget"], found, text)


def _is_a_type(app: Sphinx, domain: Any, node: Any) -> bool | None:
    """Types in signatures need not be a part of this site; what a text refers to must be. True: no warning."""
    while node is not None:
        if node.tagname == "desc_signature":
            return True
        node = node.parent
    return None
