"""Errors that a user can fix: one message says what, where, what was expected, and the fix."""

import sys

from ipixmatch_jax.screen import folded


class UserError(Exception):
    """Base of the errors that the command line prints without a traceback, with exit code 2."""


class ConfigError(UserError):
    """A config key or value that cannot be used."""


class DataError(UserError):
    """A file, list, image or mask that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint or weight file that cannot be read or does not match the model."""


def exit_code(error: UserError) -> int:
    """Prints the error for the command line, and returns the exit code."""
    print(folded(f"{type(error).__name__}: {error}", sys.stderr), file=sys.stderr)
    return 2
