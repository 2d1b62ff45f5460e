"""Connections to endpoints: idle ones kept for the next request, new ones made.

The newest idle connection is taken first, so that the oldest can end. An idle one is closed before the upstream
would do it (see UpstreamConnection), so that a request seldom meets a connection that is being closed. Those of
HTTP/2 are shared (`shared`).
"""

import asyncio
import errno
from collections.abc import Callable, Coroutine, Mapping

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.exchange.sides import Requester
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net.agreed import Agreed
from turnout.proxy.net.http2_upstream import Http2Upstream, UpstreamStream
from turnout.proxy.net.protocol import as_protocol
from turnout.proxy.net.shared import SharedConnections, Waiter
from turnout.proxy.net.timers import Timers
from turnout.proxy.net.tls.failures import describe_failure
from turnout.proxy.net.tls.reports import TlsReports
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.net.turn import Turn
from turnout.proxy.net.upstream import UpstreamConnection
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord

SHUTDOWN_S = 1.0
"""How long the end of a TLS connection waits for that of the endpoint."""
_NO_CONNECTION = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ENETDOWN})
"""What happens before a handshake begins."""

AnyConnection = UpstreamConnection | Http2Upstream


class Pool:
    """The upstream connections of a worker."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], timers: Timers, counters: Counters,
        max_head_bytes: int, tls_reports: TlsReports, turn: Turn,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.clock = clock
        self.timers = timers
        self.turn = turn
        self._counters = counters
        self._max_head_bytes = max_head_bytes
        self._heads = ResponseHeads()
        self._tls: Mapping[str, UpstreamContext] = {}
        self._tls_reports = tls_reports
        self._idle: dict[Endpoint, list[UpstreamConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self.shared = SharedConnections(self, max_head_bytes)

    def apply_tls(self, contexts: Mapping[str, UpstreamContext]) -> None:
        """TLS of the clusters from now on, by name. Connections that were made with another are not lent again."""
        before, self._tls = self._tls, contexts
        for endpoint, idle in list(self._idle.items()):
            if any(before.get(c.cluster.config.name) is not contexts.get(c.cluster.config.name) for c in idle):
                self.drop(endpoint)
        self.shared.retire(self._is_outdated)

    def borrow(self, lease: Lease, now: float) -> UpstreamConnection | UpstreamStream | None:
        """An idle connection to the lease's endpoint, or a stream of a shared one; None if there is none that may
        still be used."""
        idle = self._idle.get(lease.endpoint)
        while idle:
            connection = idle.pop()
            if now < connection.idle_since + connection.idle_timeout_s:
                return connection
            connection.close()
        return self.shared.borrow(lease.endpoint)

    def may_connect(self, cluster: Cluster, lease: Lease) -> bool:
        """Whether the cluster's limits allow a `connect`; who waits for a shared connection needs none of its own."""
        endpoint = lease.endpoint
        return cluster.limiter.may_connect(endpoint.record) or self.shared.is_waited_for(endpoint)

    def find_idle(self, cluster: Cluster) -> Endpoint | None:
        """An endpoint of the cluster that may be used and has an idle connection."""
        return next((endpoint for endpoint in cluster.available if self._idle.get(endpoint)), None)

    def connect(self, exchange: Requester, cluster: Cluster, lease: Lease) -> "asyncio.Task[None] | Waiter":
        """Make a connection, or wait for a shared one; the exchange is told when it is there or can't be. What is
        returned may be cancelled."""
        if cluster.multiplexes:
            return self.shared.connect(exchange, cluster, lease.endpoint)
        if cluster.config.protocol == "auto":
            return self._spawn(self._connect_agreed(exchange, cluster, lease.endpoint))
        return self._spawn(self._connect(exchange, cluster, lease.endpoint))

    def make_shared(self, cluster: Cluster, endpoint: Endpoint) -> None:
        """Make a connection for all who wait at an endpoint."""
        self._spawn(self._connect_shared(cluster, endpoint))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        endpoint = connection.endpoint
        if not self.may_keep(connection):
            connection.close()
            return
        idle = self._idle.get(endpoint)
        if idle is None:
            self._idle[endpoint] = [connection]
        else:
            idle.append(connection)
        wake = connection.idle_since + connection.idle_timeout_s
        if wake < connection.wake:
            self.timers.wake_at(connection, wake)

    def may_keep(self, connection: AnyConnection) -> bool:
        """Whether it may be lent again: its endpoint is still one, and the TLS on it is the cluster's."""
        if connection.endpoint.removed:
            return False
        return not (self._tls or connection.tls) or not self._is_outdated(connection)

    def drop(self, endpoint: Endpoint) -> None:
        """An endpoint is gone: close its idle connections; those in use are closed when they come back."""
        for connection in self._idle.pop(endpoint, ()):
            connection.close()
        self.shared.drop(endpoint)

    def close(self) -> None:
        """Close all that is idle or being made."""
        for endpoint in list(self._idle):
            self.drop(endpoint)
        self.shared.close()
        for task in self._connecting:
            task.cancel()

    def on_lost(self, connection: UpstreamConnection) -> None:
        self.timers.forget(connection)
        self._count(connection, -1)
        self.forget(connection)

    def on_shared_lost(self, connection: Http2Upstream) -> None:
        self.timers.forget(connection)
        self._count(connection, -1)

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is closing: it is not lent any more."""
        idle = self._idle.get(connection.endpoint)
        if idle and connection in idle:
            idle.remove(connection)

    def on_tls_failure(self, connection: AnyConnection, error: Exception | None) -> str:
        """A handshake failed; what there is to be said of it."""
        failure, text = describe_failure(error)
        name, key = connection.cluster.config.name, connection.endpoint.key
        self._tls_reports.on_failure("upstream", name, key, failure, text)
        return f"TLS: {text}"

    def _is_outdated(self, connection: AnyConnection) -> bool:
        return self._tls.get(connection.cluster.config.name) is not connection.tls

    async def _connect(self, exchange: Requester, cluster: Cluster, endpoint: Endpoint) -> None:
        tls = self._find_tls(cluster)
        connection = UpstreamConnection(self, cluster, endpoint, self._heads, self._max_head_bytes, tls)
        reason = await self._establish(connection, connection)
        if reason is None:
            exchange.on_upstream_ready(connection)
        else:
            exchange.on_connect_failed(reason)

    async def _connect_shared(self, cluster: Cluster, endpoint: Endpoint) -> None:
        connection = Http2Upstream(self, cluster, endpoint, self._max_head_bytes, self._find_tls(cluster))
        reason = await self._establish(connection, connection)
        if reason is None:
            self.shared.on_connected(connection)
        else:
            self.shared.on_failed(cluster, endpoint, connection.fault or reason)

    async def _connect_agreed(self, exchange: Requester, cluster: Cluster, endpoint: Endpoint) -> None:
        """Connect, and speak what the handshake agrees on."""
        tls = self._find_tls(cluster)
        plain = UpstreamConnection(self, cluster, endpoint, self._heads, self._max_head_bytes, tls)
        shared = Http2Upstream(self, cluster, endpoint, self._max_head_bytes, tls)
        protocol = Agreed(plain, shared)
        reason = await self._establish(plain, protocol)
        if reason is not None:
            exchange.on_connect_failed(reason)
        elif protocol.chosen is shared:
            exchange.on_upstream_ready(self.shared.adopt(shared))
        else:
            exchange.on_upstream_ready(plain)

    def _find_tls(self, cluster: Cluster) -> UpstreamContext | None:
        return self._tls.get(cluster.config.name)

    async def _establish(self, connection: AnyConnection, protocol: AnyConnection | Agreed) -> str | None:
        """Connect `protocol`, which is or becomes a connection like this one; why it could not be done is returned,
        None if it could. Counted from now on, not from when it is made: limits count it."""
        config, endpoint, tls = connection.cluster.config, connection.endpoint, connection.tls
        self._count(connection, 1)
        try:
            async with asyncio.timeout(config.connect_timeout_s):
                if tls is None:
                    await self.loop.create_connection(lambda: as_protocol(protocol), endpoint.address, endpoint.port)
                else:
                    await self._connect_tls(connection, protocol, tls)
        except TimeoutError:
            reason = f"no connection within {config.connect_timeout_s:g} s"
        except OSError as error:
            reason = self._describe(connection, error)
        except asyncio.CancelledError:
            # It may be there already; the loop does not always tell that it is lost again.
            self._count(connection, -1)
            _made(protocol).close_now()
            raise
        else:
            made = _made(protocol)
            if not made.is_closing:
                made.counted = True
                self._counters.add(endpoint.record + EndpointWord.CONNECTIONS_TOTAL)
                return None
            reason = "closed at once"
        self._count(connection, -1)
        self._counters.add(endpoint.record + EndpointWord.CONNECT_FAILURES)
        return reason

    async def _connect_tls(
        self, connection: AnyConnection, protocol: AnyConnection | Agreed, tls: UpstreamContext
    ) -> None:
        """Raises OSError: no connection, or no TLS on it."""
        endpoint = connection.endpoint
        await self.loop.create_connection(
            lambda: as_protocol(protocol), endpoint.address, endpoint.port,
            ssl=tls.context, server_hostname=tls.server_name,
            ssl_handshake_timeout=connection.cluster.config.connect_timeout_s, ssl_shutdown_timeout=SHUTDOWN_S,
        )  # fmt: skip
        self._tls_reports.on_connection("upstream")

    def _describe(self, connection: AnyConnection, error: Exception) -> str:
        if connection.tls is not None and not (isinstance(error, OSError) and error.errno in _NO_CONNECTION):
            return self.on_tls_failure(connection, error)
        return getattr(error, "strerror", None) or str(error)

    def _count(self, connection: AnyConnection, amount: int) -> None:
        self._counters.add(connection.endpoint.record + EndpointWord.CONNECTIONS_ACTIVE, amount)
        connection.cluster.count(ClusterWord.CONNECTIONS, amount)
        if amount < 0 and connection.cluster.is_limited:
            connection.cluster.on_capacity()


def _made(protocol: AnyConnection | Agreed) -> AnyConnection:
    return protocol.chosen if isinstance(protocol, Agreed) else protocol
