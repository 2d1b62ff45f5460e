"""One connection to an endpoint: idle in the pool, or lent to one exchange; never more than one request on it."""

import asyncio
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Final, cast

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.exchange.sides import Requester
from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import CHUNKED, Data, RequestHead, ResponseHead
from turnout.proxy.http1.encode import encode_chunk, encode_request
from turnout.proxy.http1.heads import COPIED_BYTES
from turnout.proxy.http1.response import ResponseDecoder, State
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net.timers import NEVER
from turnout.proxy.net.tls.failures import describe_failure, is_rejection
from turnout.proxy.net.tls.upstream import UpstreamContext

if TYPE_CHECKING:
    from turnout.proxy.net.pool import Pool

_DONE: Final = int(State.DONE)
_PLAIN: Final = frozenset({int(State.BODY), int(State.UNTIL_CLOSE)})
"""States in which what comes has no framing."""

READ_BYTES: Final = 65_536
SLICE_BYTES: Final = 2_048
"""Of a copy's answer with framing in it: a read of 256 KiB may be 43,690 chunks, which keep a worker for 0.1 s."""
REST_BYTES: Final = 262_144
"""Of a copy's answer, what is read at most once its connection has broken: as much as the loop reads at a time."""
TUNNEL_END_S: Final = 5.0
"""How long the endpoint of a tunnel has to take the last bytes of a client that has closed."""
_COUNT: Final = struct.Struct("=Q")
_ACKNOWLEDGED_AT: Final = 120
_SENT_AT: Final = 200
"""`tcpi_bytes_acked` and `tcpi_bytes_sent` in Linux's `struct tcp_info`."""
KEEP_ALIVE_SHARE: Final = 0.8
"""How much of the time that an upstream announces in Keep-Alive we use of it, to close before it does."""


class UpstreamConnection:
    """The asyncio protocol of a connection that we made, and the upstream of an exchange."""

    __slots__ = (
        "__weakref__", "_chunked", "_decoder", "_ended", "_error", "_exchange", "_is_lost", "_paused", "_pool",
        "_request_at", "_rest", "_reusable", "_spare", "_transport", "_unsent", "_written", "cluster", "counted",
        "endpoint", "idle_since", "idle_timeout_s", "tls", "wake",
    )  # fmt: skip

    def __init__(
        self, pool: "Pool", cluster: Cluster, endpoint: Endpoint, heads: ResponseHeads, max_head_bytes: int,
        tls: UpstreamContext | None = None,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._decoder = ResponseDecoder(self, heads, max_head_bytes)
        self._exchange: Requester | None = None
        self._transport = cast(asyncio.Transport, None)
        self._chunked = self._paused = self._ended = False
        self._reusable = True
        self._spare: socket.socket | None = None
        """A second descriptor, while a request is sent whose body is still to come."""
        self._unsent = b""
        """A whole request that goes out at the end of the turn."""
        self._rest = b""
        """What was read of a copy's answer, and waits for its turn; also once the connection `_is_lost`."""
        self._is_lost = False
        self._error: Exception | None = None
        self._written = self._request_at = 0
        """Bytes of all requests, and of those before the present one."""
        self.cluster = cluster
        self.endpoint = endpoint
        self.idle_since = 0.0
        self.idle_timeout_s = cluster.config.pool_idle_timeout_s
        self.counted = False
        self.tls = tls
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
        if self._unsent:
            self._refuse_unasked()
            return
        if len(data) > SLICE_BYTES or self._rest:
            exchange = self._exchange
            if exchange is not None and exchange.is_copy() and self._decoder.state not in _PLAIN:
                self._rest += data
                self._feed_slices()
                return
        self._feed(data)

    def _feed_slices(self) -> None:
        """A little at a time, and no more once that was enough for now."""
        while self._rest and not self._paused:
            exchange = self._exchange
            if exchange is None:  # it is over, and what is left belongs to nobody
                self._rest = b""
                return
            piece, self._rest = self._rest[:SLICE_BYTES], self._rest[SLICE_BYTES:]
            exchange.on_slice(len(piece))
            self._feed(piece)

    def _go_on(self) -> None:
        """Reading goes on: first with what was read."""
        self._feed_slices()
        if self._paused:
            return
        if self._is_lost:
            self._end(self._error)
        elif not self._transport.is_closing():
            self._transport.resume_reading()

    def _feed(self, data: bytes) -> None:
        try:
            self._decoder.feed(data)
        except MalformedError as error:
            exchange = self._exchange
            if exchange is not None:
                exchange.on_upstream_malformed(str(error))
            else:
                self.close()

    def eof_received(self) -> None:
        """The upstream closed; the loop tells `connection_lost` next, until then nobody may borrow this. Under TLS it
        has said so by an alert."""
        self._ended = True
        if self._exchange is None:
            self._pool.forget(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self.counted:
            self._pool.on_lost(self)
        if error is not None and self._exchange is not None:
            self._read_what_is_left()
        self._feed_slices()
        if self._rest and self._exchange is not None:
            self._is_lost, self._error = True, error  # what came before the end is read first
        else:
            self._end(error)

    def _end(self, error: Exception | None) -> None:
        """All that came is read: was it an answer?"""
        exchange = self._exchange
        if exchange is not None:
            self._reusable = False
            # Under TLS an end without its alert may be anybody's, and ends no answer (RFC 9112 §9.8).
            is_torn = error is not None or (self.tls is not None and not self._ended)
            if is_torn and self._is_refused(error):
                exchange.on_connect_failed(self._pool.on_tls_failure(self, error))
            elif is_torn or not self._decoder.feed_eof():
                self._exchange = None
                exchange.on_upstream_gone(_describe(error), self._is_lost or self._may_have_arrived(error))
        self._drop_spare()

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

    def send_request(self, exchange: Requester, head: RequestHead, data: Data, end: bool) -> None:
        self._exchange = exchange
        if not end and self.tls is None:
            self._spare = socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno()))
        self._chunked = head.length == CHUNKED
        self._decoder.expect(head.method)
        self._request_at = self._written
        if len(data) < COPIED_BYTES or self._chunked:
            message = encode_request(head, data, end)
            self._written += len(message)
            if end:
                self._unsent = message
                self._pool.turn.add(self)
            else:
                self._transport.write(message)
        else:
            message = encode_request(head, b"", end)
            self._written += len(message) + len(data)
            self._transport.writelines((message, data))

    def send_body(self, data: Data, end: bool) -> None:
        if self._is_lost:
            return  # there is nobody to take it; what came of the answer is still being read
        if self._chunked:
            exchange = self._exchange
            chunk = encode_chunk(data, end, exchange.head.trailers if exchange and end else [])
            self._written += len(chunk)
            self._transport.write(chunk)
        elif data:
            self._written += len(data)
            self._transport.write(data)

    def send_tunnel_data(self, data: bytes) -> None:
        self._transport.write(data)

    def unsent_bytes(self) -> int:
        """What the endpoint has not taken yet, and what waits here of a copy's answer."""
        written = 0 if self._is_lost else self._transport.get_write_buffer_size()
        return written + len(self._unsent) + len(self._rest)

    def flush(self) -> None:
        """Write what waits for the end of the turn."""
        if self._unsent and not self._transport.is_closing():
            message, self._unsent = self._unsent, b""
            self._transport.write(message)

    def give_back(self, now: float) -> None:
        """The answer is complete: back into the pool, if both sides want to."""
        self._exchange = None
        if self._spare is not None:
            self._drop_spare()
        if self._paused:
            self.resume_reading()
        transport = self._transport
        reusable = self._reusable and self._decoder.state == _DONE and not self._rest
        if reusable and not transport.get_write_buffer_size() and not transport.is_closing():
            self.idle_since = now
            self._pool.put(self)
        else:
            self.close()

    def abort(self) -> None:
        self._exchange = None
        self._unsent = self._rest = b""
        self._drop_spare()
        self._transport.abort()

    def end_tunnel(self) -> None:
        """What the client said before it closed is sent, if that is taken in time; what comes is for nobody."""
        self._exchange = None
        self._transport.close()
        if self._transport.get_write_buffer_size():
            asyncio.get_running_loop().call_later(TUNNEL_END_S, self._transport.abort)

    def close_now(self) -> None:
        """Whoever wanted it is gone; it may not be there yet."""
        if not self.is_closing:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection, or one that is not wanted back."""
        self._pool.forget(self)
        self._transport.close()

    def _refuse_unasked(self) -> None:
        """What comes before the request went out answers none, and what answers it could not be told from there on
        (RFC 9112 §9.2): a 408 of an endpoint that tires of waiting, or worse."""
        exchange = self._exchange
        self.abort()
        if exchange is not None:
            exchange.on_upstream_gone("bytes that belong to no request", False)

    def _may_have_arrived(self, error: Exception | None) -> bool:
        """Whether any byte of the present request may have reached the endpoint.

        On a kept connection that the endpoint closed just then, none has: its end comes first, and does not acknowledge
        them (RFC 4898 `HCThruOctetsAcked`; it begins with 1, the SYN). Such a request can be sent again whatever its
        method is. A reset without an end before it says nothing: who has read a request and then breaks off may not
        have acknowledged it yet. Then it matters whether a byte was sent at all. Under TLS the kernel counts other
        bytes than we do, and proves nothing.
        """
        if self._unsent:
            return False
        if self.tls is not None:
            return True
        try:
            # The loop has closed its own descriptor if a write failed.
            sock = self._spare or self._transport.get_extra_info("socket")
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            if error is not None and not isinstance(error, BrokenPipeError):  # which says that an end came before
                return int(_COUNT.unpack_from(info, _SENT_AT)[0]) > self._request_at
            acknowledged: int = _COUNT.unpack_from(info, _ACKNOWLEDGED_AT)[0]
        except (OSError, struct.error):
            return True  # another kernel, or the descriptor is gone
        return acknowledged - 1 > self._request_at or acknowledged == 0

    def _is_refused(self, error: Exception | None) -> bool:
        """Whether the endpoint has refused our certificate in the end of the handshake, and so read no request."""
        return self.tls is not None and not self.idle_since and is_rejection(error)

    def _read_what_is_left(self) -> None:
        """An upstream that refuses an upload answers, and closes with bytes unread, which resets the connection.

        The loop closes its descriptor when a write fails so; the answer is still in the socket, behind the spare one.
        """
        exchange = self._exchange
        is_copy = exchange is not None and exchange.is_copy()
        try:
            while self._spare is not None and (data := self._spare.recv(READ_BYTES)):
                if not is_copy:
                    self._decoder.feed(data)
                elif len(self._rest) < REST_BYTES:
                    self._rest += data
                else:
                    break
        except (OSError, MalformedError):
            pass  # nothing more to be had; what is missing is told as the end of the connection

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def pause_reading(self) -> None:
        if self._paused:
            return
        if not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
        elif self._rest:
            self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            if self._rest:
                asyncio.get_running_loop().call_soon(self._go_on)
            elif not self._transport.is_closing():
                self._transport.resume_reading()


def _describe(error: Exception | None) -> str:
    """What is told of a connection's end."""
    return describe_failure(error)[1] if isinstance(error, ssl.SSLError) else str(error) if error else ""
