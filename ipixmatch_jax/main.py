"""Command line: ipixmatch --config FILE[:ARG] --workdir DIR [--mode MODE] …

Set any config key by --config.KEY=VALUE, such as --config.data.root=photos; --mode config [GROUP]
lists all keys.
"""

import argparse
import contextlib
import errno
import sys
from collections.abc import Callable, Sequence
from logging import LogRecord

from ipixmatch_jax.cli.flags import parsed_arguments
from ipixmatch_jax.cli.import_order import prefer_packages
from ipixmatch_jax.cli.terminal import guarded_output
from ipixmatch_jax.errors import ConfigError, UserError, exit_code
from ipixmatch_jax.paths import NEEDS_GS, lacks_gs


def _train(config, arguments) -> None:
    from ipixmatch_jax.training import train

    train(config, arguments.workdir)


def _evaluate(config, arguments) -> None:
    from ipixmatch_jax.evaluation import evaluate

    evaluate(
        config,
        arguments.workdir,
        checkpoint=arguments.checkpoint,
        network=arguments.network or "both",
        split=arguments.split,
    )


def _predict(config, arguments) -> None:
    from ipixmatch_jax.predict import predict_files

    predict_files(
        config,
        arguments.workdir,
        inputs=arguments.input,
        output=arguments.output,
        checkpoint=arguments.checkpoint,
        network=arguments.network or config.best_network,
        extras=arguments.also,
        tile_above=arguments.tile_above,
    )


def _next(config, arguments) -> None:
    from ipixmatch_jax.label_next import label_next

    label_next(
        config,
        arguments.workdir,
        inputs=arguments.input,
        output=arguments.output,
        count=arguments.count,
        weights=arguments.weights,
        pseudo_masks=arguments.pseudo_masks,
        checkpoint=arguments.checkpoint,
        network=arguments.network or config.best_network,
        tile_above=arguments.tile_above,
    )


def _report(config, arguments) -> None:
    from ipixmatch_jax.report import write_report

    write_report(
        config,
        arguments.workdir,
        more=arguments.runs,
        output=arguments.output,
        trust=arguments.trust,
    )


def _diagnose(config, arguments) -> None:
    from ipixmatch_jax.diagnose import diagnose

    diagnose(
        config,
        arguments.workdir,
        checkpoint=arguments.checkpoint,
        split=arguments.split,
        output=arguments.output,
        batches=arguments.batches,
        relations=arguments.relations,
        regions=arguments.regions,
        temperatures=arguments.temperatures,
        thresholds=arguments.thresholds,
        share=arguments.share,
    )


def _inspect(config, arguments) -> None:
    from ipixmatch_jax.inspect_data import inspect_data
    from ipixmatch_jax.outputs import next_line
    from ipixmatch_jax.screen import say

    report = inspect_data(config, arguments.workdir or arguments.output)
    if report.trains:
        training = ("--config", arguments.config, "--workdir", "runs/NAME")
        say(next_line(*training, *arguments.overrides))


def _convert(config, arguments) -> None:
    from ipixmatch_jax.data.convert import convert_data
    from ipixmatch_jax.outputs import next_line
    from ipixmatch_jax.screen import say

    say("\n".join(convert_data(config.data, arguments.output)))
    say(next_line("inspect", str(arguments.output)))


def _export(config, arguments) -> None:
    from ipixmatch_jax.export import export

    export(
        config,
        arguments.workdir,
        output=arguments.output,
        checkpoint=arguments.checkpoint,
        network=arguments.network or config.best_network,
        layout=arguments.layout,
        form=arguments.format,
        size=arguments.size,
    )


def _serve(config, arguments) -> None:
    from ipixmatch_jax.serve import limits_of, serve

    serve(
        config,
        arguments.workdir,
        host=arguments.host,
        port=arguments.port,
        names=arguments.host_names,
        checkpoint=arguments.checkpoint,
        network=arguments.network or config.best_network,
        limits=limits_of(arguments.max_megabytes, arguments.max_megapixels, arguments.max_side),
    )


def _print_config(config, arguments) -> None:
    from ipixmatch_jax.config.reference import printed
    from ipixmatch_jax.screen import say

    say(printed(arguments.groups, config))


def _new_config(config, arguments) -> None:
    from ipixmatch_jax.config.starting_file import write_starting_file

    write_starting_file(config, arguments.output)


# What each mode of the command line calls, with the config and the parsed flags.
RUN_MODE: dict[str, Callable] = {
    "train": _train,
    "eval": _evaluate,
    "predict": _predict,
    "next": _next,
    "report": _report,
    "diagnose": _diagnose,
    "inspect": _inspect,
    "convert": _convert,
    "export": _export,
    "serve": _serve,
    "config": _print_config,
    "new-config": _new_config,
}


_READER_GONE = "standard output has no reader any more: the run goes on; SIGTERM saves and ends it"

# A full disk, quota or limit of sizes, or a disk that became read-only, wherever it is met.
_NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC))

# Modes that may run on several processes; the others run on one.
_ON_PROCESSES = ("train", "eval")
# Modes that run the network.
_ON_DEVICES = (*_ON_PROCESSES, "predict", "next", "report", "diagnose", "export", "serve")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0 done, or saved after a stop signal; 2 an error that the user can fix; 130
        interrupted by Ctrl-C with nothing to save.
    """
    prefer_packages()
    with guarded_output() as output:
        arguments, overrides = parsed_arguments(sys.argv[1:] if argv is None else argv)
        if arguments.mode == "train":
            output.reader_gone = _READER_GONE
        # Late, so that --help and a misspelt flag do not wait for jax.
        try:
            import jax  # noqa: F401
        except ValueError as error:  # it reads variables such as JAX_ENABLE_X64
            return exit_code(
                ConfigError(f"JAX cannot be imported: {error}; fix or unset this variable")
            )
        from ipixmatch_jax.devices.preemption import answered_interrupts
        from ipixmatch_jax.devices.processes import ended_together

        # The server answers for itself.
        answered = contextlib.nullcontext() if arguments.mode == "serve" else answered_interrupts()
        with ended_together() as end, answered:
            end.code = _run(arguments, overrides)
        return end.code


def _run(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    from absl import logging

    from ipixmatch_jax.cli.runtime_flags import pass_on
    from ipixmatch_jax.devices.processes import use_compilation_cache

    logging.set_verbosity(logging.ERROR)  # orbax warns of every checkpoint between evaluations
    logging.get_absl_logger().addFilter(_is_news)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _show_unraisable
    try:
        overrides = pass_on(overrides, arguments.flags)
        if arguments.mode in _ON_DEVICES:
            _start_devices(arguments)
        use_compilation_cache(arguments.workdir)
        RUN_MODE[arguments.mode](_load(arguments, overrides), arguments)
    except UserError as error:
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        return exit_code(
            UserError(f"{where}{error.strerror}; make room, and the same command goes on")
        )
    except MemoryError as error:
        notes = "; ".join(["", *getattr(error, "__notes__", ())])
        return exit_code(
            UserError(
                f"the memory of this machine does not suffice ({error}){notes}; set a smaller "
                "network, batch_size, data.crop_size or data.max_pixels"
            )
        )
    except ImportError as error:
        if not lacks_gs(error):
            raise
        return exit_code(ConfigError(NEEDS_GS))
    return 0


# What orbax's threads log of an error that is raised later, and reported once.
_TOLD_LATER = (
    "_SignalingThread.run() raised an exception",
    "Commit callback in background save thread",
    "Save Finalize thread",
)


def _is_news(record: LogRecord) -> bool:
    """False for tracebacks of orbax's threads: their error is reported once, at the end."""
    message = record.getMessage()
    return not any(words in message for words in _TOLD_LATER)


def _show_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Shows an error that nothing can catch, but not those of a save that has failed already."""
    # Writes of tensorstore that were still open tell an event loop that is gone.
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def _start_devices(arguments: argparse.Namespace) -> None:
    """Joins the other processes of the run, if any, and starts JAX's backend."""
    from ipixmatch_jax.devices.backend import check_backend, check_variables, check_xla_flags
    from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
    from ipixmatch_jax.devices.processes import is_first, start_processes

    check_xla_flags()
    if arguments.mode in _ON_PROCESSES:
        start_processes(arguments.coordinator, arguments.processes, arguments.process)
    for note in filter(None, (check_variables(), check_backend())):
        if is_first():
            print(note, file=sys.stderr)
    if arguments.mode in _ON_PROCESSES:
        keep_freed_memory()


def _load(arguments: argparse.Namespace, overrides: Sequence[str]):
    """The config that the command works with, by its flags and overrides."""
    from ipixmatch_jax.config import default_config, load_config, load_snapshot, with_overrides

    if arguments.config is not None:
        return load_config(arguments.config, overrides)
    if arguments.workdir is not None:
        return load_snapshot(arguments.workdir, overrides, trust=arguments.trust)
    return with_overrides(default_config(), overrides)


if __name__ == "__main__":
    sys.exit(main())
