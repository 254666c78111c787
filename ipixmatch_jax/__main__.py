"""python -m ipixmatch_jax: the command `ipixmatch`."""

import sys

from ipixmatch_jax.main import main

if __name__ == "__main__":
    sys.exit(main())
