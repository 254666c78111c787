"""Random records for the engine's tests."""

import numpy as np

CLASSES = 4
SIZE = 16


def random_batch(seed: int, batch: int = 8, size: int = SIZE) -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)

    def records() -> dict[str, np.ndarray]:
        valid = np.ones((batch, size, size), bool)
        valid[: batch // 2, size - 3 :] = False  # padding below some of the images
        return {
            "image": rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8),
            "valid": valid,
            "key": rng.integers(0, 2**32, (batch, 2), dtype=np.uint32),
        }

    labeled = records()
    mask = labeled["image"][..., 0] // (256 // CLASSES)  # something that can be learned
    labeled["mask"] = np.where(labeled["valid"], mask, np.uint8(255))
    return {"labeled": labeled, "unlabeled": records(), "mix": records()}
