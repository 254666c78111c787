"""The notebooks run, quickly and without network, and are kept without outputs."""

import json
import os

import nbclient
import nbformat
import pytest

from notebooks.refresh import COLAB, install_cell, refreshed, repository, start_cell, text_of
from tests.references import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_both_notebooks_are_tested():
    assert [path.name for path in NOTEBOOKS] == ["own_loop.ipynb", "own_photos.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_as_refresh_writes_it(path):
    """No outputs, no run numbers, and the badge and install cell of today's address."""
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    assert text == text_of(refreshed(notebook, path.name, repository())), (
        f"run: python notebooks/refresh.py ({path.name})"
    )
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)
    sources = ["".join(cell["source"]) for cell in notebook["cells"]]
    assert sources.count(start_cell(path.name, repository())) == 1
    assert sources.count(install_cell(repository())) == 1
    nbformat.validate(nbformat.reads(text, as_version=4))


def test_the_badge_opens_the_notebook_once_there_is_an_address():
    url = "https://github.com/somebody/ipixmatch"
    here = f"({COLAB}/github/somebody/ipixmatch/blob/main/notebooks/own_loop.ipynb)"
    assert here in start_cell("own_loop.ipynb", url)
    assert "no public address" not in start_cell("own_loop.ipynb", url)
    assert f'"ipixmatch-jax[demo] @ git+{url}"' in install_cell(url)
    # Until then nothing points to a place that does not exist.
    nowhere = start_cell("own_loop.ipynb", "")
    assert f"]({COLAB})" in nowhere and "no public address yet" in nowhere
    assert "ipixmatch_jax-*.whl" in install_cell("")


def test_the_readme_has_the_same_address():
    readme, url = (ROOT / "README.md").read_text(encoding="utf-8"), repository()
    assert f"git clone {url or 'URL_OF_THIS_REPOSITORY'} " in readme


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    # The kernel is a process of its own; it finds this checkout, not an installed package.
    # ipywidgets is not ours to ask for: a notebook is as quiet without it.
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "ipywidgets.py").write_text("raise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path / 'without'}")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path / "here")}},
    ).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            # Neither logs nor warnings.
            assert output.get("name") != "stderr", output.text
    assert not list((tmp_path / "here").iterdir())
