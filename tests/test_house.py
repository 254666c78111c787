"""Rules of the source tree: which room imports which, and lengths of files."""

import ast
import pathlib
import subprocess
import sys

import pytest

from tests.references import ROOT

PACKAGE = ROOT / "ipixmatch_jax"
DEVICE_ROOMS = ("losses", "views", "models", "methods")
DEVICE_SIDE = {"jax", "flax", "optax", "numpy"}
# Which rooms a room may import; everything may import errors, keys, registry, paths and screen.
OWN = {
    "losses": set(),
    "views": set(),
    "models": set(),
    "data": {"web"},
    "methods": {"losses", "views", "models"},
    "engine": {"methods", "losses", "views", "models"},
    "weights": {"models"},
    "devices": {"engine"},
    "workdir": {"engine", "devices"},
    "tracking": {"engine", "devices", "workdir"},
    "config": {
        *("losses", "models", "methods", "data", "engine", "devices"),
        *("workdir", "tracking", "weights", "build", "config_files"),
    },
    "web": set(),
    "cli": set(),
    "run": {
        *("models", "data", "engine", "devices", "weights", "workdir", "tracking"),
        *("config", "viz", "outputs"),
    },
    "photo_files": {"data"},
    "viz": {"data", "devices", "workdir", "predictor"},
}
MODES = (
    *("training", "evaluation", "predict", "label_next", "export", "report", "diagnose", "serve"),
    "inspect_data",
)


def imports(path: pathlib.Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(room: str) -> list[pathlib.Path]:
    found = sorted((PACKAGE / room).glob("**/*.py"))
    assert found
    return found


@pytest.mark.parametrize("room", OWN)
def test_imports_point_one_way(room):
    allowed = {"errors", "keys", "registry", "paths", "npy_header", "screen", room} | OWN[room]
    for path in files(room):
        own = {name.split(".")[1] for name in imports(path) if name.startswith("ipixmatch_jax.")}
        assert own <= allowed, f"{path} imports {own - allowed}"


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_imports_another(mode):
    paths = files(mode) if (PACKAGE / mode).is_dir() else [PACKAGE / f"{mode}.py"]
    for path in paths:
        own = {name.split(".")[1] for name in imports(path) if name.startswith("ipixmatch_jax.")}
        assert not own & set(MODES) - {mode}, f"{path} imports {own & set(MODES) - {mode}}"


def module_of(path: pathlib.Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


def test_no_modules_import_each_other_in_a_circle():
    paths = {module_of(path): path for path in PACKAGE.glob("**/*.py")}
    # A package that only re-exports is not counted: its own files may import each other by name.
    edges = {name: (imports(path) & paths.keys()) - {name} for name, path in paths.items()}
    for name, path in paths.items():
        if path.name == "__init__.py":
            edges[name] = {to for to in edges[name] if not to.startswith(f"{name}.")}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above[above.index(name) :], name))
        if name not in done:
            for to in sorted(edges[name]):
                visit(to, (*above, name))
            done.add(name)

    for name in paths:
        visit(name, ())


@pytest.mark.parametrize("room", DEVICE_ROOMS)
def test_device_side_needs_four_packages_only(room):
    for path in files(room):
        outside = {name.split(".")[0] for name in imports(path)} - {"ipixmatch_jax"}
        outside -= set(sys.stdlib_module_names)
        assert outside <= DEVICE_SIDE, f"{path} imports {outside - DEVICE_SIDE}"


def test_data_knows_nothing_of_jax():
    for path in files("data"):
        assert not {name.split(".")[0] for name in imports(path)} & {"jax", "flax", "optax"}, path


def test_no_module_is_longer_than_400_lines():
    for folder in (PACKAGE, ROOT / "tests", ROOT / "bench"):
        for path in sorted(folder.glob("**/*.py")):
            assert len(path.read_text().splitlines()) <= 400, path


def test_no_function_is_longer_than_60_lines():
    """Docstrings are not counted."""
    for path in sorted(PACKAGE.glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node):
                    lines -= node.body[0].end_lineno - node.body[0].lineno + 1
                assert lines <= 60, f"{path}: {node.name} has {lines} lines"


def test_training_imports_neither_tensorflow_nor_torch():
    code = (
        "import sys, ipixmatch_jax.training, ipixmatch_jax.main; "
        "print(sorted({'tensorflow', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_help_does_not_wait_for_jax():
    code = (
        "import sys\n"
        "from ipixmatch_jax.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("False"), done.stdout + done.stderr
