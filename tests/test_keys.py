"""One config key: parsing of texts, allowed values and error messages."""

import pytest

from ipixmatch_jax.keys import Key, defaults_of

COUNT = Key(8, "a count", least=1)
SIZE = Key((3, 4), "a size", length=2, least=1)
BOTH = Key((0, 0), "a size, or none", length=2, least=0, together=True)
RANGE = Key((0.5, 2.0), "a range", length=2, above=0, ordered=True)
NAMES = Key((), "names", kind="str")
WRITERS = Key(("a",), "writers", choices=("alpha", "beta"))
MAYBE = Key(None, "perhaps a number", kind="float", least=0, most=1)
COLORS = Key((), "colors", kind="color")


@pytest.mark.parametrize("key, text, value", [
    (COUNT, "3", 3), (COUNT, " 3 ", 3), (SIZE, "(5, 6)", (5, 6)), (SIZE, "5,6", (5, 6)),
    (BOTH, "0,0", (0, 0)), (BOTH, "5,6", (5, 6)),
    (SIZE, "[5, 6]", (5, 6)), (RANGE, "(1, 2)", (1, 2)), (NAMES, "('a', 'b')", ("a", "b")),
    (NAMES, "road, sky", ("road", "sky")), (NAMES, "road", ("road",)), (NAMES, "", ()),
    (WRITERS, "beta", ("beta",)), (MAYBE, "None", None), (MAYBE, "1e-1", 0.1), (MAYBE, "1", 1.0),
    (COLORS, "((1, 2, 3),)", ((1, 2, 3),)), (Key(False, ""), "yes", True),
    (Key(True, ""), "0", False), (Key("x", ""), "12", "12"),
])  # fmt: skip
def test_texts_that_are_values(key, text, value):
    found = key.parse(text)
    assert found == value and type(found) is type(value)
    assert key.problem("k", found) is None


@pytest.mark.parametrize("key, text, message", [
    (COUNT, "0", "k is 0; expected a whole number of at least 1"),
    (COUNT, "99999999999", "whole number of at least 1 and at most 2147483647"),
    (BOTH, "(5, 0)", "two whole numbers, each of at least 0, all 0 or none"),
    (COUNT, "3.0", "k is 3.0; expected a whole number"),
    (COUNT, "True", "k is True; expected a whole number"),
    (SIZE, "97x97", "k is '97x97'; expected two whole numbers, each of at least 1"),
    (SIZE, "(5,)", "expected two whole numbers"),
    (RANGE, "(2, 1)", "(low, high) with low <= high"),
    (RANGE, "(0, 1)", "each above 0"),
    (WRITERS, "betta", "expected names out of alpha, beta (did you mean 'beta'?)"),
    (MAYBE, "nan", "k is nan; expected a number from 0 to 1, or None"),
    (COLORS, "((1, 2, 256),)", "colors (red, green, blue), each 0 to 255"),
    (Key(False, ""), "maybe", "k is 'maybe'; expected True or False"),
    (COUNT, "9" * 20, "expected a whole number"),
])  # fmt: skip
def test_texts_that_are_none(key, text, message):
    assert message in key.problem("k", key.parse(text))


def test_choices_may_be_found_late_and_others_hold_a_colon():
    known = ["one"]
    key = Key("one", "", choices=lambda: known, other="module:Class")
    assert key.problem("k", "two") == "k is 'two'; expected 'one', or module:Class"
    known.append("two")
    assert key.problem("k", "two") is None and key.problem("k", "mine:Class") is None


def test_defaults_of_nested_tables():
    assert defaults_of({"a": COUNT, "b": {"c": SIZE}, "d": {}}) == {
        "a": 8, "b": {"c": (3, 4)}, "d": {},
    }  # fmt: skip
