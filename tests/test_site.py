"""The hooks of the documentation's site; CI builds the site itself, with mkdocs build --strict."""

import ast
import importlib.util
import json
import re

import pytest

from notebooks.refresh import install_cell, start_cell
from tests.references import ROOT
from tests.test_docs import PAGES, read

SPEC = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(site)

NAV = set(re.findall(r": ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))


def test_every_page_is_in_the_navigation():
    own = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert own | site.OUTSIDE.keys() | site.REFERENCE.keys() == NAV
    assert {page for page in PAGES if not page.startswith("docs/")} <= {*site.OUTSIDE.values()}


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("index.md", "[a](docs/data.md#benchmarks)", "[a](data.md#benchmarks)"),
        ("index.md", "[a](launch/README.md)", "[a](launch.md)"),
        ("index.md", "![a](docs/images/demo.png)", "![a](images/demo.png)"),
        ("index.md", "[below](#extras)", "[below](#extras)"),
        ("index.md", "[a](https://arxiv.org/abs/1)", "[a](https://arxiv.org/abs/1)"),
        ("quickstart.md", "[a](../README.md#install)", "[a](index.md#install)"),
        ("quickstart.md", "[a](data.md)", "[a](data.md)"),
        ("scaling.md", "[`b`](../bench/scaling.py)", "`b`"),
        ("launch.md", "[`env.sh`](env.sh)", "`env.sh`"),
        ("launch.md", "[a](../docs/scaling.md#x)", "[a](scaling.md#x)"),
        ("contributing.md", "[a](SECURITY.md)", "[a](security.md)"),
        ("notebooks/own_loop.md", "[a](../docs/relations.md)", "[a](../relations.md)"),
        ("index.md", "```\n[a](docs/data.md)\n```", "```\n[a](docs/data.md)\n```"),
    ],
)
def test_links_lead_to_pages(page, text, expected):
    assert site.with_page_links(text, page) == expected


def test_a_notebook_becomes_a_page():
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "markdown", "source": [start_cell("own_loop.ipynb", "")]},
        {"cell_type": "code", "source": [install_cell("")]},
        {"cell_type": "code", "source": ["x = 1\n", "x"]},
    ]
    page = site.notebook_page(json.dumps({"cells": cells}))
    assert page == "# Title\ntext\n\n```python\nx = 1\nx\n```"


def test_the_reference_has_what_the_pages_import():
    modules = {name for _, names in site.REFERENCE.values() for name in names}
    for name in modules:
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), name
    modules.add("ipixmatch_jax")  # its names are those of ipixmatch_jax.api
    missing = set()
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", read(page), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module.startswith("ipixmatch_jax"):
                    missing |= {node.module} - modules
    assert not missing
