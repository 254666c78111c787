"""The folder with the documentation and the start scripts, in a checkout or installed."""

import pathlib
import site
import sysconfig

_INSTALLED = "share/ipixmatch_jax"


def pages_folder() -> pathlib.Path | None:
    """The folder that holds `docs/` and `launch/`; None if neither is on this machine.

    A checkout has both at its top. A wheel puts them below the prefix of the environment.
    """
    checkout = pathlib.Path(__file__).resolve().parents[2]
    prefixes = (sysconfig.get_path("data"), site.getuserbase())
    places = (checkout, *(pathlib.Path(prefix) / _INSTALLED for prefix in prefixes))
    return next((place for place in places if (place / "docs" / "tuning.md").is_file()), None)
