"""Mean Teacher: the student agrees with the soft prediction of its moving average."""

import dataclasses

from ipixmatch_jax.losses import CONSISTENCY
from ipixmatch_jax.methods.base import METHODS, option
from ipixmatch_jax.methods.fixmatch import FixMatch


@METHODS.register("mean_teacher")
@dataclasses.dataclass(frozen=True)
class MeanTeacher(FixMatch):
    """Soft consistency (Tarvainen and Valpola, arXiv 1703.01780) on a strong, CutMixed view.

    What goes through which network is as in `FixMatch`, with CutMix as in French et al. (arXiv
    1906.01916); `views.cutmix_probability = 0` gives the original. The student's probabilities
    are compared with the teacher's at every valid pixel, whatever the confidence, which only
    chooses the pixels of a relation: all of them by default. Ramp the unlabeled weight up.
    """

    confidence: float = 0.0
    distance: str = option("mse", choices=CONSISTENCY.names)
