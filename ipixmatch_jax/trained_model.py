"""The model of a run whose method is not registered here: using a network needs no loss."""

from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.models import TWINS
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.checkpoints import Checkpoints

# Built-in methods by the number of networks that they train.
_STAND_INS = {1: "fixmatch", 2: "cps"}


def with_known_method(config: ConfigDict, workdir: AnyPath, checkpoint: str) -> ConfigDict:
    """A config from which the model of a run can be built without the user's own code.

    If the run's method is not registered here, a built-in one takes its place that trains as many
    networks; the checkpoint tells how many there are. Only the model, its views and its inference
    may be built from the result.

    Args:
        config: config of the run.
        workdir: folder of the run.
        checkpoint: `latest`, `best` or a step.

    Raises:
        CheckpointError: the run has no such checkpoint.
    """
    if "method" not in build.unregistered(config):
        return config
    with Checkpoints(workdir) as checkpoints:
        names = checkpoints.module_names(checkpoints.find(checkpoint))
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.method.name = _STAND_INS[2 if names == set(TWINS) else 1]
        config.method.options = ConfigDict()
    return config
