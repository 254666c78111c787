"""Command line: ipixmatch --config FILE[:ARG] --workdir DIR [--mode MODE] …

Set any config key by --config.KEY=VALUE, such as --config.data.root=photos; --mode config [GROUP]
lists all keys.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Collection, Sequence

from ipixmatch_jax.errors import ConfigError, UserError, exit_code
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.terminal import guarded_output


def _train(config, arguments) -> None:
    from ipixmatch_jax.train import train

    train(config, arguments.workdir)


def _evaluate(config, arguments) -> None:
    from ipixmatch_jax.evaluate import evaluate

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


def _report(config, arguments) -> None:
    from ipixmatch_jax.report import write_report

    write_report(
        config,
        arguments.workdir,
        more=arguments.runs,
        output=arguments.output,
        trust=arguments.trust,
    )


def _inspect(config, arguments) -> None:
    from ipixmatch_jax.inspect_data import inspect_data

    inspect_data(config, arguments.workdir or arguments.output)


def _convert(config, arguments) -> None:
    from ipixmatch_jax.data.convert import convert_data

    print("\n".join(convert_data(config.data, arguments.output)))


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

    print(printed(arguments.groups, config))


def _new_config(config, arguments) -> None:
    from ipixmatch_jax.config.starting_file import write_starting_file

    write_starting_file(config, arguments.output)


# Modes that need neither --workdir nor --config.
_ALONE = ("config", "new-config")
MODES: dict[str, Callable] = {
    "train": _train,
    "eval": _evaluate,
    "predict": _predict,
    "report": _report,
    "inspect": _inspect,
    "convert": _convert,
    "export": _export,
    "serve": _serve,
    "config": _print_config,
    "new-config": _new_config,
}


_READER_GONE = "standard output has no reader any more: the run goes on; SIGTERM saves and ends it"

# Modes that may run on several processes; the others run on one.
_ON_PROCESSES = ("train", "eval")
# Modes that run the network.
_ON_DEVICES = (*_ON_PROCESSES, "predict", "report", "export", "serve")


class _Parser(argparse.ArgumentParser):
    """Reports usage errors in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _place(text: str):
    """A path; an empty text, as an unset shell variable leaves it, is a usage error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; expected a path")
    return as_path(text)


def _mode(name: str) -> str:
    if name not in MODES:
        known = ", ".join(MODES)
        raise argparse.ArgumentTypeError(f"no mode {name!r}{nearest(name, MODES)}; modes: {known}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ipixmatch",
        description=__doc__.split("\n\n")[1],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE[:ARG]",
        help="config file, or packaged config such as demo or folder:photos; optional for eval, "
        "predict, report, export and serve, which use the run's own config",
    )
    parser.add_argument(
        "--workdir", type=_place, help="folder of the run; training resumes a run that is there"
    )
    parser.add_argument(
        "--mode",
        type=_mode,
        metavar="{" + ",".join(MODES) + "}",
        default="train",
        help="what to do; default: train",
    )
    parser.add_argument(
        "--checkpoint",
        default="latest",
        help="every mode except train: latest (default), best, or a step",
    )
    parser.add_argument(
        "--network",
        choices=("student", "teacher"),
        help="eval: both by default; otherwise the run's best_network",
    )
    parser.add_argument(
        "--split",
        default="val",
        help="eval: val (default), test, labeled, or another list or split name",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="import the method of your own that a run's config.json names, as module:Class",
    )
    _add_takeaway(parser)
    _add_serve(parser)
    processes = parser.add_argument_group(
        "train and eval on several processes, if JAX does not detect the cluster"
    )
    processes.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    processes.add_argument("--processes", type=int, help="number of processes; 1: run alone")
    processes.add_argument("--process", type=int, help="index of this process, from 0")
    return parser


def _add_takeaway(parser: argparse.ArgumentParser) -> None:
    """Arguments of predict, report and export."""
    parser.add_argument(
        "--input", nargs="+", metavar="PHOTOS", help="predict: photos, folders or 'patterns*.jpg'"
    )
    parser.add_argument(
        "--output",
        type=_place,
        help="predict, convert: output folder; export, report, new-config: file",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        choices=("confidence", "probs"),
        default=(),
        help="predict: extra outputs per photo",
    )
    parser.add_argument(
        "--tile-above",
        type=int,
        default=2048,
        metavar="PIXELS",
        help="predict: photos with a longer side are processed in windows of eval.window",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=_place,
        default=(),
        metavar="DIR",
        help="report: workdirs of other runs to compare with the one in --workdir",
    )
    parser.add_argument(
        "--format",
        choices=("torch", "stablehlo", "onnx"),
        default="torch",
        help="export: output format",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="export --format stablehlo: size of the images; default: data.crop_size",
    )
    parser.add_argument("--layout", help="export: naming scheme of the weights, see docs/models.md")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serve: a local page to try the network on photos")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: this machine only"
    )
    group.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free port")
    group.add_argument(
        "--host-names",
        nargs="+",
        default=(),
        metavar="NAME",
        help="further names of this machine under which browsers may open the page",
    )
    group.add_argument("--max-megabytes", type=float, default=32, help="largest upload; default 32")
    group.add_argument("--max-megapixels", type=float, default=64, help="largest photo; default 64")
    group.add_argument(
        "--max-side",
        type=int,
        default=1024,
        help="photos with a longer side are scaled down; default 1024",
    )


def _with_hyphens(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with `--tile_above` written as `--tile-above`; both spellings are accepted."""
    known = parser._option_string_actions
    spelled = []
    for argument in argv:
        name, is_set, value = argument.partition("=")
        hyphened = name.replace("_", "-")
        spelled.append(hyphened + is_set + value if hyphened in known else argument)
    return spelled


def _misspelt_flag(argument: str, known: Collection[str]) -> str:
    """A message if the argument is nearly one of the program's flags, or an empty string."""
    from absl import flags, logging  # noqa: F401  (logging defines flags)

    name = argument.partition("=")[0]
    of_others = name.startswith(("--config.", "--jax_")) or name.removeprefix("--") in flags.FLAGS
    near = nearest(name, known) if name.startswith("--") and not of_others else ""
    return f"no flag {name}{near}" if near else ""


def _parsed(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The flags, and the config overrides; a usage error ends the program."""
    parser = _parser()
    arguments, overrides = parser.parse_known_args(_with_hyphens(argv, parser))
    arguments.flags = tuple(parser._option_string_actions)
    for argument in overrides:
        misspelt = _misspelt_flag(argument, arguments.flags)
        if misspelt:
            parser.error(misspelt)
    arguments.groups = ()
    if arguments.mode == "config":
        arguments.groups = tuple(itertools.takewhile(lambda a: not a.startswith("--"), overrides))
        overrides = overrides[len(arguments.groups) :]
    if arguments.workdir is None and arguments.mode not in ("inspect", "convert", *_ALONE):
        parser.error(f"--mode {arguments.mode} needs --workdir")
    if arguments.config is None and arguments.mode in ("train", "inspect", "convert"):
        parser.error(f"--mode {arguments.mode} needs --config")
    if arguments.mode == "convert" and not arguments.output:
        parser.error("--mode convert needs --output, the new folder")
    return arguments, overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0 done, or saved after a stop signal; 2 an error that the user can fix; 130
        interrupted by Ctrl-C with nothing to save.
    """
    with guarded_output() as output:
        arguments, overrides = _parsed(sys.argv[1:] if argv is None else argv)
        if arguments.mode == "train":
            output.reader_gone = _READER_GONE
        # Late, so that --help and a misspelt flag do not wait for jax.
        from ipixmatch_jax.devices.processes import ended_together

        with ended_together() as end:
            end.code = _run(arguments, overrides)
        return end.code


def _run(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    from absl import logging

    from ipixmatch_jax.devices.processes import use_compilation_cache
    from ipixmatch_jax.runtime_flags import pass_on

    logging.set_verbosity(logging.ERROR)  # orbax warns of every checkpoint between evaluations
    try:
        overrides = pass_on(overrides, arguments.flags)
        if arguments.mode in _ON_DEVICES:
            _start_devices(arguments)
        use_compilation_cache(arguments.workdir)
        MODES[arguments.mode](_load(arguments, overrides), arguments)
    except UserError as error:
        return exit_code(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ImportError as error:
        if "gcsfs" not in str(error):
            raise
        return exit_code(ConfigError(f"gs:// needs pip install ipixmatch-jax[gs] ({error})"))
    return 0


def _start_devices(arguments: argparse.Namespace) -> None:
    """Joins the other processes of the run, if any, and starts JAX's backend."""
    from ipixmatch_jax.devices.backend import check_backend, check_xla_flags
    from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
    from ipixmatch_jax.devices.processes import is_first, start_processes

    check_xla_flags()
    if arguments.mode in _ON_PROCESSES:
        start_processes(arguments.coordinator, arguments.processes, arguments.process)
    note = check_backend()
    if note and is_first():
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
