"""Which frames images of many sizes get."""

import numpy as np
import pytest

from ipixmatch_jax.engine.frames import FramesOnDemand, choose_frames, framed, why_not_framed
from ipixmatch_jax.engine.inference import Inference

FRAMED = Inference(shapes=4, frame_multiple=16)


def photo_sizes(count, seed=0):
    """Sizes as of photos with a longer side of 500, a third of them upright."""
    rng = np.random.default_rng(seed)
    shorter, upright = rng.integers(330, 501, count), rng.random(count) < 0.33
    pairs = zip(shorter.tolist(), upright, strict=True)
    return [(500, side) if up else (side, 500) for side, up in pairs]


def test_frames_hold_every_image_once_with_little_room():
    sizes = photo_sizes(1449)
    groups = {}
    for index, size in enumerate(sizes):
        groups.setdefault(size, []).append(index)
    frames, in_frames = framed(groups, FRAMED)
    assert in_frames and len(frames) == 4 and len(groups) > 300
    frame_of = {index: frame for frame, images in frames.items() for index in images}
    assert sorted(frame_of) == list(range(1449))
    assert all(images == sorted(images) for images in frames.values())
    for index, size in enumerate(sizes):
        assert frame_of[index][0] >= size[0] and frame_of[index][1] >= size[1]
    used = sum(height * width for height, width in sizes)
    assert used > 0.9 * sum(np.prod(frame_of[index]) for index in range(1449))


def test_frames_are_the_best_for_two_clusters():
    counts = {(100, 200): 5, (104, 200): 5, (200, 100): 3, (200, 96): 1}
    assert sorted(choose_frames(counts, 2)) == [(104, 200), (200, 100)]
    assert choose_frames(counts, 1) == [(200, 200)]
    assert sorted(choose_frames(counts, 9)) == sorted(counts)


def test_thousands_of_sizes_are_chosen_from_quickly():
    rng = np.random.default_rng(0)
    counts = {tuple(map(int, size)): 1 for size in rng.integers(200, 2000, (3000, 2))}
    frames = choose_frames(counts, 4)
    assert len(frames) <= 4 and max(f[0] for f in frames) == max(size[0] for size in counts)


@pytest.mark.parametrize(("changes", "sizes", "reason"), [
    ({}, [(9, 9)], ""),
    ({"shapes": 0}, [(9, 9)], "eval.shapes is 0"),
    ({"frame_multiple": 0}, [(9, 9)], "this model has no frames"),
    ({"mode": "sliding"}, [(9, 9)], "eval.mode='sliding' has no frames"),
    ({}, [(9, 9), (20000, 9)], "an image has a side above 16384 pixels"),
    ({"scales": (1.0, 4.0)}, [(9000, 9)], "an image has a side above 16384 pixels"),
    ({"smallest_side": 29}, [(29, 28)], "an image has a side below 29 pixels"),
    ({"smallest_side": 29, "scales": (0.5,)}, [(58, 57)], "an image has a side below 29 pixels"),
])  # fmt: skip
def test_sizes_that_get_programs_of_their_own(changes, sizes, reason):
    inference = Inference(**{"shapes": 4, "frame_multiple": 16} | changes)
    assert why_not_framed(inference, sizes) == reason


def test_few_sizes_stay_as_they_are():
    groups = {(9, n): [n] for n in range(1, 5)}
    assert framed(groups, FRAMED) == (groups, False)
    assert framed(groups | {(9, 9): [9]}, FRAMED)[1]


def test_images_that_come_one_by_one_need_few_programs():
    frame_of = FramesOnDemand(FRAMED)
    sizes = photo_sizes(300)
    found = [frame_of(size) for size in sizes]
    assert found[0] is None and frame_of(sizes[0]) is None
    frames = {frame for frame in found if frame}
    assert len(frames) <= 3
    for size, frame in zip(sizes, found, strict=True):
        assert frame is None or (frame[0] >= size[0] and frame[1] >= size[1])
    large = [frame_of((n, n)) for n in range(520, 900)]
    assert len(set(large)) <= 8 and frame_of((400, 400)) in frames
    assert frame_of((300, 2000)) == (320, 2048)
    assert FramesOnDemand(Inference(shapes=4))((9, 9)) is None
