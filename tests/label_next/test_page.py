"""The page of `--mode next`: its content, on a phone, light and dark."""

import contextlib
import shutil

import numpy as np
import pytest

from ipixmatch_jax.label_next.results import card, page, table
from ipixmatch_jax.predictor import Prediction
from tests.references.browser import Browser
from tests.references.photos import image_of

NAMES, PALETTE = ("ground", "a & <b>"), np.array([[0, 0, 0], [200, 10, 10]], np.uint8)


def row(rank, name):
    parts = {"uncertainty": 0.25, "disagreement": 0.5, "rarity": 0.125}
    return {"rank": rank, "suggested": "yes", "id": name, "file": f"{name}.png", "score": 0.5,
            **parts, "distance": 12.3456}  # fmt: skip


def card_of(rank, name):
    mask = np.zeros((300, 420), np.uint8)
    mask[:150] = 1
    prediction = Prediction(mask, np.full(mask.shape, 0.75, np.float32))
    shares = {"uncertainty": 0.9, "disagreement": 0.1, "rarity": 1.0}
    return card(row(rank, name), shares, image_of(300, 420), prediction, NAMES, PALETTE)


def test_names_are_text_and_not_markup():
    text = page("label next", "1 image", [card_of(1, "<script>'\"x")]).decode()
    assert "<script>'" not in text.partition("<script>'use strict'")[0]
    assert "1. &lt;script&gt;" in text and "a &amp; &lt;b&gt; 50.0 %" in text
    assert "uncertainty 0.250 (90 %)" in text and "distance 12.3" in text


def test_cells_of_the_table_are_no_formulas():
    lines = table([row(1, "=1+1"), row(2, "ä,b")]).decode().splitlines()
    assert lines[1].startswith("1,yes,'=1+1,'=1+1.png,0.50000,0.25000")
    assert lines[2].startswith('2,yes,"ä,b"')


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_the_page_in_a_browser(tmp_path):
    names = ["a" * 120, "folder/photo 2"]
    path = tmp_path / "next.html"
    path.write_bytes(page("label next", "2 images", [card_of(i, n) for i, n in enumerate(names)]))
    with contextlib.closing(Browser(tmp_path / "profile")) as browser:
        browser.resize(390, 844)
        browser.call("Page.navigate", url=path.as_uri())
        browser.wait("document.readyState === 'complete' && document.images.length === 6")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
        complete = "[...document.images].every((i) => i.complete && i.naturalWidth && i.width)"
        assert browser.run(complete)
        assert browser.run("[...document.images].every((i) => i.alt && i.hasAttribute('height'))")
        color = "getComputedStyle(document.body).backgroundColor"
        before = browser.run(color)
        browser.run("document.getElementById('theme').click()")
        assert browser.run(color) != before
        assert [a for a in browser.requests if not a.startswith(("file:", "data:"))] == []
    assert browser.complaints == []
