"""Lists of classes whose order is not that of the brightness of the masks, or of other ids."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data import inspect_dataset
from ipixmatch_jax.data.datasets.folder_config import describe_folder
from ipixmatch_jax.data.files.mask_values import Said, describe_masks
from ipixmatch_jax.errors import DataError
from tests.data.files.test_mask_values import check, ids, read_all, save

WHITE_FIRST = Said(names=("road", "background"), palette=((255, 255, 255), (0, 0, 0)))
BLACK_FIRST = Said(names=("background", "road"), palette=((0, 0, 0), (255, 255, 255)))
ROADS = [ids(seed, classes=2) for seed in range(6)]


def gray(road):
    return road * np.uint8(255)


def colored(road):
    return np.repeat(gray(road)[..., None], 3, 2)


def one_bit(road):
    return Image.fromarray(gray(road)).convert("1")


@pytest.mark.parametrize("form", [gray, colored, one_bit])
@pytest.mark.parametrize("said", [WHITE_FIRST, BLACK_FIRST])
def test_the_color_of_the_list_is_the_class(form, said, tmp_path):
    """DeepGlobe's roads: class_dict.csv lists the road in white first."""
    found = read_all(save(tmp_path, map(form, ROADS)), said)
    for mask, road in zip(found, ROADS, strict=True):
        np.testing.assert_array_equal(mask, 1 - road if said is WHITE_FIRST else road)


def test_the_color_of_the_list_is_the_class_of_jpeg(tmp_path):
    found = read_all(save(tmp_path, map(gray, ROADS), ".jpg", quality=90), WHITE_FIRST)
    for mask, road in zip(found, ROADS, strict=True):
        certain = mask != 255
        assert certain.mean() > 0.9
        np.testing.assert_array_equal(mask[certain], (1 - road)[certain])


def test_gray_levels_of_a_list_in_another_order(tmp_path):
    masks = [ids(seed) for seed in range(6)]
    said = Said(names=("car", "road", "ground"), palette=((2, 2, 2), (1, 1, 1), (0, 0, 0)))
    for mask, truth in zip(read_all(save(tmp_path, masks), said), masks, strict=True):
        np.testing.assert_array_equal(mask, 2 - truth)


def test_zero_and_one_may_be_black_or_the_first_of_the_list(tmp_path):
    paths = save(tmp_path, ROADS)
    with pytest.raises(DataError, match=r"0 may be black, or the first class.*data\.masks=ids"):
        describe_masks(paths, WHITE_FIRST)
    assert describe_masks(paths, BLACK_FIRST)["class_names"] == ("background", "road")
    chosen = describe_masks(paths, Said(WHITE_FIRST.names, WHITE_FIRST.palette, style="ids"))
    assert chosen["class_names"] == ("road", "background")


def test_binary_is_black_first(tmp_path):
    said = Said(WHITE_FIRST.names, WHITE_FIRST.palette, style="binary")
    found = describe_masks(save(tmp_path, map(gray, ROADS)), said)
    assert found["class_names"] == ("background", "road")
    assert found["palette"] == ((0, 0, 0), (255, 255, 255))


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_a_background_that_is_listed_last(ending, tmp_path):
    paths = save(tmp_path, map(gray, ROADS), ending)
    with pytest.raises(DataError, match="'road' first, 'background' last.*exchange the lines"):
        describe_masks(paths, Said(names=("road", "background")))
    assert describe_masks(paths, Said(names=("background", "road")))["num_classes"] == 2


def test_inspect_warns_of_a_background_further_down(tmp_path, make_config):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for number, road in enumerate(ROADS):
        noise = np.random.default_rng(number).integers(0, 256, (*road.shape, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"images/{number}.png")
        Image.fromarray(road).save(tmp_path / f"masks/{number}.png")
    (tmp_path / "classes.txt").write_text("road\nbackground\n")
    config = make_config(**describe_folder(str(tmp_path)), unlabeled="", labeled="", val="")
    said = [finding.message for finding in inspect_dataset(config, seed=0).findings]
    assert any("list background further down; expected the name of id 0" in text for text in said)


def test_names_for_each_id_in_use(tmp_path):
    """A distance of 10 between ids is for the eye; other gaps are asked about."""
    truth = [ids(seed) for seed in range(4)]
    names = ("ground", "car", "tree")
    check(save(tmp_path, [mask * 10 for mask in truth]), truth, Said(names=names))
    for values in ((1, 2, 3), (0, 7, 26)):
        paths = save(tmp_path, [np.array(values, np.uint8)[mask] for mask in truth])
        with pytest.raises(DataError, match=f"3 names .* set data.mask_values=.{values[0]}, "):
            describe_masks(paths, Said(names=names))
        check(paths, truth, Said(names=names, values=values))
