"""Makes the notebooks ready for git: without outputs, and with the cells about how to get here.

    python notebooks/refresh.py

The badge and the install cell follow `Repository` of [project.urls] in pyproject.toml. While there
is none, they say so and explain what works without it.
"""

import json
import pathlib
import tomllib
from typing import Any

FOLDER = pathlib.Path(__file__).parent
BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
COLAB = "https://colab.research.google.com"
# First line of the cells that this file writes.
START, INSTALL = "<!-- start -->", "# Install"


def repository() -> str:
    """The public address of the project, or an empty text."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["urls"].get("Repository", "")


def start_cell(name: str, url: str) -> str:
    """The badge: it opens the notebook, or Colab where the notebook has no public address."""
    if url:
        place = url.removeprefix("https://github.com/")
        return f"{START}\n{BADGE}({COLAB}/github/{place}/blob/main/notebooks/{name})"
    return (
        f"{START}\n{BADGE}({COLAB})\n\n"
        "The project has no public address yet, so the badge opens an empty Colab: choose "
        '"Upload" there and upload this file, and then a wheel of the package into the '
        "session's files (in a checkout, `pip wheel --no-deps -w dist .` builds it)."
    )


def install_cell(url: str) -> str:
    """Installs the package, unless it is there."""
    source = f'"ipixmatch-jax[demo] @ git+{url}"' if url else '"{wheel}[demo]"'
    find = "" if url else '    (wheel,) = glob.glob("ipixmatch_jax-*.whl")\n'
    return (
        f"{INSTALL} the package if it is not there.\n{'' if url else 'import glob'}\n".lstrip()
        + "import importlib.util\n\n"
        + 'if importlib.util.find_spec("ipixmatch_jax") is None:\n'
        + find
        + f"    %pip install --quiet {source}"
    )


def refreshed(notebook: dict[str, Any], name: str, url: str) -> dict[str, Any]:
    """The notebook without outputs and run numbers, and with the two cells."""
    cells = [dict(cell) for cell in notebook["cells"]]
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if source.startswith(START):
            source = start_cell(name, url)
        elif source.startswith(INSTALL):
            source = install_cell(url)
        cell |= {"id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def text_of(notebook: dict[str, Any]) -> str:
    """The file of a notebook."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(text_of(refreshed(notebook, path.name, repository())), encoding="utf-8")


if __name__ == "__main__":
    main()
