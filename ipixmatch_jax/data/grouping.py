"""Groups of images that must stay on one side of the hold-out: near-duplicates, video frames."""

import functools
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from ipixmatch_jax.data.files.file_records import FileImages
from ipixmatch_jax.data.files.images import displayable, resample
from ipixmatch_jax.data.tiles import sibling_groups, tile_pairs
from ipixmatch_jax.errors import ConfigError, DataError
from ipixmatch_jax.registry import nearest

_THREADS = 4
_SIDE, _COARSE = 48, 8
THUMBNAIL = (_SIDE, _SIDE)
# Roboflow names the augmented copies of photo.jpg photo_jpg.rf.HASH.jpg.
_AUGMENTED = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{8,}$")
# The words that scripts and systems add to the name of an image for its copies.
_COPY_NAME = re.compile(
    r"(.+?)(?:[_\-. ]+(?:aug(?:mented)?|copy|[hv]?flip(?:ped|lr|ud)?|mirror(?:ed)?|rot(?:ated?)?"
    r"|crop(?:ped)?|nois[ey]|blur(?:red)?|bright(?:ness)?|contrast|shear|elastic|affine|zoom"
    r"|transposed?|gamma|jitter)[_\-]?\d*(?:deg)?)+(?:[_\-. ]*\(?\d{1,3}\)?)?",
    re.IGNORECASE,
)
# Two images show the same scene if both correlations of their thumbnails are higher: of the whole,
# and of the detail, which is the thumbnail without its coarse brightness. On frames of a driving
# camera one second apart the second is 0.4 to 0.9, between photos of different scenes below 0.45.
_SAME_WHOLE, _SAME_DETAIL = 0.85, 0.5
# No frame of a video is turned: copies alone, which resemble each other more. Between photos of
# different scenes, one of them turned, the correlation of details is below 0.6.
_SAME_TURNED = 0.7
# Copies alone, in a comparison with images that may be frames of the same video.
_COPY = 0.9
_TURNED_SIDE = 16
# Turned and flipped images [N,H,W]; mirror images are compared like scenes.
_TURNS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda a: a[:, ::-1],
    lambda a: a[:, ::-1, ::-1],
    lambda a: a.swapaxes(1, 2),
    lambda a: a.swapaxes(1, 2)[:, ::-1, ::-1],
    lambda a: a.swapaxes(1, 2)[:, ::-1],
    lambda a: a.swapaxes(1, 2)[:, :, ::-1],
)
# If most images have a higher correlation of details, the camera's frame is the same in all (a
# retina, a conveyor belt): what all have in common is subtracted first.
_COMMON = 0.5
_SAMPLE = 300
# Thumbnails with less contrast (standard deviation of 0..255) say nothing.
_LEAST_CONTRAST = 2.0
_BLOCK = 512


def group_keys(source: Any, rule: str) -> tuple[list[str], list[str]]:
    """The group of each image of a source, and remarks.

    Args:
        source: labeled records with `ids`.
        rule: `none` (every image for itself), `auto` (near-duplicates and tiles), or a regular
            expression: its match in the id, or its first group, is the name of the group.

    Returns:
        One key per image: the id of the group's first image in alphabetical order, or the text
        that the expression matched; and one line for each remark.

    Raises:
        ConfigError: the regular expression is not valid.
    """
    ids = [str(name) for name in source.ids]
    if rule == "none":
        return ids, []
    if rule != "auto":
        return _by_pattern(ids, rule)
    read = functools.partial(_image, source)
    tiles = tile_pairs(ids, read)
    tiles += [(group[0], tile) for group in sibling_groups(ids, read) for tile in group[1:]]
    members = _components(_thumbnails(source), [*_pairs_by_name(ids), *tiles])
    keys = list(ids)
    for group in members:
        first = min(ids[index] for index in group)
        for index in group:
            keys[index] = first
    notes = []
    if members:
        largest = max(members, key=len)
        shown = ", ".join(ids[index] for index in largest[:3])
        notes.append(
            f"{sum(map(len, members))} labeled images are near-duplicates"
            f"{' or tiles' * bool(tiles)} of others, in {len(members)} groups (largest: "
            f"{len(largest)} images, {shown}, …); a group is held out together; "
            "data.folder.group sets another rule"
        )
    return keys, notes


def _pairs_by_name(ids: list[str]) -> list[tuple[int, int]]:
    """Pairs of ids that a tool gave to copies of one image, or to an image and its copy."""
    first: dict[str, int] = {}
    pairs = []
    position = {name: index for index, name in enumerate(ids)}
    for index, name in enumerate(ids):
        match = _AUGMENTED.match(name)
        if match:
            other = first.setdefault(match.group(1), index)
            pairs += [(other, index)] * (other != index)
        copy = _COPY_NAME.fullmatch(name)
        if copy and copy.group(1) in position:
            pairs.append((position[copy.group(1)], index))
    return pairs


def _by_pattern(ids: list[str], rule: str) -> tuple[list[str], list[str]]:
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise ConfigError(
            f"data.folder.group={rule!r}: not a regular expression ({error}); expected auto, none, "
            "or an expression such as '^(.*)_'"
        ) from None
    matches = [pattern.search(name) for name in ids]
    keys = [
        (match.group(1) if pattern.groups else match.group()) if match else name
        for match, name in zip(matches, ids, strict=True)
    ]
    keys = [key or name for key, name in zip(keys, ids, strict=True)]
    missed = sum(match is None for match in matches)
    if missed == len(ids) > 0:
        raise ConfigError(
            f"data.folder.group={rule!r} matches no id of a labeled image, such as {ids[0]!r}"
            f"{nearest(rule, ('auto', 'none'))}; expected auto, none, or an expression of ids such "
            "as '^(.*)_'"
        )
    text = f"{len(set(keys))} groups of labeled images by data.folder.group={rule!r}"
    return keys, [text + (f"; {missed} ids do not match and stay alone" if missed else "")]


def _image(source: Any, index: int) -> np.ndarray:
    """An image uint8 [H,W,C]; one black pixel if it cannot be read."""
    files = hasattr(source, "image_paths")
    try:
        return (FileImages.read(source, index) if files else source[index])["image"]
    except DataError:
        return np.zeros((1, 1, 3), np.uint8)


def _thumbnails(source: Any) -> np.ndarray:
    """Thumbnails as float32 [N,side,side]; zeros for images that cannot be read."""

    # The images alone, decoded at reduced size where the format allows it.
    files = hasattr(source, "image_paths")
    images = FileImages(source.ids, source.image_paths, source.pixels) if files else None

    def thumbnail(index: int) -> np.ndarray:
        try:
            record = images.read(index, (_SIDE, _SIDE)) if images else source[index]
        except DataError:
            return np.zeros((_SIDE, _SIDE), np.float32)
        return thumbnail_of(record["image"]).astype(np.float32)

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="groups") as executor:
        rows = list(executor.map(thumbnail, range(len(source.ids))))
    return np.stack(rows) if rows else np.zeros((0, _SIDE, _SIDE), np.float32)


def thumbnail_of(image: np.ndarray) -> np.ndarray:
    """The brightness of an image uint8 [H,W,C] in small: uint8 [48,48]."""
    picture = Image.fromarray(displayable(image)).convert("L")
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX))


def small_colors(image: np.ndarray) -> np.ndarray:
    """The colors of an image uint8 [H,W,C] in small: uint8 [48,48,3]."""
    return resample(displayable(image), THUMBNAIL, Image.Resampling.BOX)


def _normalized(rows: np.ndarray) -> np.ndarray:
    """Rows [N,M] with mean 0 and length 1; rows without contrast become 0."""
    centered = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=1, keepdims=True)
    plain = lengths < _LEAST_CONTRAST * _SIDE
    return np.where(plain, 0, centered / np.maximum(lengths, 1e-6)).astype(np.float32)


def _features(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalized thumbnails and their details, float32 [N,side*side] each."""
    step = _SIDE // _COARSE
    count = len(thumbnails)
    coarse = thumbnails.reshape(count, _COARSE, step, _COARSE, step).mean((2, 4))
    smooth = np.stack([
        np.asarray(Image.fromarray(one).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
        for one in coarse
    ])  # fmt: skip
    whole, detail = thumbnails.reshape(count, -1), (thumbnails - smooth).reshape(count, -1)
    sample = _normalized(detail[:: max(1, count // _SAMPLE)])
    pairs = (sample @ sample.T)[np.triu_indices(len(sample), 1)]
    if len(pairs) and np.median(pairs) > _COMMON:
        whole, detail = whole - whole.mean(0), detail - detail.mean(0)
    return _normalized(whole), _normalized(detail)


def similar_pairs(thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs i < j of images that show the same scene, its mirror image, or the image turned.

    Args:
        thumbnails: float32 [N,48,48]; see `thumbnail_of`.
    """
    whole, detail = _features(thumbnails)
    turned = [
        rows.reshape(-1, _SIDE, _SIDE)[..., ::-1].reshape(len(rows), -1) for rows in (whole, detail)
    ]
    for start in range(0, len(thumbnails), _BLOCK):
        part = slice(start, start + _BLOCK)
        similar = (whole[part] @ whole.T > _SAME_WHOLE) & (detail[part] @ detail.T > _SAME_DETAIL)
        similar |= (whole[part] @ turned[0].T > _SAME_WHOLE) & (
            detail[part] @ turned[1].T > _SAME_DETAIL
        )
        rows, columns = np.nonzero(similar)
        for row, column in zip((rows + start).tolist(), columns.tolist(), strict=True):
            if row < column:
                yield row, column
    yield from _turned_pairs(whole, detail)


def copies_of(thumbnails: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (i, j): the j-th of the others is a copy of image i, encoded again, resized or turned.

    Scenes that are merely similar, such as frames of a video one second apart, are no copies.

    Args:
        thumbnails: float32 [N,48,48]; see `thumbnail_of`.
        others: float32 [M,48,48].
    """
    count = len(thumbnails)
    whole, detail = _features(np.concatenate([thumbnails, others]))
    for turn in (lambda a: a, lambda a: a[:, :, ::-1], *_TURNS):
        turned = [_turned(rows[:count], turn) for rows in (whole, detail)]
        for start in range(count, len(whole), _BLOCK):
            part = slice(start, start + _BLOCK)
            same = (whole[part] @ turned[0].T > _COPY) & (detail[part] @ turned[1].T > _COPY)
            for other, index in np.argwhere(same).tolist():
                yield index, other + start - count


def _turned(rows: np.ndarray, turn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Square images [N,side*side], each turned."""
    side = math.isqrt(rows.shape[1])
    return np.ascontiguousarray(turn(rows.reshape(-1, side, side))).reshape(rows.shape)


def _turned_pairs(whole: np.ndarray, detail: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs i < j of which one is the other turned or flipped upside down: augmented copies.

    Args:
        whole, detail: normalized thumbnails, float32 [N,side*side].
    """
    count, step = len(whole), _SIDE // _TURNED_SIDE
    # Smaller ones first: few pairs are left for the thumbnails.
    small = whole.reshape(count, _TURNED_SIDE, step, _TURNED_SIDE, step).mean((2, 4))
    small = small.reshape(count, -1)
    small = small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
    for turn in _TURNS:
        turned = [_turned(rows, turn) for rows in (small, whole, detail)]
        for start in range(0, count, _BLOCK):
            alike = small[start : start + _BLOCK] @ turned[0].T > _SAME_WHOLE
            rows = np.flatnonzero(alike.any(1)) + start
            same = (whole[rows] @ turned[1].T > _SAME_WHOLE) & (
                detail[rows] @ turned[2].T > _SAME_TURNED
            )
            for row, column in np.argwhere(same).tolist():
                if rows[row] < column:
                    yield int(rows[row]), column


def _components(thumbnails: np.ndarray, known: list[tuple[int, int]]) -> list[list[int]]:
    """Connected groups of two or more images of the same scene, each sorted.

    Args:
        thumbnails: float32 [N,48,48].
        known: pairs that belong together whatever they show.
    """
    if len(thumbnails) < 2:
        return []
    parent = list(range(len(thumbnails)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for row, column in (*known, *similar_pairs(thumbnails)):
        parent[root(row)] = root(column)
    groups: dict[int, list[int]] = {}
    for index in range(len(thumbnails)):
        groups.setdefault(root(index), []).append(index)
    return [members for members in groups.values() if len(members) > 1]
