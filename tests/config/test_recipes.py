"""Every published recipe is a config that validates."""

import pytest

from ipixmatch_jax.config import load_config
from ipixmatch_jax.config.recipes import RECIPES
from ipixmatch_jax.errors import ConfigError

FILES = {
    "voc": "configs/voc.py:fine-92",
    "cityscapes": "configs/cityscapes.py:1_16",
    "coco": "configs/coco.py:1_512",
    "ade20k": "configs/ade20k.py:1_16",
}


@pytest.mark.parametrize("method, benchmark", [(m, b) for m, r in RECIPES.items() for b in r])
def test_every_recipe_validates(method, benchmark):
    config = load_config(f"{FILES[benchmark]}/{method}")
    assert config.method.name == method and config.data.name == benchmark


@pytest.mark.parametrize("benchmark", ["voc", "cityscapes", "coco"])
@pytest.mark.parametrize("method", ["fixmatch", "corrmatch"])
def test_the_published_loss_is_the_mean_of_both_parts(method, benchmark):
    if benchmark not in RECIPES[method]:
        pytest.skip("not published")
    config = load_config(f"{FILES[benchmark]}/{method}")
    assert (config.supervised.weight, config.method.unlabeled_weight) == (0.5, 0.5)
    assert load_config(f"{FILES[benchmark]}/supervised").supervised.weight == 1.0


def test_u2pl_changes_no_colors():
    views = load_config(f"{FILES['voc']}/u2pl").views
    assert views.jitter_probability == views.gray_probability == views.blur_probability == 0.0


def test_iterations_of_the_unimatch_family():
    # Its logs have 1311 steps an epoch of VOC 92, and 349 of Cityscapes 1/16, where each of four
    # devices rounds its share of the list up.
    assert load_config(FILES["voc"]).total_steps == 80 * 1311
    assert load_config(FILES["cityscapes"]).total_steps == 240 * 348


def test_settings_that_were_never_published_are_named():
    with pytest.raises(ConfigError, match="no published recipe of method 'cps' on ade20k"):
        load_config("configs/ade20k.py:1_16/cps")


@pytest.mark.parametrize("backbone, word, crops", [
    ("dinov3_small", "dinov3", {"voc": 512, "cityscapes": 800, "ade20k": 512}),
    ("dinov2_small", "dinov2", {"voc": 518, "cityscapes": 798, "ade20k": 518}),
])  # fmt: skip
def test_unimatch_v2_on_other_backbones(backbone, word, crops):
    for benchmark, crop in crops.items():
        base = load_config(f"{FILES[benchmark]}/unimatch_v2")
        config = load_config(f"{FILES[benchmark]}/unimatch_v2/{backbone}")
        assert (config.model.backbone, config.model.pretrained) == (backbone, word)
        assert tuple(config.data.crop_size) == (crop, crop)
        assert config.optimizer.to_dict() == base.optimizer.to_dict()
        assert config.total_steps == base.total_steps


@pytest.mark.parametrize("name", ["unimatch_v2/resnet50", "fixmatch/dinov3_small"])
def test_backbones_without_a_recipe_are_named(name):
    with pytest.raises(ConfigError, match=f"no recipe of {name}; .*unimatch_v2/dinov3_base"):
        load_config(f"{FILES['voc']}/{name}")
