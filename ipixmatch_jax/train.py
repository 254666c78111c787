"""The training loop: build, restore, step, log, evaluate, save."""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from ipixmatch_jax import evaluate, predict
from ipixmatch_jax.config import make_workdir, write_snapshot
from ipixmatch_jax.data import load_dataset, summarize, train_batches
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.checkpoints import Checkpoints, abstract_like
from ipixmatch_jax.engine.metrics import table
from ipixmatch_jax.engine.optimizer import make_optimizer
from ipixmatch_jax.engine.progress import Progress
from ipixmatch_jax.engine.state import TrainState, networks
from ipixmatch_jax.engine.step import make_train_step
from ipixmatch_jax.engine.stop import StopSignal
from ipixmatch_jax.engine.writers import Writers
from ipixmatch_jax.errors import UserError


def train(config: ConfigDict, workdir: pathlib.Path) -> TrainState:
    """Trains from the last checkpoint of the workdir, or from the start, to `total_steps`.

    The order within a step is fixed: step, log, evaluate, save. A checkpoint thus always comes with
    the metrics and the evaluation of its step, and a run that resumes from it repeats nothing and
    misses nothing.

    Returns:
        The last state; also after SIGTERM or Ctrl-C, when it is saved first.
    """
    # Build
    workdir = pathlib.Path(workdir)
    parallel = build.build_parallel(config)
    model, method = build.build_model(config), build.build_method(config)
    views = build.build_views(config, model)
    optimizer, schedule = make_optimizer(config.optimizer, config.total_steps)
    step_of_device = make_train_step(
        model,
        method,
        views,
        build.build_objective(config),
        optimizer,
        schedule,
        teacher_kind=config.teacher.kind,
        teacher_decay=config.teacher.decay,
    )
    train_step = parallel.spread(step_of_device, donate=True)
    parallel.check_batch_size("batch_size", config.batch_size)
    if method.uses_unlabeled:
        parallel.check_batch_size("unlabeled_batch_size", config.unlabeled_batch_size)
    dataset = load_dataset(config.data, config.seed)
    evaluator = evaluate.Evaluator(config, dataset, model, parallel)
    make_workdir(workdir)
    write_snapshot(config, workdir)

    with contextlib.ExitStack() as stack:
        # Restore
        checkpoints = stack.enter_context(Checkpoints(workdir))
        state = _first_state(config, model, optimizer, parallel, checkpoints)
        step = int(state.step)
        _introduce(config, dataset, state, parallel, step)
        batches = train_batches(
            dataset,
            config.data,
            batch_size=config.batch_size,
            unlabeled_batch_size=config.unlabeled_batch_size if method.uses_unlabeled else 0,
            seed=config.seed,
            start_step=step,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        stack.enter_context(contextlib.closing(batches))
        writers = stack.enter_context(Writers(workdir, step))
        progress = stack.enter_context(Progress(step, config.total_steps))
        stop = stack.enter_context(StopSignal())

        while step < config.total_steps and not stop:
            # Step
            batch = parallel.put_batch(next(batches))
            # Reading a device value here would stall the device; only the log may.
            with jax.transfer_guard_device_to_host("disallow"):
                state, metrics = train_step(state, batch)
            step += 1
            progress.step()
            last = step == config.total_steps

            # Log
            if step % config.log_every == 0 or last:
                numbers = _numbers(jax.device_get(metrics), dataset.class_names)
                writers.write(step, numbers)
                progress.note(loss=numbers["loss"])
                progress.line(step)
                _check_finite(config, numbers, step)

            # Evaluate
            results = None
            if step % config.eval_every == 0 or last:
                results = evaluator(networks(state))
                evaluate.write_result(workdir, step, "val", results)
                miou = {f"miou_{name}": result["miou"] for name, result in results.items()}
                writers.write(step, miou)
                progress.note(mIoU=100 * results[config.best_network]["miou"])
                progress.say(f"step {step}, validation\n{table(results)}")

            # Save
            if results or step % config.checkpoint_every == 0 or stop:
                best = results[config.best_network]["miou"] if results else None
                checkpoints.save(step, state, best)
        checkpoints.wait()

    if stop:
        print(f"{stop}: saved step {step} in {workdir}; the same command resumes it")
    elif config.pictures:
        network = networks(state)[config.best_network]
        folder = predict.draw_validation(config, workdir, model, network, dataset)
        print(f"pictures (photo, truth, {config.best_network}'s prediction, errors): {folder}")
    return state


def _first_state(config, model, optimizer, parallel, checkpoints: Checkpoints) -> TrainState:
    """The state of the latest checkpoint, or a new one."""
    latest = checkpoints.latest()
    if latest is None:
        return build.build_state(config, model, optimizer, parallel)
    abstract = build.abstract_state(config, model, optimizer)
    return checkpoints.restore(latest, abstract_like(abstract, parallel.replicated))


def _introduce(config, dataset, state: TrainState, parallel, step: int) -> None:
    """What is trained, on what, where; printed once."""
    if jax.process_index():
        return
    print(summarize(dataset, quick=True))
    print(parameter_overview.get_parameter_overview(state.params, max_lines=12))
    devices = len(parallel.devices)
    print(
        f"{devices} {parallel.devices[0].platform} device(s), {config.parallel}: "
        f"{config.batch_size} labeled and {config.unlabeled_batch_size} unlabeled images a step, "
        f"{config.batch_size / devices:g} + {config.unlabeled_batch_size / devices:g} a device"
    )
    if step:
        print(f"resumed from step {step}")
    print("the first step waits for the compiler", flush=True)


def _numbers(metrics: Mapping[str, Any], class_names) -> dict[str, Any]:
    """Named numbers of a step; the acceptance of every class under its own name."""
    numbers = {name: value for name, value in metrics.items() if np.ndim(value) == 0}
    for name, value in metrics.items():
        if np.ndim(value) == 1:
            numbers |= {f"{name}/{c}": v for c, v in zip(class_names, value, strict=True)}
    return numbers


def _check_finite(config: ConfigDict, numbers: Mapping[str, Any], step: int) -> None:
    if numbers["bad_steps"] >= config.max_bad_steps:
        raise UserError(
            f"the loss or its gradient was not finite in the last {int(numbers['bad_steps'])} "
            f"steps before step {step}; they changed nothing, and the last checkpoint is kept. "
            "Lower optimizer.learning_rate, or look at the data with --mode inspect"
        )
