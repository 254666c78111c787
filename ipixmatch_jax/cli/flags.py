"""The flags of the command line: parsed, spelled, and checked before anything heavy is imported."""

import argparse
import itertools
import math
import sys
from collections.abc import Collection, Sequence

from ipixmatch_jax.cli.mode_flags import unread_flag
from ipixmatch_jax.cli.pages import pages_folder
from ipixmatch_jax.paths import as_path
from ipixmatch_jax.registry import nearest
from ipixmatch_jax.screen import folded

# The modes; main.py says what each runs.
MODES = (
    "train",
    "eval",
    "predict",
    "next",
    "report",
    "diagnose",
    "inspect",
    "convert",
    "export",
    "serve",
    "config",
    "new-config",
)
# Modes that read no data and write no run.
_ALONE = ("config", "new-config")
# Modes that work on folders alone: `ipixmatch convert SRC DST`.
_FOLDERS = {"inspect": ("FOLDER",), "convert": ("SRC", "DST")}


class _Parser(argparse.ArgumentParser):
    """Reports usage errors in one line; its help ends with the place of the documentation."""

    def format_help(self) -> str:
        folder = pages_folder()
        # Not as an epilog: argparse would break the path.
        place = f"\ndocumentation and start scripts: {folder}\n" if folder else ""
        return super().format_help() + place

    def error(self, message: str):
        text = f"{self.prog}: {message}; see {self.prog} --help"
        self.exit(2, f"{folded(text, sys.stderr)}\n")


def _place(text: str):
    """A path; an empty text, as an unset shell variable leaves it, is a usage error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; expected a path")
    return as_path(text)


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; expected a name")
    return text


def _number(least: float, most: float = math.inf, whole: bool = True):
    """A parser of numbers in a range; anything else is a usage error."""

    def parsed(text: str):
        expected = f"{'a whole number' if whole else 'a number'} of at least {least:g}"
        expected += f" and at most {most:g}" if most < math.inf else ""
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f"is {text!r}; expected {expected}")
        return value

    return parsed


def _mode(name: str) -> str:
    if name not in MODES:
        known = ", ".join(MODES)
        raise argparse.ArgumentTypeError(f"no mode {name!r}{nearest(name, MODES)}; modes: {known}")
    return name


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ipixmatch",
        usage="%(prog)s --config FILE[:ARG] --workdir DIR [--mode MODE] [options]\n"
        + "".join(
            f"       %(prog)s {mode} {' '.join(names)} [options]\n"
            for mode, names in _FOLDERS.items()
        ),
        description="Set any config key by --config.KEY=VALUE, such as --config.data.root=photos; "
        "--mode config [GROUP] lists all keys. `inspect FOLDER` checks a folder of images and "
        "masks; `convert SRC DST` writes it in the plain layout.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        metavar="FILE[:ARG]",
        help="config file, or packaged config such as demo or folder:photos; optional for eval, "
        "predict, next, report, diagnose, export and serve, which use the run's own config",
    )
    parser.add_argument(
        "--workdir", type=_place, help="folder of the run; training resumes a run that is there"
    )
    parser.add_argument(
        "--mode",
        type=_mode,
        metavar="MODE",
        default="train",
        help=f"one of {', '.join(MODES)}; default: train",
    )
    parser.add_argument(
        "--checkpoint",
        default="latest",
        help="eval, predict, next, diagnose, export, serve: latest (default), best, or a step",
    )
    parser.add_argument(
        "--network",
        choices=("student", "teacher"),
        help="eval: both by default; otherwise the run's best_network",
    )
    parser.add_argument(
        "--split",
        type=_name,
        default="val",
        help="eval, diagnose: val (default), test, labeled, or another list or split name",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="import the method or transform of your own that a run's config.json names",
    )
    _add_takeaway(parser)
    _add_diagnose(parser)
    _add_next(parser)
    _add_serve(parser)
    _add_processes(parser)
    return parser


def _add_processes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "train and eval on several processes, if JAX does not detect the cluster"
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="address of process 0")
    group.add_argument("--processes", type=int, help="number of processes; 1: run alone")
    group.add_argument("--process", type=int, help="index of this process, from 0")


def _add_takeaway(parser: argparse.ArgumentParser) -> None:
    """Arguments of predict, report and export."""
    parser.add_argument(
        "--input",
        nargs="+",
        metavar="PHOTOS",
        help="predict, next: photos, folders or "
        "'patterns*.jpg'; next: default: the run's unlabeled images",
    )
    parser.add_argument(
        "--output",
        type=_place,
        help="predict, next, convert: output folder; export, report, diagnose, new-config: file",
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
        type=_number(1),
        default=2048,
        metavar="PIXELS",
        help="predict, next: photos with a longer side are processed in windows of eval.window",
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
        help="export: size of the images for stablehlo and onnx; default: data.crop_size",
    )
    parser.add_argument("--layout", help="export: naming scheme of the weights, see docs/models.md")


def _add_diagnose(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("diagnose: gradients of losses compared with true labels")
    group.add_argument("--batches", type=int, default=8, help="number of batches; default 8")
    group.add_argument(
        "--relations",
        nargs="+",
        default=(),
        metavar="RELATION",
        help="relation/distance[:key=value,...], as affinity/kl:stride=4; default: all built-in",
    )
    group.add_argument(
        "--regions",
        nargs="+",
        choices=("valid", "confident"),
        default=(),
        help="pixels of the relations; default: both",
    )
    group.add_argument(
        "--temperatures",
        nargs="+",
        type=float,
        default=(),
        metavar="T",
        help="of relations with a temperature; default: two for each",
    )
    group.add_argument(
        "--thresholds",
        nargs="+",
        type=float,
        default=(),
        metavar="P",
        help="confidences of hard labels; default: 0.95 0.9 0.5 0",
    )
    group.add_argument(
        "--share",
        type=float,
        default=0.5,
        help="the recommended weight makes the relation's gradient this share of the "
        "pseudo-labels'; default 0.5",
    )


def _add_next(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("next: rank unlabeled images by what a label would teach")
    group.add_argument("--count", type=_number(1), default=10, help="images to suggest; default 10")
    group.add_argument(
        "--weights",
        nargs=3,
        type=_number(0, whole=False),
        default=(1.0, 1.0, 1.0),
        metavar=("UNCERTAINTY", "DISAGREEMENT", "RARITY"),
        help="weights of the parts of the score; default 1 1 1",
    )
    group.add_argument(
        "--pseudo-masks",
        type=_number(0, 1, whole=False),
        metavar="CONFIDENCE",
        help="also write predictions as masks to correct; pixels below it are ignored (255)",
    )


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


def _folders_as_flags(argv: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """The arguments with `convert SRC DST`, or `inspect FOLDER`, written as flags."""
    if not argv or argv[0].startswith("-"):
        return list(argv)
    mode, *rest = argv
    if mode not in _FOLDERS:
        known = nearest(mode, _FOLDERS) or f"; write --mode {mode}" * (mode in MODES)
        parser.error(f"no command {mode!r}{known}")
    if {"-h", "--help"} & set(rest):
        return ["--help"]
    folders = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
    names = _FOLDERS[mode]
    if len(folders) != len(names) or not all(folders):
        parser.error(f"{mode} needs {' and '.join(names)}, and {len(folders)} are given")
    flags = rest[len(folders) :]
    if any(word.partition("=")[0] == "--config" for word in flags):
        parser.error(f"{mode} {' '.join(names)} takes no --config; use --mode {mode} with it")
    spelled = ["--mode", mode, "--config", f"folder:{folders[0]}"]
    return [*spelled, *(("--output", folders[1]) if len(folders) > 1 else ()), *flags]


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
    argv = _folders_as_flags(argv, parser)
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
    arguments.overrides = tuple(overrides)
    unread = unread_flag(parser, _with_hyphens(argv, parser), arguments.mode)
    if unread:
        parser.error(unread)
    if arguments.workdir is None and arguments.mode not in ("inspect", "convert", *_ALONE):
        parser.error(f"--mode {arguments.mode} needs --workdir")
    if arguments.config is None and arguments.mode in ("train", "inspect", "convert"):
        parser.error(f"--mode {arguments.mode} needs --config")
    if arguments.mode == "convert" and not arguments.output:
        parser.error("--mode convert needs --output, the new folder; or: convert SRC DST")
    return arguments, overrides
