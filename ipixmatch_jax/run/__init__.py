"""The course of a run: its images, first weights, saves, end, and advice on it."""
