"""Command line: python -m ipixmatch_jax.main --config FILE[:ARG] --workdir DIR [--mode MODE] …

Any key of the config can be set by --config.KEY=VALUE, as --config.data.root=photos.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

from ipixmatch_jax.errors import ConfigError, UserError, exit_code
from ipixmatch_jax.paths import as_path


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

    write_report(config, arguments.workdir, more=arguments.runs, output=arguments.output)


def _inspect(config, arguments) -> None:
    from ipixmatch_jax.inspect_data import inspect_data

    inspect_data(config, arguments.workdir or arguments.output)


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


MODES: dict[str, Callable] = {
    "train": _train,
    "eval": _evaluate,
    "predict": _predict,
    "report": _report,
    "inspect": _inspect,
    "export": _export,
    "serve": _serve,
}


# The modes whose work several processes share; the others are done by one.
_ON_PROCESSES = ("train", "eval")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ipixmatch_jax.main",
        description=__doc__.split("\n\n")[1],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        help="config file, with an argument after a colon; eval, predict, report, export and serve "
        "take by default what the run in --workdir was trained with",
    )
    parser.add_argument(
        "--workdir", type=as_path, help="folder of the run; a run that is there is resumed"
    )
    parser.add_argument("--mode", choices=MODES, default="train")
    parser.add_argument(
        "--checkpoint", default="latest", help="all but train: latest (default), best or a step"
    )
    parser.add_argument(
        "--network", choices=("student", "teacher"), help="eval: default both; else the best one"
    )
    parser.add_argument(
        "--split", default="val", help="eval: val (default), test, labeled, or another list or name"
    )
    _add_takeaway(parser)
    _add_serve(parser)
    processes = parser.add_argument_group(
        "train and eval on several processes, where jax does not know the cluster"
    )
    processes.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    processes.add_argument("--processes", type=int, help="how many; 1: this one runs alone")
    processes.add_argument("--process", type=int, help="which of them this is, from 0")
    return parser


def _add_takeaway(parser: argparse.ArgumentParser) -> None:
    """Arguments of predict, report and export."""
    parser.add_argument(
        "--input", nargs="+", metavar="PHOTOS", help="predict: photos, folders or 'patterns*.jpg'"
    )
    parser.add_argument(
        "--output",
        type=as_path,
        help="predict: folder of the pictures; export, report: the file",
    )
    parser.add_argument(
        "--also",
        nargs="+",
        choices=("confidence", "probs"),
        default=(),
        help="predict: further files of every photo",
    )
    parser.add_argument(
        "--tile_above",
        type=int,
        default=2048,
        metavar="PIXELS",
        help="predict: photos with a longer side are looked at in windows of eval.window",
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=as_path,
        default=(),
        metavar="DIR",
        help="report: workdirs of further runs, to stand beside the one of --workdir",
    )
    parser.add_argument(
        "--format", choices=("torch", "stablehlo", "onnx"), default="torch", help="export: for whom"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("HEIGHT", "WIDTH"),
        help="export --format stablehlo: of the images; by default that of the training crops",
    )
    parser.add_argument("--layout", help="export: whose names for the weights; see docs/models.md")


def _add_serve(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serve: a local page to try the network on photos")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; by default this machine only"
    )
    group.add_argument("--port", type=int, default=8000, help="default 8000; 0: any free one")
    group.add_argument(
        "--host_names",
        nargs="+",
        default=(),
        metavar="NAME",
        help="names of this machine by which browsers may call the page, besides --host",
    )
    group.add_argument("--max_megabytes", type=float, default=32, help="of a file; default 32")
    group.add_argument("--max_megapixels", type=float, default=64, help="of a photo; default 64")
    group.add_argument(
        "--max_side",
        type=int,
        default=1024,
        help="photos with a longer side are shrunk; default 1024",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0 done, or saved after SIGTERM; 2 an error that the user can mend.
    """
    arguments, overrides = _parser().parse_known_args(argv)
    if arguments.workdir is None and arguments.mode != "inspect":
        _parser().error(f"--mode {arguments.mode} needs --workdir")
    if arguments.config is None and arguments.mode in ("train", "inspect"):
        _parser().error(f"--mode {arguments.mode} needs --config")
    # Late, so that --help and a misspelt flag do not wait for jax.
    from ipixmatch_jax.devices.processes import ended_together

    with ended_together() as end:
        end.code = _run(arguments, overrides)
    return end.code


def _run(arguments: argparse.Namespace, overrides: Sequence[str]) -> int:
    from absl import logging

    from ipixmatch_jax.devices.cpu_allocator import keep_freed_memory
    from ipixmatch_jax.devices.processes import start_processes, use_compilation_cache

    logging.set_verbosity(logging.ERROR)  # orbax warns of every checkpoint between evaluations
    try:
        if arguments.mode in _ON_PROCESSES:
            start_processes(arguments.coordinator, arguments.processes, arguments.process)
            keep_freed_memory()
        use_compilation_cache(arguments.workdir)

        from ipixmatch_jax.config import load_config, load_snapshot

        if arguments.config is None:
            config = load_snapshot(arguments.workdir, overrides)
        else:
            config = load_config(arguments.config, overrides)
        MODES[arguments.mode](config, arguments)
    except UserError as error:
        return exit_code(error)
    except ImportError as error:
        if "gcsfs" not in str(error):
            raise
        return exit_code(ConfigError(f"gs:// needs pip install ipixmatch-jax[gs] ({error})"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
