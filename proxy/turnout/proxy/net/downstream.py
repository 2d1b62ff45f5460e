"""One connection of a client: bytes to exchanges, answers to bytes; one request at a time, pipelined ones in order.

    reading a head → exchange → (answer is out) → reading the next head … → closing → lost

A connection that must be closed while the client may still be sending is closed in two steps (RFC 9112 §9.6): our
side first, then all when the client has closed too, or after `LINGER_S`; else a reset could destroy the answer in
the client's hands.
"""

import asyncio
import socket
import struct
from typing import Final, cast

from turnout.proxy.errors import HEAD_TIMEOUT, OVERLOADED, Failure
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.filters.peer import UNKNOWN
from turnout.proxy.http.head import CHUNKED, NO_FIELDS, UNTIL_CLOSE, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.http1.encode import encode_chunk, encode_response
from turnout.proxy.http1.heads import COPIED_BYTES
from turnout.proxy.http1.request import RequestDecoder
from turnout.proxy.net.context import ListenerContext
from turnout.proxy.net.http2_downstream import Http2Downstream
from turnout.proxy.net.timers import NEVER
from turnout.proxy.net.tls.handshake import find_tls, speaks_http2
from turnout.proxy.net.turn import MAX_WAITING_BYTES
from turnout.proxy.net.unsent import has_unsent
from turnout.proxy.telemetry.layout import Word

LINGER_S: Final = 1.0
MAX_KEPT_BYTES: Final = 65_536
"""Pipelined bytes that may wait before the client is not read from any more."""

_BY_EXCHANGE: Final = 1
_BY_KEPT: Final = 2
LOOK_S: Final = 1.0
"""While a client is not read from, its end is not told by the loop: so we look, about that often."""
_LEFT: Final = (7, 8)
"""Linux's TCP_CLOSE and TCP_CLOSE_WAIT: it reset the connection, or closed its side."""
_RESET: Final = struct.pack("ii", 1, 0)


class DownstreamConnection:
    """The asyncio protocol of an accepted connection, and the downstream of its exchanges."""

    __slots__ = (
        "__weakref__", "_blocked", "_chunked", "_close_after", "_closing_at", "_cut_at", "_decoder", "_exchange",
        "_head_since", "_is_tls", "_last_active", "_listener", "_paused_by", "_trailers", "_transport", "_unsent",
        "_until_close", "_worker", "peer", "wake",
    )  # fmt: skip

    def __init__(self, listener: ListenerContext) -> None:
        self._listener = listener
        self._worker = worker = listener.worker
        self._decoder = RequestDecoder(self, worker.request_heads, worker.options.max_head_bytes)
        self._exchange: Exchange | None = None
        self._transport = cast(asyncio.Transport, None)
        self.peer = UNKNOWN
        self._head_since = self._last_active = self._closing_at = self._cut_at = 0.0
        self._blocked = self._chunked = self._close_after = self._until_close = self._is_tls = False
        self._paused_by = 0
        self._trailers: Fields = []
        self._unsent = b""
        """Whole answers that go out at the end of the turn."""
        self.wake = NEVER

    def __repr__(self) -> str:
        state = "closing" if self._closing_at else repr(self._exchange) if self._exchange else "idle"
        return f"<DownstreamConnection {state} {self._decoder!r}>"

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        worker = self._worker
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        tls = find_tls(transport)
        self._is_tls = tls is not None
        self.peer = worker.trust.look_up(peername[0] if peername else "", tls)
        self._last_active = now = worker.clock()
        worker.connections.add(self)
        counters = worker.services.counters
        counters.add(Word.CONNECTIONS_ACTIVE)
        counters.add(Word.CONNECTIONS_TOTAL)
        worker.timers.wake_at(self, now + worker.options.downstream_idle_timeout_s)
        if tls is not None and speaks_http2(transport):
            self.on_preface(b"")

    def data_received(self, data: bytes) -> None:
        if self._closing_at:
            return
        self._last_active = self._worker.clock()
        self._decoder.feed(data)
        if self._decoder.kept:
            self._on_kept()

    def eof_received(self) -> None:
        """The client closed: as in Envoy, that ends what it asked for; nobody computes for a reader who left."""
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        worker = self._worker
        worker.services.counters.add(Word.CONNECTIONS_ACTIVE, -1)
        worker.timers.forget(self)
        self._unsent = b""
        self._decoder.stop()
        if self._exchange is not None:
            self._exchange.on_downstream_gone()
        worker.connections.discard(self)
        if not worker.connections:
            worker.on_idle()

    def pause_writing(self) -> None:
        self._blocked = True
        if self._exchange is not None:
            self._exchange.on_downstream_blocked(True)

    def resume_writing(self) -> None:
        self._blocked = False
        if self._exchange is not None:
            self._exchange.on_downstream_blocked(False)
        elif not self._closing_at:
            self._last_active = self._worker.clock()
            self._read_on()

    def on_timer(self, now: float) -> float:
        options = self._worker.options
        if self._paused_by and self._has_left():
            self._transport.abort()
            return NEVER
        if self._exchange is not None:
            self._exchange.on_timer(now)
        elif self._head_since and now >= self._head_since + options.head_timeout_s:
            self._refuse(HEAD_TIMEOUT, "")
        if self._closing_at:
            return self._on_linger(now)
        if self._exchange is not None:
            deadline = self._exchange.next_deadline()
            return min(deadline, now + LOOK_S) if self._paused_by else deadline
        if self._head_since:
            return self._head_since + options.head_timeout_s
        deadline = self._last_active + options.downstream_idle_timeout_s
        if now < deadline:
            return deadline
        self.abort()
        return NEVER

    # From the decoder

    def on_request(self, head: RequestHead, data: Data, end: bool) -> None:
        self._head_since = 0.0
        listener = self._listener
        worker = self._worker
        self._exchange = exchange = Exchange(listener.scope, worker.services, self, head, self._last_active)
        if self._blocked:  # by the last answer, which went out at the end of its turn
            exchange.on_downstream_blocked(True)
        exchange.start(data, end)

    def on_request_body(self, data: bytes, end: bool) -> None:
        if self._exchange is not None:
            self._exchange.on_request_body(data, end)

    def on_request_malformed(self, failure: Failure, reason: str) -> None:
        self._worker.services.counters.add(Word.MALFORMED_TOTAL)
        if self._exchange is not None:
            self._exchange.refuse(failure, reason)
        else:
            self._refuse(failure, reason)

    def on_preface(self, data: bytes) -> None:
        """The client speaks HTTP/2, by prior knowledge or ALPN: another protocol takes over this connection."""
        worker = self._worker
        worker.timers.forget(self)
        worker.connections.discard(self)
        Http2Downstream(self._listener, self._transport, self.peer).start(data)

    def on_tunnel_data(self, data: bytes) -> None:
        if self._exchange is not None:
            self._exchange.on_downstream_tunnel_data(data)

    # From the exchange

    def send_response(self, head: ResponseHead, data: Data, end: bool, close: bool) -> None:
        """Write the answer's head, framed for what the client speaks, with the body that is there."""
        exchange = self._exchange
        assert exchange is not None
        request = exchange.head
        close = close or not request.keep_alive or self._listener.closing
        if head.length < 0:
            close = self._frame_open_ended(head, request) or close
        self._close_after = close
        self._trailers = head.trailers
        connection = b"close" if close else b"" if request.minor else b"keep-alive"
        if len(data) < COPIED_BYTES or self._chunked:
            message = encode_response(head, data, end, connection)
            if not end:
                self._write(message)
            elif self._unsent:
                self._add_unsent(message)
            else:
                self._unsent = message
                self._worker.turn.add(self)
        else:
            self.flush()
            self._transport.writelines((encode_response(head, b"", end, connection), data))

    def _frame_open_ended(self, head: ResponseHead, request: RequestHead) -> bool:
        """An answer whose length is not known: in chunks, or to HTTP/1.0 until the close; whether that is so."""
        if head.bodyless:
            head.length = CHUNKED if head.length == CHUNKED and request.minor else UNTIL_CLOSE
            return False
        head.length = CHUNKED if request.minor else UNTIL_CLOSE
        self._chunked = bool(request.minor)
        self._until_close = not request.minor
        return not request.minor

    def send_interim(self, head: ResponseHead) -> None:
        self._write(encode_response(head, b"", True, b""))

    def send_body(self, data: Data, end: bool) -> None:
        if self._chunked:
            self._write(encode_chunk(data, end, self._trailers))
        elif data:
            self._write(data)

    def begin_tunnel(self, head: ResponseHead) -> None:
        self._close_after = True
        self._write(encode_response(head, b"", True, b"upgrade"))
        self._decoder.tunnel()

    def send_tunnel_data(self, data: bytes) -> None:
        self._write(data)

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        """Cut the answer short, also if the client does not read what was written before.

        Where only the end of the connection would end the answer, that must be a reset.
        """
        self.flush()
        if self._until_close:
            self._tear()
        else:
            self._transport.close()
            self._linger(LINGER_S)

    def _tear(self) -> None:
        """Drop the connection with what the client has not taken, so that it can't take what it has for all."""
        if self._until_close:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:  # under TLS there is none once the other side has gone
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        self._exchange = None
        self._chunked = False
        if self._closing_at or self._transport.is_closing():
            return
        if self._close_after or not request_ended:
            self._begin_closing()
            return
        self._last_active = now
        if not self._blocked:
            self._read_on()

    def pause_reading(self) -> None:
        self._pause(_BY_EXCHANGE)

    def resume_reading(self) -> None:
        self._resume(_BY_EXCHANGE)

    def wake_at(self, deadline: float) -> None:
        if deadline < self.wake:
            self._worker.timers.wake_at(self, deadline)

    # From the worker

    def drain(self) -> None:
        """Nothing is done before the next answer, which says that it is the last."""

    def close_now(self) -> None:
        """The drain is over. What was answered by now can still be read, within `LINGER_S`; an answer that only the end
        of the connection would end is cut by a reset."""
        exchange, transport = self._exchange, self._transport
        if exchange is not None and self._until_close:
            self.abort()
            return
        self.flush()
        if exchange is None and not transport.get_write_buffer_size() and not has_unsent(transport):
            transport.abort()
            return
        if not (self._closing_at or transport.is_closing()):
            self._begin_closing()
        self._linger(LINGER_S)
        if exchange is not None:
            exchange.on_downstream_gone()

    def held_bytes(self) -> int:
        """What is in memory for this connection: of requests, of answers, and what its upstream does not take."""
        exchange = self._exchange
        held = self._transport.get_write_buffer_size() + len(self._unsent) + len(self._decoder.kept)
        return held + exchange.held_bytes() if exchange is not None else held

    def cut(self) -> None:
        """End what it does, for want of memory."""
        if self._exchange is not None:
            self._exchange.refuse(OVERLOADED)
        elif not self._closing_at:
            self.flush()
            self._transport.abort()
        if self._transport.get_write_buffer_size() > MAX_KEPT_BYTES:
            self._tear()  # else it lingers, with all that the client does not read

    # Writing

    def flush(self) -> None:
        """Write what waits for the end of the turn."""
        if self._unsent and not self._transport.is_closing():
            message, self._unsent = self._unsent, b""
            self._transport.write(message)

    def _add_unsent(self, message: bytes) -> None:
        self._unsent += message
        if len(self._unsent) > MAX_WAITING_BYTES:
            self.flush()

    def _write(self, data: Data) -> None:
        """Now, behind what waits."""
        if self._unsent:
            self.flush()
        self._transport.write(data)

    # Closing

    def _refuse(self, failure: Failure, reason: str) -> None:
        self._head_since = 0.0
        worker = self._worker
        self._decoder.stop()
        self._exchange = exchange = Exchange(
            self._listener.scope, worker.services, self, RequestHead(), self._last_active
        )
        exchange.refuse(failure, reason)

    def _begin_closing(self) -> None:
        self.flush()
        self._paused_by = 0
        self._transport.resume_reading()
        if self._is_tls:
            # Our side's end is an alert (RFC 8446 §6.1); the transport then reads, and drops, up to the client's.
            self._transport.close()
        else:
            self._transport.write_eof()
        self._linger(self._worker.options.idle_timeout_s)

    def _linger(self, at_most_s: float) -> None:
        """Wait for the client to take what is written, but not longer than that."""
        self._decoder.stop()
        self._closing_at = self._worker.clock()
        self._cut_at = self._closing_at + at_most_s
        self._worker.timers.wake_at(self, self._closing_at + LINGER_S)

    def _on_linger(self, now: float) -> float:
        least = self._closing_at + LINGER_S
        if now < least:
            return least  # it was woken for something older
        is_unread = self._transport.get_write_buffer_size() > 0
        if now < self._cut_at and (is_unread or (self._is_tls and has_unsent(self._transport))):
            return min(now + LINGER_S, self._cut_at)
        if is_unread:
            self._tear()
        else:
            self._transport.abort()
        return NEVER

    # Reading

    def _read_on(self) -> None:
        """The last answer is out, and the client takes it: on to the next request."""
        if self._paused_by:
            self._paused_by = 0
            self._transport.resume_reading()
        self._decoder.next()
        if self._decoder.kept:
            self._on_kept()

    def _on_kept(self) -> None:
        """Bytes wait in the decoder: of a head that is not complete, or of requests whose turn has not come."""
        if self._decoder.in_head:
            if not self._head_since:
                self._head_since = self._last_active
                self.wake_at(self._head_since + self._worker.options.head_timeout_s)
        elif len(self._decoder.kept) > MAX_KEPT_BYTES:
            self._pause(_BY_KEPT)

    def _pause(self, why: int) -> None:
        if not self._paused_by:
            self._transport.pause_reading()
            self.wake_at(self._worker.clock() + LOOK_S)
        self._paused_by |= why

    def _has_left(self) -> bool:
        """Whether the client closed or reset a connection that is not read from (Envoy's early close detection)."""
        sock = self._transport.get_extra_info("socket")
        try:
            return sock is None or sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _LEFT
        except OSError:
            return True

    def _resume(self, why: int) -> None:
        if self._paused_by:
            self._paused_by &= ~why
            if not self._paused_by and not self._transport.is_closing():
                self._transport.resume_reading()
