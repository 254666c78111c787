"""Predictions from Python, against the model itself."""

import subprocess
import sys

import flax.linen as nn
import jax
import numpy as np
import pytest

from ipixmatch_jax import build, load_predictor
from ipixmatch_jax.errors import CheckpointError, ConfigError, DataError
from tests.references.photos import image_of
from tests.references.untrained import save_untrained


def expected_probs(config, variables, image):
    """The prediction of the model itself, without the predictor's code."""
    model = build.build_model(config)
    x = image.astype(np.float32) / 255
    mean, std = (np.float32(value) for value in (model.input_mean, model.input_std))
    logits = jax.jit(model.apply)(variables, ((x - mean) / std)[None])
    return np.asarray(nn.softmax(logits[0]))


def test_the_package_imports_without_jax():
    code = "import sys, ipixmatch_jax; print('jax' in sys.modules, hasattr(ipixmatch_jax, 'none'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False False", done.stderr


def test_a_predictor_says_what_the_model_says(run, folder_data, config_file):
    workdir, config, networks = run
    # Neither the data nor the config file is needed.
    folder_data.rename(folder_data.with_name("away"))
    config_file.unlink()
    image = image_of(20, 24)
    for network, arguments in (("teacher", {}), ("student", {"network": "student"})):
        predict = load_predictor(workdir, **arguments)
        want = expected_probs(config, networks[network], image)
        found = predict.predict(image, probs=True)
        np.testing.assert_allclose(found.probs, want, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.confidence, want.max(-1), rtol=0, atol=1e-5)
        mask = predict(image)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, found.probs.argmax(-1))
        assert predict.look(image).probs is None
    assert (predict.class_names, predict.step) == (("ground", "square"), 4)


def test_a_network_that_has_diverged_predicts_nothing(run):
    predict = load_predictor(run[0])
    broken = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), predict.variables)
    with pytest.raises(CheckpointError, match="step 4, is not a number in 100 %"):
        predict.with_variables(broken, 4, "student")(image_of(20, 24))


def test_images_of_many_sizes_share_programs_with_equal_results(run):
    workdir, config, networks = run
    predict = load_predictor(workdir)
    assert predict.takes_any_size
    for size in ((20, 24), (21, 24), (17, 31), (31, 18), (24, 29), (32, 26), (7, 5)):
        image = image_of(*size)
        want = expected_probs(config, networks["teacher"], image)
        found = predict.predict(image, probs=True)
        np.testing.assert_allclose(found.probs, want, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.confidence, want.max(-1), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(found.mask, want.argmax(-1))
    assert len(predict.shapes) <= 4


def test_large_images_are_predicted_in_windows(run):
    workdir, config, networks = run
    image = image_of(16, 26)
    whole = load_predictor(workdir, tile_above=26).predict(image, probs=True).probs
    np.testing.assert_allclose(
        whole, expected_probs(config, networks["teacher"], image), rtol=0, atol=1e-5
    )
    tiled = load_predictor(workdir, tile_above=25).predict(image, probs=True).probs
    # Windows of the crop's 16 columns, ⌊2/3⌋ apart and the last one moved back: at 0 and 10.
    total, seen = np.zeros((16, 26, 2)), np.zeros((26, 1))
    for start in (0, 10):
        part = image[:, start : start + 16]
        total[:, start : start + 16] += expected_probs(config, networks["teacher"], part)
        seen[start : start + 16] += 1
    np.testing.assert_allclose(tiled, total / seen, rtol=0, atol=1e-5)


def test_a_run_of_another_image_size_answers_at_the_size_of_the_photo(
    config_file, tmp_path, one_device
):
    save_untrained(config_file, tmp_path / "run", "data.image_size=(16, 16)")
    found = load_predictor(tmp_path / "run").predict(image_of(21, 35), probs=True)
    assert found.mask.shape == found.confidence.shape == (21, 35)
    assert found.probs.shape == (21, 35, 2)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.full((4, 4, 3), 200.0, np.float32),
            r"float32 values of 200 to 200; floats hold 0 to 1; .*astype\('uint8'\)",
        ),
        (np.full((4, 4, 3), np.nan), "some of them not finite"),
        (np.full((4, 4, 3), 256), "int64 values of 256 to 256; expected 0 to 255"),
        (np.full((4, 4, 3), -1), "int64 values of -1 to -1"),
        (np.full((4, 4), 300, np.uint16), r"the array: uint16 pixels; .*\(array // 257\)"),
        (np.zeros((4, 4), np.complex64), "is no image"),
        (np.array("photo.jpg"), "is no image"),
        (
            np.zeros((4, 4, 7), np.uint8),
            r"7 band\(s\); the network takes images of 3 channels",
        ),
        (np.zeros(4, np.uint8), "is no image"),
        ("nowhere.jpg", "nowhere.jpg: there is no such file"),
        (b"not a photo", "the photo: cannot be read as an image"),
    ],
)
def test_what_cannot_be_predicted(run, image, message):
    with pytest.raises(DataError, match=message):
        load_predictor(run[0])(image)


def test_records_are_eight_bit_images_of_the_channels(run):
    predict = load_predictor(run[0])
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(DataError, match=r"expected uint8 \[H, W, 3\]"):
            predict.predict_record(image)


def test_the_former_name_still_works(run):
    predict, image = load_predictor(run[0]), image_of(20, 24)
    np.testing.assert_array_equal(predict.look(image).mask, predict(image))
    assert predict(image, probs=True).probs.shape == (20, 24, 2)


def test_what_is_no_run(run, tmp_path):
    with pytest.raises(ConfigError, match=r"config.json does not exist; expected the folder of"):
        load_predictor(tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint '9'"):
        load_predictor(run[0], checkpoint=9)


def test_the_current_folder_may_change_after_loading(run, folder_data, monkeypatch, tmp_path):
    workdir = run[0]
    folder_data.rename(folder_data.with_name("away"))
    monkeypatch.chdir(workdir.parent)
    predict = load_predictor(workdir.name)
    monkeypatch.chdir(tmp_path.parent)
    assert predict.class_names == ("ground", "square")
