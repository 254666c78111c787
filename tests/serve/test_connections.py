"""A real server with slow, silent and misbehaving clients."""

import asyncio
import contextlib
import socket
import threading
import time
import urllib.request

import pytest

uvicorn = pytest.importorskip("uvicorn")

from ipixmatch_jax.serve import connections  # noqa: E402
from ipixmatch_jax.serve.app import make_app  # noqa: E402
from ipixmatch_jax.serve.upload_limits import Limits  # noqa: E402


class _Instant:
    """Stands for a predictor."""

    def predict(self, data):
        return {"bytes": len(data)}

    def about(self):
        return {}


@pytest.fixture
def address():
    """(host, port) of the application in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = make_app(_Instant(), Limits(bytes=1_000_000), ("127.0.0.1",))
    settings = uvicorn.Config(
        app, log_level="critical", lifespan="off", ws="none", http=connections.BoundedProtocol
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
    )
    thread.start()
    yield listening.getsockname()
    server.should_exit = True
    thread.join(20)


def connected(address, text=""):
    client = socket.create_connection(address, timeout=10)
    client.sendall(text.encode())
    return client


def head(length, address):
    return (
        f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:{address[1]}\r\n"
        f"content-type: image/png\r\ncontent-length: {length}\r\n\r\n"
    )


def status(address, path="/about"):
    with urllib.request.urlopen(f"http://127.0.0.1:{address[1]}{path}", timeout=10) as answer:
        return answer.status


@pytest.mark.parametrize("what", ["silent", "half a header", "half a body"])
def test_many_slow_clients_lock_nobody_out(address, what):
    text = {
        "silent": "",
        "half a header": "GET / HTTP/1.1\r\nhost: x",
        "half a body": head(1000, address) + "x",
    }[what]
    with contextlib.ExitStack() as stack:
        for _ in range(90):
            stack.enter_context(contextlib.closing(connected(address, text)))
        time.sleep(0.2)
        assert status(address) == 200
        client = stack.enter_context(contextlib.closing(connected(address, head(3, address))))
        client.sendall(b"abc")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_request_that_does_not_come_ends_its_connection(address, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    for text in ("", "GET / HTT"):
        with contextlib.closing(connected(address, text)) as client:
            begin = time.monotonic()
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(100) == b""
            assert time.monotonic() - begin < 5


@pytest.mark.parametrize("length", [50_000_000, 10**12])
def test_the_rest_of_a_refused_body_is_not_read(address, length):
    with contextlib.closing(connected(address, head(length, address))) as client:
        sent = 0
        with contextlib.suppress(OSError):  # the server has closed the connection
            while sent < 40_000_000:
                sent += client.send(bytes(1_000_000))
        assert sent < 20_000_000  # what fits into the buffers of both sides
    with contextlib.closing(connected(address, head(length, address))) as client:
        answer = client.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 413") and b"connection: close" in answer
