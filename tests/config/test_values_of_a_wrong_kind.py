"""Odd values of every key are accepted, or one ConfigError names the key."""

import math

import numpy as np
import pytest

from ipixmatch_jax.config import load_config, validate, with_overrides
from ipixmatch_jax.config.groups import GROUPS, all_keys
from ipixmatch_jax.errors import ConfigError

TEXTS = ("97x97", "None", "", "()", '("97","97")', "(31.5,31)", "[1,2]", "inf", "-inf", "nan",
         "-1", "0", "1e400", "99999999999999999999", "0.5", "True", "{}", "{'a':1}", "(1,", "x;y",
         "(nan, nan)", "((1,2),(3,4))", "None,None", "1+1", "é☃",
         "((0,0,0),(300,0,0))")  # fmt: skip
VALUES = (None, "", "x", 0, -1, 0.5, 2.0, 10**30, math.inf, math.nan, True, (), (1,), (None, None),
          ("97", "97"), (math.nan, 1.0), [1, 2], {"a": 1}, {}, b"x", object(), np.zeros(2), 1j,
          ((1, 2), (3, 4)), (np.nan,), {1, 2}, range(2), "\0")  # fmt: skip


def names(group):
    return [name for name in all_keys() if (name.rpartition(".")[0].partition(".")[0]) == group]


def takes(check, name):
    """True if the config accepts the value; any error except ConfigError fails the test."""
    try:
        check()
    except ConfigError as error:
        # Two equal relations are named as such, not by relation.more.
        words = (name.rpartition(".")[2], "is given twice")
        assert any(word in str(error) for word in words), (name, str(error))
        return False
    return True


@pytest.mark.parametrize("group", GROUPS)
def test_odd_texts_on_the_command_line(group, config_file):
    base = load_config(str(config_file))
    for name in names(group):
        for text in TEXTS:
            config = base.copy_and_resolve_references()
            override = f"--config.{name}={text}"
            taken = takes(lambda c=config, o=override: validate(with_overrides(c, [o])), name)
            numeric = all_keys()[name].kind in ("int", "float")
            assert not (taken and numeric and text in ("97x97", "inf", "nan", "1e400", "True"))


@pytest.mark.parametrize("group", GROUPS)
def test_odd_values_in_a_config(group, config_file):
    base = load_config(str(config_file))
    for name in names(group):
        for value in VALUES:
            config = base.copy_and_resolve_references()
            config.unlock()
            group_name, _, leaf = name.rpartition(".")
            target = config
            for part in group_name.split(".") if group_name else ():
                target = target[part]
            with target.ignore_type():
                target[leaf] = value
            taken = takes(lambda config=config: validate(config), name)
            assert not (taken and isinstance(value, bytes | set | np.ndarray | complex))


def test_all_wrong_values_of_a_command_are_listed_at_once(config_file):
    overrides = [
        *("data.crop_size=97x97", "optimizer.learning_rate=inf", "sed=3", "batch_size=0"),
        *("tracking.writers=None", "model.name=unnet", "method.options.distanc=3"),
    ]
    with pytest.raises(ConfigError) as error:
        load_config(str(config_file), [f"--config.{override}" for override in overrides])
    text = str(error.value)
    assert text.startswith("the config has 7 problem(s):")
    for override in overrides:
        assert override.partition("=")[0].rpartition(".")[2] in text
    assert "data.crop_size is '97x97'; expected two whole numbers" in text


@pytest.mark.parametrize("line, message", [
    ("int('x')", "ValueError: invalid literal"),
    ("[][3]", "IndexError"),
    ("open('nowhere.txt')", "FileNotFoundError"),
    ("config.total_steps = 'many'", "TypeError"),
    ("{}['no']", "KeyError"),
    ("1 / 0", "ZeroDivisionError"),
])  # fmt: skip
def test_an_error_in_a_config_file_names_its_line(config_file, line, message):
    text = config_file.read_text().replace("    return config", f"    {line}\n    return config")
    config_file.write_text(text)
    number = text.splitlines().index(f"    {line}") + 1
    with pytest.raises(ConfigError, match=f"small.py, line {number}: {message}"):
        load_config(str(config_file))
    config_file.write_text("def get_config(:\n")
    with pytest.raises(ConfigError, match="small.py, line 1: SyntaxError"):
        load_config(str(config_file))
