"""Split lists are read as published, recognized, downloaded and drawn."""

import functools
import hashlib
import http.server
import re
import shutil
import threading

import numpy as np
import pytest

from ipixmatch_jax.data import comparable, identify, load_dataset, protocols
from ipixmatch_jax.data.files.split_lists import parse, short_id
from ipixmatch_jax.data.protocols.__main__ import main
from ipixmatch_jax.data.protocols.table import PROTOCOLS, PublishedList
from ipixmatch_jax.data.stratify import draw
from ipixmatch_jax.errors import ConfigError, DataError

IDS = [f"2010_{number:06d}" for number in (3, 1, 2)]
LINES = [f"JPEGImages/{name}.jpg SegmentationClass/{name}.png" for name in IDS]


def sha(ids):
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


@pytest.mark.parametrize("line, expected", [
    ("JPEGImages/2007_000033.jpg SegmentationClass/2007_000033.png",
     ("JPEGImages/2007_000033", "JPEGImages/2007_000033.jpg",
      "SegmentationClass/2007_000033.png")),
    ("a b.jpg c d.png", ("a b", "a b.jpg", "c d.png")),
    ("only an id", ("only an id", "", "")),
    ("x.v2", ("x.v2", "", "")),
])  # fmt: skip
def test_lines_of_lists(line, expected):
    entry = parse(line)
    assert (entry.id, entry.image, entry.mask) == expected


def test_short_ids():
    for name, expected in [
        ("leftImg8bit/train/jena/jena_000078_000019_leftImg8bit.png", "jena_000078_000019"),
        ("JPEGImages/2007_000033.jpg", "2007_000033"),
        ("2007_000033", "2007_000033"),
        ("folder/x.v2", "x.v2"),
    ]:
        assert short_id(name) == expected


def test_hash_is_that_of_the_sorted_short_ids(monkeypatch):
    assert protocols.ids_hash([f"JPEGImages/{name}.jpg" for name in IDS]) == sha(IDS)
    monkeypatch.setitem(protocols._LABELED, sha(IDS), ("voc-tiny-3", 3))
    monkeypatch.setattr(protocols, "_COUNTS", {3})
    for order in (IDS, IDS[::-1]):
        assert identify(order) == "voc-tiny-3"
    assert identify([*IDS[:2], "2010_000009"]) == identify(IDS[:2]) == ""


def test_table_of_protocols():
    # Counts that the papers give.
    counts = {"voc-fine-92": 92, "voc-fine-1464": 1464, "voc-blended-1_16": 662, "voc-val": 1449,
              "voc-priority-1_16": 662, "cityscapes-1_8": 372, "coco-1_512": 232,
              "ade20k-1_16": 1263, "ade20k-val": 2000}  # fmt: skip
    for name, count in counts.items():
        assert PROTOCOLS[name]["labeled"].count == count
    hashes = [p.sha256 for parts in PROTOCOLS.values() for p in parts.values()]
    assert len(set(hashes)) == len(hashes) and all(len(h) == 64 for h in hashes)
    for name, parts in PROTOCOLS.items():
        if name.startswith("voc-") and "unlabeled" in parts:
            assert sum(p.count for p in parts.values()) == 10582


def test_blended_and_priority_do_not_mix():
    comparable(["voc-blended-1_16", "voc-blended-1_8", "voc-fine-92", ""])
    with pytest.raises(DataError, match="voc-blended-1_8, voc-priority-1_8 in one table"):
        comparable(["voc-fine-92", "voc-priority-1_8", "voc-blended-1_8"])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A server of `splits/`, whose list of three ids is published as voc-tiny-3."""
    folder = tmp_path / "home"
    (folder / "pascal/3").mkdir(parents=True)
    (folder / "pascal/3/labeled.txt").write_text("\n".join(LINES) + "\n")
    published = PublishedList("http://unused/", "pascal/3/labeled.txt", 3, sha(IDS))
    monkeypatch.setitem(PROTOCOLS, "voc-tiny-3", {"labeled": published})
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetch_verifies(home, tmp_path, capsys):
    url, folder = home
    target = tmp_path / "splits"
    assert main(["fetch", "voc-tiny", "--to", str(target), "--home", url]) == 0
    path = target / "voc-tiny-3/labeled.txt"
    assert path.read_text().splitlines() == LINES
    assert f"{path}: verified" in capsys.readouterr().out
    (folder / "pascal/3/labeled.txt").write_text("\n".join(LINES[:2]) + "\n")
    with pytest.raises(DataError, match="2 ids.*expected the published 3 ids"):
        protocols.fetch("voc-tiny-3", tmp_path / "other", home=url)
    assert not (tmp_path / "other").exists()
    (folder / "pascal/3/labeled.txt").unlink()
    with pytest.raises(DataError, match=r"pascal/3/labeled\.txt: cannot be downloaded"):
        protocols.fetch("voc-tiny-3", tmp_path / "other", home=url)
    with pytest.raises(ConfigError, match="did you mean 'voc-fine-92'"):
        protocols.fetch("voc-fin-92", tmp_path)
    assert main(["fetch", "nothing", "--to", str(target)]) == 2


def test_identify_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PROTOCOLS, "voc-tiny-3", {"labeled": PublishedList("", "x", 3, sha(IDS))})
    path = tmp_path / "labeled.txt"
    path.write_text("\n".join(reversed(LINES)) + "\n")
    assert main(["identify", str(path)]) == 0
    assert capsys.readouterr().out.strip() == f"{path}: voc-tiny-3, labeled, 3 ids"
    path.write_text("a\nb\n")
    assert main(["identify", str(path)]) == 0
    assert f"no published list; 2 ids, sha256 {sha(['a', 'b'])}" in capsys.readouterr().out
    assert main(["identify", str(tmp_path / "none.txt")]) == 2


def test_make_draws_lists_that_are_read_back(folder_root, make_config, tmp_path, capsys):
    (folder_root / "all.txt").write_text("l0\nl1\nl2\nl3\n")
    command = ["make", "--root", str(folder_root), "--list", "all.txt", "--labeled", "2",
               "--stratify", "--set", "val=val.txt", "unlabeled=unlabeled.txt",
               "--to", str(folder_root / "splits/2")]  # fmt: skip
    assert main(command) == 0
    capsys.readouterr()
    config = make_config(root=str(folder_root), labeled="splits/2/labeled.txt",
                         unlabeled="splits/2/unlabeled.txt", val="splits/2/val.txt")  # fmt: skip
    dataset = load_dataset(config, 0)
    assert (len(dataset.labeled), len(dataset.unlabeled), len(dataset.val)) == (2, 8, 3)
    assert main([*command[:-1], str(folder_root / "splits/again")]) == 0
    for name in ("labeled", "unlabeled", "val"):
        first, again = (folder_root / f"splits/{n}/{name}.txt" for n in ("2", "again"))
        assert first.read_bytes() == again.read_bytes()
    assert main([*command, "--set", "unlabelled=x"]) == 2
    assert "no key data.unlabelled (did you mean 'unlabeled'?)" in capsys.readouterr().err
    assert main(["make", "--root", str(folder_root), "--list", "all.txt", "--set", "val=val.txt",
                 "--labeled", "9", "--to", str(tmp_path / "x")]) == 2  # fmt: skip
    assert "9 of 4 images cannot be drawn" in capsys.readouterr().err


def test_make_reads_the_plain_layout(folder_root, tmp_path, capsys):
    """As the pages write it: images/ and masks/, nothing set."""
    photos = tmp_path / "photos"
    for kind in ("images", "masks"):
        shutil.copytree(folder_root / "val" / kind, photos / kind)
    command = ["make", "--root", str(photos), "--labeled", "1", "--stratify"]
    assert main([*command, "--to", str(photos / "splits/1")]) == 0, capsys.readouterr().err
    (row,) = (photos / "splits/1/labeled.txt").read_text().splitlines()
    assert re.fullmatch(r"images/(v\d)\.(png|jpg) masks/\1\.png", row)


def test_stratified_draws_keep_the_shares():
    rng = np.random.default_rng(0)
    presence = rng.random((400, 6)) < np.array([1.0, 0.5, 0.25, 0.1, 0.03, 0.01])
    worst = []
    for seed in range(5):
        chosen = draw(40, 400, seed, presence)
        assert len(set(chosen.tolist())) == 40 and (np.diff(chosen) > 0).all()
        counts = presence[chosen].sum(0)
        expected = presence.sum(0) / 10
        assert (counts[presence.any(0)] >= 1).all()
        worst.append(np.abs(counts - np.maximum(expected, 1)).max())
    assert max(worst) <= 2.5
    # A plain draw of the same size loses the rarest class now and then.
    assert any(not presence[draw(40, 400, seed)].any(0).all() for seed in range(20))
    assert draw(5, 50, 1).tolist() != draw(5, 50, 2).tolist()
    assert draw(5, 50, 1).tolist() == draw(5, 50, 1).tolist()
