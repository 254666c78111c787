"""The run's own record of evaluations, and evaluations made later."""

import json

import pytest

from ipixmatch_jax.workdir.evaluations import (
    difference_text,
    evaluation_key,
    ids_sha256,
    later_rows,
    read_evaluations,
    read_later_evaluations,
    write_evaluation,
    write_later_evaluation,
)
from ipixmatch_jax.workdir.results import run_summary_table, write_run_summary


def about(**changes):
    facts = {"name": "folder", "root": "/a", "image_size": [0, 0], "images": 2}
    facts["ids_sha256"] = ids_sha256(["x", "y"])
    eval_keys = {"mode": "whole", "absent": "skip"}
    eval_keys |= {key: value for key, value in changes.items() if key in eval_keys}
    data = facts | {key: value for key, value in changes.items() if key in facts}
    return {"eval": eval_keys, "data": data}


def results(miou):
    return {name: {"miou": miou, "iou": {"a": miou}} for name in ("student", "teacher")}


@pytest.mark.parametrize(
    "changes",
    [
        {"root": "/b"},
        {"image_size": [8, 8]},
        {"ids_sha256": ids_sha256(["x", "z"])},
        {"mode": "whole-pad64"},
        {"absent": "zero"},
        {},
    ],
)
def test_the_record_of_the_run_is_never_overwritten(tmp_path, changes):
    own = write_evaluation(tmp_path, 7, "val", results(0.5), "", about())
    before = own.read_bytes()
    # Another value of the same key: the photos have changed, or the device.
    path = write_later_evaluation(tmp_path, 7, "val", results(0.25), "", about(**changes))
    assert path != own and own.read_bytes() == before
    assert path.name.startswith("7-val-whole") and path.stem.endswith(
        evaluation_key(json.loads(path.read_text()))[:8]
    )
    assert [one["student"]["miou"] for one in read_evaluations(tmp_path)] == [0.5]
    (row,) = later_rows(tmp_path)
    assert (row["step"], row["miou"]["teacher"]) == (7, 0.25)
    expected = next(iter(changes), "the numbers alone")
    assert expected in row["differs"]
    found = write_run_summary(tmp_path, "student")
    assert found["student"]["last"]["miou"] == found["student"]["best"]["miou"] == 0.5
    assert f"differs: {row['differs']}" in run_summary_table(found)


def test_evaluations_of_one_key_share_a_file_and_equal_ones_write_none(tmp_path):
    own = write_evaluation(tmp_path, 7, "val", results(0.5), "", about())
    same = {"student": results(0.5)["student"]}
    assert write_later_evaluation(tmp_path, 7, "val", same, "", about()) == own
    other = about(root="/b")
    one = write_later_evaluation(tmp_path, 7, "lists/t é.txt", {"student": {"miou": 1}}, "", other)
    two = write_later_evaluation(tmp_path, 7, "lists/t é.txt", {"teacher": {"miou": 0}}, "", other)
    assert one == two and set(json.loads(one.read_text())) >= {"student", "teacher", "data"}
    three = write_later_evaluation(tmp_path, 7, "val", same, "", about(image_size=[4, 4]))
    assert three != one and len(read_later_evaluations(tmp_path)) == 2


def test_files_of_older_versions_still_load(tmp_path):
    (tmp_path / "eval").mkdir()
    old = {"step": 7, "split": "val", "protocol": "", "eval": {"mode": "whole", "absent": "skip"}}
    (tmp_path / "eval" / "7.json").write_text(json.dumps(old | results(0.5)))
    later = old | {"split": "test"} | results(0.25)
    (tmp_path / "eval" / "7-test-whole-skip.json").write_text(json.dumps(later))
    assert read_evaluations(tmp_path)[0]["student"]["miou"] == 0.5
    (row,) = later_rows(tmp_path)
    assert row["differs"] == "split test"
    # The same results as those of the run; what they were measured on is only known of one.
    path = write_later_evaluation(tmp_path, 7, "val", results(0.5), "", about())
    assert path.name == "7.json"
    path = write_later_evaluation(tmp_path, 7, "val", results(0.75), "", about())
    assert path.name != "7.json"
    assert "not stated in both: data.name" in difference_text(
        read_evaluations(tmp_path)[0], json.loads(path.read_text())
    )
