"""Packaged configs: `--config demo` runs demo.py here; each defines `get_config(arg)`."""
