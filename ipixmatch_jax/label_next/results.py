"""The files of `--mode next`: `next.csv`, the page `next.html`, and pseudo-masks."""

import csv
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from ipixmatch_jax.data import displayable
from ipixmatch_jax.errors import ConfigError, UserError
from ipixmatch_jax.label_next.ranking import PARTS
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.photo_files.areas import cell
from ipixmatch_jax.predictor import Prediction
from ipixmatch_jax.viz.drawing import grayscale, overlay
from ipixmatch_jax.web.assets import asset
from ipixmatch_jax.web.images import thumbnail

TABLE, PAGE, MASKS = "next.csv", "next.html", "masks"
COLUMNS = ("rank", "suggested", "id", "file", "score", *PARTS, "distance")
_SIDE = 320

# Styles of this page in addition to web/page.css.
_STYLE = """
.three { display: grid; gap: .5rem; grid-template-columns: repeat(3, minmax(0, 1fr)); }
.three img { image-rendering: auto; }
.card { margin: 1rem 0; }
.card h2 { overflow-wrap: anywhere; }
.parts { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; margin: .2rem 0 .6rem;
  color: var(--dim); font-size: 13px; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
"""
_EXPLAINED = (
    "Uncertainty: mean entropy of the prediction. Disagreement: divergence of student and teacher. "
    "Rarity: rarity of the predicted classes among the labels. In brackets the rank among all "
    "ranked images, 100 % for the largest value; the score is the weighted mean of these ranks. "
    "Distance: to the nearest labeled or earlier suggested image, in features of the encoder."
)


def check_table(folder: AnyPath) -> None:
    """Checks that `next.csv` of a folder may be replaced.

    Raises:
        ConfigError: it is not a result of this mode.
    """
    path = folder / TABLE
    if not path.exists():
        return
    try:
        first = path.read_bytes().partition(b"\n")[0].decode("utf-8", "replace").strip()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror or error}); choose another --output"
        ) from None
    if first != ",".join(COLUMNS):
        raise ConfigError(
            f"{path} is not a table of --mode next and would be replaced; expected none; choose "
            "another --output"
        )


def write_file(path: AnyPath, content: bytes) -> None:
    """Writes a result.

    Raises:
        UserError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); make room and run the command "
            "again"
        ) from error


def table(rows: Sequence[dict[str, Any]]) -> bytes:
    """Rows with the keys `COLUMNS` as CSV, UTF-8."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_shown(row[name]) for name in COLUMNS])
    return text.getvalue().encode("utf-8")


def _shown(value: Any) -> Any:
    if isinstance(value, float | np.floating):
        return f"{value:.5f}"
    return cell(value) if isinstance(value, str) else value


def card(
    row: dict[str, Any],
    shares: dict[str, float],
    image: np.ndarray,
    prediction: Prediction,
    class_names: Sequence[str],
    palette: np.ndarray,
) -> str:
    """A suggested image on the page: photo, prediction and confidence, and the parts of its score.

    Args:
        row: its row of the table.
        shares: part → rank of the image in it, divided by the number of ranked images.
        image: uint8 [H,W,D].
        prediction: of that image.
    """
    photo = displayable(image)
    sure = np.asarray(grayscale(prediction.confidence))
    pictures = {
        "photo": photo,
        "prediction": overlay(image, prediction.mask, palette),
        "confidence (dark: unsure)": np.stack([sure] * 3, -1),
    }
    figures = "".join(
        f"<figure>{_tag(picture, caption + ' of ' + row['id'])}"
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, picture in pictures.items()
    )
    parts = "".join(
        f"<span>{name} {row[name]:.3f} ({100 * shares[name]:.0f} %)</span>" for name in PARTS
    )
    return (
        f"<section class='card' id='rank-{row['rank']}'>"
        f"<h2>{row['rank']}. {html.escape(row['id'])}</h2>"
        f"<div class='parts'><span>score {row['score']:.3f}</span>{parts}"
        f"<span>distance {row['distance']:.3g}</span></div>"
        f"<div class='three'>{figures}</div>"
        f"<div class='legend'>{_classes(prediction.mask, class_names, palette)}</div></section>"
    )


def _tag(picture: np.ndarray, text: str) -> str:
    attributes = " ".join(f"{k}='{v}'" for k, v in thumbnail(picture, _SIDE, "JPEG").items())
    return f"<img alt='{html.escape(text, quote=True)}' {attributes}>"


def _classes(mask: np.ndarray, class_names: Sequence[str], palette: np.ndarray) -> str:
    counts = np.bincount(mask.reshape(-1), minlength=256)[: len(class_names)]
    entries = []
    for index in np.argsort(-counts, kind="stable"):
        if counts[index]:
            color = f"#{bytes(palette[index]).hex()}"
            entries.append(
                f"<span><span class='swatch' style='background:{color}'></span>"
                f"{html.escape(class_names[index])} {100 * counts[index] / mask.size:.1f} %</span>"
            )
    return "".join(entries)


def page(title: str, facts: str, cards: Sequence[str]) -> bytes:
    """The page as HTML that makes no external requests, UTF-8."""
    name = html.escape(title)
    text = "\n".join(
        [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src '
            "data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">",
            f"<title>{name}</title><style>{asset('web/page.css')}{_STYLE}</style></head><body>",
            f"<header><div class='bar'><strong>{name}</strong><nav></nav>"
            "<button id='theme' type='button'>theme</button></div></header><main>",
            f"<h1>{html.escape(facts)}</h1><p class='lead'>{_EXPLAINED}</p>",
            *cards,
            f"</main><script>'use strict';\n{asset('web/theme.js')}\n"
            "themeButton(document.getElementById('theme'));</script></body></html>\n",
        ]
    )
    # File names may hold bytes that are no UTF-8.
    return text.encode("utf-8", "backslashreplace")
