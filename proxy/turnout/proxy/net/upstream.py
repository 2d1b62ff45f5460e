"""One connection to an endpoint: idle in the pool, or lent to one exchange; never more than one request on it."""

import asyncio
import os
import socket
from typing import TYPE_CHECKING, cast

from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.exchange import Exchange
from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import CHUNKED, Data, RequestHead, ResponseHead
from turnout.proxy.http1.encode import encode_chunk, encode_request
from turnout.proxy.http1.heads import COPIED_BYTES
from turnout.proxy.http1.response import ResponseDecoder, State
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net.timers import NEVER

if TYPE_CHECKING:
    from turnout.proxy.net.pool import Pool

_DONE = int(State.DONE)

READ_BYTES = 65_536
KEEP_ALIVE_SHARE = 0.8
"""How much of the time that an upstream announces in Keep-Alive we use of it, to close before it does."""


class UpstreamConnection(asyncio.Protocol):
    """The asyncio protocol of a connection that we made, and the upstream of an exchange."""

    __slots__ = (
        "__weakref__", "_chunked", "_decoder", "_exchange", "_paused", "_pool", "_reusable", "_spare", "_transport",
        "counted", "endpoint", "idle_since", "idle_timeout_s", "wake",
    )  # fmt: skip

    def __init__(
        self, pool: "Pool", endpoint: Endpoint, heads: ResponseHeads, max_head_bytes: int, idle_timeout_s: float
    ) -> None:
        self._pool = pool
        self._decoder = ResponseDecoder(self, heads, max_head_bytes)
        self._exchange: Exchange | None = None
        self._transport = cast(asyncio.Transport, None)
        self._chunked = self._paused = False
        self._reusable = True
        self._spare: socket.socket | None = None
        """A second descriptor, while a request is sent whose body is still to come."""
        self.endpoint = endpoint
        self.idle_since = 0.0
        self.idle_timeout_s = idle_timeout_s
        self.counted = False
        self.wake = NEVER

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.endpoint.key} {'busy' if self._exchange else 'idle'} {self._decoder!r}>"

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._decoder.feed(data)
        except MalformedError as error:
            exchange = self._exchange
            if exchange is not None:
                exchange.on_upstream_malformed(str(error))
            else:
                self.close()

    def eof_received(self) -> None:
        """The upstream closed; the loop tells `connection_lost` next, until then nobody may borrow this."""
        if self._exchange is None:
            self._pool.forget(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.counted:
            self._pool.on_lost(self)
        if error is not None and self._exchange is not None:
            self._read_what_is_left()
        self._drop_spare()
        exchange = self._exchange
        if exchange is None:
            return
        self._reusable = False
        if error is not None or not self._decoder.feed_eof():
            self._exchange = None
            exchange.on_upstream_gone(str(error) if error else "")

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.on_upstream_blocked(True)

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.on_upstream_blocked(False)

    def on_timer(self, now: float) -> float:
        """Close when idle for too long; while lent there is no deadline here, the exchange has its own."""
        if self._exchange is not None or self._transport.is_closing():
            return NEVER
        deadline = self.idle_since + self.idle_timeout_s
        if now < deadline:
            return deadline
        self.close()
        return NEVER

    # From the decoder

    def on_interim(self, head: ResponseHead) -> None:
        if self._exchange is not None:
            self._exchange.on_interim(head)

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        self._reusable = head.keep_alive
        if head.keep_alive_s is not None:
            self.idle_timeout_s = min(self.idle_timeout_s, head.keep_alive_s * KEEP_ALIVE_SHARE)
        if self._exchange is not None:
            self._exchange.on_response(head, data, end)

    def on_response_body(self, data: bytes, end: bool) -> None:
        if self._exchange is not None:
            self._exchange.on_response_body(data, end)

    def on_tunnel_data(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.on_upstream_tunnel_data(data)

    # From the exchange

    def send_request(self, exchange: Exchange, head: RequestHead, data: Data, end: bool) -> None:
        self._exchange = exchange
        if not end:
            self._spare = socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno()))
        self._chunked = head.length == CHUNKED
        self._decoder.expect(head.method)
        if len(data) < COPIED_BYTES or self._chunked:
            self._transport.write(encode_request(head, data, end))
        else:
            self._transport.writelines((encode_request(head, b"", end), data))

    def send_body(self, data: Data, end: bool) -> None:
        if self._chunked:
            exchange = self._exchange
            self._transport.write(encode_chunk(data, end, exchange.head.trailers if exchange and end else []))
        elif data:
            self._transport.write(data)

    def send_tunnel_data(self, data: bytes) -> None:
        self._transport.write(data)

    def give_back(self, now: float) -> None:
        """The answer is complete: back into the pool, if both sides want to."""
        self._exchange = None
        if self._spare is not None:
            self._drop_spare()
        if self._paused:
            self.resume_reading()
        transport = self._transport
        reusable = self._reusable and self._decoder.state == _DONE and not transport.get_write_buffer_size()
        if reusable and not transport.is_closing():
            self.idle_since = now
            self._pool.put(self)
        else:
            self.close()

    def abort(self) -> None:
        self._exchange = None
        self._transport.abort()

    def close(self) -> None:
        """Close an idle connection, or one that is not wanted back."""
        self._pool.forget(self)
        self._transport.close()

    def _read_what_is_left(self) -> None:
        """An upstream that refuses an upload answers, and closes with bytes unread, which resets the connection.

        The loop closes its descriptor when a write fails so; the answer is still in the socket, behind the spare one.
        """
        try:
            while self._spare is not None and (data := self._spare.recv(READ_BYTES)):
                self._decoder.feed(data)
        except (OSError, MalformedError):
            pass  # nothing more to be had; what is missing is told as the end of the connection

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def pause_reading(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
