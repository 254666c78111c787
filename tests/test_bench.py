"""The benchmarks import names that exist, and the table of arms holds their differences."""

import importlib

import pytest

from tests.references import ROOT

NAMES = sorted(path.stem for path in (ROOT / "bench").glob("[a-z]*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_imports(name):
    try:
        module = importlib.import_module(f"bench.{name}")
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in ("bench", "ipixmatch_jax", "tests"):
            raise
        pytest.skip(f"{error.name} is not installed")
    assert module.__doc__


def test_the_table_of_arms():
    photos = importlib.import_module("bench.photos")
    runs = {
        "fixmatch": {0: 50.0, 1: 60.0},
        "corr-valid": {0: 51.0, 1: 63.0},
        "supervised": {0: 48.0},
    }
    results = {
        arm: {
            seed: {"teacher": {"last": value / 2}, "test": {"teacher": value}}
            for seed, value in found.items()
        }
        for arm, found in runs.items()
    }
    lines = photos.table(results, "fixmatch", "teacher").splitlines()
    # t(0.975, 1) · √2 / √2 = 12.71 around 2; 11 is the first n with t(0.975, n−1) · √2 / √n < 1.
    assert (
        lines[3] == "| corr-valid | 2 | 28.50 ± 4.2 | 57.00 ± 8.5 | +2.00 [-10.71, +14.71] | 11 |"
    )
    assert lines[4] == "| supervised | 1 | 24.00 | 48.00 | -2.00 (one seed) |  |"
    # Of seed 0, the only one that all have.
    assert photos.chosen(results, "teacher") == "corr-valid"
    results["supervised"][0]["teacher"]["last"] = 30.0
    assert photos.chosen(results, "teacher") == "supervised"
    assert photos.chosen({}, "teacher") == "no seed of all arms is finished"


def test_the_test_split_is_the_last_quarter_of_each_group():
    photos = importlib.import_module("bench.photos")
    ids = ["a_b_1", "a_b_2", "a_b_3", "a_b_4", "a_b_5", "c_9", "c_8", "c_7", "c_6", "c_5", "d_1"]
    train, test = photos.split(ids)
    assert test == ["a_b_5", "c_9"]
    assert sorted([*train, *test]) == sorted(ids)
