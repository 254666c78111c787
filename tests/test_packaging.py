"""Published metadata, dependencies, the sdist, and the wheel in an empty folder."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.references import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Never part of a checkout; a copy without them is built, so that the checkout stays clean.
LEFT_OUT = shutil.ignore_patterns(
    *(
        ".git",
        ".hypothesis",
        ".*_cache",
        ".venv*",
        "__pycache__",
        "*.egg-info",
        "build",
        "runs",
        "site",
    )
)


def named(texts) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, texts)}


def constraints(file: str = "constraints.txt") -> list[Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"\w", line)]


def imported_packages() -> set[str]:
    names = set()
    for path in (ROOT / "ipixmatch_jax").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module)
    return {name.partition(".")[0] for name in names} - {"ipixmatch_jax", *sys.stdlib_module_names}


def test_every_imported_package_is_declared():
    declared = named(
        [*PROJECT["dependencies"], *(text for group in EXTRAS.values() for text in group)]
    )
    distributions = importlib.metadata.packages_distributions()
    missing = {
        name
        for name in imported_packages()
        if not {canonicalize_name(d) for d in distributions.get(name, [name])} & declared.keys()
    }
    assert not missing


def test_constraints_satisfy_every_bound():
    tested = [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["demo"], *EXTRAS["serve"]]
    wanted = named(tested)
    pinned: dict[str, list[str]] = {}
    for requirement in constraints():
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        pinned.setdefault(canonicalize_name(requirement.name), []).append(pin.version)
    own = {canonicalize_name(PROJECT["name"])}
    assert wanted.keys() - own <= pinned.keys()
    for name in wanted.keys() - own:
        for version in pinned[name]:
            assert wanted[name].specifier.contains(version), f"{name}: {version}"


def test_ci_installs_the_same_versions_by_their_hashes():
    text = (ROOT / ".ci" / "requirements.txt").read_text(encoding="utf-8")
    packages = re.split(r"\n(?=\w)", text.partition("\n")[2])
    assert len(packages) == len(constraints(".ci/requirements.txt"))
    assert all("--hash=sha256:" in package for package in packages)
    assert {*map(str, constraints())} <= {*map(str, constraints(".ci/requirements.txt"))}
    assert "--require-hashes -r .ci/requirements.txt" in (ROOT / ".ci" / "run").read_text()


def test_ci_builds_the_site_strictly_and_with_pinned_versions():
    wanted, pins = named(EXTRAS["docs"]), constraints(".ci/docs-requirements.txt")
    text = (ROOT / ".ci" / "docs-requirements.txt").read_text(encoding="utf-8")
    packages = re.split(r"\n(?=\w)", text)
    assert len(packages) == len(pins) and all("--hash=sha256:" in package for package in packages)
    for name, requirement in wanted.items():
        (pin,) = (pin for pin in pins if canonicalize_name(pin.name) == name)
        (version,) = (specifier.version for specifier in pin.specifier)
        assert requirement.specifier.contains(version), pin
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "--require-hashes -r .ci/docs-requirements.txt" in script
    (build,) = re.findall(r"mkdocs build.*", script)
    # --quiet would silence warnings before --strict counts them.
    assert "--strict" in build and "quiet" not in build


def test_every_dependency_has_a_lower_bound():
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert any(s.operator in (">=", "==") for s in requirement.specifier), requirement


def test_array_record_has_the_marker_of_grain():
    (of_grain,) = (
        requirement
        for requirement in map(Requirement, importlib.metadata.requires("grain"))
        if canonicalize_name(requirement.name) == "array-record"
    )
    assert named(PROJECT["dependencies"])["array-record"].marker == of_grain.marker


def test_pre_commit_runs_the_ruff_of_ci():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repo,) = (repo for repo in hooks["repos"] if "ruff" in repo["repo"])
    (pin,) = (r for r in constraints() if r.name == "ruff")
    assert str(pin.specifier) == "==" + repo["rev"].removeprefix("v")


def test_the_workflow_runs_the_script_on_every_python_of_the_classifiers():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    job = workflow["jobs"]["test"]
    (step,) = (step for step in job["steps"] if step.get("run") == ".ci/run")
    assert step["env"]["PYTHON"] == "python${{ matrix.python }}"
    classifiers = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == classifiers == ["3.11", "3.12", "3.13"]
    assert "python=${PYTHON:-" in (ROOT / ".ci" / "run").read_text()
    lowest = "\n".join(step.get("run", "") for step in workflow["jobs"]["lowest-versions"]["steps"])
    assert "--resolution lowest-direct" in lowest and "ipixmatch --config demo" in lowest


def build(kind: str, source, target):
    """The file that the build backend writes, from a folder, without network."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = target.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The unpacked sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(ROOT, folder / "checkout", ignore=LEFT_OUT)
    sdist = build("sdist", folder / "checkout", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return unpacked, build("wheel", unpacked, folder)


def files_of(folder) -> set[str]:
    paths = (path for path in folder.glob("**/*") if path.is_file())
    return {path.relative_to(folder).as_posix() for path in paths}


def test_the_sdist_has_every_file_of_the_checkout(published, tmp_path):
    unpacked, _ = published
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=LEFT_OUT)
    assert files_of(tmp_path / "checkout") - {".gitignore"} <= files_of(unpacked)


def test_the_wheel_has_every_file_of_the_package(published):
    unpacked, wheel = published
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {f"ipixmatch_jax/{name}" for name in files_of(unpacked / "ipixmatch_jax")}
    assert package == {name for name in names if not name.startswith("ipixmatch_jax-")}
    assert {"ipixmatch_jax/py.typed", "ipixmatch_jax/web/page.css"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_has_the_pages_and_the_start_scripts(published):
    """Below the prefix, with their links intact and their permissions."""
    unpacked, wheel = published
    place = re.compile(r"ipixmatch_jax-[^/]+\.data/data/share/ipixmatch_jax/(.+)")
    files = {m[1]: i for i in zipfile.ZipFile(wheel).infolist() if (m := place.match(i.filename))}
    for folder, pattern in (("docs", "*.md"), ("launch", "*"), ("notebooks", "*.ipynb")):
        for path in (unpacked / folder).glob(pattern):
            assert path.relative_to(unpacked).as_posix() in files
    assert files["launch/gpu.sh"].external_attr >> 16 & 0o111


@pytest.mark.slow
def test_the_tests_of_the_sdist_collect(published):
    unpacked, _ = published
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "--collect-only"],
        cwd=unpacked,
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and " tests collected" in done.stdout, done.stdout[-2000:]


def without_path() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


@pytest.fixture(scope="module")
def installed(published, tmp_path_factory):
    """The commands of a fresh environment: the wheel, and the other packages of this one."""
    _, wheel = published
    place = tmp_path_factory.mktemp("installed") / "env"
    venv.create(place)
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    command = [*pip, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, capture_output=True, env=without_path())
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    # As a path only: `.pth` files of that folder, such as one of an editable install, do not count.
    with open(os.path.join(site, "shared.pth"), "w") as file:
        file.write(sysconfig.get_path("purelib") + "\n")
    return place / "bin"


@pytest.fixture
def run(installed, tmp_path):
    """Runs a command of the fresh environment in an empty folder."""

    def run(*words):
        done = subprocess.run(
            [str(installed / words[0]), *words[1:]],
            cwd=tmp_path,
            env=without_path(),
            capture_output=True,
            text=True,
            timeout=500,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert not list(tmp_path.iterdir())
    where = run("python", "-c", "import ipixmatch_jax; print(ipixmatch_jax.__file__)")
    assert where.startswith(str(installed.parent))
    return run


def test_the_wheel_has_the_configs_and_the_command(run, tmp_path):
    assert "1500" in run("ipixmatch", "--mode", "config", "total_steps", "--config", "demo")
    run("ipixmatch", "--mode", "new-config", "--config", "demo", "--output", "my.py")
    assert "get_config" in (tmp_path / "my.py").read_text()
    pages = pathlib.Path(run("ipixmatch", "--help").split("start scripts:")[1].strip())
    assert (pages / "docs" / "tuning.md").is_file() and (pages / "README.md").is_file()
    assert os.access(pages / "launch" / "gpu.sh", os.X_OK)


@pytest.mark.slow
def test_the_wheel_trains_the_demo_in_an_empty_folder(run, tmp_path):
    steps = {"total_steps": 2, "eval_every": 2, "checkpoint_every": 2, "log_every": 1}
    keys = [f"--config.{key}={value}" for key, value in steps.items()]
    small = ["--config.model.width=4", "--config.batch_size=2", "--config.unlabeled_batch_size=2"]
    printed = run("ipixmatch", "--config", "demo", "--workdir", "run", *keys, *small)
    assert "mIoU" in printed
    assert (tmp_path / "run" / "eval" / "2.json").is_file()
    assert list((tmp_path / "run" / "predictions").iterdir())
    run("python", "-m", "ipixmatch_jax", "--workdir", "run", "--mode", "report")
    assert (tmp_path / "run" / "report.html").is_file()
