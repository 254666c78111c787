"""`--mode report`: a page of one file about one run, or comparing several runs."""

import dataclasses
import datetime
import html
import json
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

import ipixmatch_jax
from ipixmatch_jax.config import flatten, load_snapshot
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import UserError
from ipixmatch_jax.outputs import check_writable_file, next_command
from ipixmatch_jax.paths import AnyPath, as_path
from ipixmatch_jax.predictor import names_and_palette
from ipixmatch_jax.report.intervals import bootstrap_difference, mean_and_sd, paired_difference
from ipixmatch_jax.report.measure import MeasuredRun, measure_run
from ipixmatch_jax.report.runs import (
    Run,
    check_comparable,
    differing,
    grouped,
    method_name,
    read_run,
    unfinished,
)
from ipixmatch_jax.run.advice import advise
from ipixmatch_jax.screen import say
from ipixmatch_jax.web.assets import asset, assets
from ipixmatch_jax.workdir.folder import REPORT, write_whole

_SCRIPTS = (
    "web/charts.js",
    "web/theme.js",
    "report/sections.js",
    "web/explorer.js",
    "report/page.js",
)


def write_report(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    more: Sequence[Any] = (),
    output: AnyPath = None,
    trust: bool = False,
) -> Any:
    """Writes the page and returns its path.

    Among runs that differ only in the seed, the first is evaluated on validation images. If its
    images or checkpoints are not available, the page says so and shows what the run's files hold.

    Args:
        config: its `data.root` is the present place of the first run's data.
        workdir: folder of the first run.
        more: folders of further runs; they must have been measured in the same way.
        output: the file; by default `report.html` in the first workdir.
        trust: whether code that the runs name may be imported.

    Raises:
        ConfigError: a folder that holds no run.
        DataError: a run without metrics, or runs whose numbers must not be compared.
    """
    runs = [read_run(folder, load_snapshot(folder, trust=trust)) for folder in (workdir, *more)]
    # All other keys are the run's own; only the data may have moved.
    runs[0].config.data.root = config.data.root
    check_comparable(runs)
    for remark in unfinished(runs):
        say(remark)
    path = as_path(output or as_path(workdir) / REPORT)
    check_writable_file(path, "--output")
    shown = contents(runs)
    write_whole(path, page(shown))
    for run in shown["runs"]:
        for one in run["advice"]:
            say(f"{run['name']}: {one['symptom']} Try {one['change']}; see {one['page']}")
    say(f"report of {len(runs)} run(s): {path}")
    say(next_command(workdir, "--mode", "predict", "--input", "PHOTOS"))
    return path


def contents(runs: Sequence[Run]) -> dict[str, Any]:
    """The content of the page, as JSON."""
    groups = grouped(runs)
    names, palette = names_and_palette(runs[0].config, runs[0].workdir)
    results, measured = [], {}
    for number, (name, members) in enumerate(groups):
        run = runs[members[0]]
        try:
            found = measured[number] = measure_run(run)
            results.append({"group": number, "run": run.name, "name": name, **found.page})
        except UserError as error:
            results.append({"group": number, "run": run.name, "name": name, "missing": str(error)})
            say(f"{run.name}: no images, confusion or relations in the report: {error}")
    members_of = {i: number for number, (_, members) in enumerate(groups) for i in members}
    return {
        "title": runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        "version": ipixmatch_jax.__version__,
        "written": datetime.datetime.now().strftime("%Y-%m-%d %H:%M"),
        "classes": [
            {"name": name, "color": f"#{bytes(color).hex()}"}
            for name, color in zip(names, palette, strict=True)
        ],
        "runs": [_run(run, members_of[i]) for i, run in enumerate(runs)],
        "groups": [_group(name, [runs[i] for i in members]) for name, members in groups],
        "pairs": _pairs(runs, groups, measured),
        "differing": differing(runs),
        "results": results,
    }


def _run(run: Run, group: int) -> dict[str, Any]:
    last = run.evaluations[-1] if run.evaluations else {}
    return {
        "name": run.name,
        "group": group,
        "seed": run.config.seed,
        "facts": _facts(run),
        "curves": run.curves,
        "miou": {name: run.series(name) for name in NETWORKS},
        "iou": {name: last[name]["iou"] for name in NETWORKS if name in last},
        "best_network": run.config.best_network,
        "later": run.later,
        "diagnosis": run.diagnosis,
        "advice": [
            dataclasses.asdict(one) for one in advise(run.config, run.curves, run.evaluations)
        ],
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    config = run.config
    flat = dict(flatten(config))
    last = run.evaluations[-1] if run.evaluations else {}
    model = f"{config.model.name} {config.model.backbone or ''}".strip()
    facts = [
        ("method", method_name(flat)),
        ("model", model),
        ("data", f"{config.data.name} {config.data.labeled}".strip()),
        ("protocol", last.get("protocol", "")),
        ("batch", f"{config.batch_size} labeled + {config.unlabeled_batch_size} unlabeled"),
        ("steps", f"{last.get('step', 0)} of {config.total_steps}"),
        ("evaluated", last.get("eval", {}).get("mode", "")),
        ("data changed", "; ".join(last.get("data_changed", ()))),
        ("seed", str(config.seed)),
        ("speed", _speed(run)),
    ]
    return [(name, value) for name, value in facts if value]


def _speed(run: Run) -> str:
    """Medians over the logged steps."""
    images, waiting = run.median("images_per_second"), run.median("input_wait")
    if images is None or waiting is None:
        return ""
    return f"{images:.3g} images/s, {100 * waiting:.0f} % of the time waiting for input"


def _group(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    result: dict[str, Any] = {"name": name, "seeds": [run.config.seed for run in runs]}
    for network in NETWORKS:
        values = [run.last(network) for run in runs]
        known = [value for value in values if value is not None]
        result[network] = mean_and_sd(known) if known else None
    return result


def _pairs(
    runs: Sequence[Run],
    groups: Sequence[tuple[str, list[int]]],
    measured: dict[int, MeasuredRun],
) -> list[dict[str, Any]]:
    """Differences between each method and the first, over seeds and over the images of one seed."""
    pairs = []
    for number in range(1, len(groups)):
        for network in NETWORKS:
            one, other = (_by_seed(runs, groups[g][1], network) for g in (0, number))
            pair = {"other": number, "network": network, "images": None}
            pair["seeds"] = paired_difference(one, other)
            if measured.keys() >= {0, number}:
                counts = [measured[g].counts[network].images for g in (0, number)]
                if len(counts[0]) == len(counts[1]):
                    pair["images"] = bootstrap_difference(*counts)
            pairs.append(pair)
    return pairs


def _by_seed(runs: Sequence[Run], members: Sequence[int], network: str) -> dict[int, float]:
    values = {runs[i].config.seed: runs[i].last(network) for i in members}
    return {seed: value for seed, value in values.items() if value is not None}


def page(shown: dict[str, Any]) -> str:
    """The page as HTML that makes no external requests: it holds `shown`, styles and scripts."""
    # To a browser '</script', and '<!--' with a '<script', mean something in whatever they stand.
    data = json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")
    filled = {
        "TITLE": html.escape(shown["title"]),
        "STYLE": asset("web/page.css"),
        "DATA": data,
        "SCRIPT": f"'use strict';\n{assets(_SCRIPTS)}",
    }
    text = asset("report/page.html")
    parts = text.split("%%")
    return "".join(filled[part] if i % 2 else part for i, part in enumerate(parts))
