"""The plan for a folder of photos: cases, limits that always hold, and invariances."""

import math
import random

import jax
import pytest

from ipixmatch_jax import build
from ipixmatch_jax.config import default_config
from ipixmatch_jax.config.groups import all_keys
from ipixmatch_jax.config.plan import plan
from ipixmatch_jax.config.plan_network import Network, choose_network
from ipixmatch_jax.config.planned import set_plan
from ipixmatch_jax.data.photo_facts import PhotoFacts
from ipixmatch_jax.devices.machine import Machine
from ipixmatch_jax.devices.memory_estimate import estimate
from ipixmatch_jax.devices.parallel import PARALLEL

GB = 10**9
LAPTOP = Machine("cpu", 1, 16 * GB, 2)
GPU_16 = Machine("gpu", 1, 12 * GB, 8)
TPU_8 = Machine("tpu", 8, None, 96)
MACHINES = (LAPTOP, Machine("cpu", 1, 2 * GB, 64), Machine("cpu", 8, 4 * GB, 2), GPU_16, TPU_8,
            Machine("gpu", 1, 60 * GB, 16), Machine("gpu", 3, 30 * GB, 16))  # fmt: skip


def photos(*sizes, labeled=40, unlabeled=400, val=10, classes=4, width=None):
    return PhotoFacts(labeled, unlabeled, val, sizes, sizes, classes, width)


SMALL = photos(*[(320, 213)] * 20)
LARGE = photos(*[(3024, 4536)] * 20)
MIXED = photos(*[(3024, 4032)] * 10, *[(4032, 3024)] * 10)
PANORAMAS = photos(*[(500, 3000)] * 20)
TINY_AND_SMALL = photos((20, 30), *[(320, 213)] * 19)
TINY = photos((20, 30), (24, 28))
ONE_LABEL = photos(*[(320, 240)] * 5, labeled=1, unlabeled=4, val=0, classes=2)
NO_SIZES = photos()
FOLDERS = (SMALL, LARGE, MIXED, PANORAMAS, TINY_AND_SMALL, TINY, ONE_LABEL, NO_SIZES,
           photos((1024, 2048), labeled=186, unlabeled=2789, val=500, classes=19),
           photos(*[(2000, 2000)] * 4, width=14.0))  # fmt: skip


def values(facts, machine, given=None, at_hand=()):
    choices = plan(facts, machine, given or {}, at_hand)
    names = [choice.name for choice in choices]
    assert len(set(names)) == len(names)
    return {choice.name: choice.value for choice in choices}


@pytest.mark.parametrize("facts, machine, expected", [
    # A crop shows most of a small photo, as nnU-Net's is at most the median image.
    (SMALL, LAPTOP, {"data.image_size": (0, 0), "data.crop_size": (257, 257),
                     "eval.mode": "whole"}),
    (SMALL, GPU_16, {"data.crop_size": (257, 257), "batch_size": 8, "unlabeled_batch_size": 8}),
    # Four crops cover a large photo; its shape stays 2 to 3.
    (LARGE, LAPTOP, {"eval.mode": "whole"}),
    # Photos of both orientations get a square.
    (MIXED, LAPTOP, {"eval.mode": "whole"}),
    # One photo that is smaller than the crop changes nothing.
    (TINY_AND_SMALL, LAPTOP, {"data.crop_size": (257, 257), "data.image_size": (0, 0)}),
    (TINY, LAPTOP, {"data.crop_size": (33, 33), "data.image_size": (0, 0)}),
    (ONE_LABEL, LAPTOP, {"batch_size": 2, "total_steps": 1000}),
    (SMALL, TPU_8, {"batch_size": 8, "unlabeled_batch_size": 8, "total_steps": 5000}),
    (NO_SIZES, LAPTOP, {"data.crop_size": (321, 321)}),
])  # fmt: skip
def test_cases(facts, machine, expected):
    planned = values(facts, machine)
    assert {name: planned[name] for name in expected} == expected


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("facts", FOLDERS)
@pytest.mark.parametrize("at_hand", [(), ("dinov2_small",), ("convnext_tiny", "dinov3_small")])
def test_limits_that_always_hold(facts, machine, at_hand):
    planned, keys = values(facts, machine, at_hand=at_hand), all_keys()
    # A run that goes on elsewhere, with more photos, finds each of its values in the plan there.
    assert set(planned) == set(values(SMALL, LAPTOP))
    for name, value in planned.items():
        assert keys[name].problem(name, value) is None, name
    network, _ = choose_network(machine, {}, at_hand)
    crop = math.prod(planned["data.crop_size"])
    batch, unlabeled = planned["batch_size"], planned["unlabeled_batch_size"]
    # Batches are distributed over the devices, and a batch norm needs two images.
    assert batch % machine.devices == unlabeled % machine.devices == 0
    assert min(batch, unlabeled) >= 2
    assert planned["eval_batch_size"] % machine.devices == 0
    # The step fits half of the memory, unless the smallest crop does not.
    step = (batch + unlabeled) // machine.devices * crop
    if machine.memory and crop > 33**2:
        assert step * network.bytes_per_pixel <= machine.memory / 2
    if machine.platform == "cpu" and crop > 33**2:
        speed = network.pixels_per_second * min(machine.cores, 8)
        assert step * machine.devices / speed <= 2.5
    for side in planned["data.crop_size"]:
        assert side % network.stride == network.rest
    steps = planned["total_steps"]
    assert planned["method.ramp_start"] + planned["method.ramp_steps"] < steps / 2
    assert 1 <= planned["checkpoint_every"] <= planned["eval_every"] <= steps / 2


def test_large_photos_are_resized_so_that_a_crop_covers_a_quarter():
    for machine in MACHINES:
        planned = values(LARGE, machine)
        height, width = planned["data.image_size"]
        # The largest published crop of 801 limits the photos of large devices, too.
        assert math.prod(planned["data.crop_size"]) > 0.2 * height * width
        assert abs(width / height - 1.5) < 0.1  # sides are 16n + 1
        assert height % 16 == width % 16 == 1


def test_photos_of_both_orientations_are_squares_and_the_reason_says_so():
    choices = {choice.name: choice for choice in plan(MIXED, LAPTOP, {})}
    height, width = choices["data.image_size"].value
    assert height == width
    assert "stretched by up to 1.33" in choices["data.image_size"].why
    assert "stretched" not in str(plan(LARGE, LAPTOP, {}))


def test_thin_objects_stay_visible_and_large_photos_are_then_evaluated_in_windows():
    coarse = values(photos(*[(2000, 2000)] * 4, width=400.0), LAPTOP)
    fine = values(photos(*[(2000, 2000)] * 4, width=14.0), LAPTOP)
    finest = values(photos(*[(2000, 2000)] * 4, width=6.0), LAPTOP)
    assert coarse == values(photos(*[(2000, 2000)] * 4), LAPTOP)
    # 14 pixels become 8.
    assert fine["data.image_size"] == (1137, 1137) and finest["data.image_size"] == (0, 0)
    assert coarse["eval.mode"] == "whole"
    assert fine["eval.mode"] == finest["eval.mode"] == "sliding"
    assert coarse["data.crop_size"] == fine["data.crop_size"] == finest["data.crop_size"]


def test_more_cores_memory_or_devices_never_make_the_step_smaller():
    def step(machine):
        planned = values(LARGE, machine)
        return planned["batch_size"] * math.prod(planned["data.crop_size"]) / machine.devices

    for better in (
        [Machine("cpu", 1, 64 * GB, cores) for cores in (1, 2, 4, 8, 64)],
        [Machine("gpu", 1, memory * GB, 8) for memory in (6, 12, 18, 30, 60)],
        [Machine("cpu", 1, int(memory * GB), 8) for memory in (0.5, 1, 2, 4, 16)],
    ):
        sizes = [step(machine) for machine in better]
        assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


def test_the_order_of_photos_and_more_of_the_same_change_nothing():
    sizes = [(320, 213)] * 7 + [(213, 320)] * 4 + [(480, 640)] * 2
    first = plan(photos(*sizes), LAPTOP, {})
    for seed in range(5):
        random.Random(seed).shuffle(sizes)
        assert plan(photos(*sizes), LAPTOP, {}) == first
    assert plan(photos(*sizes, *sizes), LAPTOP, {}) == first


@pytest.mark.parametrize("given, expected", [
    ({"total_steps": 150}, {"method.ramp_start": 22, "method.ramp_steps": 45,
                            "teacher.decay": 0.8667}),
    # The published decay, and the ramp that the config always had.
    ({"total_steps": 5000}, {"method.ramp_start": 200, "method.ramp_steps": 500,
                             "teacher.decay": 0.996}),
    ({"total_steps": 100_000}, {"teacher.decay": 0.996, "method.ramp_start": 200}),
    ({"total_steps": 1}, {"method.ramp_start": 0, "method.ramp_steps": 0, "teacher.decay": 0.0,
                          "eval_every": 1, "checkpoint_every": 1}),
    ({"batch_size": 4}, {"unlabeled_batch_size": 4}),
    ({"batch_size": 6, "unlabeled_batch_size": 12, "data.crop_size": (97, 97)}, {}),
    ({"data.image_size": (0, 0)}, {"data.crop_size": (257, 257)}),
    ({"accumulate_steps": 3}, {"batch_size": 3, "unlabeled_batch_size": 3}),
])  # fmt: skip
def test_what_depends_on_a_key_of_the_user_follows(given, expected):
    planned = values(SMALL, LAPTOP, given)
    assert not set(given) & set(planned)
    assert {name: planned[name] for name in expected} == expected


def test_a_larger_batch_of_the_user_has_smaller_crops_and_larger_crops_a_smaller_batch():
    crops = [values(LARGE, LAPTOP, {"batch_size": n})["data.crop_size"][0] for n in (2, 4, 8)]
    assert crops == sorted(crops, reverse=True) and crops[0] > 1.8 * crops[2]
    crops = [values(SMALL, GPU_16, {"data.crop_size": (n, n)})["batch_size"] for n in (65, 513)]
    assert crops[0] > crops[1]


def test_large_photos_at_their_own_size_are_evaluated_in_windows():
    planned = values(LARGE, LAPTOP, {"data.image_size": (0, 0)})
    assert planned["eval.mode"] == "sliding" and planned["eval_batch_size"] == 1


def test_many_validation_images_are_evaluated_less_often():
    few = values(photos((320, 213), val=20), LAPTOP)
    many = values(photos((320, 213), val=5000), LAPTOP)
    assert few["eval_every"] == few["total_steps"] / 10
    assert many["eval_every"] == many["total_steps"] / 2


def test_a_batch_holds_no_more_images_than_there_are():
    planned = values(photos((320, 213), labeled=3, unlabeled=5), GPU_16)
    assert planned["batch_size"] == 3 and planned["unlabeled_batch_size"] == 5
    planned = values(photos((320, 213), labeled=3, unlabeled=5), TPU_8)
    assert planned["batch_size"] == planned["unlabeled_batch_size"] == 8


@pytest.mark.parametrize("machine, given, at_hand, name, learning_rate", [
    (LAPTOP, {}, ("dinov2_small",), "deeplabv3plus", 1e-3),
    (GPU_16, {}, (), "deeplabv3plus", 1e-3),
    (GPU_16, {}, ("dinov2_small",), "dpt", 5e-6),
    (TPU_8, {}, ("dinov2_small",), "dpt", 5e-6),
    (TPU_8, {}, ("convnext_tiny",), "upernet", 1e-4),
    (GPU_16, {"model.backbone": "dinov2_base"}, (), "deeplabv3plus", 5e-6),
    (LAPTOP, {"model.name": "dpt"}, (), None, 5e-6),
    (LAPTOP, {"model.name": "upernet"}, (), None, 1e-4),
    (LAPTOP, {"model.name": "segformer"}, (), None, 1e-3),
    (GPU_16, {"model.pretrained": "none"}, ("dinov2_small",), "deeplabv3plus", 1e-3),
    (GPU_16, {"model.backbone": "resnet50"}, ("dinov2_small",), "deeplabv3plus", 1e-3),
])  # fmt: skip
def test_the_network_follows_the_device_and_the_weights_at_hand(
    machine, given, at_hand, name, learning_rate
):
    planned = values(SMALL, machine, given, at_hand)
    # A key that the user has set is not planned.
    assert planned.get("model.name") == name
    assert planned["optimizer.learning_rate"] == learning_rate
    assert planned["model.separable"] == (True if machine is LAPTOP and not given else None)


def test_of_several_weights_at_hand_the_strongest_are_taken():
    at_hand = ("convnext_tiny", "dinov2_small", "dinov3_small")
    assert values(SMALL, GPU_16, at_hand=at_hand)["model.backbone"] == "dinov3_small"
    assert values(SMALL, GPU_16, at_hand=at_hand[:2])["model.backbone"] == "dinov2_small"
    _, why = choose_network(GPU_16, {}, ())
    assert "dinov3_small, dinov2_small or convnext_tiny" in why
    assert "--config.model.pretrained=dinov2" in why


@pytest.mark.parametrize("length, up_to, side", [
    (256, math.inf, 257), (264, math.inf, 257), (266, math.inf, 273), (266, 270, 257), (1, 5, 33),
])  # fmt: skip
def test_sides_lie_on_the_grid_of_the_network(length, up_to, side):
    assert Network({}, 1.0, 1.0).side(length, up_to=up_to) == side


@pytest.mark.slow
def test_the_memory_per_pixel_covers_the_estimate_of_the_step():
    """Of the network for CPUs; programs take up to 1.8 times the estimate."""
    config = default_config()
    set_plan(config, plan(SMALL, LAPTOP, {}))
    network, _ = choose_network(LAPTOP, {}, ())
    pixels = (config.batch_size + config.unlabeled_batch_size) * math.prod(config.data.crop_size)
    model = build.build_model(config)
    optimizer, step = build.build_train_step(config, model, build.build_method(config))
    state = build.abstract_state(config, model, optimizer)
    batch = build.abstract_batch(config, config.unlabeled_batch_size)
    parallel = PARALLEL["shard_map"](jax.devices()[:1])
    with jax.numpy_dtype_promotion("standard"):
        needed = estimate(step, state, batch, parallel).step
    assert needed < network.bytes_per_pixel * pixels < 2.5 * needed
