"""How Sphinx builds the documentation: `scripts/test docs` calls it and counts every warning as an error.

The source is the whole checkout, so that a link in a page is the same link on a forge and on the site, and so that the
READMEs of data, benchmarks and teacher are pages of the site where they lie.
"""

from docutils import nodes
from docutils.utils.math import latex2mathml

project = "Self-Distillation"
copyright = "the Self-Distillation authors, Apache-2.0"
html_title = "Self-Distillation"
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "docs/*.ipynb",
    "data/*/README.md",
    "scripts/bench/README.md",
    "teacher/README.md",
    "C*.md",
]
exclude_patterns = [".*", "docs/_build", "outputs", "tests", "trainer", "docker", "**/.bench"]

extensions = ["myst_nb"]  # pages of Markdown, and the notebook as it was executed
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_theme = "furo"
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathml"
highlight_language = "text"
smartquotes = False  # a flag in a sentence keeps its two dashes


def visit_math(translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers show without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(str(latex2mathml.tex2mathml(node.astext(), as_block=block)))
    raise nodes.SkipNode


def setup(app) -> dict[str, bool]:
    """Make the renderer of formulas known to Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(visit_math, None), block_renderers=(visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
