"""Command line: python -m ipixmatch_jax.data.tfds_builders voc --root VOC2012 --to tfds_data …"""

import argparse
import sys

from ipixmatch_jax.data.cli_options import add_data_options, data_config
from ipixmatch_jax.data.tfds_builders.builders import BUILDERS, prepare
from ipixmatch_jax.errors import UserError, exit_code


def main() -> int:
    """Prepares one data set; returns 0, or the exit code of a user error."""
    parser = argparse.ArgumentParser(prog="python -m ipixmatch_jax.data.tfds_builders")
    parser.add_argument("name", choices=BUILDERS, help="data set to prepare")
    add_data_options(parser)
    parser.add_argument("--to", required=True, help="TFDS data directory, local or gs://…")
    parser.add_argument("--shards", type=int, default=0, help="files per split; 0: TFDS chooses")
    options = parser.parse_args()
    try:
        name = prepare(data_config(options.name, options), options.to, shards=options.shards)
    except UserError as error:
        return exit_code(error)
    print(f"read it with data.name=tfds:{name} data.root={options.to} data.tfds.id_key=id")
    return 0


if __name__ == "__main__":
    sys.exit(main())
