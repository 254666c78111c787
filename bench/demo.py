"""Methods and relations on the digit scenes of configs/demo.py, at equal steps.

    python -m bench.demo --workdir runs/bench-demo --json bench/results/demo-cpu.json
    python -m bench.demo --workdir runs/bench-demo --steps 750 --fork 200 --base cps \
        --arms cps cps-confident cps-strong cps-eval peer peer-all fixmatch fixmatch-all
    python -m bench.demo --workdir runs/bench-demo --steps 750 --fork 200 --base supervised \
        --arms supervised fixmatch-joint unimatch unimatch-separate unimatch-whole unimatch-labels

For each seed, arms of one trunk continue from a copy of its state at step `--fork`, where their
unlabeled losses begin; `supervised` and `all`, the upper bound with every scene labeled, train from
the start. Settings are fixed before: nothing is chosen on the validation scenes, which differ
between seeds. The table has the last mIoU, and the paired difference from the base arm with
Student's 95 % interval over seeds.
"""

import argparse
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

from bench.common import mean_text, write_record
from bench.forks import add_options, difference_cells, fork, grow, results_of
from bench.runs import finished, train
from ipixmatch_jax.engine.state import NETWORKS

_CPS = ["--config.method.name=cps"]
_UNIMATCH = ["--config.method.name=unimatch"]
_SEPARATE = ["--config.method.norm_groups=separate", "--config.method.running_statistics=labeled"]
_STRONG = "--config.method.options.strength=strong"
_ALL_PIXELS = "--config.method.confidence=0"
_VALID = ["--config.relation.region=valid", "--config.relation.weight=0.15"]
_BALANCED = ["--config.relation.balance=gradient", "--config.relation.weight=0.5"]

# Relations in place of pseudo-labels, which have a hundredth of their weight.
_INSTEAD = "--config.method.unlabeled_weight=0.01"
_AFFINITY = [
    "--config.relation.name=affinity", "--config.relation.temperature=0.1",
    "--config.relation.stride=2", "--config.relation.region=valid",
]  # fmt: skip

# Arm → trunk, the argument of configs/demo.py, and options.
ARMS: dict[str, tuple[str | None, str, list[str]]] = {
    "supervised": (None, "supervised", []),
    "all": (None, "all", []),
    "fixmatch": ("fixmatch", "fixmatch", []),
    "ipixmatch": ("fixmatch", "ipixmatch", []),
    "kl-valid": ("fixmatch", "ipixmatch", _VALID),
    "fixmatch-hundredth": ("fixmatch", "fixmatch", [_INSTEAD]),
    "ipixmatch-only": ("fixmatch", "ipixmatch", [_INSTEAD, "--config.relation.weight=5"]),
    "kl-valid-only": ("fixmatch", "ipixmatch", [*_VALID, _INSTEAD, "--config.relation.weight=15"]),
    "affinity-kl-only": (
        "fixmatch", "ipixmatch", [*_AFFINITY, _INSTEAD, "--config.relation.weight=1000"],
    ),
    "ipixmatch-balanced": ("ipixmatch-balanced", "ipixmatch", _BALANCED),
    "soft": ("fixmatch", "fixmatch", ["--config.method.options.distance=soft_cross_entropy"]),
    # What CPS differs in from FixMatch, one by one.
    "fixmatch-all": ("fixmatch", "fixmatch", [_ALL_PIXELS]),
    "peer": ("peer", "fixmatch", ["--config.method.labeler=peer"]),
    "peer-all": ("peer", "fixmatch", ["--config.method.labeler=peer", _ALL_PIXELS]),
    "cps": ("cps", "fixmatch", [*_CPS, _ALL_PIXELS]),
    "cps-confident": ("cps", "fixmatch", _CPS),
    "cps-strong": ("cps", "fixmatch", [*_CPS, _ALL_PIXELS, _STRONG]),
    "cps-eval": ("cps", "fixmatch", [*_CPS, _ALL_PIXELS, "--config.method.label_norm=eval"]),
    # What UniMatch differs in, and views that share a batch norm pass: from the start, as these act
    # before the unlabeled losses do.
    "fixmatch-joint": (None, "fixmatch", ["--config.method.norm_groups=joint"]),
    "unimatch": (None, "fixmatch", _UNIMATCH),
    "unimatch-separate": (None, "fixmatch", [*_UNIMATCH, *_SEPARATE]),
    "unimatch-whole": (None, "fixmatch", [*_UNIMATCH, "--config.method.options.drop_rate=0"]),
    "unimatch-labels": (None, "fixmatch", [*_UNIMATCH, "--config.supervised.weight=2"]),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    shown = ("supervised", "fixmatch", "ipixmatch", "all")
    add_options(parser, list(ARMS), shown=shown, seeds=range(10), steps=1500, fork_at=400)
    options = parser.parse_args()
    results = results_of(
        options,
        lambda arm, seed: options.workdir / f"{arm}-{options.steps}-seed{seed}",
        lambda arm, seed, workdir: _train(arm, seed, workdir, options),
        lambda workdir: finished(workdir, options.steps),
    )
    print(f"\nDigit scenes, {options.steps} steps; validation mIoU in percent\n")
    print(table(results, options.base, options.network))
    if options.json:
        setting = {key: getattr(options, key) for key in ("steps", "fork", "base")}
        machine = f"{platform.system()} {platform.machine()}"
        arms = {arm: ARMS[arm] for arm in options.arms}
        write_record(
            options.json, {**setting, "machine": machine, "arms": arms, "results": results}
        )


def _train(arm: str, seed: int, workdir: pathlib.Path, options: argparse.Namespace) -> None:
    stem = ARMS[arm][0]
    if stem is not None and not workdir.exists():
        trunk = options.workdir / f"trunk-{stem}-{options.steps}-seed{seed}"
        grow(trunk, command(stem, seed, options.fork), options.steps, options.fork)
        fork(trunk, workdir, options.fork)
    train(command(arm, seed, options.fork), workdir, options.steps)


def command(arm: str, seed: int, fork_at: int) -> list[str]:
    """An arm's arguments of `python -m ipixmatch_jax.main`, without workdir and steps."""
    _, name, more = ARMS[arm]
    return [
        "--config", f"configs/demo.py:{name}", "--config.pictures=0", f"--config.seed={seed}",
        f"--config.method.ramp_start={fork_at}", f"--config.method.ramp_steps={fork_at * 3 // 4}",
        f"--config.checkpoint_every={fork_at}", *more,
    ]  # fmt: skip


def table(results: Mapping[str, Mapping[int, Any]], base: str, network: str) -> str:
    """A row for each arm: means ± deviations, difference from the base, and seeds for 1 point."""
    rows = [f"| arm | seeds | student | teacher | {network} minus {base} | seeds for 1 point |"]
    rows.append("|---|---|---|---|---|---|")
    last = {
        one: {arm: {s: run[one]["last"] for s, run in of.items()} for arm, of in results.items()}
        for one in NETWORKS
    }
    for arm, runs in results.items():
        means = " | ".join(mean_text(last[one][arm].values(), 1) for one in NETWORKS)
        cells = difference_cells(arm, base, last[network])
        rows.append(f"| {arm} | {len(runs)} | {means} | {cells} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
