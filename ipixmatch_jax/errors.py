"""Errors that a user can mend: one message with what, where, what was expected and the fix."""


class UserError(Exception):
    """Base of the errors that the command line prints without a traceback, with exit code 2."""


class ConfigError(UserError):
    """A config key or value that cannot be used."""


class DataError(UserError):
    """A file, list, image or mask that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint or weight file that cannot be read or does not fit."""
