"""Connections that many requests share, those of HTTP/2: lent stream by stream.

A request goes to the first connection to its endpoint that has room. If none has, it waits, first come first served,
for a stream that ends or for another connection; so many are made as the waiters fill, within the limits of the
cluster.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.exchange.sides import Requester
from turnout.proxy.http2.response_head import ResponseHeads
from turnout.proxy.http2.session import INITIAL_MAX_STREAMS
from turnout.proxy.net.http2_upstream import MAX_STREAMS, Http2Upstream, UpstreamStream

if TYPE_CHECKING:
    from turnout.proxy.net.pool import Pool


class Waiter:
    """An exchange that waits for a stream."""

    __slots__ = ("_place", "exchange")

    def __init__(self, place: "Place", exchange: Requester) -> None:
        self._place = place
        self.exchange = exchange

    def cancel(self) -> None:
        """It does not want one any more."""
        if self in self._place.waiting:
            self._place.waiting.remove(self)


class Place:
    """What there is to one endpoint. `connecting` counts the connections that are being made."""

    __slots__ = ("connecting", "connections", "waiting")

    def __init__(self) -> None:
        self.connections: list[Http2Upstream] = []
        self.waiting: deque[Waiter] = deque()
        self.connecting = 0

    @property
    def is_empty(self) -> bool:
        return not self.connections and not self.waiting and not self.connecting


class SharedConnections:
    """A worker's. The pool makes connections and counts them."""

    def __init__(self, pool: "Pool", max_head_bytes: int) -> None:
        self._pool = pool
        self._places: dict[Endpoint, Place] = {}
        self._max_streams: dict[Endpoint, int] = {}
        """What endpoints allowed of late."""
        self.heads = ResponseHeads(max_head_bytes)

    def borrow(self, endpoint: Endpoint) -> UpstreamStream | None:
        """A stream on a connection that is there, None if none has room."""
        place = self._places.get(endpoint)
        if place is not None and not place.waiting:
            for connection in place.connections:
                if connection.has_room:
                    return connection.lend()
        return None

    def connect(self, exchange: Requester, cluster: Cluster, endpoint: Endpoint) -> Waiter:
        """Line up for a stream."""
        place = self._places.get(endpoint)
        if place is None:
            place = self._places[endpoint] = Place()
        waiter = Waiter(place, exchange)
        place.waiting.append(waiter)
        self._make_enough(place, cluster, endpoint)
        return waiter

    def is_waited_for(self, endpoint: Endpoint) -> bool:
        """Whether who lines up needs no connection of his own."""
        place = self._places.get(endpoint)
        return place is not None and not place.is_empty

    def _make_enough(self, place: Place, cluster: Cluster, endpoint: Endpoint) -> None:
        while len(place.waiting) > place.connecting * MAX_STREAMS:
            alone = not place.connections and not place.connecting
            if not alone and cluster.is_limited and not cluster.limiter.may_connect(endpoint.record):
                return
            place.connecting += 1
            self._pool.make_shared(cluster, endpoint)

    # From the pool

    def on_connected(self, connection: Http2Upstream) -> None:
        place = self._places[connection.endpoint]
        place.connecting -= 1
        place.connections.append(connection)
        waiting = len(place.waiting)
        self.on_room(connection)
        if len(place.waiting) < waiting:  # one that takes nobody may be the first of many such
            self._make_enough(place, connection.cluster, connection.endpoint)
        self._retire_outdated(connection)

    def on_failed(self, cluster: Cluster, endpoint: Endpoint, reason: str) -> None:
        """A connection could not be made. As many of those who wait hear of it as no other one is made for."""
        place = self._places[endpoint]
        place.connecting -= 1
        count = len(place.waiting)
        if place.connecting or place.connections:
            count = min(count - place.connecting * MAX_STREAMS, MAX_STREAMS)
        failed = [place.waiting.popleft() for _ in range(count)]
        if place.is_empty:
            del self._places[endpoint]
        for waiter in failed:
            waiter.exchange.on_connect_failed(reason)

    def adopt(self, connection: Http2Upstream) -> UpstreamStream:
        """Share a connection that was made for one request, which gets the first stream."""
        place = self._places.get(connection.endpoint)
        if place is None:
            place = self._places[connection.endpoint] = Place()
        place.connections.append(connection)
        stream = connection.lend()
        self._retire_outdated(connection)
        return stream

    def _retire_outdated(self, connection: Http2Upstream) -> None:
        """A reload may have come while it was made: then it is for those alone who have waited for it."""
        if not self._pool.may_keep(connection):
            connection.retire()

    def retire(self, is_outdated: Callable[[Http2Upstream], bool]) -> None:
        """Lend those no more."""
        for place in tuple(self._places.values()):
            for connection in tuple(place.connections):
                if is_outdated(connection):
                    connection.retire()

    def drop(self, endpoint: Endpoint) -> None:
        """The endpoint is gone: its connections end when their requests have."""
        self._max_streams.pop(endpoint, None)
        place = self._places.get(endpoint)
        for connection in tuple(place.connections) if place is not None else ():
            connection.retire()

    def close(self) -> None:
        self.retire(lambda connection: True)

    # From connections

    def expect_max_streams(self, endpoint: Endpoint) -> int:
        """How many streams a new connection may take before its SETTINGS say so. What is beyond is refused, and a
        request that is refused twice has failed: so the endpoint's last word is believed."""
        return self._max_streams.get(endpoint, INITIAL_MAX_STREAMS)

    def on_max_streams(self, endpoint: Endpoint, count: int) -> None:
        self._max_streams[endpoint] = count

    def on_room(self, connection: Http2Upstream) -> None:
        """A stream has ended, or the endpoint allows more."""
        place = self._places.get(connection.endpoint)
        if place is None:
            return
        while place.waiting and connection.has_room:
            waiter = place.waiting.popleft()
            waiter.exchange.on_upstream_ready(connection.lend())
        connection.wake_when_idle()

    def on_lost(self, connection: Http2Upstream) -> None:
        self._pool.on_shared_lost(connection)
        self.forget(connection)

    def forget(self, connection: Http2Upstream) -> None:
        """Nothing new goes there."""
        endpoint = connection.endpoint
        place = self._places.get(endpoint)
        if place is None or connection not in place.connections:
            return
        place.connections.remove(connection)
        if place.waiting:
            self._make_enough(place, connection.cluster, endpoint)
        elif place.is_empty:
            del self._places[endpoint]
