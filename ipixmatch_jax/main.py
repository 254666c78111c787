"""Command line: python -m ipixmatch_jax.main --config FILE[:ARG] --workdir DIR [--mode MODE] …

Any key of the config can be set by --config.KEY=VALUE, as --config.data.root=photos.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable, Sequence

from ipixmatch_jax.errors import UserError


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
    )


def _inspect(config, arguments) -> None:
    from ipixmatch_jax.data import WARNING, check_dataset, load_dataset, summarize
    from ipixmatch_jax.errors import DataError

    found = check_dataset(config.data, config.seed)
    problems = [text for text in found if not text.startswith(WARNING)]
    print("\n".join(text for text in found if text.startswith(WARNING)))
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise DataError(f"the data set has {len(problems)} problem(s):\n{lines}")
    print(summarize(load_dataset(config.data, config.seed)))
    print("nothing that keeps it from training")


MODES: dict[str, Callable] = {
    "train": _train,
    "eval": _evaluate,
    "predict": _predict,
    "inspect": _inspect,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ipixmatch_jax.main",
        description=__doc__.split("\n\n")[1],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", required=True, help="config file, with an argument after a colon"
    )
    parser.add_argument(
        "--workdir", type=pathlib.Path, help="folder of the run; a run that is there is resumed"
    )
    parser.add_argument("--mode", choices=MODES, default="train")
    parser.add_argument(
        "--checkpoint", default="latest", help="eval, predict: latest (default), best or a step"
    )
    parser.add_argument(
        "--network", choices=("student", "teacher"), help="eval: default both; predict: the best"
    )
    parser.add_argument("--input", type=pathlib.Path, help="predict: a photo or a folder of photos")
    parser.add_argument("--output", type=pathlib.Path, help="predict: where pictures are written")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code: 0 done, or saved after SIGTERM; 2 an error that the user can mend.
    """
    arguments, overrides = _parser().parse_known_args(argv)
    if arguments.workdir is None and arguments.mode != "inspect":
        _parser().error(f"--mode {arguments.mode} needs --workdir")
    try:
        # Late, so that --help and a misspelt flag do not wait for jax.
        from absl import logging

        from ipixmatch_jax.config import load_config

        logging.set_verbosity(logging.ERROR)  # orbax warns of every checkpoint between evaluations

        MODES[arguments.mode](load_config(arguments.config, overrides), arguments)
    except UserError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
