"""Published label splits: identify, download, create."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from ipixmatch_jax.data.files.split_lists import short_id
from ipixmatch_jax.data.protocols.table import PROTOCOLS, PublishedList
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.registry import nearest

# Families whose results must not share a table: labels of the first have lower quality.
_RIVALS = ("voc-blended", "voc-priority")
_TIMEOUT_S = 60


def ids_hash(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted, newline-joined short ids, as split lists are compared."""
    return hashlib.sha256("\n".join(sorted(map(short_id, ids))).encode()).hexdigest()


_LABELED = {
    parts["labeled"].sha256: (name, parts["labeled"].count) for name, parts in PROTOCOLS.items()
}
_COUNTS = {count for _, count in _LABELED.values()}


def identify(ids: Sequence[str]) -> str:
    """The protocol whose labeled (or validation) images these are, in any order; '' if none."""
    # Hashing 100,000 ids of a set that cannot match would waste time.
    if len(ids) not in _COUNTS:
        return ""
    return _LABELED.get(ids_hash(ids), ("", 0))[0]


def family(protocol: str) -> str:
    """The name of a protocol without its number: 'voc-blended' of 'voc-blended-1_16'."""
    return protocol.rsplit("-", 1)[0]


def comparable(protocols: Iterable[str]) -> None:
    """Raise a DataError if results of these protocols must not stand in one table.

    The blended lists of CPS hold 93, 193 or 388 masks of high quality, the priority lists of U2PL
    662, 1323 or 1464: worth 2 to 4 points of mIoU with the same code.
    """
    names = sorted({name for name in protocols if family(name) in _RIVALS})
    if len({family(name) for name in names}) > 1:
        raise DataError(
            f"results of {', '.join(names)} in one table; expected either the blended or the "
            "priority protocol of VOC: their labeled masks differ in quality, and the numbers by 2 "
            "to 4 points; make one table of each"
        )


def fetch(pattern: str, folder: Path, *, home: str = "") -> list[Path]:
    """Downloads the lists of one protocol, or of a family, and verifies them.

    Args:
        pattern: a protocol such as 'voc-fine-92', or a family such as 'voc-fine' or 'voc'.
        folder: PROTOCOL/labeled.txt and PROTOCOL/unlabeled.txt are written here; val lists are
            written to PROTOCOL.txt.
        home: alternative URL of the folder that holds all lists.

    Returns:
        The files written.

    Raises:
        ConfigError: no protocol of this name.
        DataError: a list cannot be downloaded, or is not the published one.
    """
    chosen = [n for n in PROTOCOLS if n == pattern or n.startswith(f"{pattern}-")]
    if not chosen:
        raise ConfigError(
            f"no protocol {pattern!r}{nearest(pattern, PROTOCOLS)}; known: {', '.join(PROTOCOLS)}"
        )
    written = []
    for name in chosen:
        for kind, published in PROTOCOLS[name].items():
            target = folder / name / f"{kind}.txt"
            if name.endswith("-val"):
                target = folder / f"{name}.txt"
            content = _download((home.rstrip("/") + "/" if home else published.home), published)
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_suffix(".tmp")
            temporary.write_bytes(content)
            temporary.replace(target)
            written.append(target)
    return written


def _download(home: str, published: PublishedList) -> bytes:
    url = home + published.path
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response:
            content = response.read()
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DataError(
            f"{url}: cannot be downloaded ({error}); expected a list of {published.count} ids; "
            "try again, or give another home with --home"
        ) from None
    lines = content.decode("utf-8", "replace").splitlines()
    ids = [line.split(" ")[0] for line in lines if line.strip()]
    if len(ids) != published.count or ids_hash(ids) != published.sha256:
        raise DataError(
            f"{url}: {len(ids)} ids with hash {ids_hash(ids)[:12]}…; expected the published "
            f"{published.count} ids with hash {published.sha256[:12]}…; nothing was written"
        )
    return content


def describe(ids: Sequence[str]) -> str:
    """The name of the published list with these ids, as text."""
    digest = ids_hash(ids)
    for name, parts in PROTOCOLS.items():
        for kind, published in parts.items():
            if published.sha256 == digest:
                return f"{name}, {'val' if name.endswith('-val') else kind}, {len(ids)} ids"
    return f"no published list; {len(ids)} ids, sha256 {digest}"
