"""HTTP connections that cannot lock others out: silent ones end, and make room when it is scarce.

Based on uvicorn's protocol, which waits for ever for a request that does not come.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 64
HEADER_SECONDS = 10.0


class BoundedProtocol(H11Protocol):
    """Closes connections without a whole request after HEADER_SECONDS.

    Of more than MOST_CONNECTIONS, the oldest one that still owes a part of its request is closed,
    so that a new one always gets an answer.
    """

    _timer: asyncio.TimerHandle | None = None
    _since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Registers the connection, and closes an old one if there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._watch()
        if len(self.connections) > MOST_CONNECTIONS:
            owing = [c for c in self.connections if c is not self and c.owes_request()]
            oldest = min(owing, key=lambda c: c._since, default=self)
            oldest.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Handles a part of a request."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def owes_request(self) -> bool:
        """True if the client has not sent a whole request yet."""
        return self._idle() or self.cycle.more_body

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Starts the clock with the first byte of a request, and stops it with its header."""
        if not self._idle() and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif self._idle() and self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        self._timer = None
        if self._idle():
            self.transport.abort()
