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
from ipixmatch_jax.engine.progress import Progress
from ipixmatch_jax.engine.state import TrainState, networks
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
    optimizer, device_step = build.build_train_step(config, model, method)
    train_step = parallel.spread(device_step, donate=True)
    unlabeled_batch_size = config.unlabeled_batch_size if method.uses_unlabeled else 0
    parallel.check_batch_size("batch_size", config.batch_size)
    parallel.check_batch_size("unlabeled_batch_size", unlabeled_batch_size)
    dataset = load_dataset(config.data, config.seed)
    evaluator = evaluate.Evaluator(config, dataset, model, parallel)
    make_workdir(workdir)
    write_snapshot(config, workdir)

    with contextlib.ExitStack() as stack:
        # Restore
        checkpoints = stack.enter_context(Checkpoints(workdir))
        state = _first_state(config, model, optimizer, parallel, checkpoints)
        step = int(state.step)
        _introduce(config, dataset, state, parallel, unlabeled_batch_size)
        batches = _batches(config, dataset, unlabeled_batch_size, step)
        stack.enter_context(contextlib.closing(batches))
        writers = stack.enter_context(Writers(workdir, step))
        progress = stack.enter_context(Progress(step, config.total_steps))
        stop = stack.enter_context(StopSignal())

        stopping = False
        while step < config.total_steps and not stopping:
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
            best = None
            if step % config.eval_every == 0 or last:
                results = evaluator(networks(state))
                best = results[config.best_network]["miou"]
                evaluate.write_result(workdir, step, "val", results)
                writers.write(step, {f"miou_{n}": result["miou"] for n, result in results.items()})
                progress.note(mIoU=100 * best)
                progress.say(f"step {step}, validation\n{table(results)}")

            # Save
            stopping = bool(stop)  # read once: a signal after this line stops the next step
            if best is not None or step % config.checkpoint_every == 0 or stopping:
                checkpoints.save(step, state, best)

    if stopping:
        print(f"{stop}: saved step {step} in {workdir}; the same command resumes it")
    elif config.pictures:
        _draw(config, workdir, model, state, dataset)
    return state


def _first_state(config, model, optimizer, parallel, checkpoints: Checkpoints) -> TrainState:
    """The state of the latest checkpoint, or a new one."""
    latest = checkpoints.latest()
    if latest is None:
        return build.build_state(config, model, optimizer, parallel)
    abstract = build.abstract_state(config, model, optimizer)
    return checkpoints.restore(latest, abstract_like(abstract, parallel.replicated))


def _batches(config, dataset, unlabeled_batch_size: int, start_step: int):
    """This process's share of every batch from a step on."""
    return train_batches(
        dataset,
        config.data,
        batch_size=config.batch_size,
        unlabeled_batch_size=unlabeled_batch_size,
        seed=config.seed,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _introduce(config, dataset, state: TrainState, parallel, unlabeled_batch_size: int) -> None:
    """What is trained, on what, where; printed once."""
    if jax.process_index():
        return
    print(summarize(dataset, quick=True))
    print(parameter_overview.get_parameter_overview(state.params, max_lines=12))
    devices = len(parallel.devices)
    labeled, unlabeled = config.batch_size, unlabeled_batch_size
    print(
        f"{devices} {parallel.devices[0].platform} device(s), {config.parallel}: {labeled} labeled "
        f"and {unlabeled} unlabeled images a step, {labeled // devices} + {unlabeled // devices} "
        "a device"
    )
    if int(state.step):
        print(f"resumed from step {int(state.step)}")
    print("the first step waits for the compiler", flush=True)


def _draw(config, workdir: pathlib.Path, model, state: TrainState, dataset) -> None:
    """Pictures of the network that counts, and where they are."""
    network = networks(state)[config.best_network]
    folder = predict.draw_validation(config, workdir, model, network, dataset)
    print(f"pictures (photo, truth, {config.best_network}'s prediction, errors): {folder}")


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
