"""The estimate of a train step's memory beside what the compiled program asks for.

    python bench/memory.py

FixMatch with a relation, 2 labeled and 2 unlabeled images, one device.
"""

import time

import jax

from ipixmatch_jax.config import default_config
from ipixmatch_jax.engine import build
from ipixmatch_jax.engine.memory import estimate
from ipixmatch_jax.engine.parallel import PARALLEL

BATCH = 2
CASES = (
    ("unet", {"width": 16, "stem_stride": 2}, 64),
    ("deeplabv3plus", {"backbone": "efficientnet_lite0"}, 161),
    ("deeplabv3plus", {"backbone": "resnet18"}, 161),
    ("deeplabv3plus", {"backbone": "resnet50"}, 161),
    ("dpt", {"backbone": "dinov2_small"}, 140),
)


def main() -> None:
    parallel = PARALLEL["shard_map"](jax.devices()[:1])
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    print("| model | crop | estimate, MB | program, MB | ratio | tracing, s |")
    print("|---|---|---|---|---|---|")
    for name, options, side in CASES:
        config = default_config()
        config.data.num_classes, config.data.crop_size = 21, (side, side)
        config.batch_size = config.unlabeled_batch_size = BATCH
        with config.unlocked():
            config.model.update({"name": name, **options})
        model, method = build.build_model(config), build.build_method(config)
        optimizer, step = build.build_train_step(config, model, method)
        state = build.abstract_state(config, model, optimizer)
        batch = build.abstract_batch(config, BATCH)
        begin = time.process_time()
        found = estimate(step, state, batch, parallel)
        tracing = time.process_time() - begin
        lowered = parallel.spread_train(step).lower(state, batch)
        actual = lowered.compile().memory_analysis().temp_size_in_bytes
        label = f"{name} {options.get('backbone', '')}".strip()
        print(
            f"| {label} | {side} | {found.step / 1e6:.0f} | {actual / 1e6:.0f} "
            f"| {actual / found.step:.2f} | {tracing:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
