"""What an exchange asks of its two sides, and what all exchanges of a worker share."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.http.head import NO_FIELDS, Data, Fields, RequestHead, ResponseHead
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.counters import Counters

if TYPE_CHECKING:
    from turnout.proxy.exchange.state import ExchangeState


class Downstream(Protocol):
    """The client's side of an exchange."""

    peer: Peer

    @property
    def wake(self) -> float:
        """When the exchange is asked for its deadlines next, at the latest."""

    def send_response(self, head: ResponseHead, data: Data, end: bool, close: bool) -> None: ...

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_body(self, data: Data, end: bool) -> None: ...

    def begin_tunnel(self, head: ResponseHead) -> None: ...

    def send_tunnel_data(self, data: bytes) -> None: ...

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        """End the answer so that it can't be taken for complete: with the connection or the stream, or, if there are
        `trailers` that say so and the protocol has a place for them, with these."""

    def on_exchange_done(self, request_ended: bool, now: float) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def wake_at(self, deadline: float) -> None: ...


class Requester:
    """Who asks an endpoint: an exchange, or a shadow of one. What it is told by who makes connections, and by its own.

    No protocol, but a class to inherit from: who calls it is compiled, and calls a class directly. `tunnel`: what comes
    is no answer any more, but the bytes of a tunnel.
    """

    __slots__ = ("head", "tunnel")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.tunnel = False

    def on_upstream_ready(self, upstream: "Upstream") -> None:
        """The connection that was made for it is there."""
        raise NotImplementedError

    def on_connect_failed(self, reason: str) -> None:
        raise NotImplementedError

    def on_interim(self, head: ResponseHead) -> None:
        """100 or 103, or the 101 that makes a tunnel of it."""
        raise NotImplementedError

    def on_response(self, head: ResponseHead, data: Data, end: bool) -> None:
        """The answer's head, and some (`end`: all) of its body."""
        raise NotImplementedError

    def on_response_body(self, data: Data, end: bool) -> None:
        raise NotImplementedError

    def is_copy(self) -> bool:
        """Whether nobody waits for the answer: it is read in slices then, so that its framing keeps nobody waiting."""
        return False

    def on_slice(self, size: int) -> None:
        """So many bytes of a copy's answer are about to be read, framing and all."""

    def on_upstream_tunnel_data(self, data: bytes) -> None:
        raise NotImplementedError

    def on_upstream_gone(self, reason: str, sent: bool) -> None:
        """The upstream closed or broke before the answer was complete. `sent`: some of the request may have come to
        it."""
        raise NotImplementedError

    def on_upstream_malformed(self, reason: str) -> None:
        raise NotImplementedError

    def on_upstream_blocked(self, blocked: bool) -> None:
        """The upstream reads slower than it is written to, or no longer so."""
        raise NotImplementedError


class Upstream(Protocol):
    """The endpoint's side: one connection, lent to one exchange or shadow."""

    def send_request(self, exchange: Requester, head: RequestHead, data: Data, end: bool) -> None: ...

    def send_body(self, data: Data, end: bool) -> None: ...

    def send_tunnel_data(self, data: bytes) -> None: ...

    def unsent_bytes(self) -> int: ...

    def give_back(self, now: float) -> None: ...

    def abort(self) -> None: ...

    def end_tunnel(self) -> None:
        """The client of a tunnel has closed: what it said before is still to arrive."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Connecting(Protocol):
    """A connection that is being made for somebody."""

    def cancel(self) -> object: ...


class Upstreams(Protocol):
    """Where connections come from."""

    def borrow(self, lease: Lease, now: float) -> Upstream | None: ...

    def connect(self, exchange: Requester, cluster: Cluster, lease: Lease) -> Connecting: ...

    def may_connect(self, cluster: Cluster, lease: Lease) -> bool:
        """Whether the cluster's limits allow a `connect`."""

    def find_idle(self, cluster: Cluster) -> Endpoint | None:
        """An endpoint of the cluster that may be used and has an idle connection."""


class Recorder:
    """Who is told of each exchange that is over, behind the access log, and records those that are traced. A class to
    inherit from, as `Requester` is: it is called for each request."""

    __slots__ = ()

    def on_end(self, exchange: "ExchangeState", peer: Peer, now: float) -> None:
        raise NotImplementedError


class Replays:
    """The memory of a worker for request bodies that may have to be sent again, in bytes."""

    __slots__ = ("left",)

    def __init__(self, limit: int) -> None:
        self.left = limit


class Services:
    """What all exchanges of a worker share. `overloaded`: new requests are refused, for want of memory.

    `wall` is the clock of the wall, for dates in fields. `tracer` and `recorder` are None where no spans are exported.
    """

    __slots__ = (
        "clock", "counters", "idle_timeout_s", "log", "overloaded", "recorder", "replays", "tracer", "upstreams",
        "wall",
    )  # fmt: skip

    def __init__(
        self,
        upstreams: Upstreams,
        counters: Counters,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: "Callable[[ExchangeState, Peer, float], None]",
        replays: Replays,
        idle_timeout_s: float,
    ) -> None:
        self.upstreams = upstreams
        self.counters = counters
        self.clock = clock
        self.wall = wall
        self.log = log
        self.replays = replays
        self.idle_timeout_s = idle_timeout_s
        self.overloaded = False
        self.tracer: Tracer | None = None
        self.recorder: Recorder | None = None


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
