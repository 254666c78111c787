"""From the config to the parts of a run."""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.devices.parallel import PARALLEL, Parallel
from ipixmatch_jax.engine.inference import Inference, make_inference
from ipixmatch_jax.engine.objective import Objective, Supervised, Threshold
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.state import DATA_AXIS, NETWORKS, TrainState, create_state
from ipixmatch_jax.engine.step import TrainStep, make_train_step
from ipixmatch_jax.engine.weighted_relation import WeightedRelation
from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.losses import RELATION_OPTIONS, RELATIONS
from ipixmatch_jax.methods import Method, make_method
from ipixmatch_jax.methods.base import find_method
from ipixmatch_jax.models import (
    ENCODERS,
    FROZEN_BY_LORA,
    Lora,
    Twins,
    backbone_options,
    check_frozen,
    completed,
    create_model,
    feature_names,
    freeze,
    init_variables,
    layers_of,
    merge_lora,
    model_options,
    with_lora,
    without_lora,
)
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.run.init_from import start_from
from ipixmatch_jax.views import Views
from ipixmatch_jax.weights.pretrained import load_pretrained
from ipixmatch_jax.weights.public import PUBLIC, SCRATCH, public_file, words_of
from ipixmatch_jax.workdir.checkpoints import Checkpoints, abstract_like


def build_model(config: ConfigDict) -> nn.Module:
    """The model of `config.model`; a pair of models if the method trains two networks.

    An option that is None takes the model's own default.
    """
    options = {key: value for key, value in config.model.items() if value is not None}
    name = options.pop("name")
    for key in ("frozen", "pretrained", "init_from", "lora_rank", "lora_alpha", "lora_targets"):
        del options[key]
    options |= options.pop("options")
    if config.data.channels != 3:
        options.setdefault("in_channels", config.data.channels)

    def make() -> nn.Module:
        model = create_model(
            name, num_classes=config.data.num_classes, axis_name=DATA_AXIS, **options
        )
        lora = build_lora(config)
        return freeze(with_lora(model, lora) if lora else model, frozen_modules(config))

    return Twins(make(), make()) if build_method(config).networks == 2 else make()


def build_lora(config: ConfigDict) -> Lora | None:
    """The adapters of `config.model.lora_*`; None for rank 0."""
    model = config.model
    if not model.lora_rank:
        return None
    return Lora(model.lora_rank, float(model.lora_alpha), tuple(model.lora_targets))


def frozen_modules(config: ConfigDict) -> tuple[str, ...]:
    """Modules without gradient: `model.frozen`, and with LoRA all of the encoder but adapters."""
    own = tuple(config.model.frozen)
    return (*FROZEN_BY_LORA, *own) if config.model.lora_rank else own


def without_adapters(config: ConfigDict, model: nn.Module, variables: Any) -> tuple[nn.Module, Any]:
    """A model and variables that predict the same without adapters: merged, if there are any."""
    if not config.model.lora_rank:
        return model, variables
    plain = config.copy_and_resolve_references()
    with plain.unlocked():
        plain.model.lora_rank = 0
    return build_model(plain), merge_lora(variables, config.model.lora_alpha)


def build_views(config: ConfigDict, model: nn.Module) -> Views:
    """The views of `config.views`, normalized by `config.data.mean`, or as the model expects."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in config.views.items()}
    mean = tuple(config.data.mean) or model.input_mean
    return Views(mean=mean, std=tuple(config.data.std) or model.input_std, **options)


def build_inference(config: ConfigDict, model: nn.Module) -> Inference:
    """The inference on whole images, by `config.eval`."""
    return make_inference(config.eval, config.data.crop_size, model)


def build_objective(config: ConfigDict) -> Objective:
    """The loss of `config.method` and `config.relation`."""
    return Objective(
        threshold=build_threshold(config),
        supervised=build_supervised(config),
        unlabeled_weight=config.method.unlabeled_weight,
        ramp_start=config.method.ramp_start,
        ramp_steps=config.method.ramp_steps,
        relations=build_relations(config.relation),
        normalize=config.normalize,
    )


def build_threshold(config: ConfigDict) -> Threshold:
    """The confidence threshold of pseudo-labels, by `config.method`."""
    method = config.method
    confidence = build_method(config).confidence
    return Threshold(confidence, method.threshold, method.threshold_start, method.threshold_steps)


def build_supervised(config: ConfigDict) -> Supervised:
    """The loss of labeled images, `config.supervised`.

    Raises:
        ConfigError: an unknown loss, or class weights that do not match the classes.
    """
    options = config.supervised.to_dict()
    name, dice_weight = options.pop("name"), options.pop("dice_weight")
    weighting, weights = options.pop("weighting"), tuple(options.pop("class_weights"))
    weight = options.pop("weight")
    classes = config.data.num_classes
    if weighting not in ("none", "inverse_frequency", "given"):
        raise ConfigError(
            f"supervised.weighting is {weighting!r}; expected none, inverse_frequency or given"
        )
    if weighting == "given" and len(weights) != classes:
        raise ConfigError(
            f"supervised.class_weights has {len(weights)} numbers; expected one for each of "
            f"{classes} classes"
        )
    if weighting == "none" and weights:
        raise ConfigError("supervised.class_weights needs supervised.weighting='given'")
    return Supervised(name, dice_weight, weights, options, weight)


def build_relations(relation: ConfigDict) -> tuple[WeightedRelation, ...]:
    """The relation of `config.relation`, and those in its key `more`, which override its keys.

    Raises:
        ConfigError: an unknown relation, option or key, or a value that is not allowed.
    """
    if relation.name == "none":
        return ()
    first = relation.to_dict()
    built = []
    for changes in ({}, *first.pop("more")):
        for key in changes:
            if key not in first:
                raise ConfigError(f"relation.more has no key {key!r}{nearest(key, first)}")
        fields = first | dict(changes)
        options = {key: fields.pop(key) for key in RELATION_OPTIONS} | fields.pop("options")
        built.append(WeightedRelation(**fields, options=options))
    return tuple(built)


def build_method(config: ConfigDict) -> Method:
    """The method of `config.method`."""
    options = dict(config.method)
    return make_method(options.pop("name"), options)


def build_train_step(
    config: ConfigDict, model: nn.Module, method: Method
) -> tuple[optax.GradientTransformation, TrainStep]:
    """The optimizer and the per-device train step that uses it."""
    frozen = frozen_modules(config)
    if frozen:
        check_frozen(abstract_variables(config, model)["params"], frozen)
    layers = build_layers(config, model)
    optimizer, schedule = make_optimizer(config.optimizer, config.total_steps, frozen, layers)
    objective = build_objective(config)
    check_feature_maps(config, model, objective.feature_maps, "relation.features is")
    step = make_train_step(
        model,
        method,
        build_views(config, model),
        objective,
        optimizer,
        schedule,
        teacher_kind=config.teacher.kind,
        teacher_decay=config.teacher.decay,
        total_steps=config.total_steps,
        frozen=frozen,
        accumulate_steps=config.accumulate_steps,
    )
    return optimizer, step


def check_feature_maps(
    config: ConfigDict, model: nn.Module, names: Collection[str], told: str
) -> None:
    """Checks that the model has the feature maps; the message begins with `told`.

    Raises:
        ConfigError: it lacks one.
    """
    known = feature_names(model) if names else ()
    for name in names:
        if name not in known:
            raise ConfigError(
                f"{told} {name!r}{nearest(name, known)}; model {config.model.name!r} has "
                f"{', '.join(known)}"
            )


def build_layers(config: ConfigDict, model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Layers of the encoder, whose learning rates differ by `optimizer.layer_decay`; () if not.

    Raises:
        ConfigError: the encoder has no layers.
    """
    return layers_of(model) if config.optimizer.layer_decay != 1 else ()


def check_batch_norm(
    config: ConfigDict, parallel: Parallel, model: nn.Module, optimizer, step, unlabeled: int
) -> None:
    """Traces the step of a batch of one image, where a batch norm may be left with one value.

    Larger batches need no check: each norm has the values of two images. Nothing is compiled.

    Args:
        unlabeled: number of unlabeled images per step, over all devices.

    Raises:
        ConfigError: a batch norm has one value per channel in training.
    """
    parts, devices = config.accumulate_steps, len(parallel.devices)
    if 1 not in (config.batch_size // parts, unlabeled // parts):
        return

    def share(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((leaf.shape[0] // devices, *leaf.shape[1:]), leaf.dtype)

    batch = jax.tree.map(share, abstract_batch(config, unlabeled))
    state = abstract_state(config, model, optimizer)
    jax.make_jaxpr(step, axis_env=[(DATA_AXIS, devices)])(state, batch)


def build_parallel(config: ConfigDict) -> Parallel:
    """The distribution of steps over all devices, by `config.parallel`."""
    return PARALLEL[config.parallel]()


def example_images(config: ConfigDict) -> jax.ShapeDtypeStruct:
    """One training crop, float32 [1, H, W, channels]."""
    return jax.ShapeDtypeStruct((1, *config.data.crop_size, config.data.channels), jnp.float32)


def abstract_batch(config: ConfigDict, unlabeled: int) -> dict[str, dict[str, Any]]:
    """Shapes of a batch over all devices, with `unlabeled` unlabeled images."""
    size, shape = tuple(config.data.crop_size), jax.ShapeDtypeStruct

    def records(count: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            "image": shape((count, *size, config.data.channels), jnp.uint8),
            "valid": shape((count, *size), bool),
            "key": shape((count, 2), jnp.uint32),
        }

    labeled = records(config.batch_size) | {"mask": shape((config.batch_size, *size), jnp.uint8)}
    if not unlabeled:
        return {"labeled": labeled}
    return {"labeled": labeled, "unlabeled": records(unlabeled), "mix": records(unlabeled)}


def abstract_variables(config: ConfigDict, model: nn.Module) -> Any:
    """Shapes of `{'params', 'batch_stats'}`, without computing them."""

    def init(key, images):
        return model.init(key, images, train=False)

    variables = jax.eval_shape(init, jax.random.key(0), example_images(config))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def abstract_state(config: ConfigDict, model: nn.Module, optimizer) -> TrainState:
    """Shapes of the state, without computing them."""
    variables = abstract_variables(config, model)
    balanced = build_objective(config).balanced
    frozen = frozen_modules(config)
    return jax.eval_shape(lambda v: create_state(v, optimizer, balanced, frozen), variables)


def build_state(
    config: ConfigDict,
    model: nn.Module,
    optimizer,
    parallel: Parallel,
    say: Callable[[str], None] = lambda _: None,
) -> TrainState:
    """The first state: random weights by `config.seed`, and pretrained weights if configured.

    `say` is told what `model.init_from` gave, which takes precedence over `model.pretrained`, and
    what was left out.
    """
    first = init_variables(model, jax.random.key(config.seed), example_images(config))
    variables = without_lora(first)
    if config.model.init_from:
        variables, told = start_from(
            variables, config.model.init_from, parallel.replicated, config.data
        )
        say(told)
    elif config.model.pretrained not in SCRATCH:
        backbone, stem = encoder_choice(config)
        variables = load_pretrained(variables, config.model.pretrained, backbone, stem, say=say)
    variables, balanced = completed(variables, first), build_objective(config).balanced
    return parallel.first_state(variables, optimizer, balanced, frozen_modules(config))


def first_weights(config: ConfigDict) -> str:
    """Where the first weights come from, and a hint if public ones are left unused; one line."""
    pretrained, (backbone, stem) = config.model.pretrained, encoder_choice(config)
    if config.model.init_from:
        return f"first weights: {config.model.init_from}"
    if pretrained in PUBLIC:
        return f"first weights: {public_file(pretrained, backbone, stem).address}"
    if pretrained not in SCRATCH:
        return f"first weights: {pretrained}"
    words = " or ".join(f"--config.model.pretrained={word}" for word in words_of(backbone, stem))
    hint = f"; {backbone} has public ones: {words}" if words and not pretrained else ""
    return f"first weights: random{hint}"


def encoder_choice(config: ConfigDict) -> tuple[str, str]:
    """Backbone and stem of the configured model; empty texts if it has none."""
    model = config.model
    backbone = model.backbone or model_options(model.name).get("backbone") or ""
    options = backbone_options(backbone) if backbone in ENCODERS else {}
    return backbone, (model.stem or options.get("stem", "")) if "stem" in options else ""


def view_defaults() -> dict[str, Any]:
    """The keys of `config.views` with their defaults: the fields of Views except mean and std."""
    fields = dataclasses.fields(Views)
    return {f.name: f.default for f in fields if f.name not in ("mean", "std")}


def restore_networks(
    config: ConfigDict, workdir: AnyPath, model, parallel: Parallel, which: str, names
) -> tuple[int, dict[str, Any]]:
    """Restores networks of a checkpoint.

    Args:
        which: `latest`, `best` or a step.
        names: names of the networks, 'student' or 'teacher'.

    Returns:
        The checkpoint's step, and name to network.

    Raises:
        ConfigError: no such network.
        CheckpointError: no such checkpoint.
    """
    for name in set(names) - {*NETWORKS}:
        expected = f"{' or '.join(NETWORKS)}{nearest(name, NETWORKS)}"
        raise ConfigError(f"no network {name!r}; expected {expected}")
    abstract = abstract_like(build.abstract_variables(config, model), parallel.replicated)
    with Checkpoints(workdir) as checkpoints:
        step = checkpoints.find(which)
        return step, {n: checkpoints.restore_network(step, n, abstract) for n in names}


def unregistered(config: ConfigDict) -> list[str]:
    """Those of the groups `method` and `relation` that name code which is not registered here.

    A run with a method or relation of one's own registers it in its config file.
    """
    method, relation = config.method.name, config.relation
    found = []
    try:
        find_method(method)
    except ConfigError:
        found.append("method")
    pairs = [(relation.name, relation.distance)]
    for changes in relation.more:
        pairs.append((changes.get("name", pairs[0][0]), changes.get("distance", pairs[0][1])))
    if any(name != "none" and f"{name}/{distance}" not in RELATIONS for name, distance in pairs):
        found.append("relation")
    return found
