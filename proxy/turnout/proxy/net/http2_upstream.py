"""A connection to an endpoint that speaks HTTP/2: many requests at a time, each a stream lent to one exchange.

How many: what the endpoint allows in its SETTINGS, and no more than `MAX_STREAMS`, so that under load there are several
connections. After a GOAWAY nothing new goes there (RFC 9113 §6.8); streams that it says were not processed may be sent
again elsewhere, whatever their method is, and so may those that were refused (§8.7).
"""

import asyncio
from base64 import b64encode
from hashlib import sha1
from typing import TYPE_CHECKING

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.exchange.sides import Requester
from turnout.proxy.http.fields import MalformedError
from turnout.proxy.http.head import NO_FIELDS, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.http1.response import MAX_INTERIM
from turnout.proxy.http2.encode import request_fields, trailer_fields
from turnout.proxy.http2.never_indexed import FieldTuple
from turnout.proxy.http2.response_head import LastAnswer
from turnout.proxy.http2.session import Error, Session
from turnout.proxy.net.http2_connection import HIGH_BYTES, Http2Connection, Stream
from turnout.proxy.net.timers import NEVER
from turnout.proxy.net.tls.failures import is_rejection
from turnout.proxy.net.tls.handshake import speaks_http2
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.net.upstream import TUNNEL_END_S

if TYPE_CHECKING:
    from turnout.proxy.net.pool import Pool

MAX_STREAMS = 100
"""Streams on one connection before another is made."""
_BODYLESS = frozenset({204, 304})
_WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""


class Http2Upstream(Http2Connection):
    """The connection. The pool lends its streams, and counts it from when it is made."""

    __slots__ = (
        "_last_answer", "_lent", "_max_head_bytes", "_pool", "_retiring", "_scheme", "_streams", "_tunnels", "cluster",
        "counted", "endpoint", "fault", "idle_since", "tls", "wake",
    )  # fmt: skip

    def __init__(
        self, pool: "Pool", cluster: Cluster, endpoint: Endpoint, max_head_bytes: int, tls: UpstreamContext | None
    ) -> None:
        super().__init__(pool.loop, pool.clock)
        self._pool = pool
        self._max_head_bytes = max_head_bytes
        self._streams: dict[int, UpstreamStream] = {}
        self._lent = 0
        self._last_answer = LastAnswer()
        self._retiring = False
        self._tunnels: list[UpstreamStream] | None = []
        """Those that wait for the endpoint's SETTINGS; None once these have come."""
        self._scheme = b"http" if tls is None else b"https"
        self.cluster = cluster
        self.endpoint = endpoint
        self.counted = False
        self.fault = ""
        """Why it can't be used although it was made."""
        self.idle_since = 0.0
        self.tls = tls
        self.wake = NEVER

    def __repr__(self) -> str:
        return f"<Http2Upstream {self.endpoint.key} {self._lent} streams>"

    # From the pool

    @property
    def has_room(self) -> bool:
        """Whether another request may be sent here now."""
        session = self.session
        return (
            not self._retiring
            and self._lent < MAX_STREAMS
            and session.may_open
            and self._lent < session.peer_max_streams
        )

    @property
    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def close_now(self) -> None:
        """Whoever wanted it is gone; it may not be there yet."""
        if not self.is_closing:
            self._transport.abort()

    def lend(self) -> "UpstreamStream":
        self._lent += 1
        return UpstreamStream(self)

    def wake_when_idle(self) -> None:
        """End it when nothing is asked for too long."""
        if not (self._lent or self.is_closing):
            self._pool.timers.wake_at(self, self.idle_since + self.cluster.config.pool_idle_timeout_s)

    def retire(self) -> None:
        """Nothing new goes here; what is under way may end. The endpoint hears of it then, and not before: it may take
        our GOAWAY for the end of all."""
        self._retiring = True
        self._pool.shared.forget(self)
        if not self._lent:
            self._shut_down()

    def _shut_down(self) -> None:
        self.session.shut_down()
        self.schedule_flush()

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.idle_since = now = self._clock()
        self.session = Session(self, server=False, max_head_bytes=self._max_head_bytes, now=now)
        self.session.peer_max_streams = self._pool.shared.expect_max_streams(self.endpoint)
        if self.tls is not None and not speaks_http2(transport):
            self.fault = "the endpoint does not agree on HTTP/2 in the handshake (ALPN)"
            self._transport.abort()
        else:
            self.schedule_flush()

    def connection_lost(self, error: Exception | None) -> None:
        if self.counted:
            self._pool.shared.on_lost(self)
        self.session.ended = True
        # A client certificate that is refused shows in TLS 1.3 as the end of a connection on which nothing came.
        is_refused = self.tls is not None and self._tunnels is not None and is_rejection(error)
        reason = self._pool.on_tls_failure(self, error) if is_refused else str(error) if error else ""
        streams = [*self._streams.values(), *(self._tunnels or ())]
        self._streams, self._tunnels = {}, None
        for stream in streams:
            stream.on_gone(reason, sent=bool(stream.id) and not is_refused)

    def on_timer(self, now: float) -> float:
        """End it when nothing was asked for too long."""
        if self._lent:
            return NEVER
        deadline = self.idle_since + self.cluster.config.pool_idle_timeout_s
        if now < deadline:
            return deadline
        self.retire()
        return NEVER

    # From the session

    def on_head(self, stream_id: int, fields: FieldTuple, data: bytes, end: bool, trailers: FieldTuple | None) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            self.session.acknowledge(stream_id, len(data))
            return
        heads = self._pool.shared.heads
        try:
            head = heads.read(fields, end and not data and trailers is None, self._last_answer)
            if trailers is not None:
                head.trailers = heads.trailers.read(trailers)
        except MalformedError as error:
            stream.on_malformed(str(error))
            if data:
                stream.take(len(data))
        else:
            stream.on_response(head, data, end)

    def on_interim(self, stream_id: int, fields: FieldTuple) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            stream.on_interim(self._pool.shared.heads.read(fields, True))
        except MalformedError as error:
            stream.on_malformed(str(error))

    def on_data(self, stream_id: int, data: bytes, end: bool) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, end)
        else:
            self.session.acknowledge(stream_id, len(data))

    def on_trailers(self, stream_id: int, fields: FieldTuple) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            trailers = self._pool.shared.heads.trailers.read(fields)
        except MalformedError as error:
            stream.on_malformed(str(error))
        else:
            stream.on_trailers(trailers)

    def on_closed(self, stream_id: int, code: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            stream.on_closed(code)

    def on_goaway(self, last_stream_id: int, code: int) -> None:
        """Streams beyond the last come back as refused, from the session. Nothing new goes here, and nobody else would
        end it: an endpoint may keep it open."""
        self.retire()

    def on_settings(self) -> None:
        """Whether there can be tunnels is known now, if it was not."""
        self._pool.shared.on_max_streams(self.endpoint, self.session.peer_max_streams)
        waiting, self._tunnels = self._tunnels or [], None
        for stream in waiting:
            self._open_known_tunnel(stream)
        if self.counted:  # else the pool is about to say that it is there
            self._pool.shared.on_room(self)

    def on_ping_acknowledged(self) -> None:
        """Of a PING that nobody sends."""

    def on_abuse(self, what: str) -> None:
        """An endpoint that floods us is gone, and its requests fail with it."""

    # From its streams

    def open(self, stream: "UpstreamStream", head: RequestHead, *, end: bool, data: Data = b"") -> int:
        """The id of a new stream with this request; 0 if the connection takes none. `data`: all of the body."""
        if self._transport.is_closing():
            return 0
        session = self.session
        stream_id = session.open(request_fields(head, self._scheme), end=end, secrets=head.secrets)
        if stream_id:
            self._streams[stream_id] = stream
            if data:
                session.send(stream_id, data, end=True)
        return stream_id

    def open_tunnel(self, stream: "UpstreamStream") -> None:
        """Open an extended CONNECT, if the endpoint says that it knows them (RFC 8441 §3)."""
        if self._tunnels is not None:
            self._tunnels.append(stream)
        else:
            self.call_soon(self._open_known_tunnel, stream)

    def _open_known_tunnel(self, stream: "UpstreamStream") -> None:
        if not stream.is_wanted:
            return  # its exchange has ended while it waited
        if self.session.peer_takes_tunnels:
            stream.open(b"", False)
        else:
            stream.on_malformed("the endpoint takes no WebSocket over HTTP/2")

    def on_returned(self) -> None:
        """A stream that was lent is over."""
        self._lent -= 1
        if not self._lent:
            self.idle_since = self._clock()
            if self._retiring:
                self._shut_down()
        self._pool.shared.on_room(self)


class UpstreamStream(Stream):
    """One stream at an endpoint: the upstream of its exchange. It is lent until it is given back, aborted or gone."""

    __slots__ = ("_answered", "_exchange", "_head", "_interim", "_is_ending", "_lender", "_trailers")

    def __init__(self, connection: Http2Upstream) -> None:
        # Written out, and not by super(): one is made for each request.
        self._connection = self._lender = connection
        self.id = self._held = self._unsettled = 0
        self._waits = self._blocked = self._resets = False
        self._exchange: Requester | None = None
        self._head: RequestHead
        self._trailers: Fields = NO_FIELDS
        """Those of the answer, as its head has them."""
        self._answered = self._is_ending = False
        """Whether there was an answer; whether it is a tunnel that nobody holds, and that is not over yet."""
        self._interim = 0

    def __repr__(self) -> str:
        return f"<UpstreamStream {self.id} {self._exchange!r}>"

    # From the exchange

    def send_request(self, exchange: Requester, head: RequestHead, data: Data, end: bool) -> None:
        self._exchange = exchange
        self._head = head
        if head.upgrade:
            self._lender.open_tunnel(self)
        else:
            self.open(data, end)

    def open(self, data: Data, end: bool) -> None:
        """Begin the stream with the head, and the body that is there."""
        head, connection = self._head, self._lender
        whole = end and not head.trailers and len(data) <= HIGH_BYTES
        alone = whole and not data
        self.id = connection.open(self, head, end=alone, data=data if whole else b"")
        if not self.id:
            # The connection has just gone; nobody is called back from within a call.
            connection.call_soon(self.on_gone, "the connection takes no more requests", False)
        elif whole or not (data or end):
            connection.schedule_flush()
        else:
            self.send_body(data, end)

    def send_body(self, data: Data, end: bool) -> None:
        if not self.id:
            return  # the connection took no more, which is about to be told
        trailers = self._head.trailers
        if end and trailers:
            if data:
                self.send(data, False)
            self._connection.session.send_trailers(self.id, trailer_fields(trailers))
            self._connection.schedule_flush()
        elif data or end:
            self.send(data, end)

    def send_tunnel_data(self, data: bytes) -> None:
        self.send(data, False)

    def unsent_bytes(self) -> int:
        return self.queued_bytes() if self.id else 0

    def give_back(self, now: float) -> None:
        """Both messages are complete; what the endpoint has not taken of the request by now, it does not want."""
        self._let_go()
        if self.queued_bytes():
            self.reset(Error.CANCEL)

    def abort(self) -> None:
        """Nothing more is wanted from it."""
        self._let_go()
        if self.id:
            self.reset(Error.CANCEL)

    def end_tunnel(self) -> None:
        """The end goes behind what the client said before it closed (RFC 8441 §5), and what comes is for nobody. It
        stays lent until both sides have ended, or the time for that is over."""
        self._exchange, self._is_ending = None, True
        self.resume_reading()
        self.send(b"", True)
        asyncio.get_running_loop().call_later(TUNNEL_END_S, self._cut_tunnel)

    def _cut_tunnel(self) -> None:
        if self._is_ending:
            self.abort()

    @property
    def is_wanted(self) -> bool:
        return self._exchange is not None

    def _let_go(self) -> None:
        if self._exchange is not None or self._is_ending:
            self._exchange, self._is_ending = None, False
            self._waits = False
            if self._held:
                self.release()
            connection = self._lender
            if connection.sending:
                connection.sending.discard(self)
            connection.on_returned()

    # From the connection

    def on_response(self, head: ResponseHead, data: bytes, end: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            self._connection.session.acknowledge(self.id, len(data))
        elif self._head.upgrade and 200 <= head.status < 300:
            self._begin_tunnel(exchange, head)
            self.on_data(data, end)
        else:
            self._answered = True
            head.bodyless = self._head.method == b"HEAD" or head.status in _BODYLESS
            if not end:
                self._trailers = head.trailers = []
            exchange.on_response(head, data, end)
            if data:
                self.take(len(data))

    def _begin_tunnel(self, exchange: Requester, head: ResponseHead) -> None:
        self._answered = True
        head.status = 101
        head.length = 0
        head.upgrade = self._head.upgrade
        key = self._head.get(b"sec-websocket-key") or b""
        head.add(b"sec-websocket-accept", b64encode(sha1(key + _WEBSOCKET_GUID).digest()))
        exchange.on_interim(head)

    def on_interim(self, head: ResponseHead) -> None:
        self._interim += 1
        if self._interim > MAX_INTERIM:
            self.on_malformed("too many interim responses")
        elif self._exchange is not None:
            self._exchange.on_interim(head)

    def on_data(self, data: bytes, end: bool) -> None:
        exchange = self._exchange
        if exchange is None:
            self._connection.session.acknowledge(self.id, len(data))
            return
        if exchange.tunnel:
            if data:
                exchange.on_upstream_tunnel_data(data)
            if end:
                self.end_tunnel()
                exchange.on_upstream_gone("", True)
        elif self._answered:
            exchange.on_response_body(data, end)
        if data:
            self.take(len(data))

    def on_trailers(self, fields: Fields) -> None:
        """The end of the answer. Only one that goes down as a message has a place for them."""
        if self._trailers is not NO_FIELDS:
            self._trailers.extend(fields)
        self.on_data(b"", True)

    def on_malformed(self, reason: str) -> None:
        exchange = self._exchange
        if exchange is not None:
            exchange.on_upstream_malformed(reason)

    def on_closed(self, code: int) -> None:
        """The stream is over, in most cases after both messages."""
        if self._exchange is not None or self._is_ending:
            name = Error(code).name if code in Error._value2member_map_ else f"error {code}"
            self.on_gone(f"stream reset: {name}", sent=code != Error.REFUSED_STREAM)

    def on_gone(self, reason: str, sent: bool) -> None:
        """The stream ended before both messages did."""
        exchange = self._exchange
        self._let_go()
        if exchange is not None:
            exchange.on_upstream_gone(reason, sent)

    def on_blocked(self, blocked: bool) -> None:
        if self._exchange is not None:
            self._exchange.on_upstream_blocked(blocked)
