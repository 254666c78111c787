"""The sentences of the model card about the photos that the network takes."""

from ipixmatch_jax.config import default_config
from ipixmatch_jax.export.inputs import inputs_in_words


def words(**values):
    config = default_config()
    config.data.update(values)
    return inputs_in_words(config)


def test_photos_of_8_bits():
    said = words()
    assert "red, green and blue, and are turned upright" in said
    assert "8 bits are scaled" not in said and "resized" not in said


def test_deep_bands_and_a_size():
    said = words(channels=2, value_range=((3.0, 4000.0), (0.0, 90.5)), image_size=(512, 768))
    assert "2 bands in the order of the training images" in said
    assert "3 to 4000, 0 to 90.5 (by band) become 0 to 255, clipped and rounded" in said
    assert "resized every image to 512 x 768 (height x width)" in said
    said = words(channels=1, value_range=((0.0, 1.0),))
    assert "one band of gray" in said and "0 to 1 (in all bands)" in said
