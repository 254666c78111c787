import numpy as np

from ipixmatch_jax.run.parameters import parameter_table


def zeros(*shape):
    return np.zeros(shape, np.float32)


def test_modules_are_counted_two_levels_deep():
    params = {
        "encoder": {
            "level_0": {"first": {"kernel": zeros(3, 3, 3, 16), "bias": zeros(16)}},
            "level_1": {"first": {"kernel": zeros(3, 3, 16, 32)}},
        },
        "head": {"kernel": zeros(32, 5)},
        "scale": zeros(),
    }
    title, *rows = parameter_table(params).splitlines()
    assert title == f"parameters: {448 + 4608 + 160 + 1:,} (0.0 MB)"
    assert [row.split() for row in rows] == [
        ["encoder/level_0", "448"], ["encoder/level_1", "4,608"], ["head", "160"], ["scale", "1"],
    ]  # fmt: skip


def test_many_modules_are_counted_one_level_deep():
    blocks = {f"block_{i:02}": {"kernel": zeros(1000, 10)} for i in range(20)}
    lines = parameter_table({"encoder": blocks, "head": {"c": {"bias": zeros(3)}}}).splitlines()
    assert lines[0] == "parameters: 200,003 (0.8 MB)"
    assert [row.split() for row in lines[1:]] == [["encoder", "200,000"], ["head", "3"]]
    assert max(map(len, lines)) <= 80
