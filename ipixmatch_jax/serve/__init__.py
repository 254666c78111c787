"""`--mode serve`: a local page to try a trained network on photos."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.serve.photo_predictions import Limits, PhotoPredictor

_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


def serve(
    config: ConfigDict,
    workdir: AnyPath,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    names: Sequence[str] = (),
    checkpoint: str = "latest",
    network: str = "teacher",
    limits: Limits | None = None,
) -> None:
    """Serves the page until Ctrl-C or SIGTERM; a photo in progress is finished first.

    Args:
        config: config of the run.
        workdir: folder of the run. The training data is not needed.
        host: address to listen on; by default only this machine can reach it.
        port: port to listen on; 0: any free one.
        names: further host names by which a browser may call the server.
        checkpoint: `latest`, `best` or a step.
        network: the network that the page shows first.
        limits: limits for an upload.

    Raises:
        ConfigError: the extra `serve` is not installed, or the server cannot listen on the address.
        CheckpointError: the run has no such checkpoint.
    """
    limits = limits or Limits()
    try:
        import uvicorn

        from ipixmatch_jax.serve.app import make_app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--mode serve needs {error.name}, which is not installed; "
            "run: pip install 'ipixmatch-jax[serve]'"
        ) from None
    with _listening(host, port) as listening:
        predictor = PhotoPredictor(
            config, workdir, checkpoint=checkpoint, network=network, limits=limits
        )
        app = make_app(predictor, limits, (*_OWN_NAMES, host, *names))
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            limit_concurrency=64,
        )
        _introduce(predictor, listening, host)
        with _signals_stop_it():
            uvicorn.Server(settings).run(sockets=[listening])
    print("\nstopped", flush=True)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {host}, port {port} ({reason}); "
            "expected an address of this machine and a free port; set --host and --port"
        ) from None


def _introduce(predictor: PhotoPredictor, listening: socket.socket, host: str) -> None:
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    print(f"{predictor.title}, step {predictor.step}: http://{shown}:{port}")
    if not _is_loopback(host):
        print("other machines can reach it, and there is no password")
    print("Ctrl-C stops it after the current photo", flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextlib.contextmanager
def _signals_stop_it() -> Iterator[None]:
    # After it has stopped, uvicorn raises the signal again, for its caller.
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: None) for number in stopping}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def limits_of(megabytes: float, megapixels: float, side: int) -> Limits:
    """The limits from their flags.

    Raises:
        ConfigError: an impossible limit, with its flag.
    """
    for flag, value in (("--max_megabytes", megabytes), ("--max_megapixels", megapixels)):
        if not value > 0:
            raise ConfigError(f"{flag} is {value:g}; expected more than 0")
    if side < 64 or side % 64:
        raise ConfigError(f"--max_side is {side}; expected a multiple of 64, as 1024")
    return Limits(bytes=int(megabytes * 1e6), pixels=int(megapixels * 1e6), side=side)
