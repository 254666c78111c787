"""Hooks of mkdocs: pages from files outside docs/, the API reference, and links between them.

mkdocs.yml names this file. The pages read well on a repository's page as they are; here their links
to other files of the repository become links to pages of the site, or plain text where there is no
page.
"""

import json
import pathlib
import posixpath
import re

ROOT = pathlib.Path(__file__).parent.parent

# Page of the site -> file of the repository, for files outside docs/.
OUTSIDE = {
    "index.md": "README.md",
    "launch.md": "launch/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "notebooks/own_photos.md": "notebooks/own_photos.ipynb",
    "notebooks/own_loop.md": "notebooks/own_loop.ipynb",
}

# Page of the site -> title, and the modules whose public names it lists.
REFERENCE = {
    "reference/package.md": (
        "Train, evaluate, predict",
        ("ipixmatch_jax.api", "ipixmatch_jax.predictor", "ipixmatch_jax.errors"),
    ),
    "reference/config.md": (
        "Config",
        (
            "ipixmatch_jax.config",
            "ipixmatch_jax.keys",
            "ipixmatch_jax.config_files",
            "ipixmatch_jax.config_files.demo",
            "ipixmatch_jax.config_files.folder",
        ),
    ),
    "reference/losses.md": ("Losses", ("ipixmatch_jax.losses",)),
    "reference/methods.md": (
        "Methods",
        (
            "ipixmatch_jax.methods",
            "ipixmatch_jax.methods.base",
            "ipixmatch_jax.methods.one_strong_view",
        ),
    ),
    "reference/models.md": (
        "Models",
        (
            "ipixmatch_jax.models",
            "ipixmatch_jax.models.torch_bridge",
            "ipixmatch_jax.models.create",
            "ipixmatch_jax.models.encoder_decoder",
            "ipixmatch_jax.models.input_channels",
            "ipixmatch_jax.models.layers",
        ),
    ),
    "reference/views.md": ("Views", ("ipixmatch_jax.views",)),
    "reference/data.md": (
        "Data",
        (
            "ipixmatch_jax.data",
            "ipixmatch_jax.data.records",
            "ipixmatch_jax.data.catalog",
            "ipixmatch_jax.data.importers.found",
        ),
    ),
    "reference/command.md": ("Command line", ("ipixmatch_jax.main", "ipixmatch_jax.registry")),
}

# First lines of cells: a badge from another server, and the installation.
NOT_ON_THE_SITE = ("<!-- start -->", "# Install")

_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files, config):
    """Adds the pages that are no files of docs/."""
    from mkdocs.structure.files import File  # late: the tests do not need mkdocs

    for page, source in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = notebook_page(text) if source.endswith(".ipynb") else text
        files.append(File.generated(config, page, content=text))
    for page, (title, modules) in REFERENCE.items():
        parts = [f"# {title}", *(f"## {name}\n\n::: {name}" for name in modules)]
        files.append(File.generated(config, page, content="\n\n".join(parts)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between files of the repository into links between pages."""
    return with_page_links(markdown, page.file.src_uri)


def notebook_page(text: str) -> str:
    """The cells of a notebook as Markdown, without those about how to open and install it."""
    blocks = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if source.startswith(NOT_ON_THE_SITE):
            continue
        code = cell["cell_type"] == "code"
        blocks.append(f"```python\n{source}\n```" if code else source)
    return "\n\n".join(blocks)


def with_page_links(markdown: str, page: str) -> str:
    """The text of a page with its relative links as the site needs them.

    Args:
        markdown: the text.
        page: path of the page in the site's sources.
    """
    pages = {source: target for target, source in OUTSIDE.items()}
    folder = posixpath.dirname(OUTSIDE.get(page, f"docs/{page}"))

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, hash_sign, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return match[0]
        source = posixpath.normpath(posixpath.join(folder, path))
        found = pages.get(source, source.removeprefix("docs/"))
        of_docs = source.startswith("docs/") and source.endswith((".md", ".png"))
        if source not in pages and not of_docs:
            return text  # a file that is no page
        here = posixpath.dirname(page) or "."
        return f"[{text}]({posixpath.relpath(found, here)}{hash_sign}{anchor})"

    parts = _FENCED.split(markdown)
    return "".join(p if p.startswith("```") else _LINK.sub(replaced, p) for p in parts)
