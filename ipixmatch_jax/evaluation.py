"""`--mode eval`: restores a checkpoint, evaluates it and writes the result."""

from typing import Any

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import for_run, with_own_statistics
from ipixmatch_jax.devices.processes import is_first
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import UserError
from ipixmatch_jax.evaluator import Evaluator
from ipixmatch_jax.outputs import next_command
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.run.images import folder_remarks, own_validation
from ipixmatch_jax.run.split import with_split
from ipixmatch_jax.screen import say, warn
from ipixmatch_jax.workdir.evaluations import write_later_evaluation
from ipixmatch_jax.workdir.folder import evaluation_path


def evaluate(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    checkpoint: str = "latest",
    network: str = "both",
    split: str = "val",
) -> dict[str, dict[str, Any]]:
    """Restores a checkpoint, evaluates it, prints the table and writes it to a file of its own.

    `eval/STEP.json` is the run's own record, which training writes; it stays as it is.

    Args:
        checkpoint: `latest`, `best` or a step.
        network: `student`, `teacher` or `both`.
        split: `val`, `test` (`data.test`), `labeled`, or what `data.val` can be: a list or a name.
    """
    config = with_own_statistics(for_run(config, workdir), workdir)
    parallel = build.build_parallel(config)
    model = build.build_model(config)
    names = NETWORKS if network == "both" else (network,)
    step, networks = restore_networks(config, workdir, model, parallel, checkpoint, names)
    dataset = with_split(config, split)
    notes, facts = folder_remarks(config, workdir, dataset, own=split == "val"), {}
    if split != "labeled":
        dataset, more, facts = own_validation(dataset, config, workdir, own=split == "val")
        notes += more
    evaluator = Evaluator(config, dataset, model, parallel)
    results = evaluator(networks)
    if not is_first():
        return results
    say(f"step {step}, split {split}, {len(dataset.val)} images")
    for note in notes:
        warn(note)
    say(evaluator.table(results))
    about = {**evaluator.about(), **facts}
    try:
        path = write_later_evaluation(workdir, step, split, results, dataset.protocol, about)
    except (UserError, OSError) as error:  # somebody else's run: the table above is the result
        warn(f"nothing is written: {error.__cause__ or error}")
        return results
    same = path == evaluation_path(workdir, step)
    say(f"the run's own record says the same: {path}" if same else f"written to {path}")
    say(next_command(workdir, "--mode", "report"))
    return results
