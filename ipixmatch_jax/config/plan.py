"""A training plan for a folder of photos: a pure function of photos, machine and the user's keys.

The model is nnU-Net (Isensee et al., Nature Methods 18, 2021), whose rules for its 2D networks are:
a crop is at most the median image and as large as the memory allows with a batch of 2; only then
the batch grows; images are scaled down if the crop would cover less than a quarter of them. Here
the time of a step is a second limit, because a CPU has more memory than time.
"""

import math
from collections.abc import Collection, Mapping
from statistics import median
from typing import Any, NamedTuple

from ipixmatch_jax.config.plan_network import Network, choose_network
from ipixmatch_jax.data.photo_facts import PhotoFacts
from ipixmatch_jax.devices.machine import Machine

# nnU-Net: the smallest batch, and the share of the median image that a crop must cover.
_LEAST_BATCH, _LEAST_COVER = 2, 0.25
# Published recipes of teacher-student methods: 8 labeled images a step, 80 passes over the
# unlabeled images (UniMatch on Pascal VOC, arXiv 2208.09910).
_USUAL_BATCH, _PASSES = 8, 80
# Half of the free memory: programs differ from their estimate by a factor of up to 2.
_MEMORY_SHARE = 0.5
_UNKNOWN_MEMORY = 12e9  # what a run gets of a device with 16 GB
# Seconds of a step on a CPU. More than 8 cores were not measured.
_STEP_S, _MOST_CORES = 2.5, 8
_CPU_STEPS, _DEVICE_STEPS = (1000, 2000), (5000, 40000)
# UniMatch's decay averages over about 250 steps; in a short run, over a twentieth of it.
_DECAY, _RUN_SHARE = 0.996, 20
_RAMP_START, _RAMP_STEPS = (200, 0.15), (500, 0.3)
# Thinner objects vanish at the stride of the decoder, which is 4.
_VISIBLE = 8
# Photos that would become hardly smaller keep their size, and so do those of nearly one shape.
_WORTH_IT, _STRETCHED = 0.9, 1.1
# Scaled by 0.5 to 2, a photo is 1.25 times as large in the mean.
_MEAN_SCALE = 1.25
# An evaluation computes two networks, forwards only: a fifth of a step per pixel and network.
_FORWARD, _EVALUATIONS, _EVALUATION_SHARE = 0.2, (2, 10), 0.2
_CHECKPOINT_EVERY = 1000
_NO_PHOTOS = (321, 321)


class Choice(NamedTuple):
    """The value of one config key, and the reason in a few words."""

    name: str
    value: Any
    why: str


def plan(
    photos: PhotoFacts,
    machine: Machine,
    given: Mapping[str, Any],
    at_hand: Collection[str] = (),
) -> list[Choice]:
    """Chooses the keys of a run that depend on the photos and the machine.

    Args:
        photos: facts about the photos.
        machine: the devices.
        given: full name to value of the keys that the user has set. They are not chosen, and the
            others follow from them.
        at_hand: backbones whose public weights are on this machine.

    Returns:
        One choice per key, in the order in which they follow from each other.
    """
    planner = _Planner(photos, machine, given, at_hand)
    planner.sizes()
    planner.batches()
    planner.schedule()
    planner.evaluation()
    return planner.choices


class _Planner:
    """Chooses keys one after the other; what is chosen first limits what follows."""

    def __init__(
        self,
        photos: PhotoFacts,
        machine: Machine,
        given: Mapping[str, Any],
        at_hand: Collection[str],
    ):
        self.photos, self.machine, self.given = photos, machine, given
        self.choices: list[Choice] = []
        self.network, why = choose_network(machine, given, at_hand)
        for name, value in self.network.values.items():
            self._choose(name, value, why)
        self.on_cpu = machine.platform == "cpu"
        sizes = photos.sizes or (_NO_PHOTOS,)
        self.height, self.width = (median(side) for side in zip(*sizes, strict=True))
        self.short = median(map(min, sizes))
        self.area = median(h * w for h, w in sizes)
        # Batches are divided by it: over devices, and into micro-batches.
        self.parts = machine.devices * int(given.get("accumulate_steps", 1))
        self.room, self.room_why = _room(machine, self.network, self.parts)

    def _choose(self, name: str, value: Any, why: str) -> Any:
        """The value of a key: the user's, or this one, which is then part of the plan."""
        if name in self.given:
            return self.given[name]
        self.choices.append(Choice(name, value, why))
        return value

    def sizes(self) -> None:
        """Chooses `data.image_size` and `data.crop_size`."""
        # A step has as many unlabeled crops; one device computes a part of them at a time.
        pairs = self._least_batch() / self.parts
        fits = min(math.sqrt(self.room / (2 * pairs)), self.network.largest_crop)
        fits = self.network.side(fits, up_to=fits)
        if "data.crop_size" in self.given:
            fits = math.sqrt(math.prod(self.given["data.crop_size"]))
        self._image_size(fits)
        side = min(math.sqrt(self.area), _MEAN_SCALE * self.short)
        crop = self.network.side(side, up_to=fits)
        seen = f"the photos' median is {self.height:g} x {self.width:g}"
        seen = f"photos of {self.height:g} x {self.width:g} then" if self.resized else seen
        if not self.photos.sizes:
            seen = "no photo's size could be read"
        why = f"{seen}, of which a crop shows most"
        if side > fits:
            least, devices = self._least_batch(), self.machine.devices
            why = f"{seen}; {least} + {least} such crops a step fit {self.room_why}"
            why += f" on each of {devices} devices" if devices > 1 else ""
        self.crop = math.prod(self._choose("data.crop_size", (crop, crop), why))

    def _least_batch(self) -> int:
        """Labeled images of a step, before it is known what fits."""
        if "batch_size" in self.given:
            return int(self.given["batch_size"])
        least = _LEAST_BATCH if self.on_cpu else _USUAL_BATCH // 2
        return -(-least // self.parts) * self.parts

    def _image_size(self, side: float) -> None:
        """Chooses `data.image_size`; the facts about sizes are those of resized photos then.

        Args:
            side: of the largest crop that fits.
        """
        factor = math.sqrt(min(side**2 / (_LEAST_COVER * self.area), 1))
        width = self.photos.object_width
        visible = _VISIBLE / width if width else 0
        size, quarter = (0, 0), f"a crop of {side:.0f} x {side:.0f}"
        stretch, (height, wide) = self._stretch(), self._scaled(min(max(factor, visible), 1))
        if factor >= _WORTH_IT:
            why = f"photos keep their sizes: {quarter} covers a quarter of most of them or more"
        elif visible >= _WORTH_IT:
            why = f"photos keep their sizes: objects are {width:.0f} pixels wide, and would vanish"
        else:
            size = (height, wide)
            why = f"at {self.height:g} x {self.width:g}, {quarter} would cover little of a photo"
            if visible > factor:
                why += f"; smaller, objects of {width:.0f} pixels would vanish"
            if stretch > _STRETCHED:
                why += f"; shapes differ, so some photos are stretched by up to {stretch:.2f}"
        size = tuple(self._choose("data.image_size", size, why))
        self.resized = size != (0, 0)
        if self.resized:
            self.height, self.width = size
            self.short, self.area = min(size), math.prod(size)

    def _scaled(self, factor: float) -> tuple[int, int]:
        """(H, W) on the network's grid of a photo of median area and shape, times a factor."""
        shape = math.exp(median(math.log(w / h) for h, w in self.photos.sizes or (_NO_PHOTOS,)))
        height = factor * math.sqrt(self.area / shape)
        return self.network.side(height), self.network.side(height * shape)

    def _stretch(self) -> float:
        """By how much the shapes of nine in ten photos differ from the median shape."""
        shapes = [math.log(w / h) for h, w in self.photos.sizes or (_NO_PHOTOS,)]
        away = sorted(abs(shape - median(shapes)) for shape in shapes)
        return math.exp(away[int(0.9 * (len(away) - 1))])

    def batches(self) -> None:
        """Chooses `batch_size` and `unlabeled_batch_size`."""
        pairs = int(self.room / (2 * self.crop)) or 1
        fit = pairs * self.parts
        most = max(_USUAL_BATCH // self.parts, 1) * self.parts
        planned = max(min(fit, most), self._least_batch())
        batch, why = planned, f"{planned} labeled and {planned} unlabeled crops of a step fit"
        why = f"{why} {self.room_why}" if planned < most else f"{most} is usual"
        if self.parts > 1:
            why += f"; a multiple of {self.parts}, over {self.machine.devices} devices"
        self.batch = self._batch("batch_size", batch, why, self.photos.labeled, "labeled")
        why = f"as many as labeled ones{'' if self.batch == planned else ' fit'}"
        wanted = self.batch if "batch_size" in self.given else planned
        self.unlabeled = self._batch(
            "unlabeled_batch_size", wanted, why, self.photos.unlabeled, "unlabeled"
        )

    def _batch(self, name: str, batch: int, why: str, images: int, kind: str) -> int:
        least = max(_LEAST_BATCH, self.parts)
        if 0 < images < batch and batch > least:
            fewer = max(images // self.parts * self.parts, least)
            batch, why = fewer, f"there are {images} {kind} images"
        return int(self._choose(name, batch, why))

    def schedule(self) -> None:
        """Chooses the number of steps, the ramp of unlabeled images and the teacher's decay."""
        images, kind = self.photos.unlabeled, "unlabeled"
        batch = self.unlabeled
        if not images:
            images, kind, batch = self.photos.labeled, "labeled", self.batch
        least, most = _CPU_STEPS if self.on_cpu else _DEVICE_STEPS
        wanted = _PASSES * images / batch
        steps = min(max(math.ceil(wanted / 100) * 100, least), most)
        why = f"{_PASSES} passes over {images} {kind} images"
        if steps == least:
            why = f"the least; {why} are fewer"
        elif steps == most:
            why = f"{why} would be more" + (" than a CPU does in hours" if self.on_cpu else "")
        if self.on_cpu:
            why += f"; about {self._hours(steps)} on {self._cores()}"
        self.steps = steps = int(self._choose("total_steps", steps, why))
        start, ramp = (
            min(usual, int(share * steps)) for usual, share in (_RAMP_START, _RAMP_STEPS)
        )
        self._choose("method.ramp_start", start, f"first only the labels teach, of {steps} steps")
        self._choose("method.ramp_steps", ramp, "then the weight of unlabeled images grows")
        decay = round(min(max(1 - _RUN_SHARE / steps, 0.0), _DECAY), 4)
        span = f"the teacher averages over about {1 / (1 - decay):.0f} steps"
        self._choose("teacher.decay", decay, f"{span} of {steps}")

    def _hours(self, steps: int) -> str:
        step_px = (self.batch + self.unlabeled) * self.crop
        speed = self.network.pixels_per_second * min(self.machine.cores, _MOST_CORES)
        minutes = max(steps * step_px / speed / 60, 1)
        return f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{minutes:.0f} minutes"

    def _cores(self) -> str:
        return f"{self.machine.cores} core{'s' * (self.machine.cores > 1)}"

    def evaluation(self) -> None:
        """Chooses how validation images are evaluated, how many at a time, and how often."""
        devices = self.machine.devices
        sizes = self.photos.val_sizes or self.photos.sizes or (_NO_PHOTOS,)
        largest = int(self.area) if self.resized else max(h * w for h, w in sizes)
        # Without a backward pass, a pixel needs less memory than in a step.
        whole = largest <= max(self.room, self.crop)
        why = f"the largest of {largest / 1e6:.2g} megapixels needs less memory than a step"
        if not whole:
            why = f"photos have up to {largest / 1e6:.2g} megapixels, more than a step"
        self._choose("eval.mode", "whole" if whole else "sliding", why)
        at_once = min(max(int(self.room / largest), 1), _USUAL_BATCH)
        why = f"photos of {largest / 1e6:.2g} megapixels, with the memory of a step"
        self._choose("eval_batch_size", at_once * devices, why)

        step = (self.batch + self.unlabeled) * self.crop
        cost = max(self.photos.val, 1) * self.area * 2 * _FORWARD
        least, most = _EVALUATIONS
        count = int(_EVALUATION_SHARE * self.steps * step / cost)
        count = min(max(count, least), most)
        every = max(math.ceil(self.steps / count), 1)
        why = f"{count} evaluations of about {self.photos.val} image(s)"
        if count < most:
            why += f", about {min(count * cost / step / self.steps, 9):.0%} of the run's time"
        every = int(self._choose("eval_every", every, why))
        saved = min(every, _CHECKPOINT_EVERY)
        why = "with each evaluation" if saved == every else "more often than evaluations"
        self._choose("checkpoint_every", saved, why)


def _room(machine: Machine, network: Network, parts: int) -> tuple[float, str]:
    """Pixels of the crops of one part of a step, and the limit that they fit.

    A device computes its parts one after the other: each has its memory, all together the time.
    """
    memory = _MEMORY_SHARE * (machine.memory or _UNKNOWN_MEMORY)
    pixels = memory / network.bytes_per_pixel
    why = f"half of the {memory / _MEMORY_SHARE / 1e9:.3g} GB of free memory"
    if not machine.memory:
        why = f"{memory / 1e9:.3g} GB, since the memory of the device is not known"
    if machine.platform != "cpu":
        return pixels, why
    cores = min(machine.cores, _MOST_CORES)
    in_time = _STEP_S * network.pixels_per_second * cores / parts
    if in_time < pixels:
        return in_time, f"{_STEP_S:g} seconds on {cores} core{'s' * (cores > 1)}"
    return pixels, why
