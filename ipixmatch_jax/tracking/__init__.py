"""Numbers and pictures of a training run: files, services, the terminal."""
