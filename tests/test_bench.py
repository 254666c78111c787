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
        arm: {seed: {"teacher": {"last": value}} for seed, value in found.items()}
        for arm, found in runs.items()
    }
    lines = photos.table(results, "fixmatch", "teacher").splitlines()
    # t(0.975, 1) · √2 / √2 = 12.71 around 2; 11 is the first n with t(0.975, n−1) · √2 / √n < 1.
    assert lines[3] == "| corr-valid | 2 | 57.00 ± 8.5 | +2.00 [-10.71, +14.71] | 11 |"
    assert lines[4] == "| supervised | 1 | 48.00 | -2.00 (one seed) |  |"
