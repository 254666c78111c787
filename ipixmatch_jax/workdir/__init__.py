"""The folder of a run: its file names, its lock, checkpoints and results."""
