"""The map, docs/architecture.md, shows the real tree and rules, and its examples run."""

import re

import numpy as np
import pytest

from ipixmatch_jax.config_files import demo
from ipixmatch_jax.data.catalog import DATASETS, SOURCE_OPTIONS, data_defaults, load_dataset
from ipixmatch_jax.data.importers import IMPORTERS, read_folder
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import RELATIONS, inter_pixel_loss
from ipixmatch_jax.main import RUN_MODE
from ipixmatch_jax.methods import METHODS, make_method
from ipixmatch_jax.models import MODELS, create_model
from tests.references import ROOT

PACKAGE = ROOT / "ipixmatch_jax"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def examples(monkeypatch):
    """The code of docs/architecture.md, by heading; what it registers is removed afterwards."""
    for registry in (DATASETS, IMPORTERS, MODELS, METHODS, RELATIONS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr("ipixmatch_jax.main.RUN_MODE", dict(RUN_MODE))
    parts = re.findall(
        r"^### ([^\n]+)\n(?:(?!^###? ).)*?```python\n(.*?)```",
        PAGE,
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
    table = PAGE.partition("## Twenty questions")[2]
    rows = re.findall(r"^\| (.+\?) \| `([^`]+)` \|$", table, re.MULTILINE)
    assert len(rows) == 20
    assert all((ROOT / path).is_file() for _, path in rows)


def test_the_map_shows_the_real_tree():
    """Every file and folder of the package, and every folder of data/, and nothing else."""
    tree = PAGE.partition("```")[2].partition("```")[0]
    shown = re.findall(r"^( +)(\w+(?:\.py|/))", tree, re.MULTILINE)
    top = {name for indent, name in shown if len(indent) == 2}
    real = {path.parent.name + "/" for path in PACKAGE.glob("*/__init__.py")}
    real |= {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py"}
    assert top == real
    inner = {name for indent, name in shown if len(indent) == 4}
    folders = {path.parent.name + "/" for path in (PACKAGE / "data").glob("*/__init__.py")}
    assert folders <= inner and all((PACKAGE / "data" / name).exists() for name in inner)


def test_the_map_shows_the_imports_that_the_rules_allow():
    from tests.test_house import OWN

    table = PAGE.partition("may import |")[2].partition("\n\n")[0]
    shown: dict[str, set[str]] = {}
    for rooms, allowed in re.findall(r"^\| (`.+?) \| (.+) \|$", table, re.MULTILINE):
        for room in re.findall(r"`(\w+)`", rooms):
            shown[room] = set(re.findall(r"`(\w+)`", allowed))
    assert shown == OWN
