"""A run whose folder lies among the photos: its pictures are no photos."""

import numpy as np
import pytest
from PIL import Image

from ipixmatch_jax.data.importers import choices_of, read_folder
from ipixmatch_jax.data.importers.tree import RUN_MARKS, scan
from ipixmatch_jax.workdir import folder as names


def pictures(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(root / path)


def a_run(place):
    (place / names.CHECKPOINTS / "2").mkdir(parents=True)
    (place / names.CONFIG).write_text("{}")
    for name in (names.METRICS, names.ENVIRONMENT, names.SPLITS, names.THROUGHPUT):
        (place / name).write_text("{}\n")
    pictures(place, f"{names.PREDICTIONS}/a.png", f"{names.NEXT}/masks/a.png")
    (place / names.EVALUATIONS).mkdir()
    (place / names.EVALUATIONS / "2.json").write_text("{}")


@pytest.mark.parametrize("place", ["", "run", "images/run"])
def test_what_a_run_wrote_among_the_photos_is_skipped(place, tmp_path):
    pictures(tmp_path, "images/a.png", "images/b.png", "masks/a.png")
    Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    before = {folder: files for folder, files in scan(tmp_path).files.items()}
    a_run(tmp_path / place)
    tree = scan(tmp_path)
    own = [folder for folder in tree.files if folder == names.EVALUATIONS]
    assert {key: value for key, value in tree.files.items() if key not in own} == before
    assert set(RUN_MARKS) <= {path.rpartition("/")[2] for path in tree.skipped}
    found = read_folder(tmp_path, choices_of({}, []))[2]
    assert sorted(item.id for item in found.items) == ["a", "b"]


def test_a_folder_called_predictions_is_no_run_by_its_name(tmp_path):
    pictures(tmp_path, "images/a.png", "predictions/a.png")
    assert set(scan(tmp_path).files) == {"images", "predictions"}
