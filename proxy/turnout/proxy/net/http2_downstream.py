"""A client's connection that speaks HTTP/2: streams to exchanges, and answers to frames.

It begins as an HTTP/1 connection whose first bytes, or whose ALPN, say so (`DownstreamConnection`). Its end is graceful
in two steps (RFC 9113 §6.8): GOAWAY that asks for no more, a PING, and when that is back GOAWAY with what was the last;
then it is closed as soon as no stream is left.
"""

import asyncio
from typing import Final

from turnout.proxy.errors import MALFORMED, OVERLOADED, Failure
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.fields import MalformedError, RefusedError
from turnout.proxy.http.head import NO_FIELDS, Data, Fields, ResponseHead
from turnout.proxy.http2.encode import response_fields, trailer_fields
from turnout.proxy.http2.fields import read_trailers
from turnout.proxy.http2.never_indexed import FieldTuple
from turnout.proxy.http2.request_head import LastHead, refused_head
from turnout.proxy.http2.session import Error, Session
from turnout.proxy.net.context import ListenerContext
from turnout.proxy.net.http2_connection import HIGH_BYTES, Http2Connection, Stream
from turnout.proxy.net.protocol import as_protocol
from turnout.proxy.net.timers import NEVER
from turnout.proxy.net.unsent import has_unsent
from turnout.proxy.telemetry.layout import Word

LINGER_S = 1.0
_ALL: Final = 1 << 60
"""More than a client can have left of its answer."""


class Http2Downstream(Http2Connection):
    """The connection. `start` comes first, with the bytes that were read by then."""

    __slots__ = (
        "_closing_at", "_cut_at", "_last_active", "_last_head", "_listener", "_shutting_down", "_streams", "_worker",
        "peer", "wake",
    )  # fmt: skip

    def __init__(self, listener: ListenerContext, transport: asyncio.Transport, peer: Peer) -> None:
        worker = listener.worker
        super().__init__(worker.loop, worker.clock)
        self._listener = listener
        self._worker = worker
        self._transport = transport
        self._streams: dict[int, DownstreamStream] = {}
        self._last_head = LastHead()
        self._shutting_down = False
        self._closing_at = self._cut_at = 0.0
        self._last_active = now = worker.clock()
        self.peer = peer
        self.wake = NEVER
        self.session = Session(self, server=True, max_head_bytes=worker.options.max_head_bytes, now=now)

    @property
    def idle_timeout_s(self) -> float:
        """Of its streams."""
        return self._worker.options.idle_timeout_s

    def __repr__(self) -> str:
        return f"<Http2Downstream {len(self._streams)} streams>"

    def start(self, data: bytes) -> None:
        """Take the place of the HTTP/1 connection, which has counted it."""
        self._transport.set_protocol(as_protocol(self))
        self._worker.connections.add(self)
        self._worker.services.counters.add(Word.HTTP2_CONNECTIONS_TOTAL)
        self.wake_at(self._last_active + self._worker.options.downstream_idle_timeout_s)
        self.data_received(data)

    # From the loop

    def data_received(self, data: bytes) -> None:
        self._last_active = now = self._clock()
        self.feed(data, now)

    def connection_lost(self, error: Exception | None) -> None:
        worker = self._worker
        worker.services.counters.add(Word.CONNECTIONS_ACTIVE, -1)
        worker.timers.forget(self)
        self.session.ended = True
        self._drop_streams()
        worker.connections.discard(self)
        if not worker.connections:
            worker.on_idle()

    def _drop_streams(self) -> None:
        """Nobody is there to be answered."""
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.on_gone()

    def on_timer(self, now: float) -> float:
        if self.session.ended:
            return self._on_linger(now)
        if self._streams:
            return self._wake_streams(now)
        deadline = self._last_active + self._worker.options.downstream_idle_timeout_s
        if now < deadline:
            return deadline
        if not self._shutting_down:
            self.drain()
            return now + self._worker.options.head_timeout_s  # for who does not answer the PING
        self._transport.abort()
        return NEVER

    def _on_linger(self, now: float) -> float:
        """Closed from our side: the client has the time to read what was written before."""
        transport = self._transport
        is_tls = not transport.can_write_eof()
        least = self._closing_at + LINGER_S
        if now < least:
            return least  # it was woken for something older
        if now < self._cut_at and (transport.get_write_buffer_size() or (is_tls and has_unsent(transport))):
            return min(now + LINGER_S, self._cut_at)
        transport.abort()
        return NEVER

    def _wake_streams(self, now: float) -> float:
        for stream in tuple(self._streams.values()):
            stream.on_timer(now)
        deadlines = [stream.next_deadline() for stream in self._streams.values()]
        return min(deadlines, default=now + self._worker.options.downstream_idle_timeout_s)

    def wake_at(self, deadline: float) -> None:
        if deadline < self.wake:
            self._worker.timers.wake_at(self, deadline)

    # From the session

    def on_head(self, stream_id: int, fields: FieldTuple, data: bytes, end: bool, trailers: FieldTuple | None) -> None:
        stream = DownstreamStream(self, stream_id)
        self._streams[stream_id] = stream
        worker = self._worker
        try:
            head = worker.http2_request_heads.read(fields, end and not data and trailers is None, self._last_head)
            if trailers is not None:
                head.trailers = read_trailers(trailers)
        except MalformedError as error:
            self._refuse(stream, fields, MALFORMED, str(error), len(data))
            return
        except RefusedError as refusal:
            self._refuse(stream, fields, refusal.failure, "", len(data))
            return
        stream.exchange = exchange = Exchange(self._listener.scope, worker.services, stream, head, self._last_active)
        if head.upgrade:
            exchange.start(b"", True)  # what comes now is the tunnel's
            stream.on_data(data, end)
        else:
            exchange.start(data, end)
            if data:
                stream.take(len(data))
        if self._listener.closing:
            self.drain()

    def _refuse(self, stream: "DownstreamStream", fields: FieldTuple, failure: Failure, reason: str, came: int) -> None:
        """Answer a head that can't be read; so many bytes of the body came with it, and go nowhere."""
        worker = self._worker
        if came:
            stream.take(came)
        worker.services.counters.add(Word.MALFORMED_TOTAL)
        stream.exchange = exchange = Exchange(
            self._listener.scope, worker.services, stream, refused_head(fields), self._last_active
        )
        exchange.refuse(failure, reason)

    def on_interim(self, stream_id: int, fields: FieldTuple) -> None:
        """Nothing that a client may send; the session refuses it."""

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end)
        else:
            self.session.acknowledge(stream_id, len(data))

    def on_trailers(self, stream_id: int, fields: FieldTuple) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.exchange is None:
            return
        try:
            stream.exchange.head.trailers = read_trailers(fields)
        except MalformedError as error:
            self._worker.services.counters.add(Word.MALFORMED_TOTAL)
            stream.exchange.refuse(MALFORMED, str(error))
        else:
            stream.on_data(b"", True)

    def on_closed(self, stream_id: int, code: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.on_gone()

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """A client that opens no more streams."""

    def on_settings(self) -> None:
        """The session keeps to them."""

    def on_ping_acknowledged(self) -> None:
        if self._shutting_down:
            self.session.shut_down()

    def on_abuse(self, what: str) -> None:
        self._worker.services.counters.add(Word.HTTP2_FLOODS_TOTAL)

    # From the worker

    def drain(self) -> None:
        """End it as soon as what was asked is answered."""
        if not self._shutting_down:
            self._shutting_down = True
            self.session.announce_shutdown()
            self.schedule_flush()

    def close(self) -> None:
        """Our side first: a reset could destroy the GOAWAY in the client's hands (RFC 9112 §9.6 has the reason)."""
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._linger(self.idle_timeout_s)

    def _linger(self, at_most_s: float) -> None:
        """Wait for the client to take what is written, but not longer than that."""
        self._closing_at = self._clock()
        self._cut_at = self._closing_at + at_most_s
        self.wake_at(self._closing_at + LINGER_S)

    def close_now(self) -> None:
        """The drain is over. What was answered by now can still be read, and which streams were served (RFC 9113
        §6.8), within `LINGER_S`."""
        self.flush()
        if self._streams or self._transport.get_write_buffer_size() or has_unsent(self._transport):
            self.session.terminate(Error.NO_ERROR)
            self._full = False  # of a client that does not read it may be; there is little left to be said
            self.flush()
        if not self.session.ended:
            self._transport.abort()
            return
        self._drop_streams()
        self._linger(LINGER_S)

    def abort(self) -> None:
        """End it with all that is on it."""
        self._transport.abort()

    def held_bytes(self) -> int:
        held = self._transport.get_write_buffer_size() + self.session.all_queued_bytes()
        return held + sum([stream.held_bytes() for stream in self._streams.values()])

    def cut(self) -> None:
        for stream in tuple(self._streams.values()):
            if stream.exchange is not None:
                stream.exchange.refuse(OVERLOADED)
        self.session.terminate(Error.ENHANCE_YOUR_CALM)
        self.schedule_flush()


class DownstreamStream(Stream):
    """One stream of a client: the downstream of its exchange."""

    __slots__ = ("_client", "_early", "_trailers", "_unread", "_unread_until", "exchange", "peer")

    def __init__(self, connection: Http2Downstream, stream_id: int) -> None:
        # Written out, and not by super(): one is made for each request.
        self._connection = self._client = connection
        self.id = stream_id
        self._held = self._unsettled = 0
        self._waits = self._blocked = self._resets = False
        self.exchange: Exchange | None = None
        self.peer = connection.peer
        self._trailers: Fields = NO_FIELDS
        self._early: bytearray | None = None
        self._unread, self._unread_until = _ALL, 0.0
        """How much of its answer the client had not taken when that was last looked at, once the exchange had ended,
        and until when it has to take more."""

    def __repr__(self) -> str:
        return f"<DownstreamStream {self.id} {self.exchange!r}>"

    # From the connection

    def on_data(self, data: bytes, end: bool) -> None:
        exchange = self.exchange
        if exchange is None:
            self._connection.session.acknowledge(self.id, len(data))
        elif exchange.head.upgrade:
            self._on_tunnel_data(exchange, data, end)
        else:
            exchange.on_request_body(data, end)
            if data:
                self.take(len(data))

    def _on_tunnel_data(self, exchange: Exchange, data: bytes, end: bool) -> None:
        """What came before the tunnel is there waits, within the stream's window."""
        if not exchange.tunnel:
            if self._early is None:
                self._early = bytearray()
            self._early += data
            self._held += len(data)
        elif data:
            exchange.on_downstream_tunnel_data(data)
            self.take(len(data))
        if end:
            exchange.on_downstream_gone()

    def _send_early(self) -> None:
        """The tunnel is there."""
        early, self._early = self._early, None
        self.release()
        if early and self.exchange is not None:
            self.exchange.on_downstream_tunnel_data(bytes(early))

    def on_gone(self) -> None:
        """The stream is over, or the connection is."""
        if self._connection.sending:
            self._connection.sending.discard(self)
        if self._held:
            self.release()
        if self.exchange is not None:
            self.exchange.on_downstream_gone()

    def on_timer(self, now: float) -> None:
        if self.exchange is not None:
            self.exchange.on_timer(now)
        elif now >= self._unread_until:
            self._on_unread(now)

    def _on_unread(self, now: float) -> None:
        """The exchange has ended, and not the stream: the client takes its answer slowly, or not at all."""
        connection, queued = self._client, self.queued_bytes()
        if self._unread < 0:
            connection.abort()  # it does not even take that the stream has ended
        elif queued < self._unread:
            self._unread = queued
        else:
            self._unread = -1
            self.reset(Error.CANCEL)
        self._unread_until = now + connection.idle_timeout_s

    def next_deadline(self) -> float:
        return self.exchange.next_deadline() if self.exchange is not None else self._unread_until

    def held_bytes(self) -> int:
        return len(self._early or b"") + (self.exchange.held_bytes() if self.exchange is not None else 0)

    def on_blocked(self, blocked: bool) -> None:
        if self.exchange is not None:
            self.exchange.on_downstream_blocked(blocked)

    # From the exchange

    @property
    def wake(self) -> float:
        return self._client.wake

    def wake_at(self, deadline: float) -> None:
        self._client.wake_at(deadline)

    def send_response(self, head: ResponseHead, data: Data, end: bool, close: bool) -> None:
        """Write the answer's head, with the body that is there. Only a stream is closed by an HTTP/2 answer."""
        connection = self._connection
        session = connection.session
        self._trailers = trailers = head.trailers
        if end and len(data) <= HIGH_BYTES:
            if data:
                session.respond_whole(self.id, response_fields(head), data, trailer_fields(trailers), head.secrets)
                connection.schedule_flush()
                return
            if not trailers:
                session.respond(self.id, response_fields(head), end=True, secrets=head.secrets)
                connection.schedule_flush()
                return
        session.respond(self.id, response_fields(head), end=False, secrets=head.secrets)
        if data or end:
            self.send_body(data, end)
        else:
            self._connection.schedule_flush()

    def send_interim(self, head: ResponseHead) -> None:
        self._connection.session.send_interim(self.id, response_fields(head), head.secrets)
        self._connection.schedule_flush()

    def send_body(self, data: Data, end: bool) -> None:
        if end and self._trailers:
            if data:
                self.send(data, False)
            self._connection.session.send_trailers(self.id, trailer_fields(self._trailers))
            self._connection.schedule_flush()
        elif data or end:
            self.send(data, end)

    def begin_tunnel(self, head: ResponseHead) -> None:
        connection = self._connection
        connection.session.respond(self.id, response_fields(head), end=False, secrets=head.secrets)
        connection.schedule_flush()
        if self._early:
            connection.call_soon(self._send_early)

    def send_tunnel_data(self, data: bytes) -> None:
        self.send(data, False)

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        """End the answer so that it can't be taken for complete."""
        if trailers:
            self._connection.session.send_trailers(self.id, trailers)
            self._connection.schedule_flush()
        else:
            self.reset(Error.INTERNAL_ERROR)

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        exchange, self.exchange = self.exchange, None
        if self._waits:
            self.resume_reading()
        if exchange is not None and exchange.tunnel:
            self.send(b"", True)
            self.reset_when_sent(Error.CANCEL)
        elif exchange is not None and exchange.head.upgrade:
            # No tunnel came of it, whose request ends with its head; the stream has not.
            self.reset_when_sent(Error.NO_ERROR if exchange.status else Error.CANCEL)
        elif not request_ended:
            # The answer is whole; the rest of the request is not wanted (RFC 9113 §8.1).
            self.reset_when_sent(Error.NO_ERROR)
