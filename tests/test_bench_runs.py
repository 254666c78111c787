"""Tables of bench/ hold only runs that were measured alike."""

import argparse
import json

import pytest

from bench import label_next, photos, runs
from ipixmatch_jax.errors import DataError


def write_run(workdir, last, **data):
    (workdir / "eval").mkdir(parents=True)
    for step, miou, facts in ((1, 0.9, {"ids_sha256": "before"}), (2, last, data)):
        record = {"step": step, "split": "val", "eval": {"mode": "whole"}}
        record |= {"data": facts} if data else {}
        record |= {name: {"miou": miou} for name in ("student", "teacher")}
        (workdir / "eval" / f"{step}.json").write_text(json.dumps(record))


def table_of(folder, *arguments):
    options = runs.parser("x", ["one", "other"], steps=2, seeds=[0])
    words = ["--workdir", str(folder), "--table", *arguments]
    return runs.compare({"one": [], "other": []}, options.parse_args(words), "title")


def test_runs_on_other_images_do_not_stand_in_one_table(tmp_path, capsys):
    write_run(tmp_path / "one-2-seed0", 0.5, ids_sha256="a", root="/here")
    write_run(tmp_path / "other-2-seed0", 0.25, ids_sha256="a", root="/there")
    found = table_of(tmp_path, "--json", str(tmp_path / "table.json"))
    # The best of the evaluations that are of the same images as the last.
    assert found["one"][0]["student"] == {"last": 50.0, "best": 50.0}
    assert "/here" not in (tmp_path / "table.json").read_text()
    for name in ("one", "other"):
        write_run(tmp_path / "b" / f"{name}-2-seed0", 0.5, ids_sha256=name)
    with pytest.raises(DataError, match="one-seed0 and other-seed0 differ.*ids_sha256: one and"):
        table_of(tmp_path / "b")
    write_run(tmp_path / "c" / "one-2-seed0", 0.5, ids_sha256="a")
    write_run(tmp_path / "c" / "other-2-seed0", 0.5)
    table_of(tmp_path / "c")
    assert (
        "not known whether of the same images (older runs): other-seed0" in capsys.readouterr().out
    )


def test_the_table_of_photos_refuses_them_too(tmp_path, monkeypatch):
    for arm in ("fixmatch", "supervised"):
        write_run(tmp_path / f"pets-26-{arm}-seed0", 0.5, ids_sha256=arm)
    options = argparse.Namespace(
        workdir=tmp_path, set="pets", labels="26", seeds=[0], arms=["fixmatch", "supervised"],
        table=True, steps=2, fork=1, base="fixmatch", network="teacher", json=None,
    )  # fmt: skip
    monkeypatch.setattr(photos, "_options", lambda: options)
    monkeypatch.setattr(photos, "_test_results", lambda *_: {"student": 50.0, "teacher": 50.0})
    with pytest.raises(DataError, match="fixmatch-seed0 and supervised-seed0 differ"):
        photos.main()


def test_the_table_of_labels_pairs_seeds_within_a_round():
    values = {
        "random": {1: {0: 50.0, 1: 60.0}, 2: {0: 55.0}},
        "chosen": {1: {0: 51.0, 1: 63.0}, 2: {0: 54.0}},
    }
    results = {
        arm: {
            number: {seed: {"teacher": {"last": value}} for seed, value in seeds.items()}
            for number, seeds in rounds.items()
        }
        for arm, rounds in values.items()
    }
    lines = label_next.table(results, 26, 10, "teacher").splitlines()
    assert lines[2] == "| 36 | random | 2 | 55.00 ± 7.1 |  |"
    # t(0.975, 1) · √2 / √2 = 12.71 around 2.
    assert lines[3] == "| 36 | chosen | 2 | 57.00 ± 8.5 | +2.00 [-10.71, +14.71] |"
    assert lines[5] == "| 46 | chosen | 1 | 54.00 | -1.00 (one seed) |"


def test_only_the_labels_of_a_round_have_masks(tmp_path):
    source, root = tmp_path / "source", tmp_path / "data"
    for name in ("train/images", "train/masks", "val/images"):
        (source / name).mkdir(parents=True)
    (source / "val.txt").write_text("v\n")
    for name in "abc":
        for kind in ("images", "masks"):
            (source / "train" / kind / f"{name}.png").write_text(name)
    for labels in (["a"], ["a", "c"], ["b"]):
        label_next.link_folder(source, root, labels)
        found = {path.stem: path.read_text() for path in (root / "train" / "masks").iterdir()}
        assert found == {name: name for name in labels}
    assert sorted(path.stem for path in (root / "train" / "images").iterdir()) == list("abc")
    assert (root / "val.txt").read_text() == "v\n" and (root / "val" / "images").is_dir()
