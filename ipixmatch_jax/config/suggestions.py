"""The key that somebody probably means by a name that is no key, or is one no more."""

from collections.abc import Collection, Mapping
from typing import Any

from ipixmatch_jax.registry import nearest

# Names of other projects and everyday words → the key here.
_WORDS = {
    "optimizer.learning_rate": ("lr", "base_lr", "init_lr"),
    "optimizer.head_multiplier": ("lr_multi", "head_lr"),
    "optimizer.weight_decay": ("wd", "l2"),
    "optimizer.warmup_steps": ("warmup", "warmup_iters"),
    "optimizer.clip_norm": ("grad_clip", "clip_grad_norm", "max_grad_norm", "gradient_clip_val"),
    "optimizer.schedule": ("lr_schedule", "scheduler", "lr_scheduler", "lr_policy"),
    "optimizer.name": ("optim", "solver"),
    "total_steps": (
        "epochs", "steps", "max_steps", "num_steps", "train_steps", "iterations", "iters",
        "max_iters", "max_epochs", "num_epochs",
    ),
    "batch_size": ("bs", "batch", "train_batch_size"),
    "unlabeled_batch_size": ("mu", "batch_size_u"),
    "eval_batch_size": ("val_batch_size", "test_batch_size"),
    "eval_every": ("val_every", "eval_interval", "val_interval", "evaluate_every"),
    "checkpoint_every": ("save_every", "save_interval", "checkpoint_interval"),
    "log_every": ("log_interval", "log_freq", "print_freq"),
    "accumulate_steps": ("grad_accum", "gradient_accumulation", "accumulation_steps"),
    "data.name": ("dataset",),
    "data.root": ("data_root", "data_dir", "root_dir", "path", "folder_path"),
    "data.num_classes": ("classes", "n_classes", "nclass", "num_class"),
    "data.class_names": ("names", "labels"),
    "data.crop_size": ("crop", "input_size", "patch_size"),
    "data.image_size": ("img_size", "resize", "resolution"),
    "data.channels": ("bands", "n_channels", "num_channels"),
    "data.workers": ("num_workers", "loader_workers"),
    "data.flip": ("hflip", "horizontal_flip"),
    "data.vertical_flip": ("vflip", "flip_vertical"),
    "data.quarter_turns": ("rot90", "rotate90", "random_rotate90"),
    "data.rotation": ("rotate", "degrees", "random_rotation", "rotation_degrees", "max_angle"),
    "data.transform": ("augment", "augmentation", "transforms", "albumentations"),
    "data.folder.holdout": ("val_split", "val_fraction", "validation_split"),
    "data.folder.mask_tail": ("mask_suffix",),
    "model.name": ("arch", "architecture", "net", "decoder"),
    "model.backbone": ("encoder", "encoder_name"),
    "model.pretrained": ("weights", "encoder_weights", "pretrained_weights"),
    "model.dtype": ("precision", "amp", "fp16", "bf16", "mixed_precision"),
    "model.frozen": ("freeze", "freeze_encoder"),
    "model.lora_rank": ("lora", "lora_r", "r"),
    "model.lora_targets": ("target_modules", "lora_target_modules"),
    "model.remat": ("checkpointing", "gradient_checkpointing"),
    "method.confidence": ("conf_thresh", "conf_threshold", "confidence_threshold", "tau"),
    "method.unlabeled_weight": ("lambda_u", "unsup_weight", "consistency_weight"),
    "relation.weight": ("lambda_r", "relation_weight"),
    "relation.temperature": ("temp", "T"),
    "optimizer.layer_decay": ("llrd", "layer_lr_decay", "layerwise_decay", "lr_decay_rate"),
    "teacher.decay": ("ema", "ema_decay", "momentum_teacher"),
    "tracking.writers": ("wandb", "mlflow", "tensorboard", "logger"),
    "eval.scales": ("tta", "multi_scale"),
}  # fmt: skip
# Keys that are gone → what to do.
_GONE = {
    "eval.pad_to": "; it is gone: images of many sizes are evaluated in a few frames, with the "
    "results of each image alone (eval.shapes); leave it out",
}
_KEY_OF = {word: key for key, words in _WORDS.items() for word in words}


def without_gone(saved: Mapping[str, Any]) -> dict[str, Any]:
    """The contents of an older run's `config.json`, without keys that are gone."""
    kept = dict(saved)
    for name in _GONE:
        group, _, leaf = name.rpartition(".")
        if isinstance(kept.get(group), Mapping):
            kept[group] = {key: value for key, value in kept[group].items() if key != leaf}
    return kept


def did_you_mean(name: str, keys: Collection[str]) -> str:
    """A hint ` (did you mean 'x'?)` for a name that is no key, or an empty string."""
    if name in _GONE:
        return _GONE[name]
    group, _, leaf = name.rpartition(".")
    if leaf in _KEY_OF and _KEY_OF[leaf] in keys:
        return f" (did you mean {_KEY_OF[leaf]!r}?)"
    same = [key for key in keys if key.rpartition(".")[2] == leaf]
    if len(same) == 1:
        return f" (did you mean {same[0]!r}?)"
    return nearest(name, keys) or (nearest(leaf, keys) if group else "")
