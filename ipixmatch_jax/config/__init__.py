"""The config: keys, defaults, loading, validation, a run's snapshot, and published recipes."""

from ipixmatch_jax.config.defaults import default_config, flatten
from ipixmatch_jax.config.fit_to_run import for_run, with_own_statistics
from ipixmatch_jax.config.loading import command_line_keys, load_config, with_overrides
from ipixmatch_jax.config.snapshot import (
    cut_off,
    load_snapshot,
    overview,
    read_snapshot,
    with_run_values,
    write_snapshot,
)
from ipixmatch_jax.config.validation import checked, validate

__all__ = [
    "checked",
    "cut_off",
    "command_line_keys",
    "default_config",
    "flatten",
    "for_run",
    "load_config",
    "load_snapshot",
    "overview",
    "read_snapshot",
    "validate",
    "with_overrides",
    "with_own_statistics",
    "with_run_values",
    "write_snapshot",
]
