"""For an unknown key, the error suggests the most similar one."""

import pytest

from ipixmatch_jax.config.groups import all_keys
from ipixmatch_jax.config.suggestions import _WORDS, did_you_mean


@pytest.mark.parametrize("key, meant", [
    ("optimizer.lr", "optimizer.learning_rate"), ("lr", "optimizer.learning_rate"),
    ("learning_rate", "optimizer.learning_rate"), ("epochs", "total_steps"),
    ("model.encoder", "model.backbone"), ("data.classes", "data.num_classes"),
    ("ema_decay", "teacher.decay"), ("optimiser.name", "optimizer.name"),
    ("data.num_class", "data.num_classes"), ("optimizer.learning_rat", "optimizer.learning_rate"),
])  # fmt: skip
def test_near_misses_suggest_what_is_meant(key, meant):
    assert did_you_mean(key, all_keys()) == f" (did you mean {meant!r}?)"


def test_suggested_keys_exist():
    assert set(_WORDS) <= set(all_keys())
