"""Prints docs/config.md: python -m ipixmatch_jax.config > docs/config.md"""

from ipixmatch_jax.config.reference import markdown

if __name__ == "__main__":
    print(markdown(), end="")
