"""Runs on disk without training: a config, checkpoints of random weights, and metrics."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ipixmatch_jax import build
from ipixmatch_jax.config import load_config, write_snapshot
from ipixmatch_jax.engine.state import create_state, networks
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
    _write_records(workdir, step, mious)
    return config, student, teacher


def save_adapted(config, workdir, step=4, mious=(0.25, 0.5)):
    """Writes a run whose teacher has adapters that matter; returns the teacher's variables.

    `config.model.lora_rank` is above 0; with it the teacher holds only what learns.
    """
    model, method = build.build_model(config), build.build_method(config)
    optimizer, _ = build.build_train_step(config, model, method)
    state = build.build_state(config, model, optimizer, build.build_parallel(config))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype), state.teacher_params
    )
    state = state.replace(teacher_params=params)
    make_workdir(workdir)
    write_snapshot(config, workdir)
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(step, state)
    _write_records(workdir, step, mious)
    return jax.device_get(networks(state)["teacher"])


def _write_records(workdir, step, mious):
    lines = [{"step": s, "loss": 1 / s, "confident_share": s / 9} for s in range(1, step + 1)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workdir / "eval").mkdir(exist_ok=True)
    for at, share in ((step // 2, 0.5), (step, 1.0)):
        result = {"step": at, "split": "val", "protocol": ""}
        for name, miou in zip(("student", "teacher"), mious, strict=True):
            value = share * miou
            result[name] = {"miou": value, "iou": {"ground": value, "square": value}}
        (workdir / "eval" / f"{at}.json").write_text(json.dumps(result))
