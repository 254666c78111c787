"""Tracking services, in addition to the run's own files: TensorBoard, Weights & Biases, MLflow."""

import dataclasses
import importlib.util
import json
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.keys import Key, Table, defaults_of
from ipixmatch_jax.paths import AnyPath, is_remote
from ipixmatch_jax.registry import Registry
from ipixmatch_jax.tracking.histograms import Histogram
from ipixmatch_jax.workdir.folder import write_whole

_LONGEST_VALUE = 500


def _service_names() -> list[str]:
    return SERVICES.names()


TRACKING_KEYS: Table = {
    "writers": Key(
        ("tensorboard",),
        "services that receive metrics and images, in addition to the run's own files",
        choices=_service_names,
    ),
    "project": Key("ipixmatch", "project in Weights & Biases; experiment in MLflow"),
    "images": Key(4, "validation images logged at every evaluation", least=0, most=1000),
    "histograms": Key(
        24, "groups of parameters with a histogram at every evaluation", least=0, most=100_000
    ),
}


def tracking_defaults() -> dict[str, Any]:
    """The keys of `config.tracking` with their defaults."""
    return defaults_of(TRACKING_KEYS)


@dataclasses.dataclass(frozen=True)
class TrackedRun:
    """Description of a run, passed to every service.

    Attributes:
        workdir: folder of the run; its last part is the run's name.
        start_step: step from which the run resumes; later steps are logged again.
        project: `config.tracking.project`.
        config: key → value.
    """

    workdir: AnyPath
    start_step: int = 0
    project: str = ""
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.workdir.absolute().name

    def identity(self, service: str) -> str | None:
        """The id that the service gave this run at its first start, from `tracking.json`."""
        return self._identities().get(service)

    def remember(self, service: str, identity: str) -> None:
        known = self._identities()
        if known.get(service) != identity:
            text = json.dumps({**known, service: identity}, indent=2) + "\n"
            write_whole(self.workdir / "tracking.json", text)

    def _identities(self) -> dict[str, str]:
        path = self.workdir / "tracking.json"
        return json.loads(path.read_text()) if path.exists() else {}


class Service(Protocol):
    """A tracking service. Only the first process opens any; steps never decrease.

    Attributes:
        package: the package that it imports.
        needed: whether a missing package is an error; otherwise the run goes on without it.
        local: whether it needs a workdir on a file system, not in an object store.
    """

    package: ClassVar[str]
    needed: ClassVar[bool]
    local: ClassVar[bool]

    def __init__(self, run: TrackedRun): ...

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Named finite numbers."""

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Named images, uint8 [H, W, 3]."""

    def histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        """Named histograms."""

    def close(self) -> None: ...


SERVICES: Registry[type[Service]] = Registry("writer")


def check_installed(names: Sequence[str]) -> None:
    """Checks that the packages of the services are installed; TensorBoard's may be missing.

    Raises:
        ConfigError: a package is missing.
    """
    for name in names:
        package = SERVICES[name].package
        if SERVICES[name].needed and not _found(package):
            raise ConfigError(
                f"tracking.writers has {name!r}, whose package {package!r} is not installed; "
                f"run: pip install {package}, or remove it from tracking.writers"
            )


def open_services(names: Sequence[str], run: TrackedRun) -> list[Service]:
    """Opens the named services.

    Raises:
        ConfigError: one cannot be opened.
    """
    opened = []
    for name in names:
        service = SERVICES[name]
        if not _found(service.package) or (service.local and is_remote(run.workdir)):
            continue
        try:
            opened.append(service(run))
        except Exception as error:  # a service's own errors: no key, no network, a full disk
            for one in opened:
                one.close()
            raise ConfigError(
                f"tracking.writers has {name!r}, which cannot be opened: {error}; fix that, or "
                "remove it from tracking.writers"
            ) from error
    return opened


def _found(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


@SERVICES.register("tensorboard")
class TensorBoard:
    """Event files in the workdir. They are appended to, which object stores cannot do."""

    package = "tensorboardX"
    needed = False
    local = True

    def __init__(self, run: TrackedRun):
        # Not SummaryWriter: it writes in a thread, and if the thread dies of a full disk, training
        # waits for it forever.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        self._summary, self._event = summary, event_pb2.Event
        # Also of a run that begins anew because it has no checkpoint.
        again = run.start_step or any(run.workdir.glob("events.*"))
        self._file = EventsWriter(str(run.workdir / "events"))
        if again:
            # Hides the events that a killed run wrote after its last checkpoint.
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(run.start_step + 1, session_log=start)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._write(step, summary=self._summary.scalar(name, value))
        self._file.flush()

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._write(step, summary=self._summary.image(name, image, dataformats="HWC"))
        self._file.flush()

    def histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        for name, (counts, edges) in histograms.items():
            middles = (edges[1:] + edges[:-1]) / 2
            shown = self._summary.histogram_raw(
                name,
                min=float(edges[0]),
                max=float(edges[-1]),
                num=int(counts.sum()),
                sum=float(counts @ middles),
                sum_squares=float(counts @ middles**2),
                bucket_limits=edges[1:].tolist(),
                bucket_counts=counts.tolist(),
            )
            self._write(step, summary=shown)
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        self._file.write_event(self._event(step=step, wall_time=time.time(), **content))


@SERVICES.register("wandb")
class WeightsAndBiases:
    """A run of Weights & Biases; a resumed run continues it by its id."""

    package = "wandb"
    needed = True
    local = False

    def __init__(self, run: TrackedRun):
        import wandb

        self._wandb = wandb
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=run.identity("wandb"),
            resume="allow",
            dir=None if is_remote(run.workdir) else str(run.workdir),
            config={key: _plain(value) for key, value in run.config.items()},
        )
        run.remember("wandb", self._run.id)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        self._run.log({name: self._wandb.Image(image) for name, image in images.items()}, step=step)

    def histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        shown = {n: self._wandb.Histogram(np_histogram=h) for n, h in histograms.items()}
        self._run.log(shown, step=step)

    def close(self) -> None:
        self._run.finish()


@SERVICES.register("mlflow")
class MLflow:
    """A run of MLflow at MLFLOW_TRACKING_URI; a resumed run continues it by its id.

    MLflow has no histograms.
    """

    package = "mlflow"
    needed = True
    local = False

    def __init__(self, run: TrackedRun):
        import mlflow

        self._mlflow = mlflow
        known = run.identity("mlflow")
        if known:
            mlflow.start_run(run_id=known)
            return
        mlflow.set_experiment(run.project)
        run.remember("mlflow", mlflow.start_run(run_name=run.name).info.run_id)
        values = {key: str(value)[:_LONGEST_VALUE] for key, value in run.config.items()}
        mlflow.log_params(values)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self._mlflow.log_metrics({_allowed(n): value for n, value in values.items()}, step=step)

    def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        for name, image in images.items():
            self._mlflow.log_image(image, key=_allowed(name).replace("/", "_"), step=step)

    def histograms(self, step: int, histograms: Mapping[str, Histogram]) -> None:
        pass

    def close(self) -> None:
        self._mlflow.end_run()


def _allowed(name: str) -> str:
    """The name with only the characters that MLflow accepts."""
    return re.sub(r"[^\w.\- /]", "_", name)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str | None) else str(value)
