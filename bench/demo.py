"""Supervised, FixMatch and IPixMatch on the digit scenes of configs/demo.py, at equal steps.

    python -m bench.demo --workdir runs/bench-demo

`all` is the upper bound: supervised with every scene labeled.
"""

from bench import runs

METHODS = ("supervised", "fixmatch", "ipixmatch", "all")


def main() -> None:
    options = runs.parser(__doc__, METHODS, steps=1500, seeds=(0, 1, 2)).parse_args()
    commands = {
        method: ["--config", f"configs/demo.py:{method}", "--config.pictures=0"]
        for method in METHODS
    }
    runs.compare(commands, options, "Digit scenes")


if __name__ == "__main__":
    main()
