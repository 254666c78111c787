"""Photos that a command names are found once, without the results of earlier predictions."""

import pytest

from ipixmatch_jax.errors import DataError
from ipixmatch_jax.photo_files.areas import Areas
from ipixmatch_jax.photo_files.found import find_photos


def test_folders_files_and_patterns_name_a_photo_once(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "in/b.jpg", "in/notes.txt", "in/.hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "in" / "circle").symlink_to(tmp_path)
    found = find_photos([tmp_path, tmp_path / "a.png", f"{tmp_path}/in/*.jpg"])
    assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ["a.png", "in/b.jpg"]
    assert found.base == tmp_path
    assert found.skipped_text() == "1 .txt file(s), 1 hidden file(s)"


def test_results_of_earlier_predictions_are_left_out(tmp_path):
    photo = tmp_path / "a.jpg"
    for name in ("a.jpg", "a.png", "a_color.png", "own.png"):
        (tmp_path / name).touch()
    areas = Areas(tmp_path, ("ground", "square"))
    areas.begin([photo])
    areas.add(photo, "a", [4, 3, "0.5000", 6, 6])
    areas.close()
    found = find_photos([tmp_path])
    assert [path.name for path in found.paths] == ["a.jpg", "own.png"]
    assert found.skipped["result(s) of earlier predictions"] == 2
    assert Areas(tmp_path, ("ground", "square")).result_of(photo) == "a"
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no photo"):
        find_photos([tmp_path / "empty"])
