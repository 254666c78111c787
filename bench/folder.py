"""What `--config folder:PHOTOS` plans by itself, beside the same plan without its losses.

    python -m bench.folder --root photos/pets --set pets --labels 26 --seeds 0 \
        --workdir runs/bench-folder --json bench/results/folder-pets-26-cpu.json

Arms: `default` is the plan (FixMatch with a relation loss), `fixmatch` the same without the
relation, `supervised` training on the labeled images alone. Nothing else is set, except what
depends on the machine: batches and crops are those that the plan has on two CPU cores. Images and
test split are those of `bench.photos`; no run trains on the test split, and nothing is chosen by
it. The same command run again reads finished runs and resumes stopped ones.
"""

import argparse
import platform

from bench.common import write_record
from bench.forks import add_options, results_of
from bench.photos import add_set_options, table, tested, write_lists
from bench.runs import train

ARMS: dict[str, list[str]] = {
    "supervised": ["--config.method.name=supervised"],
    "fixmatch": ["--config.relation.name=none"],
    "default": [],
}
# Of pets, planned on two cores.
_PLANNED = (
    "--config.batch_size=3", "--config.unlabeled_batch_size=3", "--config.data.crop_size=(257,257)",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_set_options(parser)
    add_options(parser, list(ARMS), shown=list(ARMS), seeds=[0], steps=2000, base="supervised")
    options = parser.parse_args()
    results = results_of(
        options,
        lambda arm, seed: options.workdir / f"{arm}-seed{seed}",
        lambda arm, seed, workdir: train(command(options, arm, seed), workdir, options.steps),
        lambda workdir: tested(workdir, options),
    )
    print(f"\n{options.set}, {options.labels} labels, the default plan, {options.steps} steps:\n")
    print(table(results, options.base, options.network))
    if options.json:
        setting = {key: getattr(options, key) for key in ("set", "labels", "steps", "base")}
        machine = f"{platform.system()} {platform.machine()}"
        arms = {arm: ARMS[arm] for arm in options.arms}
        write_record(
            options.json, {**setting, "machine": machine, "arms": arms, "results": results}
        )


def command(options: argparse.Namespace, arm: str, seed: int) -> list[str]:
    """An arm's arguments of `python -m ipixmatch_jax.main`, without workdir and steps."""
    unlabeled, test = write_lists(options)
    return [
        "--config", f"folder:{options.root.resolve()}", f"--config.seed={seed}",
        f"--config.data.labeled=splits/{options.labels}/labeled.txt", "--config.data.val=val.txt",
        f"--config.data.unlabeled={unlabeled}", f"--config.data.test={test}",
        "--config.pictures=0", *_PLANNED, *ARMS[arm],
    ]  # fmt: skip


if __name__ == "__main__":
    main()
