"""Standard output and error that cannot end a run: any encoding, readers that go away, full disks.

Imports nothing but the standard library: it is used before anything else is loaded.
"""

import codecs
import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

_PLAIN_ERRORS = "ipixmatch.plain"
# Readable stand-ins, used only where the encoding lacks the character.
_PLAIN = {
    **dict.fromkeys("─━═╌┄—–−‐‑", "-"),
    **dict.fromkeys("│┃║╎┆", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╔╗╚╝╠╣╦╩╬╭╮╰╯", "+"),
    **dict.fromkeys("▏▎▍▌▋▊▉█", "#"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("·•", "*"),
    **dict.fromkeys("\xa0\u2009\u202f", " "),
    **{"…": "...", "×": "x", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "±": "+/-", "≈": "~"},
}


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    parts = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in missing)
    return "".join(parts), error.end


codecs.register_error(_PLAIN_ERRORS, _plain)


class _Output:
    """A text stream whose writes never raise.

    Attributes:
        reader_gone: a message for standard error, printed when the reader of this stream goes away.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.reader_gone = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._survives():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        with self._survives():
            self._stream.flush()

    def finish(self) -> None:
        """Flushes for the last time, so that the interpreter has nothing left to write."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._drop_output()

    @contextlib.contextmanager
    def _survives(self) -> Iterator[None]:
        try:
            yield
        except ValueError:  # the stream is closed
            pass
        except OSError as error:
            # A full disk may have room again later. All other errors are for good.
            if error.errno == errno.ENOSPC:
                return
            self._drop_output()
            message, self.reader_gone = self.reader_gone, ""
            if message:
                print(message, file=sys.stderr, flush=True)

    def _drop_output(self) -> None:
        """Redirects the file descriptor to the null device, also for libraries that use it."""
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextlib.contextmanager
def guarded_output() -> Iterator[_Output]:
    """Makes `print`, `sys.stdout` and `sys.stderr` safe for the time of a command.

    Characters that the encoding lacks are replaced by ASCII; a reader that goes away (`| head`, a
    closed terminal) ends the output and not the command; a full disk loses the output only.

    Yields:
        Standard output; set its `reader_gone` to say what goes on without a reader.
    """
    before = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    errors = {name: getattr(stream, "errors", None) for name, stream in before.items()}
    with contextlib.ExitStack() as stack:
        for name, stream in before.items():
            if stream is None:  # the descriptor was closed by the caller
                stream = stack.enter_context(open(os.devnull, "w"))
            elif hasattr(stream, "reconfigure"):
                stream.reconfigure(errors=_PLAIN_ERRORS)
                stack.callback(_restore_errors, stream, errors[name])
            output = _Output(stream)
            stack.callback(output.finish)
            setattr(sys, name, output)
        try:
            yield sys.stdout
        finally:
            for name, stream in before.items():
                setattr(sys, name, stream)


def _restore_errors(stream: Any, errors: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.reconfigure(errors=errors)
