import json

import pytest

from ipixmatch_jax.workdir.results import (
    run_summary,
    run_summary_table,
    write_run_summary,
)


def history(student, teacher):
    return [
        {
            "step": 10 * (i + 1),
            "split": "val",
            "protocol": "voc-fine-92",
            "eval": {"mode": "whole", "absent": "zero"},
            "student": {"miou": s},
            "teacher": {"miou": t},
        }
        for i, (s, t) in enumerate(zip(student, teacher, strict=True))
    ]


def test_last_mean_of_five_and_best():
    found = run_summary(
        history([0.1, 0.8, 0.3, 0.4, 0.5, 0.6, 0.5], [0.2, 0.3, 0.7, 0.5, 0.7, 0.6, 0.4]), "teacher"
    )
    assert found["student"]["last"] == {"step": 70, "miou": 0.5}
    assert found["student"]["best"] == {"step": 20, "miou": 0.8}
    mean = found["teacher"]["mean_of_last"]
    assert mean["steps"] == [30, 40, 50, 60, 70]
    assert mean["miou"] == pytest.approx((0.7 + 0.5 + 0.7 + 0.6 + 0.4) / 5)
    assert found["best_checkpoint"] == {
        "step": 50,  # of two alike the later
        "chosen_by": "teacher",
        "miou": {"student": 0.5, "teacher": 0.7},
    }
    assert found["best_chosen_on"] == "val" and found["protocol"] == "voc-fine-92"
    text = run_summary_table(found)
    assert "mean of last 5" in text and "80.00 at step 20" in text and "58.00" in text


def test_evaluations_before_a_change_of_the_data_are_neither_last_nor_best():
    results = history([0.9, 0.2, 0.3], [0.9, 0.1, 0.1])
    for result, ids in zip(results, ("a", "b", "b"), strict=True):
        result["data"] = {"ids_sha256": ids}
    found = run_summary(results, "student")
    assert found["student"]["best"] == {"step": 30, "miou": 0.3}
    assert (found["evaluations"], found["of_other_images"]) == (2, 1)
    assert "1 evaluations are of other images" in run_summary_table(found)


def test_only_evaluations_of_the_run_itself_count(tmp_path):
    assert write_run_summary(tmp_path, "student") == {}
    (tmp_path / "eval").mkdir()
    for result in history([0.1, 0.2], [0.3, 0.2]):
        (tmp_path / "eval" / f"{result['step']}.json").write_text(json.dumps(result))
    (tmp_path / "eval" / "20-test-whole-zero.json").write_text('{"step": 20}')
    found = write_run_summary(tmp_path, "student")
    assert found["evaluations"] == 2 and found["best_checkpoint"]["step"] == 20
    assert json.loads((tmp_path / "eval" / "summary.json").read_text()) == found
    assert write_run_summary(tmp_path, "student") == found
