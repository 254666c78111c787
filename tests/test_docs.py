"""Files, modules, links, commands, flags and keys that the documents name exist."""

import ast
import importlib
import re
import shlex

import pytest

from ipixmatch_jax.cli.flags import parsed_arguments
from ipixmatch_jax.config import default_config, flatten
from ipixmatch_jax.config.loading import set_overrides
from tests.references import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "launch/*.md")
    for path in ROOT.glob(pattern)
)
# Top folders whose paths a page may name.
TOPS = ("ipixmatch_jax", "tests", "bench", "configs", "launch", "docs", r"\.ci", r"\.github")
PATH = re.compile(rf"(?<![\w./\-:])((?:{'|'.join(TOPS)})/[\w./\-]*)(?![\w*…{{<])")
CODE = re.compile(r"```.*?```", re.DOTALL)
WIDTH = 100
PACKAGE = ROOT / "ipixmatch_jax"
# The data set that docs/architecture.md adds.
EXAMPLE_KEYS = {"data.squares.scenes"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def spans(text: str) -> list[str]:
    """The inline code of a page."""
    return re.findall(r"`([^`\n]+)`", CODE.sub("", text))


def modules_named(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w./\-])((?:ipixmatch_jax|bench)(?:\.[A-Za-z_]\w*)+)", text))


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of this repository, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:length])
        if path.with_suffix(".py").exists() or (path / "__init__.py").exists():
            break
    else:
        return False
    rest = parts[length:]
    if not rest:
        return True
    value = importlib.import_module(".".join(parts[:length]))
    for attribute in rest:
        if not hasattr(value, attribute):
            return False
        value = getattr(value, attribute)
    return True


def test_every_page_is_checked():
    assert {"README.md", "CONTRIBUTING.md", "docs/architecture.md", "launch/README.md"} <= {*PAGES}


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page):
    text = read(page)
    named = {path.rstrip(".") for path in PATH.findall(text)}
    missing = sorted(path for path in named if not (ROOT / path).exists())
    # `room/file.py` is a file of the package.
    short = {code for code in spans(text) if re.fullmatch(r"\w+(/\w+)*/\w+\.py", code)}
    missing += sorted(
        code
        for code in short
        if not any((base / code).exists() for base in (ROOT, ROOT / "ipixmatch_jax"))
    )
    assert not missing, f"{page} names files that do not exist: {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_modules_and_their_attributes_exist(page):
    missing = sorted(name for name in modules_named(read(page)) if not resolves(name))
    assert not missing, f"{page} names what cannot be imported: {missing}"


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", CODE.sub("", text), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES)
def test_relative_links_resolve(page):
    broken = []
    for link in re.findall(r"\]\(<?([^)>\s]+)>?(?: \"[^\"]*\")?\)", CODE.sub("", read(page))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        if not target.exists():
            broken.append(link)
        elif anchor and target.suffix == ".md" and anchor not in anchors(target.read_text()):
            broken.append(link)
    assert not broken, f"{page} has broken links: {broken}"


@pytest.mark.parametrize("page", PAGES)
def test_prose_fits_the_width(page):
    """Tables, headings, code and lines that are one link are exempt."""
    text = CODE.sub(lambda block: "\n" * block[0].count("\n"), read(page))
    long = [
        f"{page}:{number}: {len(line)} columns"
        for number, line in enumerate(text.splitlines(), 1)
        if len(line) > WIDTH
        and not line.startswith(("|", "#", "    "))
        and not re.fullmatch(r"[\s\-*>]*(\[[^\]]*\]\(\S+\)|<?https?://\S+>?)[.,;:]?", line)
    ]
    assert not long, "\n".join(long)


def commands(text: str) -> list[list[str]]:
    """The shell commands of a page's blocks of code, as words, without comments and settings."""
    found = []
    for language, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL):
        if language not in ("bash", "sh", "console"):
            continue
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            for part in re.split(r"\s(?:&&|\|)\s", line):
                words = shlex.split(part, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                found.append(words)
    return [words for words in found if words]


def arguments_of_the_program(words: list[str]) -> list[str] | None:
    """What a command passes to `ipixmatch`, or None for another program."""
    if words[0] == "ipixmatch":
        return words[1:]
    if words[:2] == ["python", "-m"] and words[2] in ("ipixmatch_jax", "ipixmatch_jax.main"):
        return words[3:]
    if words[0].startswith("launch/") and "--" in words:
        return words[words.index("--") + 1 :]
    return None


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page, capsys):
    wrong = []
    for words in commands(read(page)):
        argv = arguments_of_the_program(words)
        if argv is None or "…" in argv:
            continue
        try:
            arguments, overrides = parsed_arguments(argv)
        except SystemExit:
            wrong.append(f"{' '.join(words)}: {capsys.readouterr().err}")
            continue
        unknown = [word for word in overrides if not word.startswith(("--config.", "--jax_"))]
        if unknown:
            wrong.append(f"{' '.join(words)}: {unknown}")
        keys = [word for word in overrides if word.startswith("--config.")]
        wrong += set_overrides(default_config(), keys)
        name = (arguments.config or "").partition(":")[0]
        if name.startswith("configs/") and not (ROOT / name).is_file():
            wrong.append(f"{' '.join(words)}: no {name}")
        elif re.fullmatch(r"\w+", name) and not (PACKAGE / "config_files" / f"{name}.py").is_file():
            wrong.append(f"{' '.join(words)}: no packaged config {name}")
    assert not wrong, "\n".join(wrong)


def flags_of_module(name: str) -> set[str]:
    """The flags of a command of this repository, and of the modules that it imports from here."""
    place = ROOT.joinpath(*name.split("."))
    text = (place / "__main__.py" if place.is_dir() else place.with_suffix(".py")).read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            names = (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
            files = (ROOT.joinpath(*each.split(".")).with_suffix(".py") for each in names)
            text += "".join(file.read_text() for file in files if file.is_file())
    return set(re.findall(r"\"(--[a-z][\w-]*)\"", text))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_other_modules_have_their_flags(page):
    wrong = []
    lines = [shlex.join(words) for words in commands(read(page))]
    lines += [code for code in spans(read(page)) if code.startswith("python -m ")]
    for line in lines:
        match = re.match(r"python -m ((?:bench|ipixmatch_jax\.data)[\w.]*)\s?(.*)", line)
        if match:
            known = flags_of_module(match[1])
            used = {word.partition("=")[0] for word in match[2].split() if word.startswith("--")}
            wrong += [f"{line}: {flag}" for flag in used - known]
    assert not wrong, "\n".join(wrong)


# Flags of other programs that a page may name.
FOREIGN = {"--help", "--no-deps", "--resolution", "--gpus-per-task", "--strict"}


@pytest.fixture(scope="module")
def every_flag() -> set[str]:
    files = [
        path for room in ("ipixmatch_jax", "bench", "launch") for path in ROOT.glob(f"{room}/**/*")
    ]
    files += list((ROOT / "tests" / "references").glob("*.py"))
    texts = [
        path.read_text() for path in files if path.suffix in (".py", ".sh", ".sbatch", ".yaml")
    ]
    return {flag for text in texts for flag in re.findall(r"(--[a-z][\w-]*)", text)} | FOREIGN


@pytest.mark.parametrize("page", PAGES)
def test_flags_exist(page, every_flag):
    """Of inline code; `test_commands_parse` is strict about whole commands."""
    named = {
        flag for code in spans(read(page)) for flag in re.findall(r"(?<!\S)--[a-z][\w-]*", code)
    }
    unknown = {flag for flag in named - every_flag if flag.replace("_", "-") not in every_flag}
    assert not unknown, f"{page} names flags that no program here has: {sorted(unknown)}"


@pytest.mark.parametrize("page", PAGES)
def test_python_examples_compile_and_their_imports_exist(page):
    missing = []
    for block in re.findall(r"```python\n(.*?)```", read(page), re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ipixmatch_jax"):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                missing += [name for name in names if not resolves(name)]
    assert not missing, f"{page} imports what does not exist: {missing}"


def docstrings(path) -> list[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, documented)]


def test_docstrings_say_raises():
    paths = [
        path
        for room in ("ipixmatch_jax", "bench", "tests")
        for path in ROOT.glob(f"{room}/**/*.py")
    ]
    wrong = [
        f"{path.relative_to(ROOT)}: {text[:60]}"
        for path in paths
        for text in docstrings(path)
        if re.search(r"^\s*(Errors|Exceptions|Throws|Raise):", text, re.MULTILINE)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES)
def test_keys_of_the_config_exist(page):
    keys = set(dict(flatten(default_config())))
    groups = {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 1)}
    text = read(page)
    named = set(re.findall(r"--config\.([\w.]*\w)", text))
    for code in spans(text):
        key, is_set, _ = code.partition("=")
        group = key.partition(".")[0]
        # Guides write keys of the top level as KEY=VALUE; elsewhere that may be a Python argument.
        in_guide = bool(is_set) and page in ("docs/tuning.md", "docs/quickstart.md")
        if re.fullmatch(r"[a-z_0-9.]+", key) and (in_guide or "." in key and group in groups):
            named.add(key)
    files = (".md", ".py", ".json", ".txt")
    unknown = {
        key
        for key in named - keys - groups - EXAMPLE_KEYS - {"KEY"}
        if not key.endswith(files)
        and not re.match(r"(method|model|relation)\.options\b", key)
        # Rooms share their names with groups: `views.intensity` is a module.
        and not resolves(f"ipixmatch_jax.{key}")
    }
    assert not unknown, f"{page} names keys that do not exist: {sorted(unknown)}"
