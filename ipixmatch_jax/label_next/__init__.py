"""`--mode next`: ranks unlabeled images by what a label would teach."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from ipixmatch_jax.data import pixels_of
from ipixmatch_jax.data.files.file_records import record_files
from ipixmatch_jax.engine.state import NETWORKS
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.label_next.masks import PseudoMasks, check_masks_apart
from ipixmatch_jax.label_next.measure import Measured, Measurer
from ipixmatch_jax.label_next.pool import Pool, load_pool
from ipixmatch_jax.label_next.ranking import (
    PARTS,
    Ranking,
    combined,
    rank_shares,
    ranked,
    rarity,
    unit_rows,
)
from ipixmatch_jax.label_next.results import (
    MASKS,
    PAGE,
    TABLE,
    card,
    check_table,
    page,
    table,
    write_file,
)
from ipixmatch_jax.outputs import check_writable_folder, next_training
from ipixmatch_jax.paths import AnyPath, as_path, is_remote
from ipixmatch_jax.photo_files.areas import printable
from ipixmatch_jax.photo_files.broken import broken_in_words
from ipixmatch_jax.photo_reader import needs
from ipixmatch_jax.predictor import TILE_ABOVE, Predictor, restore_predictors
from ipixmatch_jax.screen import say
from ipixmatch_jax.tracking.progress import counted
from ipixmatch_jax.workdir.folder import next_folder

COUNT = 10
WEIGHTS = (1.0, 1.0, 1.0)
_MOST_PRINTED = 20


def label_next(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    inputs: Sequence[str] | None = None,
    output: AnyPath | None = None,
    count: int = COUNT,
    weights: Sequence[float] = WEIGHTS,
    pseudo_masks: float | None = None,
    checkpoint: str = "latest",
    network: str = "teacher",
    tile_above: int = TILE_ABOVE,
) -> list[dict[str, Any]]:
    """Ranks the run's unlabeled images, and shows the first ones on a page.

    Writes `next.csv` with all ranked images, `next.html` with the suggested ones and, with
    `pseudo_masks`, `masks/` with their predictions as masks. Existing masks are not overwritten.

    Args:
        inputs: photos, folders or patterns to rank in place of the run's unlabeled images.
        output: folder; by default `next` in the workdir.
        count: number of images to suggest.
        weights: of `PARTS` in the score.
        pseudo_masks: confidence below which pixels of the pseudo-masks are 255; None: no masks.
        network: the one whose uncertainty, classes, features and masks count.
        tile_above: see `Predictor`.

    Returns:
        The rows of the table, in order of rank.

    Raises:
        ConfigError: nothing can be written to the output folder, or masks cannot be drawn.
        DataError: no image to rank; or, at the end, the images that could not be read.
    """
    if not any(weights):
        raise ConfigError("--weights are all 0; expected one above 0")
    output = as_path(output or next_folder(workdir))
    check_writable_folder(output, "--output")
    check_table(output)
    pool = load_pool(config, workdir, inputs)
    for note in pool.notes:
        say(note)
    if pseudo_masks is not None:
        check_masks_apart(output / MASKS, pool.labeled)
    predictors = restore_predictors(config, workdir, checkpoint, NETWORKS, tile_above)
    predictor = predictors[network]
    masks = None
    if pseudo_masks is not None:
        masks = PseudoMasks(predictor.config.data, predictor.palette, pseudo_masks)
    rows, parts, broken = _ranked(pool, predictors, network, count, weights, tile_above)
    write_file(output / TABLE, table(rows))
    broken += _write_suggested(rows, parts, pool, predictor, masks, output)
    _tell(rows, predictor, output)
    steps = 2 * int(predictor.config.total_steps)
    say(next_training("--config.data.changed=accept", f"--config.total_steps={steps}"))
    if broken:
        raise DataError(_told(broken, len(pool.images), needs(pixels_of(predictor.config.data))))
    return rows


def _ranked(
    pool: Pool,
    predictors: dict[str, Predictor],
    network: str,
    count: int,
    weights: Sequence[float],
    tile_above: int,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], list[str]]:
    """The rows in order of rank, the shares of each row, and messages about unreadable images."""
    variables = {name: one.variables for name, one in predictors.items()}
    measurer = Measurer(predictors[network].config, variables, network, tile_above)
    source = pool.at_size_of_network(pool.images)
    measured = measurer.unlabeled(source)
    broken = [printable(text) for _, text in sorted(source.broken.items())]
    if not len(measured.positions):
        pixels = needs(pixels_of(predictors[network].config.data))
        raise DataError(_told(broken, len(source), pixels))
    features, pixels = measurer.labeled(pool.at_size_of_network(pool.labeled))
    parts = {
        "uncertainty": measured.uncertainty,
        "disagreement": measured.disagreement,
        "rarity": rarity(measured.class_pixels, pixels),
    }
    own, known = unit_rows(measured.features), unit_rows(features)
    ranking = ranked(combined(parts, weights), own, known, count)
    shares = {name: rank_shares(values)[ranking.order] for name, values in parts.items()}
    return _rows(pool, measured, parts, ranking, count), shares, broken


def _rows(
    pool: Pool,
    measured: Measured,
    parts: dict[str, np.ndarray],
    ranking: Ranking,
    count: int,
) -> list[dict[str, Any]]:
    rows = []
    for rank, at in enumerate(ranking.order.tolist(), 1):
        position = int(measured.positions[at])
        rows.append(
            {
                "rank": rank,
                "suggested": "yes" if rank <= count else "no",
                "id": printable(pool.images.ids[position]),
                "file": printable(record_files(pool.images, position)[0]),
                "score": float(ranking.score[at]),
                **{name: float(parts[name][at]) for name in PARTS},
                "distance": float(ranking.distance[at]),
                "position": position,
            }
        )
    return rows


def _write_suggested(
    rows: Sequence[dict[str, Any]],
    shares: dict[str, np.ndarray],
    pool: Pool,
    predictor: Predictor,
    masks: PseudoMasks | None,
    output: AnyPath,
) -> list[str]:
    """Writes the page and the masks; returns messages about images that cannot be predicted."""
    suggested = [row for row in rows if row["suggested"] == "yes"]
    cards, broken, kept = [], [], 0
    for at, row in enumerate(counted(suggested, len(suggested), "suggestions", "images")):
        try:
            image = pool.images[row["position"]]["image"]
            prediction = predictor.predict_record(image)
        except DataError as error:
            broken.append(printable(error))
            continue
        except (jax.errors.JaxRuntimeError, MemoryError) as error:
            broken.append(
                f"{row['file']}: cannot be predicted ({str(error).splitlines()[0][:120]}); if "
                "memory runs out, lower --tile-above"
            )
            continue
        own = {name: float(values[at]) for name, values in shares.items()}
        names, palette = predictor.class_names, predictor.palette
        cards.append(card(row, own, image, prediction, names, palette))
        if masks is not None:
            kept += not _write_mask(row["id"], prediction, masks, output)
    what = f"{len(suggested)} of {len(rows)} images to label next"
    made = f"{predictor.network}, step {predictor.step}"
    write_file(output / PAGE, page("label next", f"{what}, by the {made}", cards))
    if kept:
        say(f"{kept} mask(s) in {output / MASKS} were there already and are left as they are")
    return broken


def _write_mask(record_id: str, prediction: Any, masks: PseudoMasks, output: AnyPath) -> bool:
    """Writes a pseudo-mask; False if there is one, which may hold corrections."""
    path = output / MASKS / masks.name(record_id)
    # A link that leads nowhere is a file too: writing would create what it names.
    if path.exists() or (not is_remote(path) and path.is_symlink()):
        return False
    write_file(path, masks.png(prediction))
    return True


def _tell(rows: Sequence[dict[str, Any]], predictor: Predictor, output: AnyPath) -> None:
    suggested = [row for row in rows if row["suggested"] == "yes"]
    say(f"rank  score  {'  '.join(PARTS)}  id")
    for row in suggested[:_MOST_PRINTED]:
        parts = "  ".join(f"{row[name]:{len(name)}.3f}" for name in PARTS)
        say(f"{row['rank']:4}  {row['score']:.3f}  {parts}  {row['id']}")
    if len(suggested) > _MOST_PRINTED:
        say(f"… and {len(suggested) - _MOST_PRINTED} more")
    say(
        f"{len(suggested)} of {len(rows)} images suggested, by {predictor.network}, step "
        f"{predictor.step}: {output / PAGE} and {output / TABLE}"
    )
    say(
        "label them, put the masks next to the others, and resume the run with more steps; see "
        "docs/label_next.md"
    )


def _told(broken: Sequence[str], total: int, expected: str) -> str:
    return broken_in_words(
        broken,
        total,
        failed="images could not be read or predicted",
        others="ranked",
        expected=expected,
    )
