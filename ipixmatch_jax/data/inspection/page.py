"""The report of --mode inspect as a self-contained HTML page."""

import html
from collections.abc import Sequence

import numpy as np

from ipixmatch_jax.data.files.images import displayable
from ipixmatch_jax.data.inspection.findings import Finding
from ipixmatch_jax.data.inspection.report import SPLITS, Report
from ipixmatch_jax.data.records import IGNORE, Dataset
from ipixmatch_jax.errors import DataError
from ipixmatch_jax.web.assets import asset
from ipixmatch_jax.web.images import thumbnail

_SIDE = 180
_SAMPLES = 6
_PICTURED_FINDINGS = 60

# Styles of this page in addition to web/page.css.
_STYLE = """
.share { display: inline-block; height: .7em; background: var(--accent); }
.finding { border-left: 4px solid var(--s4); padding: .3rem .8rem; margin: .6rem 0;
  background: var(--card); overflow-wrap: anywhere; }
.finding.error { border-color: var(--bad); }
.kind { font-weight: 600; margin-right: .6em; }
.pair { display: inline-flex; vertical-align: top; align-items: flex-start; max-width: 100%; }
h1 { overflow-wrap: anywhere; }
h2 { margin-top: 1.6rem; }
figure { display: inline-block; vertical-align: top; margin: .3rem .6rem .3rem 0; font-size: 12px;
  color: var(--dim); min-width: 0; }
figure img { display: block; width: auto; max-width: 100%; }
"""


def page(report: Report) -> str:
    """The report as HTML, with thumbnails of each split and of the files in findings."""
    errors, total = len(report.errors), len(report.findings)
    verdict = f"{errors} error(s) and {total - errors} warning(s)" if total else "nothing wrong"
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>Data: {verdict}</title><style>"
        f"{asset('web/page.css')}{_STYLE}</style></head><body><main>",
        f"<h1>Data: {verdict}</h1>",
        f"<p>Labeled images of the protocol <b>{html.escape(report.dataset.protocol)}</b>.</p>"
        if report.dataset.protocol
        else "",
        _list("How it was read", report.dataset.notes),
        _split_table(report),
        _findings(report),
        _list("Before training", report.needs),
        "<h2>Classes</h2>",
        _class_table(report),
    ]
    parts += [_gallery(report.dataset, name) for name in SPLITS]
    return "\n".join([*parts, "</main></body></html>\n"])


def _list(title: str, lines: Sequence[str]) -> str:
    rows = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{rows}</ul>" if lines else ""


def _split_table(report: Report) -> str:
    rows = []
    for name, split in report.splits.items():
        if name == "test" and not split.images:
            continue
        sizes = ", ".join(
            f"{width}×{height} ({count})" for (height, width), count in split.sizes.most_common(5)
        )
        more = f", and {len(split.sizes) - 5} more" if len(split.sizes) > 5 else ""
        rows.append(
            f"<tr><td>{name}</td><td>{split.images}</td><td>{split.images - split.readable}</td>"
            f"<td class='name'>{sizes}{more}</td></tr>"
        )
    head = "<tr><th>split</th><th>images</th><th>unusable</th><th>width × height (images)</th></tr>"
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>"


def _class_table(report: Report) -> str:
    dataset, masked = report.dataset, report.masked
    totals = {name: max(int(split.pixels.sum()), 1) for name, split in masked.items()}
    rows = []
    for value, name in [*enumerate(dataset.class_names), (IGNORE, "(ignore)")]:
        color = "#fff" if value == IGNORE else f"#{bytes(dataset.palette[value]).hex()}"
        cells = "".join(
            f"<td>{split.pixels[value]}</td>"
            f"<td>{100 * split.pixels[value] / totals[kind]:.2f} %</td>"
            f"<td>{split.images_with[value]}</td>"
            for kind, split in masked.items()
        )
        width = 160 * masked["labeled"].pixels[value] / totals["labeled"]
        rows.append(
            f"<tr><td><span class='swatch' style='background:{color}'></span>{value} "
            f"{html.escape(name)}</td>{cells}"
            f"<td class='name'><span class='share' style='width:{width:.0f}px'></span></td></tr>"
        )
    heads = "".join(f"<th>{kind} pixels</th><th></th><th>images</th>" for kind in masked)
    table = f"<table><tr><th>class</th>{heads}<th></th></tr>{''.join(rows)}</table>"
    return f"<div class='scroll'>{table}</div>"


def _findings(report: Report) -> str:
    parts = []
    for number, finding in enumerate(report.findings):
        picture = _pictures(report.dataset, finding) if number < _PICTURED_FINDINGS else ""
        parts.append(
            f"<div class='finding {finding.severity}'><span class='kind'>{finding.severity}: "
            f"{finding.kind}</span>{html.escape(finding.message)}<br>{picture}</div>"
        )
    return "\n".join(parts)


def _pictures(dataset: Dataset, finding: Finding) -> str:
    if finding.index is None or not finding.split:
        return ""
    return _figure(dataset, finding.split, finding.index)


def _gallery(dataset: Dataset, split: str) -> str:
    source = getattr(dataset, split)
    count = min(_SAMPLES, len(source))
    picked = np.linspace(0, max(len(source) - 1, 0), count).round().astype(int)
    figures = "".join(_figure(dataset, split, int(index)) for index in picked)
    return f"<h2>{split}</h2>{figures}" if figures else ""


def _figure(dataset: Dataset, split: str, index: int) -> str:
    """A thumbnail of the image, and of its mask if there is one; '' if unreadable."""
    source = getattr(dataset, split)
    try:
        record = source[index]
    except DataError:
        return ""
    images = [displayable(record["image"])]
    if "mask" in record:
        colors = np.full((256, 3), 255, np.uint8)
        colors[: len(dataset.palette)] = dataset.palette
        images.append((0.4 * images[0] + 0.6 * colors[record["mask"]]).round().astype(np.uint8))
    tags = "".join(f"<figure>{_tag(image, 'JPEG')}</figure>" for image in images[1:])
    name = html.escape(str(record["id"]))
    photo = f"<figure>{_tag(images[0], 'JPEG')}<figcaption>{name}</figcaption></figure>"
    return f"<div class='pair'>{photo}{tags}</div>"


def _tag(image: np.ndarray, kind: str) -> str:
    attributes = " ".join(f"{k}='{v}'" for k, v in thumbnail(image, _SIDE, kind).items())
    return f"<img alt='' {attributes}>"
