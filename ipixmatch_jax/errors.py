"""Errors that a user can mend: one message with what, where, what was expected and the fix."""

import sys


class UserError(Exception):
    """Base of the errors that the command line prints without a traceback, with exit code 2."""


class ConfigError(UserError):
    """A config key or value that cannot be used."""


class DataError(UserError):
    """A file, list, image or mask that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint or weight file that cannot be read or does not fit."""


def exit_code(error: UserError) -> int:
    """Tells the person at the command line; what the command ends with."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 2
