"""A config file to start from: `--mode new-config`."""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax.config.defaults import flatten
from ipixmatch_jax.config.groups import GROUPS, all_keys
from ipixmatch_jax.config.reference import changed
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.screen import say

# Keys that most configs set.
_USUAL = (
    "total_steps", "batch_size", "unlabeled_batch_size", "eval_every", "checkpoint_every",
    "data.root", "data.labeled", "data.unlabeled", "data.val", "data.num_classes",
    "data.class_names", "data.crop_size", "data.flip", "model.name", "model.backbone",
    "model.pretrained", "method.name", "method.confidence", "method.ramp_start",
    "method.ramp_steps", "relation.name", "relation.distance", "relation.weight",
    "teacher.decay", "optimizer.name", "optimizer.learning_rate",
)  # fmt: skip
_HEAD = '''"""A config to edit: ipixmatch --config THIS_FILE --workdir runs/NAME

All keys: ipixmatch --mode config [GROUP]
"""

from ipixmatch_jax.config import default_config


def get_config():
    config = default_config()
'''


def starting_file(config: ConfigDict) -> str:
    """The text of a config file: the usual keys, and those that differ from the defaults.

    Executed, it gives an equal config, in which no key counts as planned.
    """
    keys, values = all_keys(), dict(flatten(config))
    different = changed(config)
    lines = [_HEAD]
    group = None
    order = {group: index for index, group in enumerate(GROUPS)}
    names = sorted({**keys, **different}, key=lambda name: order.get(_group_of(name), 0))
    for name in names:
        if name not in _USUAL and name not in different:
            continue
        if _group_of(name) not in ("", group):
            group = _group_of(name)
            lines += ["", f"    # {GROUPS[group][0].partition(';')[0]}"]
        lines += _assignment(name, keys.get(name), values[name])
    return "\n".join([*lines, "    return config"]) + "\n"


def write_starting_file(config: ConfigDict, path: AnyPath | None) -> None:
    """Writes the file, or prints it if there is no path.

    Raises:
        ConfigError: the file exists, or cannot be written.
    """
    if path is None:
        print(starting_file(config), end="")
        return
    if path.exists():
        raise ConfigError(f"{path} exists; choose another --output")
    try:
        path.write_text(starting_file(config), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); choose another --output"
        ) from None
    say(f"written to {path}\nnext: ipixmatch --config {path} --workdir runs/NAME")


def _group_of(name: str) -> str:
    return name.partition(".")[0] if "." in name else ""


def _assignment(name: str, key: Key | None, value: Any) -> Iterator[str]:
    line = f"    config.{name} = {_source(value)}"
    if key is None and ".options." not in name:
        yield f"    # {line.strip()}  (of a data source that your file registers)"
        return
    if len(line) > 100 and isinstance(value, list | tuple):
        items = "".join(f"        {_source(item)},\n" for item in value)
        line = f"    config.{name} = (\n{items}    )"
    comment = f"  # {key.help}" if key else ""
    if len(line + comment) > 100 and key:
        yield f"    # {key.help}"
        comment = ""
    yield line + comment


def _source(value: Any) -> str:
    plain = value.to_dict() if isinstance(value, ConfigDict) else value
    if isinstance(plain, list | tuple):
        inner = ", ".join(map(_source, plain))
        return f"({inner},)" if len(plain) == 1 else f"({inner})"
    text = repr(plain)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text
