"""Files, modules, links and keys that the documents name exist, and their examples work."""

import importlib
import re

import numpy as np
import pytest

from ipixmatch_jax.config import default_config, flatten
from ipixmatch_jax.config_files import demo
from ipixmatch_jax.data.catalog import DATASETS, SOURCE_OPTIONS, data_defaults, load_dataset
from ipixmatch_jax.data.importers import IMPORTERS, read_folder
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import RELATIONS, inter_pixel_loss
from ipixmatch_jax.main import MODES
from ipixmatch_jax.methods import METHODS, make_method
from ipixmatch_jax.models import MODELS, create_model
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


@pytest.fixture
def examples(monkeypatch):
    """The code of docs/architecture.md, by heading; what it registers is removed afterwards."""
    for registry in (DATASETS, IMPORTERS, MODELS, METHODS, RELATIONS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr("ipixmatch_jax.main.MODES", dict(MODES))
    parts = re.findall(
        r"^### ([^\n]+)\n(?:(?!^###? ).)*?```python\n(.*?)```",
        read("docs/architecture.md"),
        re.DOTALL | re.MULTILINE,
    )
    return dict(parts)


def run_example(code: str) -> dict:
    # Dataclasses look their module up by name.
    names = {"__name__": __name__}
    exec(compile(code, "docs/architecture.md", "exec"), names)
    return names


def test_the_example_of_a_data_set_loads(examples, monkeypatch):
    names = run_example(examples["A data set"])
    DATASETS.register("squares")(names["build"])
    monkeypatch.setitem(SOURCE_OPTIONS, "squares", names["OPTIONS"])
    data = data_defaults()
    data.name, data.num_classes, data.squares.scenes = "squares", 2, 5
    dataset = load_dataset(data, seed=0)
    assert (len(dataset.labeled), len(dataset.val), len(dataset.unlabeled)) == (5, 5, 0)
    record = dataset.labeled[1]
    assert record["image"].shape == (32, 32, 3)
    # Columns 8 to 23 of rows 1 to 31.
    assert record["mask"].sum() == 31 * 16
    assert dataset.class_names == ("background", "square")


def test_the_example_of_an_importer_reads_a_folder(examples, tmp_path, monkeypatch):
    importer = run_example(examples["An importer"])["TwinFiles"]()
    from ipixmatch_jax.data.importers import registry

    monkeypatch.setattr(registry, "_SPECIFIC", (importer, *registry._SPECIFIC))
    IMPORTERS.register(importer.name)(importer)
    for name in ("a_rgb", "a_gt", "b_rgb"):
        (tmp_path / f"{name}.png").touch()
    chosen, reason, found = read_folder(tmp_path, {})
    assert chosen is importer and "a_rgb.png" in reason
    assert [(item.id, item.split) for item in found.items] == [("a", "train")]
    assert found.items[0].mask == str(tmp_path / "a_gt.png")


def test_the_example_of_a_model_predicts(examples):
    import jax

    run_example(examples["A model"])
    model = create_model("tiny", num_classes=3, channels=4)
    variables, images = model.init(jax.random.key(0), np.ones((1, 9, 8, 3))), np.ones((2, 9, 8, 3))
    assert model.apply(variables, images).shape == (2, 9, 8, 3)
    assert len(model.input_mean) == 3
    with pytest.raises(ConfigError, match="channels"):
        create_model("tiny", num_classes=3, channels=0)


def test_the_example_of_a_method_is_built_with_its_option(examples):
    run_example(examples["A method"])
    method = make_method("halved", {"confidence": 0.8, "options": {"factor": 0.3}})
    assert (method.confidence, method.factor) == (0.8, 0.3)


def test_the_example_of_a_relation_compares_neighbors(examples):
    import jax

    run_example(examples["A relation"])
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 1, 3, 4, 2)).astype(np.float32)
    keep = np.ones((1, 3, 4), np.float32)
    names = {"relation": "neighbors", "distance": "mse"}
    assert float(inter_pixel_loss(student, student, keep, **names)) == 0
    got = float(inter_pixel_loss(student, teacher, keep, step=2, **names))
    p, q = (np.asarray(jax.nn.softmax(x)) for x in (student, teacher))
    difference = (p[:, :, 2:] - p[:, :, :-2]) - (q[:, :, 2:] - q[:, :, :-2])
    assert got == pytest.approx((difference**2).sum(-1).mean(), rel=1e-5)


def test_the_example_of_a_mode_runs(examples, capsys):
    mode = run_example(examples["A mode"])["_classes"]
    config = demo.get_config()
    mode(config, None)
    assert capsys.readouterr().out.splitlines()[:2] == ["background", "0"]


def test_twenty_questions_are_answered_by_files():
    table = read("docs/architecture.md").partition("## Twenty questions")[2]
    rows = re.findall(r"^\| (.+\?) \| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(rows) == 20
    assert all((ROOT / path).is_file() for _, path in rows)


def test_the_map_shows_every_room():
    tree = read("docs/architecture.md").partition("```")[2].partition("```")[0]
    shown = set(re.findall(r"^ +(\w+(?:\.py|/))", tree, re.MULTILINE))
    package = ROOT / "ipixmatch_jax"
    real = {path.parent.name + "/" for path in package.glob("*/__init__.py")}
    real |= {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert real <= shown, sorted(real - shown)
    named = shown | {name for name in shown if (package / "data" / name).exists()}
    assert all((package / n).exists() or (package / "data" / n).exists() for n in named)


def test_the_map_shows_the_imports_that_the_rules_allow():
    from tests.test_house import OWN

    table = read("docs/architecture.md").partition("may import |")[2].partition("\n\n")[0]
    shown: dict[str, set[str]] = {}
    for rooms, allowed in re.findall(r"^\| (`.+?) \| (.+) \|$", table, re.MULTILINE):
        for room in re.findall(r"`(\w+)`", rooms):
            shown[room] = set(re.findall(r"`(\w+)`", allowed))
    assert shown == OWN
