"""Runs read from disk: which ones can be compared, and how they are grouped."""

import shutil

import pytest

from ipixmatch_jax.config import load_snapshot
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.main import main
from ipixmatch_jax.report.runs import check_comparable, grouped, read_run, unfinished
from tests.references.untrained import save_untrained


def run_of(config_file, workdir, *overrides, **options):
    save_untrained(config_file, workdir, *overrides, **options)
    return read_run(workdir, load_snapshot(workdir))


def test_runs_that_must_not_stand_side_by_side(config_file, tmp_path, one_device, capsys):
    one = run_of(config_file, tmp_path / "one")
    other = run_of(config_file, tmp_path / "other", "seed=1")
    check_comparable([one, other])
    for run, protocol in ((one, "voc-blended-1_16"), (other, "voc-priority-1_16")):
        run.evaluations[-1]["protocol"] = protocol
    with pytest.raises(DataError, match="either the blended or the priority protocol"):
        check_comparable([one, other])
    run_of(config_file, tmp_path / "third", "data.image_size=(16, 16)")
    command = ["--workdir", str(tmp_path / "one"), "--mode", "report"]
    assert main([*command, "--runs", str(tmp_path / "third")]) == 2
    assert "differ in data.image_size" in capsys.readouterr().err


def test_a_run_given_twice_is_no_second_seed(config_file, tmp_path, one_device, capsys):
    one = run_of(config_file, tmp_path / "one")
    other = run_of(config_file, tmp_path / "other", "seed=1")
    check_comparable([one, other])
    (tmp_path / "link").symlink_to(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    for again in ("link", "copy"):
        command = ["--workdir", str(tmp_path / "one"), "--mode", "report"]
        assert main([*command, "--runs", str(tmp_path / "other"), str(tmp_path / again)]) == 2
        assert f"{again} are the same run" in capsys.readouterr().err


def test_a_run_that_is_not_finished_is_told(config_file, tmp_path):
    one = run_of(config_file, tmp_path / "one")
    assert (one.evaluations[-1]["step"], one.config.total_steps) == (4, 6)
    (remark,) = unfinished([one])
    assert "one is not finished: its last evaluation is of step 4 of 6" in remark
    assert unfinished([run_of(config_file, tmp_path / "other", "total_steps=4")]) == []


def test_a_folder_in_place_of_the_metrics(config_file, tmp_path, one_device, capsys):
    run_of(config_file, tmp_path / "one")
    (tmp_path / "one" / "metrics.jsonl").unlink()
    (tmp_path / "one" / "metrics.jsonl").mkdir()
    assert main(["--workdir", str(tmp_path / "one"), "--mode", "report"]) == 2
    assert "metrics.jsonl is a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fact, one, other",
    [
        ("data.ids_sha256", {"data": {"ids_sha256": "a" * 64}}, {"data": {"ids_sha256": "b" * 64}}),
        ("data.content_sha256", {"data": {"content_sha256": 1}}, {"data": {"content_sha256": 2}}),
        ("eval.mode", {"eval": {"mode": "whole"}}, {"eval": {"mode": "sliding"}}),
        ("data.val", {}, {"data": {"ids_sha256": "b"}}),
    ],
)
def test_images_and_evaluation_are_compared_not_the_words_of_the_config(
    config_file, folder_data, tmp_path, fact, one, other
):
    (folder_data / "again.txt").write_text((folder_data / "val.txt").read_text())
    runs = [
        run_of(config_file, tmp_path / "one"),
        run_of(config_file, tmp_path / "other", "data.val=again.txt"),
    ]
    same = {"data": {"ids_sha256": "c", "root": "/a"}, "eval": {"mode": "whole"}}
    elsewhere = {"data": {"ids_sha256": "c", "root": "/b"}, "eval": {"mode": "whole"}}
    for run, facts in zip(runs, (same, elsewhere), strict=True):
        run.evaluations[-1].update(facts)
    check_comparable(runs)
    for run, facts in zip(runs, (one, other), strict=True):
        run.evaluations[-1].update(facts)
        if facts == {}:
            run.evaluations[-1].pop("data")
    with pytest.raises(DataError, match=f"one and .*other differ in {fact}: "):
        check_comparable(runs)


def test_groups_are_named_by_what_differs(config_file, tmp_path, one_device):
    runs = [
        run_of(config_file, tmp_path / f"r{i}", override)
        for i, override in enumerate(("seed=0", "seed=1", "relation.weight=0.5"))
    ]
    names = grouped(runs)
    assert [members for _, members in names] == [[0, 1], [2]]
    assert names[1][0] == "fixmatch with class_map/kl (weight 0.5)"


def test_measured_class_weights_separate_no_seeds_and_long_values_are_cut_off(
    config_file, tmp_path, one_device
):
    rare = "supervised.weighting=inverse_frequency"
    runs = [
        run_of(config_file, tmp_path / f"run{i}", weighting, f"supervised.class_weights={weights}")
        for i, (weighting, weights) in enumerate(
            [
                (rare, (0.6, 1.4)),
                (rare, (0.7, 1.3)),
                ("supervised.weighting=given", (0.123456789, 0.987654321)),
                ("supervised.weighting=given", (0.5, 1.5)),
                ("supervised.weighting=none", ()),
            ]
        )
    ]
    names, members = zip(*grouped(runs), strict=True)
    assert members == ([0, 1], [2], [3], [4])
    method = "fixmatch with class_map/kl"
    assert names == (
        f"{method} (weighting inverse_frequency)",
        f"{method} (weighting given, class_weights (0.123456789, 0.9876543…)",
        f"{method} (weighting given, class_weights (0.5, 1.5))",
        f"{method} (weighting none)",
    )
