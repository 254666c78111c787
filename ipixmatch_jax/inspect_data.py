"""`--mode inspect`: check a data set; the report goes to the terminal, JSON and a page."""

import json

from ml_collections import ConfigDict

from ipixmatch_jax.config.planned import plan_lines
from ipixmatch_jax.data import Report, inspect_dataset, training_needs, with_statistics
from ipixmatch_jax.data.inspection.page import page
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.methods import METHODS
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.screen import say


def inspect_data(config: ConfigDict, folder: AnyPath | None) -> Report:
    """Reads the whole data set and writes `data.json` and `data.html` to a folder.

    Args:
        config: the whole config.
        folder: output folder of the two files; None: only print the report.

    Raises:
        DataError: training would be wrong; raised after everything is written.
    """
    unmeasured = ""
    try:
        measured = with_statistics(config)
    except DataError as error:
        measured, unmeasured = config, str(error)
    report = inspect_dataset(measured.data, config.seed, unmeasured)
    uses_unlabeled = METHODS[config.method.name].uses_unlabeled
    needs = training_needs(config, report.dataset, uses_unlabeled=uses_unlabeled)
    report.needs, report.trains = needs.lines, not needs.problems
    if len(measured.data.mean):
        say(f"measured mean {measured.data.mean}, std {measured.data.std} of values in [0, 1]")
    if len(measured.data.value_range):
        pairs = ", ".join(f"{low:g} to {high:g}" for low, high in measured.data.value_range)
        say(f"images of more than 8 bits are scaled to 8 bits from {pairs} (data.value_range)")
    say(report.text())
    if lines := plan_lines(config):
        say("\n".join(lines))
    if folder is None:
        say("--workdir DIR also writes the report as JSON and as a page with thumbnails")
    else:
        _write(report, folder)
    if report.errors:
        raise DataError(
            f"the data set has {len(report.errors)} problem(s), listed above; first: "
            f"{report.errors[0].message}"
        )
    return report


def _write(report: Report, folder: AnyPath) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data.json").write_text(json.dumps(report.to_json(), indent=2) + "\n")
        # File names may hold bytes that are no UTF-8; they are shown as \udcXX.
        (folder / "data.html").write_bytes(page(report).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror}); choose another folder by --workdir"
        ) from None
    say(f"written to {folder / 'data.json'} and {folder / 'data.html'}")
