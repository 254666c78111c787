"""Where results go: checks before any work that they can be written, and the next command."""

import os
import shlex
import tempfile

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath, is_remote


def check_writable_folder(folder: AnyPath, flag: str) -> None:
    """Checks that files can be written to a folder, which is created if it does not exist.

    Args:
        folder: folder of the results.
        flag: flag of the command line that names it, for the message.

    Raises:
        ConfigError: nothing can be written there.
    """
    if is_remote(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as file:
            file.write(b"0")
            file.flush()
    except OSError as error:
        raise _not_writable(f"{flag} {folder}", error) from None


def check_writable_file(path: AnyPath, flag: str) -> None:
    """Checks that a file can be written; its folder is created if it does not exist.

    Args:
        path: the file.
        flag: flag of the command line that names it, for the message.

    Raises:
        ConfigError: it is a folder, or nothing can be written there.
    """
    if is_remote(path):
        return
    if path.is_dir():
        raise ConfigError(f"{flag} {path} is a folder; expected a file")
    check_writable_folder(path.parent, flag)
    if path.exists() and not os.access(path, os.W_OK):
        raise ConfigError(f"{flag} {path} must not be overwritten; choose another file")


def next_command(workdir: AnyPath, *arguments: str) -> str:
    """A line that tells the next command for a run."""
    return next_line("--workdir", str(workdir), *arguments)


def next_line(*arguments: str) -> str:
    """A line that tells the next command."""
    return f"next: {shlex.join(['ipixmatch', *arguments])}"


def next_training(*arguments: str) -> str:
    """A line that tells what to add to the command that trained a run."""
    return f"next: TRAINING_COMMAND {shlex.join(arguments)}"


def _not_writable(what: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{what} cannot be written ({error.strerror or error}); make room or choose another place "
        "with --output"
    )
