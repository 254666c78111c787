"""What the documents name is there."""

import re

import pytest

from ipixmatch_jax.config import default_config, flatten
from tests.references import ROOT


@pytest.mark.parametrize("name", ["tuning.md", "quickstart.md"])
def test_keys_of_the_config_exist(name):
    keys = set(dict(flatten(default_config())))
    groups = {key.partition(".")[0] for key in keys if "." in key}
    text = (ROOT / "docs" / name).read_text()
    prose, blocks = (
        re.sub(r"```.*?```", "", text, flags=re.DOTALL),
        re.findall(r"```.*?```", text, flags=re.DOTALL),
    )
    named = {key for block in blocks for key in re.findall(r"--config\.([\w.]+)", block)}
    for code in re.findall(r"`([^`]+)`", prose):
        key, is_set, _ = code.partition("=")
        if re.fullmatch(r"[a-z_.]+", key) and (is_set or key.partition(".")[0] in groups):
            named.add(key)
    named = {key for key in named if key not in groups and not key.endswith((".md", ".py"))}
    assert named and named <= keys, sorted(named - keys)
