"""Every method on the digit scenes of configs/demo.py, with and without a relation.

    python -m bench.methods --workdir runs/bench-methods

All methods train for the same number of steps: half of the demo's, with a ramp of half the length.
Loss weights and views are the demo's; other options have each method's defaults. The relation is
the demo's, class_map/kl.
"""

from bench import runs
from ipixmatch_jax.methods import METHODS

RAMP = ["--config.method.ramp_start=200", "--config.method.ramp_steps=150"]

# Options that a method's source sets differently from the demo.
OPTIONS = {
    "mean_teacher": ["--config.method.confidence=0.0", "--config.method.unlabeled_weight=10.0"],
    "cps": ["--config.method.confidence=0.0"],
}


def main() -> None:
    commands = {}
    for name in METHODS.names():
        command = ["--config", "configs/demo.py", "--config.pictures=0", *RAMP]
        command += [f"--config.method.name={name}", *OPTIONS.get(name, [])]
        commands[name] = [*command, "--config.relation.name=none"]
        if METHODS[name].uses_unlabeled:
            commands[f"{name}+relation"] = command
    options = runs.parser(__doc__, list(commands), steps=750, seeds=(0, 1, 2)).parse_args()
    runs.compare(commands, options, "Digit scenes, every method")


if __name__ == "__main__":
    main()
