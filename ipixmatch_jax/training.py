"""The training loop: build, restore, step, log, evaluate, save."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from ipixmatch_jax import build
from ipixmatch_jax.config import checked, overview, with_run_values, write_snapshot
from ipixmatch_jax.data import (
    Dataset,
    DeviceFeed,
    TrainBatches,
    UnlabeledSource,
    check_readable,
    check_training_needs,
    load_dataset,
    summarize,
    train_batches,
    with_class_weights,
    with_statistics,
)
from ipixmatch_jax.data.errors_ahead import ErrorsAhead
from ipixmatch_jax.devices.memory_estimate import Memory, device_memory, estimate, explained
from ipixmatch_jax.devices.network_size import check_network
from ipixmatch_jax.devices.parallel import Parallel
from ipixmatch_jax.devices.preemption import StopSignal, StopVote
from ipixmatch_jax.devices.processes import agree, end_all_with, first_only, is_first
from ipixmatch_jax.engine.metrics import scores
from ipixmatch_jax.engine.state import DATA_AXIS, TrainState, networks
from ipixmatch_jax.engine.step import TrainStep
from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.evaluator import Evaluator, ForegroundWatch
from ipixmatch_jax.methods import Method
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.run.end import finish_run
from ipixmatch_jax.run.images import settle_images
from ipixmatch_jax.run.parameters import parameter_table
from ipixmatch_jax.run.saving import Saves
from ipixmatch_jax.screen import say, warn
from ipixmatch_jax.tracking.environments import EnvironmentRecord
from ipixmatch_jax.tracking.histograms import parameter_histograms
from ipixmatch_jax.tracking.nonfinite_steps import BadSteps
from ipixmatch_jax.tracking.profiler import Profiler
from ipixmatch_jax.tracking.progress import Progress
from ipixmatch_jax.tracking.services import check_installed
from ipixmatch_jax.tracking.skipped_records import SkippedRecords
from ipixmatch_jax.tracking.throughput import Throughput
from ipixmatch_jax.tracking.writers import Writers
from ipixmatch_jax.workdir.checkpoints import Checkpoints, abstract_like
from ipixmatch_jax.workdir.evaluations import write_evaluation
from ipixmatch_jax.workdir.folder import (
    WorkdirLock,
    has_checkpoint,
    make_workdir,
    metrics_path,
)
from ipixmatch_jax.workdir.splits import RunSplits, write_splits


def train(
    config: ConfigDict, workdir: os.PathLike | str, *, ends_process: bool = True
) -> TrainState:
    """Trains to step `total_steps`, from the last checkpoint of the workdir or from the start.

    The order within a step is fixed: step, log, save, evaluate. An evaluation that fails therefore
    costs no step. A run that was ended between a save and its evaluation evaluates first when it
    resumes, so that it neither repeats nor misses a log line. With several processes, each one
    calls this function, and only the first writes and prints.

    Args:
        config: see docs/config.md; keys of the data set that are left open are filled in.
        workdir: folder of the run, local or gs://; it is made if it does not exist.
        ends_process: whether a second stop signal ends the process, as on the command line; if not,
            it raises KeyboardInterrupt, and a notebook keeps its variables.

    Returns:
        The last state; after SIGTERM or Ctrl-C, the state that was saved.

    Raises:
        ConfigError: the config has unknown keys or wrong values; the message lists every problem.
    """
    if not os.fspath(workdir):
        raise ConfigError("the workdir is empty; expected a path, as runs/first")
    run = _build(checked(config), as_path(workdir))
    with contextlib.ExitStack() as stack:
        first_only(lambda: make_workdir(run.workdir))
        first_only(lambda: stack.enter_context(WorkdirLock(run.workdir)))
        stop = stack.enter_context(StopSignal(ends_process))
        checkpoints = stack.enter_context(Checkpoints(run.workdir, writable=True))
        run = _with_its_images(run, checkpoints.latest())
        state = _first_state(run, checkpoints)
        memory = _memory(run, state)
        _introduce(run, state, memory)
        stack.enter_context(explained(memory))
        state, stopped = _loop(run, state, checkpoints, stop, stack)

    if stopped:
        _say(f"{stop}: saved step {int(state.step)} in {run.workdir}; the same command resumes it")
        return state
    network = run.parallel.whole(networks(state)[run.config.best_network])
    if is_first():
        finish_run(run.config, run.workdir, run.model, network, run.dataset)
    return state


@dataclasses.dataclass(frozen=True)
class _Run:
    """The parts of a run that do not change."""

    config: ConfigDict
    workdir: AnyPath
    parallel: Parallel
    model: nn.Module
    method: Method
    optimizer: optax.GradientTransformation
    device_step: TrainStep
    dataset: Dataset
    images: RunSplits | None
    evaluator: Evaluator
    unlabeled_batch_size: int


def _build(config: ConfigDict, workdir: AnyPath) -> _Run:
    check_installed(config.tracking.writers)
    config = _with_measurements(config, workdir)
    parallel = build.build_parallel(config)
    model, method = build.build_model(config), build.build_method(config)
    check_network(build.abstract_variables(config, model))
    optimizer, device_step = build.build_train_step(config, model, method)
    unlabeled_batch_size = config.unlabeled_batch_size if method.uses_unlabeled else 0
    parts = config.accumulate_steps
    parallel.check_batch_size("batch_size", config.batch_size, parts)
    parallel.check_batch_size("unlabeled_batch_size", unlabeled_batch_size, parts)
    build.check_batch_norm(config, parallel, model, optimizer, device_step, unlabeled_batch_size)
    dataset = load_dataset(config.data, config.seed)
    evaluator = Evaluator(config, dataset, model, parallel)
    return _Run(
        config, workdir, parallel, model, method, optimizer, device_step, dataset, None, evaluator,
        unlabeled_batch_size,
    )  # fmt: skip


def _with_measurements(config: ConfigDict, workdir: AnyPath) -> ConfigDict:
    """Statistics and class weights: those that the run has measured, otherwise measured now."""
    if has_checkpoint(workdir):
        config = with_run_values(config, workdir)
        if len(config.supervised.class_weights):
            return with_statistics(config)
    return with_class_weights(with_statistics(config))


def _with_its_images(run: _Run, begun_at: int | None) -> _Run:
    """The run with its own images; their lists and the config are written if they may be used.

    All processes compare before the first one writes.
    """
    accept = run.config.data.changed == "accept"
    dataset, images, notes = settle_images(
        run.dataset, run.workdir, begun_at=begun_at, accept=accept
    )
    needs = check_training_needs(run.config, dataset, uses_unlabeled=bool(run.unlabeled_batch_size))
    notes.extend(f"note: {remark}" for remark in needs.remarks)
    first_only(lambda: check_readable(dataset.val, "val"))
    first_only(lambda: notes.extend(write_snapshot(run.config, run.workdir)))
    first_only(lambda: write_splits(run.workdir, images))
    for note in notes:
        _warn(note)
    evaluator = Evaluator(run.config, dataset, run.model, run.parallel)
    return dataclasses.replace(run, dataset=dataset, images=images, evaluator=evaluator)


def _loop(
    run: _Run,
    state: TrainState,
    checkpoints: Checkpoints,
    stop: StopSignal,
    stack: contextlib.ExitStack,
) -> tuple[TrainState, bool]:
    """Trains until the end or a stop signal; returns the last state, and True after a signal."""
    config, dataset, step = run.config, run.dataset, int(state.step)
    vote = StopVote(stop, DATA_AXIS)
    train_step = run.parallel.distribute_train(vote.counted(run.device_step))
    read = ErrorsAhead(_batches(run, step), vote.steps)
    batches = stack.enter_context(contextlib.closing(_feed(run, vote, read)))
    pending = agree(_is_evaluated_at(config, step) and not checkpoints.is_evaluated(step))
    writers = stack.enter_context(Writers(run.workdir, step, config, evaluates_again=pending))
    writers.add_to_next_line(EnvironmentRecord(run.workdir).begin(step, _warn))
    skipped = SkippedRecords(run.workdir, config.data.on_error)
    bad_steps = BadSteps(config.max_bad_steps, _names(dataset))
    progress = stack.enter_context(Progress(step, config.total_steps, config.eval_every))
    profiler = stack.enter_context(Profiler(run.workdir, config.profile))
    throughput = Throughput(config.batch_size + run.unlabeled_batch_size)
    saves = Saves(checkpoints, run.parallel, writers, bad_steps, skipped, progress, step)
    evaluate = functools.partial(_evaluate, run, ForegroundWatch(), writers, progress, checkpoints)

    stopping, skips = False, 0
    if pending:
        progress.say(f"step {step} was saved before its evaluation, which follows now")
        evaluate(step, state)
    while step < config.total_steps and not stopping:
        # Step
        with throughput.input(), saves.saved_on_error(step, state, skips):
            records, skips, batch = next(batches)
        # Reading a device value here would stall the device, so only the log reads any.
        with jax.transfer_guard_device_to_host("disallow"), profiler.step(step):
            state, metrics = train_step(state, batch)
        step += 1
        throughput.step(metrics)
        bad_steps.note(step, metrics["bad_steps"], records)
        progress.step()
        last = step == config.total_steps

        # Log
        votes = metrics.pop("stop", None)
        if step % config.log_every == 0 or last:
            _log(run, saves, throughput, step, metrics, skips)

        # Save, so that an evaluation that fails costs no step
        stopping = vote.decided(votes)  # a signal after this line takes effect at a later step
        evaluates = _is_evaluated_at(config, step)
        if evaluates or step % config.checkpoint_every == 0 or stopping:
            throughput.pause(metrics)
            saves.save(step, state, skips)

        # Evaluate; after a stop signal the next start does it
        if evaluates and not stopping:
            evaluate(step, state)
    if stopping:
        with saves.saved_on_error(step, state, skips):
            end_all_with(None if stop else read.error)
    return state, stopping


def _log(
    run: _Run, saves: Saves, throughput: Throughput, step: int, metrics: Any, skips: int
) -> None:
    """Writes and shows the metrics of a step; waits until the device has finished it."""
    saves.report_bad_steps()
    numbers = _numbers(jax.device_get(metrics), run.dataset.class_names)
    numbers |= saves.skipped.numbers(skips)
    speed = throughput.numbers()
    saves.writers.write(step, numbers, speed)
    saves.progress.line(step, numbers | speed)
    saves.bad_steps.check(step)


def _is_evaluated_at(config: ConfigDict, step: int) -> bool:
    return step > 0 and (step % config.eval_every == 0 or step == config.total_steps)


def _evaluate(
    run: _Run,
    foreground: ForegroundWatch,
    writers: Writers,
    progress: Progress,
    checkpoints: Checkpoints,
    step: int,
    state: TrainState,
) -> None:
    """Evaluates a saved step; writes, prints and records the results."""
    whole = run.parallel.whole(networks(state))
    try:
        with progress.evaluation():
            results = run.evaluator(whole)
    except UserError as error:
        raise type(error)(
            f"the evaluation of step {step} failed; the step itself is saved in {run.workdir}, and "
            f"after a fix the same command continues with its evaluation:\n{error}"
        ) from None
    except Exception as error:  # out of memory, for example
        error.add_note(f"met in the evaluation after step {step}, which is saved")
        raise
    best = results[run.config.best_network]["miou"]
    if is_first():
        protocol, about = run.dataset.protocol, run.evaluator.about()
        if run.images.accepted:
            about["data_changed"] = list(run.images.accepted)
        write_evaluation(run.workdir, step, "val", results, protocol, about)
    writers.write(step, scores(results))
    if writers.shows:
        writers.write_images(step, run.evaluator.validation_images.images())
        params, most = whole["student"]["params"], run.config.tracking.histograms
        histograms = run.evaluator.confidences() | parameter_histograms(params, most)
        writers.write_histograms(step, histograms)
    progress.note({"miou": best})
    progress.say(f"step {step}, validation\n{run.evaluator.table(results)}")
    if warning := foreground(results):
        _warn(warning)
    writers.sync()
    checkpoints.record_evaluation(step, best)


def _feed(run: _Run, vote: StopVote, read: ErrorsAhead) -> DeviceFeed:
    """Batches on the devices; with each, the positions of its records and the skips so far."""

    def put(batch_and_skips: tuple[dict[str, Any], int]) -> tuple[dict[str, np.ndarray], int, Any]:
        batch, skips = batch_and_skips
        records = {name: part.pop("index") for name, part in batch.items()}
        ballot = vote.ballot(batch, run.parallel.local_count, failing=read.error is not None)
        return records, skips, run.parallel.put_batch(ballot)

    return DeviceFeed(read, put)


def _names(dataset: Dataset) -> dict[str, Callable[[int], str]]:
    def names(source: UnlabeledSource) -> Callable[[int], str]:
        return lambda index: str(source.ids[index])

    unlabeled = names(dataset.unlabeled)
    return {"labeled": names(dataset.labeled), "unlabeled": unlabeled, "mix": unlabeled}


def _first_state(run: _Run, checkpoints: Checkpoints) -> TrainState:
    """The state of the last intact checkpoint, or a new one."""
    abstract = build.abstract_state(run.config, run.model, run.optimizer)
    abstract = abstract_like(abstract, run.parallel.state_shardings(abstract))
    state = checkpoints.restore_latest(abstract, _warn)
    if state is not None:
        return state
    if metrics_path(run.workdir).exists():
        _warn(f"{run.workdir} holds a run without a complete checkpoint; training starts at step 0")
    return build.build_state(run.config, run.model, run.optimizer, run.parallel, _say)


def _say(text: str) -> None:
    if is_first():
        say(text)


def _warn(text: str) -> None:
    if is_first():
        warn(text)


def _batches(run: _Run, start_step: int) -> TrainBatches:
    """This process's share of every batch, from `start_step` on."""
    return train_batches(
        run.dataset,
        run.config.data,
        batch_size=run.config.batch_size,
        unlabeled_batch_size=run.unlabeled_batch_size,
        seed=run.config.seed,
        start_step=start_step,
        mix_same=run.method.mix == "same",
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )


def _memory(run: _Run, state: TrainState) -> Memory | None:
    """Estimate of the step's memory; None, without tracing, if the device reports no limit."""
    if device_memory() is None:
        return None
    batch = build.abstract_batch(run.config, run.unlabeled_batch_size)
    return estimate(run.device_step, state, batch, run.parallel)


def _introduce(run: _Run, state: TrainState, memory: Memory | None) -> None:
    """Prints the config, the data, the network and the devices."""
    if not is_first():
        return
    say(overview(run.config, run.workdir))
    say(build.first_weights(run.config))
    say(summarize(run.dataset))
    say(parameter_table(state.params))
    devices, processes = len(run.parallel.devices), jax.process_count()
    labeled, unlabeled = run.config.batch_size, run.unlabeled_batch_size
    layout = f"{processes} processes x {devices // processes} = " if processes > 1 else ""
    say(
        f"{layout}{devices} {run.parallel.devices[0].platform} device(s), {run.config.parallel}: "
        f"{labeled} labeled and {unlabeled} unlabeled images a step, {labeled // devices} + "
        f"{unlabeled // devices} a device"
    )
    step, total = int(state.step), run.config.total_steps
    if step:
        say(f"resumed from step {step} of {total}")
    if memory:
        say(str(memory))
    if step < total:
        say("the first step waits for the compiler")
    else:
        say(f"the run is finished; --config.total_steps={2 * total} would continue it")


def _numbers(metrics: Mapping[str, Any], class_names) -> dict[str, Any]:
    """Metrics as named numbers; per-class metrics get one name for each class."""
    numbers = {name: value for name, value in metrics.items() if np.ndim(value) == 0}
    for name, value in metrics.items():
        if np.ndim(value) == 1:
            numbers |= {f"{name}/{c}": v for c, v in zip(class_names, value, strict=True)}
    return numbers
