"""Independent implementations and miniatures that several tests and benchmarks share."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]  # of the repository
