"""The kind of a finding comes from its message, not from the name of its file."""

import dataclasses

import numpy as np
import pytest

from ipixmatch_jax.data.files.jpeg_traces import edge_positions
from ipixmatch_jax.data.inspection.findings import Facts, of_record, unusable
from ipixmatch_jax.data.inspection.mask_sets import of_edges, plain_masks, ranked_masks


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("{}: the file is damaged", "unreadable"),
        ("{}: color (1, 2, 3) in 2.0 % of the pixels", "mask-colors"),
        ("{}: mask value 7; expected class ids", "mask-values"),
    ],
)
def test_the_kind_of_an_unusable_record(message, kind):
    files = ("/color/images/a.jpg", "/color/masks/a.png")
    finding = unusable("labeled", 3, files, message.format(files[1]))
    assert (finding.kind, finding.file, finding.index) == (kind, files[1], 3)


def facts_of(mask):
    histogram = np.bincount(mask.ravel(), minlength=256)
    return Facts(0, "a", ("a.jpg", "a.png"), mask.shape, False, b"", b"", histogram, False,
                 edges=edge_positions(mask))  # fmt: skip


@pytest.mark.parametrize("side, row, format", [(8, "eighth", "JPEG"), (4, "fourth", "WebP")])
def test_masks_of_blocks_are_a_warning_with_their_values(side, row, format):
    small = np.random.default_rng(0).integers(0, 2, (12, 16), dtype=np.uint8)
    (finding,) = of_edges([facts_of(np.kron(small, np.ones((side, side), np.uint8)))] * 4)
    assert (finding.severity, finding.kind) == ("warning", "blocks")
    assert f"on every {row} row" in finding.message and f"as {format} " in finding.message
    assert "a.png, and the other labeled masks: nearly all edges" in finding.message
    assert "(0: 5" in finding.message or "(0: 4" in finding.message
    assert not of_edges([facts_of(np.kron(small, np.ones((5, 5), np.uint8)))] * 4)
    assert not of_edges([])


def test_masks_that_were_never_drawn_are_counted():
    drawn, plain = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    drawn[2:5, 2:5] = 1
    facts = [facts_of(mask) for mask in [drawn] * 6 + [plain] * 2]
    (finding,) = plain_masks("val", ("sky", "car"), facts)
    assert (finding.severity, finding.kind) == ("warning", "plain-masks")
    assert "and 1 other val masks of 8, hold class sky alone" in finding.message
    # One of them, or a few among many, show no object.
    assert not plain_masks("val", ("sky", "car"), facts[:7])
    assert not plain_masks("val", ("sky", "car"), [facts_of(drawn)] * 5 + facts)


def rows(*ids):
    return facts_of(np.repeat(np.array(ids, np.uint8), 8).reshape(-1, 8))


def test_ids_that_each_mask_may_have_numbered_by_itself_are_told():
    facts = [rows(0, 1), rows(0, 1, 2), rows(0, 1, 2, 3), rows(0, 1), rows(0, 1, 2), rows(0)]
    (finding,) = ranked_masks(facts)
    assert (finding.severity, finding.kind) == ("warning", "ranked-masks")
    assert "up to 0 in some and 3 in others" in finding.message
    # A gap in one mask, two numbers of classes alone, and few classes are usual.
    assert not ranked_masks([*facts, rows(0, 2)])
    assert not ranked_masks([rows(0, 1, 2), rows(0, 1, 2, 3)] * 4)
    assert not ranked_masks([rows(0), rows(0, 1), rows(0, 1, 2)] * 4)


def test_images_that_are_nearly_even_are_told():
    facts = facts_of(np.eye(48, dtype=np.uint8))
    (finding,) = of_record("labeled", dataclasses.replace(facts, levels=(3, 9)))
    assert "its values are 3 to 9 of 0 to 255" in finding.message
    assert not of_record("labeled", dataclasses.replace(facts, levels=(3, 90)))
