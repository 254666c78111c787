"""`--mode serve`: a local page to try a trained network on photos."""

import contextlib
import ipaddress
import signal
import socket
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from ipixmatch_jax.errors import ConfigError
from ipixmatch_jax.outputs import next_command
from ipixmatch_jax.paths import AnyPath
from ipixmatch_jax.serve.upload_limits import Limits, limits_of

__all__ = ["Limits", "limits_of", "serve"]

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
        from ipixmatch_jax.serve.connections import BoundedProtocol
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--mode serve needs {error.name}, which is not installed; "
            "run: pip install 'ipixmatch-jax[serve]'"
        ) from None
    # Not at the top: the process that decodes photos imports this package, but no model.
    from ipixmatch_jax.serve.photo_predictions import PhotoPredictor

    with _listening(host, port) as listening, contextlib.ExitStack() as ending:
        predictor = PhotoPredictor(
            config, workdir, checkpoint=checkpoint, network=network, limits=limits
        )
        ending.callback(predictor.close)
        app = make_app(predictor, limits, (*_OWN_NAMES, host, *names))
        settings = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            http=BoundedProtocol,
        )
        _introduce(f"{predictor.title}, step {predictor.step}", listening, host)
        with _signals_stop_it():
            uvicorn.Server(settings).run(sockets=[listening])
    print("\nstopped")
    print(next_command(workdir, "--mode", "predict", "--input", "PHOTOS"), flush=True)


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


def _introduce(title: str, listening: socket.socket, host: str) -> None:
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    print(f"{title}: http://{shown}:{port}")
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
