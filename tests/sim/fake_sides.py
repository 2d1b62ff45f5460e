"""The two sides of a real exchange: clients that send one request each, and connections to replicas.

They stand for `net`: no bytes, but the same calls in the same order, the same counts, and never a call back from within
one of the exchange's own.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping

from replica import RESET, Replica
from virtual_loop import Handle, VirtualLoop

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import NO_FIELDS, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.net.timers import NEVER, Timers
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord

CONNECT_S = 0.0002
PEER = Peer(b"192.0.2.1", trusted=False)


class FakeDownstream:
    """A client's connection, for one request. `exchange` is given before it starts."""

    __slots__ = ("_timers", "aborted", "exchange", "peer", "status", "wake")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self.peer = PEER
        self.wake = NEVER
        self.status = 0
        self.aborted = False
        self.exchange: Exchange | None = None

    def on_timer(self, now: float) -> float:
        exchange = self.exchange
        assert exchange is not None
        exchange.on_timer(now)
        return NEVER if exchange.done else exchange.next_deadline()

    def wake_at(self, deadline: float) -> None:
        self._timers.wake_at(self, deadline)

    def leave(self) -> None:
        """The client closes."""
        if self.exchange is not None:
            self.exchange.on_downstream_gone()

    def send_response(self, head: ResponseHead, data: Data, end: bool, close: bool) -> None:
        assert not self.status, "one request has one answer"
        self.status = head.status

    def send_body(self, data: Data, end: bool) -> None:
        assert self.status

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        self.aborted = True

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        self._timers.forget(self)
        self.exchange = None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class FakeConnection:
    """A connection to a replica. What was asked on it and is not wanted any more is still worked on."""

    __slots__ = ("_asked", "_exchange", "_upstreams", "cluster", "endpoint")

    def __init__(self, upstreams: "FakeUpstreams", cluster: Cluster, endpoint: Endpoint) -> None:
        self._upstreams = upstreams
        self._exchange: Exchange | None = None
        self._asked = 0
        self.cluster = cluster
        self.endpoint = endpoint

    def send_request(self, exchange: Exchange, head: RequestHead, data: Data, end: bool) -> None:
        assert end, "clients of the simulation send all at once"
        self._exchange = exchange
        self._asked += 1
        number = self._asked
        self._upstreams.replicas[self.endpoint.key].ask(
            len(data), lambda status, rest_s: self._on_answer(number, status, rest_s)
        )

    def _on_answer(self, number: int, status: int, rest_s: float) -> None:
        exchange = self._exchange
        if exchange is None or number != self._asked:
            return
        if status == RESET:
            self._close()
            exchange.on_upstream_gone("Connection reset by peer", True)
        elif rest_s:
            self._upstreams.loop.call_later(rest_s, self._on_end, number)
            exchange.on_response(ResponseHead((), status), b".", False)
        else:
            exchange.on_response(ResponseHead((), status), b".", True)

    def _on_end(self, number: int) -> None:
        if self._exchange is not None and number == self._asked:
            self._exchange.on_response_body(b".", True)

    def give_back(self, now: float) -> None:
        self._exchange = None
        if self.endpoint.removed:
            self._close()
        else:
            self._upstreams.idle[self.endpoint].append(self)

    def abort(self) -> None:
        self._close()

    def die(self) -> None:
        """The replica is killed."""
        exchange = self._exchange
        self._close()
        if exchange is not None:
            exchange.on_upstream_gone("Connection reset by peer", True)

    def _close(self) -> None:
        self._exchange = None
        self._asked += 1
        self._upstreams.on_closed(self)

    def unsent_bytes(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class FakeUpstreams:
    """A worker's connections. `replicas` are by "address:port"."""

    def __init__(self, loop: VirtualLoop, counters: Counters, replicas: Mapping[str, Replica]) -> None:
        self._counters = counters
        self.loop = loop
        self.replicas = replicas
        self.idle: dict[Endpoint, list[FakeConnection]] = defaultdict(list)
        self.open: dict[FakeConnection, None] = {}
        """In the order they were made, so that a run can be repeated."""
        self.on_attempt: Callable[[Endpoint], None] = lambda endpoint: None

    def borrow(self, lease: Lease, now: float) -> FakeConnection | None:
        idle = self.idle[lease.endpoint]
        if idle:
            self.on_attempt(lease.endpoint)
        return idle.pop() if idle else None

    def find_idle(self, cluster: Cluster) -> Endpoint | None:
        return next((endpoint for endpoint in cluster.available if self.idle[endpoint]), None)

    def may_connect(self, cluster: Cluster, lease: Lease) -> bool:
        return cluster.limiter.may_connect(lease.endpoint.record)

    def connect(self, exchange: Exchange, cluster: Cluster, lease: Lease) -> "Connect":
        self.on_attempt(lease.endpoint)
        return Connect(self, exchange, cluster, lease.endpoint)

    def on_closed(self, connection: FakeConnection) -> None:
        if connection in self.idle[connection.endpoint]:
            self.idle[connection.endpoint].remove(connection)
        del self.open[connection]
        self.count(connection.cluster, connection.endpoint, -1)

    def kill(self, key: str) -> None:
        """The replica there is gone, with all its connections."""
        for connection in [connection for connection in self.open if connection.endpoint.key == key]:
            connection.die()

    def count(self, cluster: Cluster, endpoint: Endpoint, amount: int) -> None:
        self._counters.add(endpoint.record + EndpointWord.CONNECTIONS_ACTIVE, amount)
        cluster.count(ClusterWord.CONNECTIONS, amount)
        if amount < 0 and cluster.is_limited:
            cluster.on_capacity()

    def count_failure(self, endpoint: Endpoint) -> None:
        self._counters.add(endpoint.record + EndpointWord.CONNECT_FAILURES)


class Connect:
    """A connection that is being made, as `net.pool` does it: counted from the start."""

    __slots__ = ("_cluster", "_endpoint", "_exchange", "_handle", "_upstreams")

    def __init__(self, upstreams: FakeUpstreams, exchange: Exchange, cluster: Cluster, endpoint: Endpoint) -> None:
        self._upstreams = upstreams
        self._exchange = exchange
        self._cluster = cluster
        self._endpoint = endpoint
        silent = upstreams.replicas[endpoint.key].down == "silent"
        after_s = cluster.config.connect_timeout_s if silent else CONNECT_S
        self._handle: Handle | None = upstreams.loop.call_later(after_s, self._end)
        upstreams.count(cluster, endpoint, 1)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._upstreams.count(self._cluster, self._endpoint, -1)

    def _end(self) -> None:
        self._handle = None
        upstreams, down = self._upstreams, self._upstreams.replicas[self._endpoint.key].down
        if down in ("refused", "silent"):
            upstreams.count(self._cluster, self._endpoint, -1)
            upstreams.count_failure(self._endpoint)
            self._exchange.on_connect_failed("Connection refused" if down == "refused" else "no connection")
        else:
            connection = FakeConnection(upstreams, self._cluster, self._endpoint)
            upstreams.open[connection] = None
            self._exchange.on_upstream_ready(connection)
