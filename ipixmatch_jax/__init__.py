"""Semi-supervised semantic segmentation by inter-pixel relations (IPixMatch) in JAX and Flax."""

__version__ = "0.1.0"
