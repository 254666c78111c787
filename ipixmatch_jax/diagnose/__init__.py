"""`--mode diagnose`: compares the gradient of every loss of a run with that by the true labels."""

import math
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.build import restore_networks
from ipixmatch_jax.config import for_run, with_own_statistics
from ipixmatch_jax.diagnose import losses
from ipixmatch_jax.diagnose.alignment import Alignment, Estimate
from ipixmatch_jax.diagnose.gradients import Gradients, Step
from ipixmatch_jax.diagnose.images import Images, images_of
from ipixmatch_jax.diagnose.losses import Loss
from ipixmatch_jax.diagnose.measure import Measured, measure
from ipixmatch_jax.diagnose.recommend import SHARE, Recommendation, recommend
from ipixmatch_jax.diagnose.table import LEGEND, table, wrapped
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.methods import Method
from ipixmatch_jax.outputs import check_writable_file, next_command, next_training
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.run.images import own_validation
from ipixmatch_jax.run.split import with_split
from ipixmatch_jax.screen import say, warn
from ipixmatch_jax.workdir.diagnoses import write_diagnosis
from ipixmatch_jax.workdir.folder import diagnosis_path

BATCHES = 8


def diagnose(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    checkpoint: str = "latest",
    split: str = "val",
    output: AnyPath | None = None,
    batches: int = BATCHES,
    relations: Sequence[str] = (),
    regions: Sequence[str] = (),
    temperatures: Sequence[float] = (),
    thresholds: Sequence[float] = (),
    share: float = SHARE,
) -> dict[str, Any]:
    """Measures the gradients, prints the table and the recommendation, and writes both as JSON.

    Args:
        checkpoint: `latest`, `best` or a step.
        split: of labeled images, as `--mode eval` takes it; the run must not have trained on them.
        output: the file; by default `diagnose/STEP.json` in the run's folder.
        batches: number of groups of images.
        relations: `relation/distance[:key=value,…]`; empty for a list of all built-in ones.
        regions, temperatures: for relations that do not state theirs; empty for the defaults.
        thresholds: confidences of the hard labels; empty for the defaults.
        share: the recommended weight makes a relation's gradient this share of the pseudo-labels'.

    Returns:
        What the file holds.

    Raises:
        ConfigError: a method without pseudo-labels, or a value that is not allowed.
        DataError: too few images.
    """
    _check_numbers(thresholds, temperatures, share)
    if output is not None:
        check_writable_file(as_path(output), "--output")
    config = with_own_statistics(for_run(config, workdir), workdir)
    method, objective = _method(config), build.build_objective(config)
    model, parallel = build.build_model(config), build.build_parallel(config)
    compared = [
        *losses.hard_labels(objective, thresholds or losses.THRESHOLDS),
        *losses.soft_labels(objective),
        *losses.relations(
            objective,
            relations or losses.RELATION_LIST,
            regions or losses.REGIONS,
            temperatures,
            config.data.crop_size,
        ),
    ]
    maps = _feature_maps(config, model, compared)
    dataset, notes, _ = own_validation(
        with_split(config, split), config, workdir, own=split == "val"
    )
    images = images_of(config, method, dataset, workdir, batches)
    number, networks = restore_networks(config, workdir, model, parallel, checkpoint, NETWORKS)
    gradients = Gradients(
        Step(
            model,
            method,
            build.build_views(config, model),
            maps,
            tuple(config.model.frozen),
            number / config.total_steps,
            number,
        ),
        jax.device_get(networks),
    )
    own = losses.of_method(objective, gradients.own_losses(next(iter(images)).mixed))
    measured = measure(gradients, images, objective, [*own, *compared])
    weights = [None if r.balance == "gradient" else r.weight for r in objective.relations]
    found = recommend(measured, share, weights)
    record = _record(number, split, images, gradients.parameters, measured, found, share)
    say("\n".join([*notes, _text(record, images, measured, found)]))
    _write(as_path(output) if output else diagnosis_path(workdir, number), record)
    say(_next(workdir, found))
    return record


def _next(workdir: AnyPath, found: Recommendation) -> str:
    if not found.keys:
        return next_command(workdir, "--mode", "report")
    keys = (f"--config.{key}={value}" for key, value in found.keys.items())
    return next_training("--workdir", f"{workdir}-relation", *keys)


def _check_numbers(
    thresholds: Sequence[float], temperatures: Sequence[float], share: float
) -> None:
    for flag, values, fits, expected in (
        ("--thresholds", thresholds, lambda x: 0 <= x <= 1, "numbers from 0 to 1"),
        ("--temperatures", temperatures, lambda x: 0 < x < math.inf, "numbers above 0"),
        ("--share", [share], lambda x: 0 < x < math.inf, "a number above 0"),
    ):
        wrong = [value for value in values if not fits(value)]
        if wrong:
            raise ConfigError(f"{flag} {wrong[0]:g}: expected {expected}")


def _method(config: ConfigDict) -> Method:
    """The run's method.

    Raises:
        ConfigError: it has no pseudo-labels, or its code or that of a relation is not known here.
    """
    unknown = build.unregistered(config)
    if unknown:
        group = unknown[0]
        raise ConfigError(
            f"{group}.name is {config[group].name!r}, which is not registered here; expected its "
            f"config file by --config, which registers it, or a built-in {group} by "
            f"--config.{group}.name"
        )
    method = build.build_method(config)
    if not method.uses_unlabeled:
        raise ConfigError(
            f"method.name is {config.method.name!r}, which has no pseudo-labels to compare with; "
            "to diagnose its network as another method would go on with it, add "
            "--config.method.name=fixmatch"
        )
    return method


def _feature_maps(config: ConfigDict, model: Any, compared: Sequence[Loss]) -> tuple[str, ...]:
    """The feature maps that the losses need.

    Raises:
        ConfigError: the model has no such map.
    """
    maps = {name for loss in compared for name in loss.objective.feature_maps}
    build.check_feature_maps(config, model, maps, "a relation compares features")
    return tuple(sorted(maps))


def _record(
    step: int,
    split: str,
    images: Images,
    parameters: int,
    measured: Sequence[Measured],
    found: Recommendation,
    share: float,
) -> dict[str, Any]:
    labeled, unlabeled = images.sizes
    return {
        "step": step,
        "split": split,
        "images": images.count,
        "batches": len(images.groups),
        "batch_size": labeled,
        "unlabeled_batch_size": unlabeled,
        "crop_size": list(images.config.data.crop_size),
        "seed": images.config.seed,
        "parameters": parameters,
        "losses": [
            {
                "name": one.loss.name,
                "kind": one.loss.kind,
                "own": one.loss.own,
                **_numbers(one.alignment),
            }
            for one in measured
        ],
        "recommendation": {"share": share, "lines": list(found.lines), "keys": found.keys},
    }


def _numbers(alignment: Alignment) -> dict[str, list[float] | None]:
    """[value, standard error] of each measure; None where it is not defined."""

    def pair(estimate: Estimate) -> list[float] | None:
        values = [estimate.value, estimate.error]
        return values if all(map(math.isfinite, values)) else None

    return {name: pair(estimate) for name, estimate in vars(alignment).items()}


def _text(
    record: dict[str, Any], images: Images, measured: Sequence[Measured], found: Recommendation
) -> str:
    height, width = record["crop_size"]
    title = (
        f"step {record['step']}, split {record['split']}, {record['images']} images: "
        f"{record['batches']} batches of {record['batch_size']} labeled and "
        f"{record['unlabeled_batch_size']} strong views of {height} x {width}, "
        f"{record['parameters']:,} parameters"
    )
    lines = [wrapped([title]), table(measured), wrapped([LEGEND, *found.lines])]
    if found.keys:
        lines.append("\n".join(f"  --config.{key}={value}" for key, value in found.keys.items()))
    return "\n".join(lines)


def _write(path: AnyPath, record: dict[str, Any]) -> None:
    try:
        write_diagnosis(path, record)
    except (UserError, OSError) as error:  # somebody else's run: the table above is the result
        warn(f"nothing is written: {error.__cause__ or error}")
        return
    say(f"written to {path}")
