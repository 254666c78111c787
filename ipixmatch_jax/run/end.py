"""The end of a run: its summary, pictures of validation images, advice, and the next command."""

from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from ipixmatch_jax.data import Dataset
from ipixmatch_jax.errors import CheckpointError
from ipixmatch_jax.outputs import next_command
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.run.advice import advise_on_run
from ipixmatch_jax.screen import say, warn
from ipixmatch_jax.viz.validation_images import draw_validation
from ipixmatch_jax.workdir.folder import summary_path
from ipixmatch_jax.workdir.results import run_summary_table, write_run_summary


def finish_run(
    config: ConfigDict, workdir: AnyPath, model: nn.Module, network: Any, dataset: Dataset
) -> None:
    """Writes and prints what is left to do after the last step.

    Args:
        config: config of the run.
        workdir: its folder.
        model: its model.
        network: `{'params', 'batch_stats'}` of `config.best_network`.
        dataset: its data set.
    """
    name = config.best_network
    reached = write_run_summary(workdir, name)
    if reached:
        say(f"{run_summary_table(reached)}\nwritten to {summary_path(workdir)}")
    if config.pictures:
        try:
            folder = draw_validation(config, workdir, model, network, dataset)
            say(f"pictures (photo, truth, {name}'s prediction, errors): {folder}")
        except CheckpointError as error:  # a network that has diverged; the advice follows
            warn(f"no pictures: {error}")
    for advice in advise_on_run(config, workdir):
        say(f"advice: {advice}")
    say(next_command(workdir, "--mode", "report"))
