"""Kills a training run many times, and checks that it ends like an undisturbed run.

    python -m tests.references.chaos --kills 30 --stops 10 --hangups 10 --pipes 5 --full-disks 5
    python -m tests.references.chaos --kills 10 --stops 5 --processes 2 --devices 2 \\
        --parallel shard_map

A straight run and a disturbed one train the same: parameters, optimizer, teacher, metrics.jsonl,
every eval/STEP.json and the choice of the best checkpoint must be equal bit for bit. Half of the
kills (kill -9, of one process chosen at random) wait for the moment when a save has begun. A stop
is SIGTERM to one process, a hangup SIGHUP; all must save the same step and end with exit code 0.
A pipe is standard output whose reader goes away: the run goes on, and is stopped later. A full disk
is a limit on the size of files, which the run meets while it goes on: it ends with exit code 2 and
says so. Counts are printed.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
import traceback

CONFIG = """
from ipixmatch_jax.config import default_config


def get_config():
    config = default_config()
    config.batch_size = config.unlabeled_batch_size = config.eval_batch_size = 4
    config.log_every, config.eval_every, config.checkpoint_every = 1, 15, 4
    config.pictures = 0
    config.data.name = "digits"
    config.data.labeled = "10"
    config.data.num_classes = 11
    config.data.crop_size = (16, 16)
    config.data.digits.unlabeled_scenes = config.data.digits.val_scenes = 8
    config.data.digits.scene_size = (32, 32)
    config.data.digits.min_height, config.data.digits.max_height = 12, 16
    config.model.name = "unet"
    config.model.width, config.model.depth = 4, 1
    config.method.confidence = 0.2
    config.relation.name = "none"
    return config
"""
# A first step is compiled within it, on a busy machine too.
PATIENCE_S = 900


@dataclasses.dataclass
class Counts:
    starts: int = 0
    kills: int = 0
    kills_in_a_save: int = 0
    stops: int = 0
    hangups: int = 0
    pipes: int = 0
    full_disks: int = 0


class Run:
    """A training run in a folder, by processes that are forked from this one: no import twice."""

    def __init__(self, folder: pathlib.Path, options: argparse.Namespace):
        self.workdir = folder / "run"
        self._log = folder / "log"
        self._options = options
        self.steps = options.steps
        folder.mkdir(parents=True)
        config = folder / "config.py"
        config.write_text(CONFIG)
        self._arguments = [
            *("--config", str(config), "--workdir", str(self.workdir)),
            f"--config.total_steps={options.steps}",
            f"--config.parallel={options.parallel}",
        ]

    def start(self, output: int | None = None) -> list[int]:
        """Starts the processes; `output` is the descriptor of their standard output."""
        count = self._options.processes
        port = random.randrange(20000, 60000)
        return [self._fork(index, count, port, output) for index in range(count)]

    def _fork(self, index: int, count: int, port: int, output: int | None) -> int:
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log if output is None else output, 1)
            os.dup2(log, 2)
            # The stream of the parent remembers whether its descriptor was a file.
            sys.stdout = open(1, "w", closefd=False)
            from ipixmatch_jax.main import main

            place = ["--coordinator", f"localhost:{port}", "--process", str(index)]
            code = main([*self._arguments, "--processes", str(count), *place * (count > 1)])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, pids: list[int]) -> list[int]:
        """Waits for the exit codes; fails after PATIENCE_S without a new step."""
        codes, step, until = {}, -1, 0.0
        while len(codes) < len(pids):
            if self.step() > step:
                step, until = self.step(), time.monotonic() + PATIENCE_S
            for pid in set(pids) - set(codes):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > until:
                self.kill(pids)
                self.fail("the processes did not end")
            time.sleep(0.01)
        return [codes[pid] for pid in pids]

    def kill(self, pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def step(self) -> int:
        """The last step in metrics.jsonl."""
        path = self.workdir / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        return json.loads(whole[-1])["step"] if whole else 0

    def saving(self) -> bool:
        return any(self.workdir.glob("checkpoints/*tmp*"))

    def fail(self, what: str) -> None:
        sys.exit(f"{what}\n{self._log.read_text()[-6000:]}")


def reach(run: Run, pids: list[int], moment: int, in_a_save: bool = False) -> None:
    """Waits for a step that these processes made, or for a save after it."""
    # The start before may have gone beyond the moment, and these do not yet handle signals.
    moment = max(moment, run.step() + 1)
    while run.step() < moment or (in_a_save and not run.saving()):
        if any(os.waitpid(pid, os.WNOHANG)[0] for pid in pids):
            run.kill(pids)
            run.fail(f"a process ended before step {moment}")
        time.sleep(0.001)


def end_politely(run: Run, pids: list[int], name: str) -> None:
    """A signal to one of the processes: all save, and end with exit code 0."""
    os.kill(random.choice(pids), signal.Signals[name])
    codes = run.wait(pids)
    if any(codes):
        run.fail(f"exit codes {codes} after {name}")


def stop(run: Run, moment: int, counts: Counts) -> None:
    pids = run.start()
    reach(run, pids, moment)
    end_politely(run, pids, "SIGTERM")
    counts.stops += 1


def hang_up(run: Run, moment: int, counts: Counts) -> None:
    pids = run.start()
    reach(run, pids, moment)
    end_politely(run, pids, "SIGHUP")
    counts.hangups += 1


def kill(run: Run, moment: int, counts: Counts) -> None:
    in_a_save = counts.kills % 2 == 0
    pids = run.start()
    reach(run, pids, moment, in_a_save)
    os.kill(random.choice(pids), signal.SIGKILL)
    # As a launcher does: the others cannot go on.
    time.sleep(random.random() * 0.3)
    run.kill(pids)
    run.wait(pids)
    counts.kills += 1
    counts.kills_in_a_save += in_a_save


def close_pipe(run: Run, moment: int, counts: Counts) -> None:
    """The reader of standard output goes away early, as `| head` does."""
    reader, writer = os.pipe()
    pids = run.start(writer)
    os.close(writer)
    os.read(reader, 100)
    os.close(reader)
    reach(run, pids, moment)
    end_politely(run, pids, "SIGTERM")
    counts.pipes += 1


def fill_disk(run: Run, moment: int, counts: Counts) -> None:
    """No file can grow any more. It ends at the next save: with exit code 2, and a message."""
    pids = run.start()
    reach(run, pids, moment)
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    codes = run.wait(pids)
    finished = run.step() == run.steps and codes[0] == 0  # before the disk was full
    if codes[0] != 2 and not finished:
        run.fail(f"exit codes {codes} on a full disk")
    counts.full_disks += 1


WAYS = {
    "kills": kill,
    "stops": stop,
    "hangups": hang_up,
    "pipes": close_pipe,
    "full_disks": fill_disk,
}


def outcome(run: Run) -> dict[str, object]:
    """Everything that must not depend on the interruptions."""
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    folder = run.workdir / "checkpoints"
    last = max(int(path.name) for path in folder.iterdir() if path.name.isdigit())
    digests = {}
    for item in ("student", "teacher", "training"):
        path = folder / str(last) / item
        tree = ocp.PyTreeCheckpointer().metadata(path).item_metadata.tree
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        values = ocp.PyTreeCheckpointer().restore(path, restore_args=arguments)
        for name, value in jax.tree_util.tree_leaves_with_path(values):
            digests[item + jax.tree_util.keystr(name)] = hashlib.sha256(value.tobytes()).hexdigest()

    from ipixmatch_jax.workdir.checkpoints import Checkpoints

    with Checkpoints(run.workdir) as checkpoints:
        best = checkpoints.best()
    return {
        "last": last,
        "best": best,
        "arrays": digests,
        "metrics": (run.workdir / "metrics.jsonl").read_text(),
        "eval": {path.name: path.read_text() for path in (run.workdir / "eval").iterdir()},
    }


def chaos(options: argparse.Namespace, folder: pathlib.Path) -> Counts:
    straight, disturbed = Run(folder / "straight", options), Run(folder / "disturbed", options)
    codes = straight.wait(straight.start())
    if any(codes):
        straight.fail(f"the straight run ended with {codes}")

    counts = Counts()
    ways = [way for name, way in WAYS.items() for _ in range(getattr(options, name))]
    random.shuffle(ways)
    moments = sorted(random.sample(range(1, options.steps * 6 // 7), len(ways)))
    for way, moment in zip(ways, moments, strict=True):
        counts.starts += 1
        way(disturbed, moment, counts)
    counts.starts += 1
    codes = disturbed.wait(disturbed.start())
    if any(codes):
        disturbed.fail(f"the last start ended with {codes}")

    one, other = outcome(straight), outcome(disturbed)
    for name in one:
        if one[name] != other[name]:
            disturbed.fail(f"{name} differs between the straight and the disturbed run")
    print(
        f"{options.processes} process(es) x {options.devices} device(s), {options.parallel}, "
        f"{options.steps} steps: {counts.starts} starts, {counts.kills} kill -9 "
        f"({counts.kills_in_a_save} in a save), {counts.stops} SIGTERM, {counts.hangups} SIGHUP, "
        f"{counts.pipes} closed pipes, {counts.full_disks} full disks; "
        f"{len(one['arrays'])} arrays, {len(one['metrics'].splitlines())} lines of metrics, "
        f"{len(one['eval'])} evaluations and the best checkpoint ({one['best']}) are equal"
    )
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--stops", type=int, default=1)
    parser.add_argument("--hangups", type=int, default=0)
    parser.add_argument("--pipes", type=int, default=0)
    parser.add_argument("--full-disks", type=int, default=0)
    parser.add_argument("--steps", type=int, help="default: 14 a disturbance")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--devices", type=int, default=1, help="virtual CPU devices a process")
    parser.add_argument("--parallel", choices=("pmap", "shard_map", "zero1"), default="pmap")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.steps = options.steps or 14 * (sum(getattr(options, name) for name in WAYS) + 1)
    random.seed(options.seed)

    # Under nohup a run would ignore it, as it should.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_NUM_CPU_DEVICES"] = str(options.devices)
    # Starting takes longer here than running.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    from tests.references.parameter_shapes import check_shapes_once

    check_shapes_once()
    # Imported once, before the forks; no device is touched here until the last of them has ended.
    import ipixmatch_jax.training  # noqa: F401

    for optional in ("sklearn.datasets", "tensorboardX"):
        with contextlib.suppress(ImportError):
            __import__(optional)
    with tempfile.TemporaryDirectory() as folder:
        chaos(options, pathlib.Path(folder))


if __name__ == "__main__":
    main()
