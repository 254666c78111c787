"""Supervised, FixMatch and IPixMatch on CamVid with few labels, at equal steps.

python -m bench.camvid --root camvid --labels 23 --steps 600 --workdir runs/bench-camvid
"""

from bench import runs

METHODS = {
    "supervised": ["--config.method.name=supervised"],
    "fixmatch": ["--config.relation.name=none"],
    "ipixmatch-kl": ["--config.relation.distance=kl"],
    # corr lies in [0, 2] at any temperature; kl at temperature 4 is several times smaller.
    "ipixmatch-corr": ["--config.relation.distance=corr", "--config.relation.weight=0.1"],
}


def main() -> None:
    parser = runs.parser(__doc__, tuple(METHODS), steps=600, seeds=(0,))
    parser.add_argument("--root", required=True, help="folder of CamVid")
    parser.add_argument("--labels", default="23", choices=("23", "46", "92", "184", "all"))
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="config keys")
    options = parser.parse_args()
    shared = [
        "--config",
        f"configs/camvid.py:{options.labels}",
        f"--config.data.root={options.root}",
        "--config.pictures=0",
        *(f"--config.{setting}" for setting in options.set),
    ]
    commands = {method: [*shared, *arguments] for method, arguments in METHODS.items()}
    runs.compare(commands, options, f"CamVid, {options.labels} labeled images, 181 x 241")


if __name__ == "__main__":
    main()
