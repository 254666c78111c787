"""The message about photos that a command had to leave out."""

from collections.abc import Sequence

_MOST_NAMED = 20


def broken_in_words(
    broken: Sequence[str], total: int, *, failed: str, others: str, expected: str
) -> str:
    """Says how many photos failed, names the first ones, and says what a network takes.

    Args:
        broken: a message for each of them.
        total: number of all photos.
        failed: what they are and what did not work, as `photos could not be predicted`.
        others: what was done with the rest, if there is one.
        expected: what the network takes.
    """
    named = list(broken[:_MOST_NAMED])
    if len(broken) > len(named):
        named.append(f"… and {len(broken) - len(named)} more")
    rest = f", the others are {others}" if len(broken) < total else ""
    lines = "\n  ".join(named)
    return f"{len(broken)} of {total} {failed}{rest}:\n  {lines}\nthe network takes {expected}"
