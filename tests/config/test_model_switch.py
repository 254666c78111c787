"""A model on the command line that differs from the one in the config file."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.build import abstract_variables, build_model
from ipixmatch_jax.config import command_line_keys, load_config
from ipixmatch_jax.config.planned import planned
from ipixmatch_jax.errors import ConfigError, DataError
from tests.references import ROOT

FOLDER = ROOT / "configs" / "folder.py"


@pytest.fixture
def photos(tmp_path):
    """Three photos with masks of equal names, in folders with unusual names."""
    for kind in ("shots", "drawn"):
        (tmp_path / kind).mkdir()
    for number in range(3):
        pixels = np.full((8, 9, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "shots" / f"{number}.png")
        ids = np.full((8, 9), number, np.uint8)
        Image.fromarray(ids).save(tmp_path / "drawn" / f"{number}_gt.png")
    return tmp_path


KEYS = ("data.folder.train_images=shots", "data.folder.train_masks=drawn",
        "data.folder.mask_tail=_gt")  # fmt: skip


def load(photos, *keys):
    overrides = [f"--config.{key}" for key in (*KEYS, *keys)]
    return load_config(f"{FOLDER}:{photos}", overrides)


def test_the_folder_is_described_with_the_users_keys(photos):
    config = load(photos)
    assert config.data.num_classes == 3 and config.data.folder.mask_tail == "_gt"
    with pytest.raises(DataError, match="images/"):
        load_config(f"{FOLDER}:{photos}")
    config = load(photos, "data.class_names=sky,road,car,tree")
    assert config.data.num_classes == 4 and config.data.class_names[3] == "tree"


def test_a_config_that_wraps_another_describes_with_the_users_keys_too(photos):
    own = photos / "own.py"
    own.write_text(
        "from ipixmatch_jax.config_files import folder\n\n\n"
        "def get_config(arg):\n    return folder.get_config(arg)\n"
    )
    config = load_config(f"{own}:{photos}", [f"--config.{key}" for key in KEYS])
    assert config.data.num_classes == 3 and command_line_keys() == {}


def wrapped(photos, lines):
    own = photos / "own.py"
    own.write_text(
        "from ipixmatch_jax.config_files import folder\n\n\n"
        f"def get_config(arg):\n    config = folder.get_config(arg)\n{lines}    return config\n"
    )
    return load_config(f"{own}:{photos}", [f"--config.{key}" for key in KEYS])


def test_a_file_that_chooses_another_model_than_the_plan_loses_what_was_planned(photos, capsys):
    config = wrapped(photos, "    config.model.name = 'unet'\n")
    printed = capsys.readouterr().out
    assert config.model.backbone is config.model.decoder_channels is config.model.separable is None
    assert config.model.pretrained == "none"
    assert "model.decoder_channels=128 of the plan is dropped" in printed
    assert "random weights" in printed
    assert "model.name" not in planned(config)
    assert abstract_variables(config, build_model(config))["params"]


def test_what_a_file_sets_for_its_model_is_not_dropped(photos):
    with pytest.raises(ConfigError, match="decoder_channels"):
        wrapped(photos, "    config.model.name, config.model.decoder_channels = 'unet', 64\n")


def problems(overrides, spec):
    """The problems that a config is refused for."""
    with pytest.raises(ConfigError) as error:
        load_config(spec, [f"--config.{key}" for key in (*KEYS, *overrides)])
    first, *rest = str(error.value).splitlines()
    return rest or [first]


@pytest.mark.parametrize("wrong", [
    "optimizer.learning_rate=inf", "data.crop_size=97x97", "tracking.writers=None", "sed=3",
    "views.colour=1", "total_steps=0",
])  # fmt: skip
def test_a_wrong_key_makes_no_problem_of_what_was_planned_for_another_model(photos, wrong):
    own = photos / "own.py"
    own.write_text(
        "from ipixmatch_jax.config_files import folder\n\n\ndef get_config(arg):\n"
        "    config = folder.get_config(arg)\n    config.model.name = 'unet'\n    return config\n"
    )
    (only,) = problems([wrong], f"{own}:{photos}")
    assert wrong.partition("=")[0] in only
    (only,) = problems([wrong, "model.name=unet"], f"{FOLDER}:{photos}")
    assert wrong.partition("=")[0] in only


@pytest.mark.parametrize("overrides, named", [
    (["optimizer.learning_rate=inf", "model.width=4"], ["learning_rate", "'width'"]),
    (["data.crop_size=97x97", "model.width=4", "seed=x"], ["crop_size", "seed", "'width'"]),
    # Nobody knows whether the model that was meant has a width.
    (["model.name=unnet", "model.width=4", "model.options.colour=1"], ["unnet"]),
    (["model.nam=unet", "model.width=4"], ["model.nam"]),
])  # fmt: skip
def test_all_problems_are_listed_and_only_true_ones(photos, overrides, named):
    listed = problems(overrides, f"{FOLDER}:{photos}")
    assert len(listed) == len(named)
    assert all(name in problem for name, problem in zip(named, listed, strict=True))


@pytest.mark.parametrize("name, backbone, crop, weights", [
    # The smallest crops of the plan for each network's grid, since the photos are tiny.
    ("segformer", "mit_b0", (33, 33), "imagenet"),
    ("segformer", None, (33, 33), "imagenet"),
    ("unet", None, (33, 33), "none"),
    ("dpt", "dinov2_small", (28, 28), "dinov2"),
    ("dpt", "dinov3_small", (32, 32), "dinov3"),
    ("upernet", "convnext_tiny", (64, 64), "imagenet"),
    ("deeplabv3plus", "resnet18", (33, 33), "imagenet"),
])  # fmt: skip
def test_models_switch_on_the_command_line(photos, capsys, name, backbone, crop, weights):
    keys = [f"model.name={name}"] + [f"model.backbone={backbone}"] * bool(backbone)
    config = load(photos, *keys)
    printed = capsys.readouterr().out
    assert config.model.backbone == backbone and config.data.crop_size == crop
    assert config.model.pretrained == weights
    assert ("model.pretrained=imagenet" in printed) == (weights != "imagenet")
    assert ("random weights" in printed) == (weights == "none")
    assert ("model.output_stride=16" in printed) == (name != "deeplabv3plus")
    assert abstract_variables(config, build_model(config))["params"]


def test_the_crop_of_a_file_becomes_a_multiple_that_the_model_takes(tmp_path, capsys):
    own = tmp_path / "own.py"
    own.write_text(
        "from ipixmatch_jax.config import default_config\n\n\n"
        "def get_config():\n    config = default_config()\n"
        "    config.data.crop_size = (321, 200)\n"
        "    config.planned = ('data.crop_size=(321, 200): two numbers',)\n"
        "    return config\n"
    )
    config = load_config(str(own), ["--config.model.name=dpt"])
    assert config.data.crop_size == (322, 196)
    # A planned crop stays one, with the reason of the change.
    assert planned(config)["data.crop_size"].value == (322, 196)
    assert "multiples of 14" in planned(config)["data.crop_size"].why
    assert "data.crop_size=(321, 200) of the plan is (322, 196) now" in (capsys.readouterr().out)


def test_the_files_own_model_is_kept_in_silence(photos, capsys):
    config = load(photos, "model.backbone=efficientnet_lite1")
    assert config.model.pretrained == "imagenet" and config.model.output_stride == 16
    load(photos)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("keys, message", [
    (("model.name=unet", "model.output_stride=8"), "has no option 'output_stride'"),
    (("model.name=unet", "model.backbone=dinov2_small"), "backbone is 'dinov2_small'"),
    (("model.name=dpt", "model.backbone=resnet18"), "backbone is 'resnet18'"),
    (("model.output_stride=8", "model.width=4"), "has no option 'width'"),
])  # fmt: skip
def test_impossible_keys_of_the_user_stay_errors(photos, keys, message):
    with pytest.raises(ConfigError, match=message):
        load(photos, *keys)


def test_a_misspelt_key_that_the_folder_needs_is_named_with_the_folders_error(photos):
    overrides = ["--config.data.folder.train_image=shots", "--config.data.palette=red"]
    with pytest.raises(DataError) as error:
        load_config(f"{FOLDER}:{photos}", overrides)
    text = str(error.value)
    assert "did you mean 'data.folder.train_images'" in text and "data.palette is 'red'" in text
