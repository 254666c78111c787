"""The flags of the command line: parsed, spelled, and checked before anything heavy is imported."""

import argparse
import itertools
from collections.abc import Collection, Sequence

from ipixmatch_jax.paths import as_path
from ipixmatch_jax.registry import nearest

# The modes; main.py says what each runs.
MODES = (
    "train",
    "eval",
    "predict",
    "report",
    "inspect",
    "convert",
    "export",
    "serve",
    "config",
    "new-config",
)
# Modes that read no data and write no run.
_ALONE = ("config", "new-config")


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
        description="Set any config key by --config.KEY=VALUE, such as --config.data.root=photos; "
        "--mode config [GROUP] lists all keys.",
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
        help="import the method or transform of your own that a run's config.json names",
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


def parsed_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
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
