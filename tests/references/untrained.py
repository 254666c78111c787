"""Runs on disk without training: a config, checkpoints of random weights, and metrics."""

import json

import jax
import jax.numpy as jnp
import optax

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config, write_snapshot
from ipixmatch_jax.engine.state import create_state
from ipixmatch_jax.models import init_variables
from ipixmatch_jax.workdir.checkpoints import Checkpoints
from ipixmatch_jax.workdir.folder import make_workdir


def save_untrained(config_file, workdir, *overrides, step=4, mious=(0.25, 0.5)):
    """The config, and the student's and the teacher's variables, of a run without training.

    Args:
        mious: of the student and the teacher at the last of two evaluations.
    """
    config = load_config(str(config_file), [f"--config.{override}" for override in overrides])
    images, model = build.example_images(config), build.build_model(config)
    student, teacher = (init_variables(model, jax.random.key(seed), images) for seed in (0, 1))
    state = create_state(jax.tree.map(jnp.asarray, student), optax.identity())
    arrays = jax.tree.map(jnp.asarray, teacher)
    state = state.replace(
        teacher_params=arrays["params"], teacher_batch_stats=arrays.get("batch_stats", {})
    )
    make_workdir(workdir)
    write_snapshot(config, workdir)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(step, state)
    lines = [{"step": s, "loss": 1 / s, "confident_share": s / 9} for s in range(1, step + 1)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / "eval").mkdir()
    for at, share in ((step // 2, 0.5), (step, 1.0)):
        result = {"step": at, "split": "val", "protocol": ""}
        for name, miou in zip(("student", "teacher"), mious, strict=True):
            value = share * miou
            result[name] = {"miou": value, "iou": {"ground": value, "square": value}}
        (workdir / "eval" / f"{at}.json").write_text(json.dumps(result))
    return config, student, teacher
