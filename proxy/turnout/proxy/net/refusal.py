"""Connections beyond what the proxy takes on: 503 and closed, at the cost of hardly more than to accept them.

The answer is made once. It is sent when the client begins to speak, since a connection that nobody asked anything on
must not answer, and closed in two steps (see `downstream`), within `linger_s` in all. Only so many are held that way;
those beyond are cut at once.
"""

import asyncio
import resource
from collections.abc import Callable
from typing import cast

from turnout.proxy import errors
from turnout.proxy.exchange.answers import encode_error
from turnout.proxy.http.head import RequestHead, ResponseHead
from turnout.proxy.http1.encode import encode_response

LINGER_S = 1.0
MAX_HELD = 1_024
HELD_DESCRIPTORS = 8
"""One in so many of the process's descriptors: they are what is spare, and connections to endpoints need it too."""


class Refusals:
    """Makes the protocols of refused connections. `on_refused` is told of each; at most `max_held` are answered at a
    time, or fewer if descriptors are few, each within `linger_s`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_refused: Callable[[], None], *, linger_s: float = LINGER_S,
        max_held: int = MAX_HELD,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._on_refused = on_refused
        self._linger_s = linger_s
        self._max_held = min(max_held, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // HELD_DESCRIPTORS)
        self.answer = _encode_answer()
        self.held: set[Refused] = set()

    def refuse(self) -> "Refused":
        """The protocol of one connection."""
        return Refused(self)

    def hold(self, connection: "Refused") -> asyncio.TimerHandle | None:
        """Keep it for a moment, to be answered; None: there are too many of them."""
        self._on_refused()
        if len(self.held) >= self._max_held:
            return None
        self.held.add(connection)
        return self._loop.call_later(self._linger_s, connection.close_now)

    def close(self) -> None:
        """Cut all that are held."""
        for connection in list(self.held):
            connection.close_now()


class Refused(asyncio.Protocol):
    """A connection that gets the answer, whatever it asks."""

    __slots__ = ("_answered", "_handle", "_refusals", "_transport")

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._transport = cast(asyncio.Transport, None)
        self._handle: asyncio.TimerHandle | None = None
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._handle = self._refusals.hold(self)
        if self._handle is None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """What comes after the first bytes is read and dropped: unread, it would turn the close into a reset."""
        if not self._answered and not self._transport.is_closing():
            self._answered = True
            self._transport.write(self._refusals.answer)
            self._transport.write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._refusals.held.discard(self)
        if self._handle is not None:
            self._handle.cancel()

    def close_now(self) -> None:
        self._transport.abort()


def _encode_answer() -> bytes:
    failure = errors.OVERLOADED
    body = encode_error(failure, RequestHead(), "too many connections")
    head = ResponseHead([(b"content-type", b"application/json"), (b"x-envoy-overloaded", b"true")], failure.status)
    head.length = len(body)
    return encode_response(head, body, True, b"close")
