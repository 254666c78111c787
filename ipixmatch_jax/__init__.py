"""Semi-supervised semantic segmentation by inter-pixel relations (IPixMatch) in JAX and Flax."""

__version__ = "0.1.0"


def __getattr__(name: str):
    # On demand: importing the package waits for neither jax nor flax.
    if name == "load_predictor":
        from ipixmatch_jax.predictor import load_predictor

        return load_predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
