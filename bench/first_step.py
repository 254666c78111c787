"""Time from the command to the first step of the demo, with a cold and with a warm cache.

python -m bench.first_step
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "demo.py"


def first_step(folder: pathlib.Path, number: int) -> float:
    """Seconds until the run prints the line of step 1."""
    command = [sys.executable, "-m", "ipixmatch_jax.main", "--config", CONFIG]
    command += ["--workdir", folder / str(number), "--config.log_every=1"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as run:
        for line in run.stdout:
            if line.startswith("step 1/"):
                break
        seconds = time.perf_counter() - begin
        run.kill()
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for number, cache in enumerate(("cold", "warm", "warm")):
            print(f"{cache} cache: {first_step(pathlib.Path(folder), number):.1f} s", flush=True)


if __name__ == "__main__":
    main()
