"""Masks that fit other images of their folder than those of their names."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder

# Two colors of equal brightness: the class shows in color alone.
GROUND, THING = (90, 110, 70), (190, 60, 63)


def scenes(count):
    for seed in range(count):
        rng = np.random.default_rng(seed)
        mask = np.zeros((60, 72), np.uint8)
        y, x = rng.integers(4, 30, 2)
        mask[y : y + 18, x : x + 26] = 1
        mask[(y + 30) % 52 : (y + 30) % 52 + 7, 5:20] = 1
        noise = rng.normal(scale=6, size=(60, 72, 3))
        photo = np.where(mask[..., None] > 0, THING, GROUND) + noise
        yield photo.clip(0, 255).astype(np.uint8), mask


def findings(root, make_config, order, turn=lambda mask: mask, count=14):
    """The findings if mask number i is that of image number order[i]."""
    found = list(scenes(count))
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for number in range(count):
        Image.fromarray(found[number][0]).save(root / f"images/{number}.png")
        own = np.ascontiguousarray(turn(found[order[number]][1]))
        Image.fromarray(own).save(root / f"masks/{number}.png")
    config = make_config(**describe_folder(str(root)), labeled="", unlabeled="", val="")
    return [one for one in inspect_dataset(config, seed=0).findings
            if one.kind in ("exchanged-masks", "mirrored-masks", "shifted-masks")]  # fmt: skip


def test_masks_of_their_own_images_are_fine(tmp_path, make_config):
    assert not findings(tmp_path, make_config, range(14))


@pytest.mark.parametrize("inverse", [False, True])
def test_masks_that_were_numbered_in_the_order_of_text(inverse, tmp_path, make_config):
    """`for i, path in enumerate(sorted(paths))` takes 10 after 1."""
    order = sorted(range(14), key=str)
    order = np.argsort(order) if inverse else order
    (found,) = findings(tmp_path, make_config, order)
    assert found.severity == "error"
    assert "sorted " + ("by number" if inverse else "as text") in found.message
    assert "rename the masks" in found.message


def test_masks_in_reverse_order(tmp_path, make_config):
    (found,) = findings(tmp_path, make_config, range(13, -1, -1))
    assert found.severity == "error" and "from the last to the first" in found.message


def test_masks_that_are_mixed_up(tmp_path, make_config):
    order = np.random.default_rng(3).permutation(14)
    (found,) = findings(tmp_path, make_config, order)
    assert found.severity == "warning"
    (mask, image), *_ = [part.split(" fits ") for part in found.message.split("; ")
                         if " fits " in part]  # fmt: skip
    mask = mask.rpartition("/masks/")[2].removesuffix(".png")
    assert image.endswith(f"/images/{order[int(mask)]}.png")


def test_mirrored_masks_of_objects_that_color_alone_shows(tmp_path, make_config):
    (found,) = findings(tmp_path, make_config, range(14), lambda mask: mask[::-1])
    assert found.kind == "mirrored-masks" and "upside down" in found.message
