"""Train state, step, checkpoints and weight files: how the pure parts become a run."""
