"""Optimizers and learning rates, by optax."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax.models import is_frozen, within_network
from ipixmatch_jax.registry import Registry

OPTIMIZERS: Registry[Callable[..., optax.GradientTransformation]] = Registry("optimizer")


@OPTIMIZERS.register("sgd")
def _sgd(schedule, options, mask):
    # The decay enters before the momentum, as in PyTorch's SGD.
    return optax.chain(
        optax.add_decayed_weights(options["weight_decay"], mask),
        optax.sgd(schedule, momentum=options["momentum"]),
    )


@OPTIMIZERS.register("adamw")
def _adamw(schedule, options, mask):
    return optax.adamw(schedule, weight_decay=options["weight_decay"], mask=mask)


# Options and number of steps T after the warm-up → learning rate of step k after it.
SCHEDULES: Registry[Callable[[Mapping[str, Any], int], optax.Schedule]] = Registry("schedule")


@SCHEDULES.register("poly")
def _poly(options, steps):
    """lr · (1 − k/T)^power."""
    decay = optax.polynomial_schedule(options["learning_rate"], 0.0, options["power"], steps)
    # XLA may round 1 − T/T to a number just below 0, whose power is NaN.
    return lambda count: jnp.where(count < steps, decay(count), 0.0)


@SCHEDULES.register("cosine")
def _cosine(options, steps):
    """lr · (1 + cos(πk/T)) / 2, without restarts (arXiv 1608.03983)."""
    decay = optax.cosine_decay_schedule(options["learning_rate"], steps)
    # optax divides the count by a float, which strict promotion refuses for an integer.
    return lambda count: decay(jnp.asarray(count, jnp.float32))


@SCHEDULES.register("constant")
def _constant(options, steps):
    """lr."""
    return optax.constant_schedule(options["learning_rate"])


def make_schedule(options: Mapping[str, Any], total_steps: int) -> optax.Schedule:
    """Linear warm-up over `warmup_steps`, then `schedule` (default poly) until the last step."""
    warmup = options["warmup_steps"]
    decay = SCHEDULES[options.get("schedule", "poly")](options, max(total_steps - warmup, 1))
    if not warmup:
        return decay
    rise = optax.linear_schedule(0.0, options["learning_rate"], warmup)
    return optax.join_schedules([rise, decay], [warmup])


def make_optimizer(
    options: Mapping[str, Any],
    total_steps: int,
    frozen: Sequence[str] = (),
    layers: Sequence[Sequence[str]] = (),
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The optimizer of `config.optimizer`, and its schedule for the encoder.

    Parameters in `frozen` (see `models.is_frozen`) are not updated. Those below a key `encoder`
    use `learning_rate`, all others `head_multiplier` times as much. Weight decay applies to
    convolution and dense kernels, and with `decay_norm_and_bias` to every tensor, as in the
    UniMatch family.

    With `clip_norm`, a gradient whose norm over all parameters that are not frozen is larger is
    scaled down to that norm. The gradient that it gets must be that of the whole batch.

    `layer_decay` multiplies the learning rate of the encoder's `layers` (see `models.layers_of`)
    as in BEiT and MAE: see `layer_scale`.
    """
    schedule = make_schedule(options, total_steps)
    build = OPTIMIZERS[options["name"]]

    def decayed(params):
        everything = options["decay_norm_and_bias"]
        return jax.tree.map(lambda leaf: everything or leaf.ndim > 1, params)

    def groups(params):
        def group(path, _):
            names = [entry.key for entry in path]
            if is_frozen(names, frozen):
                return "frozen"
            return "encoder" if "encoder" in names else "head"

        return jax.tree_util.tree_map_with_path(group, params)

    def head_schedule(count):
        return options["head_multiplier"] * schedule(count)

    rules = {
        "encoder": build(schedule, options, decayed),
        "head": build(head_schedule, options, decayed),
    }
    if frozen:
        rules["frozen"] = optax.set_to_zero()
    rule = optax.partition(rules, groups)
    if options.get("layer_decay", 1.0) != 1.0:
        # Both rules' updates are proportional to the learning rate, weight decay included.
        rule = optax.chain(rule, _by_layer(float(options["layer_decay"]), layers))
    limit = options.get("clip_norm")
    if limit is None:
        return rule, schedule

    def trained(params):
        return jax.tree.map(lambda group: group != "frozen", groups(params))

    # Before the groups, so that encoder and head share one norm.
    return optax.chain(optax.masked(optax.clip_by_global_norm(limit), trained), rule), schedule


def layer_scale(names: Sequence[str], decay: float, layers: Sequence[Sequence[str]]) -> float:
    """Factor of a parameter's learning rate: decay^(n - i) in layer i = 0, …, n - 1 of n layers.

    The head, and what an encoder computes after its last layer, has the factor 1. This is the
    rule of BEiT (Bao et al., arXiv 2106.08254) and MAE (He et al., arXiv 2111.06377), whose
    layers are the embedding and each block.

    Args:
        names: path of the parameter.
        decay: factor from one layer to the one before it.
        layers: names of the encoder's modules and parameters, from the input on.
    """
    group, *inner = within_network(names)
    if group != "encoder":
        return 1.0
    found = [index for index, layer in enumerate(layers) if inner[0] in layer]
    return decay ** (len(layers) - found[0]) if found else 1.0


def _by_layer(decay: float, layers: Sequence[Sequence[str]]) -> optax.GradientTransformation:
    def scaled(updates, params):
        def scale(path, update):
            return update * layer_scale([entry.key for entry in path], decay, layers)

        return jax.tree_util.tree_map_with_path(scale, updates)

    return optax.stateless(scaled)
