"""Names of results that the file system does not take."""

from ipixmatch_jax.predict.names import result_names


def test_a_name_too_long_for_the_disk_does_not_stop_the_others(tmp_path):
    photos = [tmp_path / f"{'n' * 250}.jpg", tmp_path / "a.jpg"]
    names = result_names(photos, tmp_path, tmp_path / "out", lambda photo: None)
    assert names == ["n" * 250, "a"]
