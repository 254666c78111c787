"""Command line for published and new label splits.

python -m ipixmatch_jax.data.protocols fetch voc-fine --to VOC2012/splits
python -m ipixmatch_jax.data.protocols identify VOC2012/splits/voc-fine-92/labeled.txt
python -m ipixmatch_jax.data.protocols make --root photos --labeled 50 --stratify --to splits/50
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ipixmatch_jax.data.cli_options import add_data_options, data_config
from ipixmatch_jax.data.files.split_lists import read_list
from ipixmatch_jax.data.protocols import describe, fetch
from ipixmatch_jax.data.protocols.draw import make
from ipixmatch_jax.errors import DataError, UserError, exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ipixmatch_jax.data.protocols", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    options = commands.add_parser("fetch", help="download published lists and verify them")
    options.add_argument("protocol", help="such as voc-fine-92, or a family such as voc-fine")
    options.add_argument("--to", type=Path, required=True)
    options.add_argument("--home", default="", help="alternative URL of the lists' folder")
    options = commands.add_parser("identify", help="identify the protocol of a list")
    options.add_argument("list", type=Path, nargs="+")
    options = commands.add_parser("make", help="draw new lists from any data set")
    options.add_argument("--name", default="folder", help="data.name")
    add_data_options(options)
    options.add_argument("--list", default="", help="data.labeled: draw from this list only")
    options.add_argument("--labeled", type=int, required=True, help="number of images to draw")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--stratify", action="store_true", help="keep the share of every class")
    options.add_argument("--to", type=Path, required=True)
    return parser


def run(arguments: Sequence[str] | None = None) -> None:
    """Runs one command; see the module docstring.

    Raises:
        UserError: an error that the user can fix.
    """
    options = _parser().parse_args(arguments)
    if options.command == "fetch":
        for path in fetch(options.protocol, options.to, home=options.home):
            print(f"{path}: verified")
    elif options.command == "identify":
        for path in options.list:
            problems: list[str] = []
            entries = read_list(path, "the list", problems)
            if problems:
                raise DataError("\n".join(problems))
            print(f"{path}: {describe([entry.id for entry in entries])}")
    else:
        config = data_config(options.name, options, options.list)
        paths = make(
            config, options.labeled, options.seed, options.to,
            stratify=options.stratify,
        )  # fmt: skip
        print("\n".join(map(str, paths)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0, or 2 for a user error."""
    try:
        run(arguments)
    except UserError as error:
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
