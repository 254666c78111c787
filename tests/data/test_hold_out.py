"""The hold-out is a function of each id: adding images moves no training image to validation."""

import numpy as np
import pytest

from ipixmatch_jax.data.hold_out import hold_out
from ipixmatch_jax.errors import DataError


@pytest.mark.parametrize("seed", range(5))
def test_adding_images_moves_no_training_image_to_validation(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(120)
    ids = np.array([f"p{number:03d}" for number in order])
    presence = rng.random((120, 5)) < np.array([1.0, 0.5, 0.2, 0.05, 0.02])
    before: set[str] = set()
    for count in range(2, 121):
        held = hold_out(list(ids[:count]), 0.2, seed, presence[:count])
        val = set(ids[held].tolist())
        assert val and not before & val
        before = set(ids[:count].tolist()) - val
        assert before
    assert 0.1 < len(val) / 120 < 0.35


def test_removing_images_keeps_the_others_where_they_are():
    ids = [f"p{number}" for number in range(100)]
    val = {ids[i] for i in hold_out(ids, 0.2, 0)}
    fewer = [name for number, name in enumerate(ids) if number % 7]
    assert {fewer[i] for i in hold_out(fewer, 0.2, 0)} == val & set(fewer)


def test_groups_stay_together_and_rare_classes_are_seen():
    keys = [f"g{number // 3}" for number in range(300)]
    held = {keys[i] for i in hold_out(keys, 0.2, 1)}
    assert all(i in set(hold_out(keys, 0.2, 1)) for i, key in enumerate(keys) if key in held)
    ids = [f"p{number}" for number in range(200)]
    seen = []
    for seed in range(40):
        rare = np.zeros((200, 2), bool)
        rare[:, 0] = True
        rare[np.random.default_rng(seed).choice(200, 6, replace=False), 1] = True
        seen.append(rare[hold_out(ids, 0.2, seed, rare), 1].any())
    # Without the rule for classes 0.8 ** 6, a quarter of the sets, would miss it.
    assert np.mean(seen) > 0.8


def test_small_sets_and_impossible_ones():
    for count in (2, 3, 5):
        ids = [f"p{number}" for number in range(count)]
        for seed in range(30):
            assert 1 <= len(hold_out(ids, 0.2, seed)) < count
    with pytest.raises(DataError, match="two groups"):
        hold_out(["a", "a"], 0.2, 0)
    with pytest.raises(DataError, match="share"):
        hold_out(["a", "b"], 1.0, 0)
