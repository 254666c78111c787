"""The mIoU of each checkpoint, which chooses the best; written after the checkpoint is complete."""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from orbax.checkpoint import checkpoint_managers as policies

from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.workdir.folder import write_whole, writing

# Orbax's place and name for the metrics of a checkpoint, also of those of older versions.
_FOLDER = _FILE = "metrics"
_LATEST = 2


def best_of(mious: Mapping[int, float], steps: Iterable[int]) -> int | None:
    """The step with the highest mIoU, of equal ones the later; None if no step has one."""
    scored = [(mious[step], step) for step in steps if step in mious]
    return max(scored)[1] if scored else None


class LatestAndBest(policies.PreservationPolicy):
    """Keeps the last two checkpoints, because the last may be damaged, and the best.

    Args:
        mious: step → mIoU; the owner adds to it after each evaluation.
    """

    def __init__(self, mious: Mapping[int, float]):
        self._mious = mious

    def kept(self, steps: Sequence[int]) -> set[int]:
        """The steps to keep."""
        return {*sorted(steps)[-_LATEST:], best_of(self._mious, steps)} - {None}

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        kept = self.kept([one.step for one in checkpoints])
        return [one.step in kept for one in checkpoints]


def read_mious(
    directory: AnyPath, steps: Iterable[int], say: Callable[[str], None]
) -> dict[int, float]:
    """Step → mIoU of the network that `best_network` names.

    Steps that were not evaluated are left out. So are those whose file is damaged; `say` is told,
    because the choice of the best then does without them.

    Args:
        directory: folder of the checkpoints.
        steps: complete checkpoints.
        say: called with a message.
    """
    mious = {}
    for step in steps:
        path = directory / str(step) / _FOLDER / _FILE
        try:
            mious[step] = _number(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(
                f"{path} is damaged ({error}): the mIoU of checkpoint {step} is not known, and "
                "the best checkpoint is chosen without it"
            )
    return mious


def _number(path: AnyPath) -> float:
    miou = float(json.loads(path.read_text())["miou"])
    if not math.isfinite(miou):
        raise ValueError(f"mIoU {miou}")
    return miou


def write_miou(directory: AnyPath, step: int, miou: float) -> None:
    """Writes the mIoU of a complete checkpoint.

    Raises:
        UserError: as `writing`.
    """
    folder = directory / str(step) / _FOLDER
    with writing(folder):
        folder.mkdir(exist_ok=True)
    write_whole(folder / _FILE, json.dumps({"miou": miou}))
