"""One request and its answer: the only thing that knows both sides.

    start → filters → match → split → choose an endpoint → borrow a connection ─┬→ on_upstream_ready → …
                                                                                └→ on_connect_failed
    … → on_response → on_response_body* → end

It lives on the scope of the moment it was born in: a reload makes another scope, this one stays until its last
exchange is over. Whatever happens, `_finish` is called once, and there all is released, counted and logged.
The downstream and the upstream are told what to do by direct calls; neither may call back from within one, but
for the events of `Downstream`'s and `Upstream`'s own bytes.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from turnout.proxy import errors
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Lease, Outcome
from turnout.proxy.errors import Failure
from turnout.proxy.filters.chain import apply_request_filters
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.request_id import ensure_request_id
from turnout.proxy.http.head import Data, RequestHead, ResponseHead
from turnout.proxy.route.edits import Edits
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.rewrite import apply_rewrite, make_location
from turnout.proxy.route.split import Share
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import Word
from turnout.rules.snapshot import Redirect

_WITHOUT_BODY = frozenset({204, 205, 304})


class Scope:
    """What a listener's requests are judged by: the compiled parts of one Snapshot."""

    __slots__ = ("clusters", "no_route_record", "port", "table", "version")

    def __init__(
        self, table: Table, clusters: Mapping[str, Cluster], port: int, no_route_record: int, version: str
    ) -> None:
        self.table = table
        self.clusters = clusters
        self.port = port
        self.no_route_record = no_route_record
        self.version = version


class Downstream(Protocol):
    """The client's side of an exchange."""

    peer: Peer
    wake: float

    def send_response(self, head: ResponseHead, data: Data, end: bool, close: bool) -> None: ...

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_body(self, data: Data, end: bool) -> None: ...

    def begin_tunnel(self, head: ResponseHead) -> None: ...

    def send_tunnel_data(self, data: bytes) -> None: ...

    def abort(self) -> None:
        """End the connection so that the answer can't be taken for complete."""

    def on_exchange_done(self, request_ended: bool, now: float) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def wake_at(self, deadline: float) -> None: ...


class Upstream(Protocol):
    """The endpoint's side: one connection, lent to one exchange."""

    def send_request(self, exchange: "Exchange", head: RequestHead, data: Data, end: bool) -> None: ...

    def send_body(self, data: Data, end: bool) -> None: ...

    def send_tunnel_data(self, data: bytes) -> None: ...

    def give_back(self, now: float) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connecting(Protocol):
    """A connection that is being made for an exchange."""

    def cancel(self) -> object: ...


class Upstreams(Protocol):
    """Where connections come from."""

    def borrow(self, lease: Lease, now: float) -> Upstream | None: ...

    def connect(self, exchange: "Exchange", cluster: Cluster, lease: Lease) -> Connecting: ...


class Services:
    """What all exchanges of a worker share."""

    __slots__ = ("clock", "counters", "idle_timeout_s", "log", "upstreams")

    def __init__(
        self,
        upstreams: Upstreams,
        counters: Counters,
        clock: Callable[[], float],
        log: "Callable[[Exchange, Peer, float], None]",
        idle_timeout_s: float,
    ) -> None:
        self.upstreams = upstreams
        self.counters = counters
        self.clock = clock
        self.log = log
        self.idle_timeout_s = idle_timeout_s


class Exchange:
    """Made when a request's head is complete; `start` sets it going."""

    __slots__ = (
        "_connecting", "_downstream", "_held", "_record", "_request_deadline", "_request_ended", "_scope",
        "_services", "_upstream", "_upstream_deadline", "_waiting_since", "active_at", "bytes_received", "bytes_sent",
        "done", "entry", "failure", "first_byte_at", "head", "lease", "reason", "share", "started_at", "status",
        "target", "tunnel", "upstream_s",
    )  # fmt: skip

    def __init__(self, scope: Scope, services: Services, downstream: Downstream, head: RequestHead, now: float) -> None:
        self._scope = scope
        self._services = services
        self._downstream: Downstream | None = downstream
        self._upstream: Upstream | None = None
        self._connecting: Connecting | None = None
        self.lease: Lease | None = None
        self._held: list[Data] | None = None
        self._record = scope.no_route_record
        self._request_deadline = self._upstream_deadline = self._waiting_since = 0.0
        self._request_ended = False
        self.head = head
        self.entry: Entry | None = None
        self.share: Share | None = None
        self.failure: Failure | None = None
        self.reason = ""
        self.target = b""
        self.status = 0
        self.bytes_received = self.bytes_sent = 0
        self.started_at = self.active_at = now
        self.first_byte_at = self.upstream_s = 0.0
        self.tunnel = self.done = False

    def __repr__(self) -> str:
        state = "done" if self.done else "tunnel" if self.tunnel else "answering" if self.status else "waiting"
        return f"<Exchange {self.head.method.decode()} {self.head.path.decode('latin-1')} {state}>"

    # From the downstream

    def start(self, data: Data, end: bool) -> None:
        """The head is there, and perhaps some (`end`: all) of the body."""
        head = self.head
        downstream = self._downstream
        assert downstream is not None
        self._request_ended = end
        self.bytes_received = len(data)
        apply_request_filters(head, downstream.peer)
        entry = self.entry = self._scope.table.match(head)
        if entry is None:
            self._fail(errors.NO_ROUTE)
            return
        self._record = entry.record
        if entry.split is None:
            self._answer_route(entry)
            return
        share = self.share = entry.split.choose(random.random())
        self._record = share.record
        if share.failure is not None:
            self._fail(share.failure)
        elif share.redirect is not None:
            self._redirect(share.redirect, entry, share.response_edits)
        else:
            self._forward(entry, share, data, end)

    def on_request_body(self, data: Data, end: bool) -> None:
        self.active_at = self._services.clock()
        self.bytes_received += len(data)
        self._request_ended = end
        if self._held is not None:
            self._held.append(data)
        elif self._upstream is not None:
            self._upstream.send_body(data, end)

    def on_downstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_received += len(data)
        if self._upstream is not None:
            self._upstream.send_tunnel_data(data)

    def refuse(self, failure: Failure, reason: str = "") -> None:
        """There is no (complete) request: it is malformed, or did not come in time."""
        if not self.head.request_id:
            ensure_request_id(self.head, None)
        self.reason = reason
        self._fail(failure)

    def on_downstream_gone(self) -> None:
        """The client closed; nobody is there to be answered."""
        if not self.done:
            if not (self.tunnel and self.status):
                self.failure = errors.DOWNSTREAM_GONE
            self._drop_upstream()
            self._finish()

    def on_downstream_blocked(self, blocked: bool) -> None:
        """The client reads slower than the upstream writes, or no longer so."""
        if self._upstream is not None:
            if blocked:
                self._upstream.pause_reading()
            else:
                self.active_at = self._services.clock()
                self._upstream.resume_reading()

    # From the pool and the upstream

    def on_upstream_ready(self, upstream: Upstream) -> None:
        """The connection that was made for this exchange is there."""
        self._connecting = None
        self.active_at = now = self._services.clock()
        self._stop_waiting(now)
        held, self._held = self._held, None
        assert self._downstream is not None
        self._downstream.resume_reading()
        self._send(upstream, b"".join(held or ()))

    def on_connect_failed(self, reason: str) -> None:
        self._connecting = None
        self.reason = reason
        self._fail(errors.CONNECT_FAILED)

    def on_interim(self, head: ResponseHead) -> None:
        """100 or 103, or the 101 that makes a tunnel of this."""
        self.active_at = self._services.clock()
        if head.status != 101:
            if self.head.minor and self._downstream is not None:
                self._downstream.send_interim(head)
        elif self.head.upgrade and head.upgrade == self.head.upgrade:
            self._begin_tunnel(head)
        else:
            self.on_upstream_malformed("101 was not asked for")

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        """The answer's head, and some (`end`: all) of its body."""
        self.active_at = self.first_byte_at = now = self._services.clock()
        self.status = head.status
        if data:
            self.bytes_sent = len(data)
        share, downstream = self.share, self._downstream
        assert share is not None
        assert downstream is not None
        for edits in share.response_edits:
            edits.apply(head)
        if end:
            self.upstream_s += now - self._waiting_since
            self._waiting_since = 0.0
        downstream.send_response(head, data, end, end and not self._request_ended)
        if end:
            self._complete(now)

    def on_response_body(self, data: Data, end: bool) -> None:
        self.active_at = now = self._services.clock()
        self.bytes_sent += len(data)
        if end:
            self._stop_waiting(now)
        if self._downstream is not None:
            self._downstream.send_body(data, end)
        if end:
            self._complete(now)

    def on_upstream_tunnel_data(self, data: bytes) -> None:
        self.active_at = self._services.clock()
        self.bytes_sent += len(data)
        if self._downstream is not None:
            self._downstream.send_tunnel_data(data)

    def on_upstream_gone(self, reason: str) -> None:
        """The upstream closed or broke before the answer was complete; a tunnel just ends so."""
        self._upstream = None
        if self.tunnel:
            self._finish()
        else:
            self.reason = reason
            self._fail(errors.UPSTREAM_CLOSED)

    def on_upstream_malformed(self, reason: str) -> None:
        self.reason = reason
        self._fail(errors.UPSTREAM_MALFORMED)

    def on_upstream_blocked(self, blocked: bool) -> None:
        if self._downstream is not None:
            if blocked:
                self._downstream.pause_reading()
            else:
                self.active_at = self._services.clock()
                self._downstream.resume_reading()

    # Time

    def next_deadline(self) -> float:
        """When `on_timer` wants to be called next."""
        deadline = self.active_at + self._services.idle_timeout_s
        if self._request_deadline and self._request_deadline < deadline:
            deadline = self._request_deadline
        if self._upstream_deadline and self._upstream_deadline < deadline:
            deadline = self._upstream_deadline
        return deadline

    def on_timer(self, now: float) -> None:
        """Fail what is over its time."""
        if self.done:
            return
        if self._request_deadline and now >= self._request_deadline:
            self._fail(errors.REQUEST_TIMEOUT)
        elif self._upstream_deadline and now >= self._upstream_deadline:
            self._fail(errors.UPSTREAM_TIMEOUT)
        elif now >= self.active_at + self._services.idle_timeout_s:
            self._fail(errors.IDLE_TIMEOUT if self._request_ended else errors.DOWNSTREAM_IDLE)

    # Towards the upstream

    def _forward(self, entry: Entry, share: Share, data: Data, end: bool) -> None:
        head, now = self.head, self.started_at
        for edits in share.request_edits:
            edits.apply(head)
        if share.rewrite is not None:
            self.target = head.target
            apply_rewrite(share.rewrite, head, entry.prefix)
        cluster = self._scope.clusters[share.cluster]
        lease = self.lease = cluster.choose(now)
        if lease is None:
            self._fail(errors.NO_ENDPOINT)
            return
        if not head.authority:
            head.authority = lease.endpoint.key.encode()
        if entry.request_timeout_s:
            self._request_deadline = now + entry.request_timeout_s
        if entry.backend_timeout_s:
            self._upstream_deadline = now + entry.backend_timeout_s
        services, downstream = self._services, self._downstream
        assert downstream is not None
        if downstream.wake > now + services.idle_timeout_s or self._request_deadline or self._upstream_deadline:
            downstream.wake_at(self.next_deadline())
        upstream = services.upstreams.borrow(lease, now)
        if upstream is not None:
            self._send(upstream, data)
        else:
            self._held = [data]
            if not end:
                downstream.pause_reading()
            self._waiting_since = services.clock()
            self._connecting = services.upstreams.connect(self, cluster, lease)

    def _send(self, upstream: Upstream, data: Data) -> None:
        """The request goes out; from here to the end of the answer it is the upstream's time."""
        self._upstream = upstream
        # Before the write: it wakes the upstream, and on a busy machine that may run before we do again.
        self._waiting_since = self._services.clock()
        upstream.send_request(self, self.head, data, self._request_ended)

    def _stop_waiting(self, now: float) -> None:
        if self._waiting_since:
            self.upstream_s += now - self._waiting_since
            self._waiting_since = 0.0

    def _complete(self, now: float) -> None:
        """All of the answer went down."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self._request_ended:
                upstream.give_back(now)
            else:
                upstream.abort()
        self._finish()

    def _begin_tunnel(self, head: ResponseHead) -> None:
        self.tunnel = True
        self._request_deadline = self._upstream_deadline = 0.0  # the request is answered; what follows may last
        self.status = 101
        self.first_byte_at = self.active_at
        self._services.counters.add(Word.TUNNELS_ACTIVE)
        assert self._downstream is not None
        self._downstream.begin_tunnel(head)

    def _drop_upstream(self) -> None:
        """Nothing more is wanted from the upstream."""
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None

    # Answers of our own

    def _answer_route(self, entry: Entry) -> None:
        if entry.redirect is not None:
            self._redirect(entry.redirect, entry, entry.response_edits)
            return
        assert entry.respond is not None
        if entry.body is not None:
            self._respond(entry.respond.status, entry.body, entry.response_edits)
        else:
            self.reason = entry.respond.message
            self._fail(errors.NO_BACKEND._replace(status=entry.respond.status))

    def _redirect(self, redirect: Redirect, entry: Entry, edits: Sequence[Edits]) -> None:
        head = ResponseHead(
            [(b"location", make_location(redirect, self.head, entry.prefix, self._scope.port))], redirect.status
        )
        for edit in edits:
            edit.apply(head)
        self._answer(head, b"", close=False)

    def _respond(self, status: int, body: bytes, edits: Sequence[Edits]) -> None:
        """What a rule says is the answer (Envoy `direct_response`); no failure, so it has no flag."""
        if status in _WITHOUT_BODY:
            body = b""
        head = ResponseHead([(b"content-type", b"text/plain")] if body else (), status)
        for edit in edits:
            edit.apply(head)
        self._answer(head, body, close=False)

    def _fail(self, failure: Failure) -> None:
        """End the exchange with a failure: an answer if none has begun, else a cut connection."""
        if self.done:
            return
        self.failure = failure
        self._drop_upstream()
        if self.status:
            assert self._downstream is not None
            self._downstream.abort()
            self._finish()
        else:
            body = encode_error(failure, self.head.request_id, self.reason)
            head = ResponseHead([(b"content-type", b"application/json")], failure.status)
            self._answer(head, body, close=failure.close)

    def _answer(self, head: ResponseHead, body: bytes, *, close: bool) -> None:
        head.length = len(body)
        head.bodyless = self.head.method == b"HEAD"
        self.status = head.status
        self.bytes_sent = 0 if head.bodyless else len(body)
        assert self._downstream is not None
        self._downstream.send_response(head, b"" if head.bodyless else body, True, close or not self._request_ended)
        self._finish()

    def _finish(self) -> None:
        """The one end of every exchange."""
        if self.done:
            raise RuntimeError(f"{self!r} is finished twice")
        self.done = True
        services = self._services
        now = services.clock()
        if self._waiting_since:
            self._stop_waiting(now)
        if self.lease is not None:
            self.lease.release(_OK if self.failure is None and self.status < 500 else _judge(self), now)
        services.counters.count_request(
            self._record, self.status, self.failure.flag if self.failure else 0, self.bytes_received, self.bytes_sent,
            now - self.started_at, self.upstream_s,
        )  # fmt: skip
        if self.tunnel:
            services.counters.add(Word.TUNNELS_ACTIVE, -1)
        downstream, self._downstream = self._downstream, None
        self._upstream = None
        assert downstream is not None
        services.log(self, downstream.peer, now)
        downstream.on_exchange_done(self._request_ended, now)


def encode_error(failure: Failure, request_id: bytes, reason: str) -> bytes:
    """The body of an error answer: `{"error": {"flag", "status", "message", "request_id"}}`."""
    message = f"{failure.message}: {reason}" if reason else failure.message
    error = {
        "flag": str(failure.flag),
        "status": failure.status,
        "message": message,
        "request_id": request_id.decode("latin-1"),
    }
    return msgspec.json.encode({"error": error}) + b"\n"


_OK = Outcome.OK


def _judge(exchange: Exchange) -> Outcome:
    """Whose fault a failure is; an answer of 5xx is the endpoint's."""
    failure = exchange.failure
    return Outcome.FAILED if failure is None or failure.who == "upstream" else Outcome.UNKNOWN
