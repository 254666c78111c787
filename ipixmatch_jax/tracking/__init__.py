"""Logs of a training run: files, services, the terminal."""
