"""The web application: one page and one address that takes photos. It reads no file by name."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipixmatch_jax.errors import UserError
from ipixmatch_jax.serve.photo_predictions import PhotoPredictor
from ipixmatch_jax.serve.upload_limits import Limits, TooLarge
from ipixmatch_jax.web.assets import asset, assets

# The page shares parts with the report.
_STYLES = ("web/page.css", "serve/serve.css")
_SCRIPTS = ("web/charts.js", "web/theme.js", "web/explorer.js", "serve/serve.js")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
# One is predicted, the others wait.
_MOST_PHOTOS = 4
_UPLOAD_SECONDS = 60
# Of more uploads that are still arriving at once, the oldest is given up.
_MOST_ARRIVING = 8


def make_app(predictor: PhotoPredictor, limits: Limits, names: Sequence[str]) -> Starlette:
    """The application.

    Args:
        predictor: its `predict` is called by one thread at a time.
        limits: limits for an upload.
        names: host names by which a browser may call the server.
    """
    uploads = _Uploads(predictor, limits)
    return Starlette(
        routes=[
            Route("/", _fixed(asset("serve/page.html"), "text/html")),
            Route("/style.css", _fixed(assets(_STYLES), "text/css")),
            Route("/script.js", _fixed(f"'use strict';\n{assets(_SCRIPTS)}", "text/javascript")),
            Route("/about", lambda request: JSONResponse(predictor.about())),
            Route("/predict", uploads.predict, methods=["POST"]),
        ],
        middleware=[Middleware(_Guard, names=names)],
        exception_handlers={
            HTTPException: lambda _, error: _refusal(error.status_code, error.detail),
            TooLarge: lambda _, error: _refusal(413, str(error)),
            UserError: lambda _, error: _refusal(400, str(error)),
            ClientDisconnect: lambda _, error: _refusal(400, "the browser went away"),
            Exception: lambda _, error: _refusal(
                500, "something went wrong; the terminal of the server says what"
            ),
        },
    )


def _fixed(text: str, kind: str):
    async def answer(request: Request) -> Response:
        return Response(text, media_type=kind)

    return answer


def _refusal(status: int, message: str) -> JSONResponse:
    # The rest of a body that was refused is not read, so nothing can follow on the connection.
    return JSONResponse({"error": message}, status, {"connection": "close"})


class _Uploads:
    """Takes photos and has them predicted one after the other."""

    def __init__(self, predictor: PhotoPredictor, limits: Limits):
        self._predictor, self._limits = predictor, limits
        self._waiting, self._turn = 0, asyncio.Lock()
        self._arriving: list[asyncio.Timeout] = []

    async def predict(self, request: Request) -> Response:
        data = await self._body(request)
        with self._place():
            async with self._turn:
                return JSONResponse(await run_in_threadpool(self._predictor.predict, data))

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._waiting >= _MOST_PHOTOS:
            raise HTTPException(503, f"{self._waiting} photos are waiting; try again in a while")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _body(self, request: Request) -> bytes:
        # A page of another origin cannot send these types without asking the server first.
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise HTTPException(
                415,
                f"the request's content type is {kind or 'missing'}; expected the photo itself as "
                "the body, with the type image/… or application/octet-stream",
            )
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limits.bytes:
            raise self._too_many(int(declared))
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS) as timeout:
                self._arriving.append(timeout)
                if len(self._arriving) > _MOST_ARRIVING:
                    self._arriving.pop(0).reschedule(0)  # a time that has passed
                return await self._whole(request)
        except TimeoutError:
            raise HTTPException(
                408, f"the photo did not arrive in time (at most {_UPLOAD_SECONDS} s)"
            ) from None
        finally:
            if timeout in self._arriving:
                self._arriving.remove(timeout)

    async def _whole(self, request: Request) -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._limits.bytes:
                raise self._too_many(len(body))
        return bytes(body)

    def _too_many(self, found: int) -> HTTPException:
        return HTTPException(
            413,
            f"the file has {found / 1e6:.1f} MB or more; at most {self._limits.bytes / 1e6:g} are "
            "accepted; shrink it, or use --mode predict",
        )


class _Guard:
    """Refuses requests that a browser makes for pages of other origins.

    A page can let its own name resolve to this machine (DNS rebinding): its requests then carry
    that name as Host. Requests across origins carry the page's Origin, or a Sec-Fetch-Site.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]):
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), scope["method"])
        answer = refusal or self._app

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        await answer(scope, receive, send_guarded)

    def _refusal(self, headers: Headers, method: str) -> Response | None:
        host = headers.get("host", "")
        if _hostname(host) not in self._names:
            return _refusal(
                421,
                f"this server does not answer to {host!r}; expected "
                f"{', '.join(sorted(self._names))}; start it with --host-names to add one",
            )
        origin = headers.get("origin")
        try:
            foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        except ValueError:
            return _refusal(400, f"the request's origin {origin!r} is not an address")
        site = headers.get("sec-fetch-site", "same-origin")
        if foreign or (method not in ("GET", "HEAD") and site not in ("same-origin", "none")):
            return _refusal(
                403, "only this server's own page may send photos; open it and try there"
            )
        return None


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
