"""Connections to endpoints: idle ones kept for the next request, new ones made.

The newest idle connection is taken first, so that the oldest can end. An idle one is closed before the upstream
would do it (see UpstreamConnection), so that a request seldom meets a connection that is being closed.
"""

import asyncio
import errno
from collections.abc import Callable, Mapping

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.cluster.lease import Lease
from turnout.proxy.exchange import Exchange
from turnout.proxy.http1.response_head import ResponseHeads
from turnout.proxy.net.timers import Timers
from turnout.proxy.net.tls.failures import describe_failure
from turnout.proxy.net.tls.reports import TlsReports
from turnout.proxy.net.tls.upstream import UpstreamContext
from turnout.proxy.net.upstream import UpstreamConnection
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord

SHUTDOWN_S = 1.0
"""How long the end of a TLS connection waits for that of the endpoint."""
_NO_CONNECTION = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.ENETDOWN})
"""What happens before a handshake begins."""


class Pool:
    """The upstream connections of a worker."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], timers: Timers, counters: Counters,
        max_head_bytes: int, tls_reports: TlsReports,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._clock = clock
        self._timers = timers
        self._counters = counters
        self._max_head_bytes = max_head_bytes
        self._heads = ResponseHeads()
        self._tls: Mapping[str, UpstreamContext] = {}
        self._tls_reports = tls_reports
        self._idle: dict[Endpoint, list[UpstreamConnection]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    def apply_tls(self, contexts: Mapping[str, UpstreamContext]) -> None:
        """TLS of the clusters from now on, by name. Connections that were made with another are not lent again."""
        before, self._tls = self._tls, contexts
        for endpoint, idle in list(self._idle.items()):
            if any(before.get(c.cluster.config.name) is not contexts.get(c.cluster.config.name) for c in idle):
                self.drop(endpoint)

    def borrow(self, lease: Lease, now: float) -> UpstreamConnection | None:
        """An idle connection to the lease's endpoint, None if there is none that may still be used."""
        idle = self._idle.get(lease.endpoint)
        while idle:
            connection = idle.pop()
            if now < connection.idle_since + connection.idle_timeout_s:
                return connection
            connection.close()
        return None

    def find_idle(self, cluster: Cluster) -> Endpoint | None:
        """An endpoint of the cluster that may be used and has an idle connection."""
        return next((endpoint for endpoint in cluster.available if self._idle.get(endpoint)), None)

    def connect(self, exchange: Exchange, cluster: Cluster, lease: Lease) -> asyncio.Task[None]:
        """Make a connection; the exchange is told when it is there or can't be. The task may be cancelled."""
        task = self._loop.create_task(self._connect(exchange, cluster, lease.endpoint))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)
        return task

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        endpoint = connection.endpoint
        if endpoint.removed or ((self._tls or connection.tls) and self._is_outdated(connection)):
            connection.close()
            return
        idle = self._idle.get(endpoint)
        if idle is None:
            self._idle[endpoint] = [connection]
        else:
            idle.append(connection)
        wake = connection.idle_since + connection.idle_timeout_s
        if wake < connection.wake:
            self._timers.wake_at(connection, wake)

    def drop(self, endpoint: Endpoint) -> None:
        """An endpoint is gone: close its idle connections; those in use are closed when they come back."""
        for connection in self._idle.pop(endpoint, ()):
            connection.close()

    def close(self) -> None:
        """Close all that is idle or being made."""
        for endpoint in list(self._idle):
            self.drop(endpoint)
        for task in self._connecting:
            task.cancel()

    def on_lost(self, connection: UpstreamConnection) -> None:
        self._timers.forget(connection)
        self._count(connection, -1)
        self.forget(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        """A connection is closing: it is not lent any more."""
        idle = self._idle.get(connection.endpoint)
        if idle and connection in idle:
            idle.remove(connection)

    def on_tls_failure(self, connection: UpstreamConnection, error: Exception | None) -> str:
        """A handshake failed; what there is to be said of it."""
        failure, text = describe_failure(error)
        name, key = connection.cluster.config.name, connection.endpoint.key
        self._tls_reports.on_failure("upstream", name, key, failure, text)
        return f"TLS: {text}"

    def _is_outdated(self, connection: UpstreamConnection) -> bool:
        return self._tls.get(connection.cluster.config.name) is not connection.tls

    async def _connect(self, exchange: Exchange, cluster: Cluster, endpoint: Endpoint) -> None:
        config = cluster.config
        tls = self._tls.get(config.name)
        connection = UpstreamConnection(self, cluster, endpoint, self._heads, self._max_head_bytes, tls)
        # From now on, not from when it is made: limits count it.
        self._count(connection, 1)
        try:
            async with asyncio.timeout(config.connect_timeout_s):
                if tls is None:
                    await self._loop.create_connection(lambda: connection, endpoint.address, endpoint.port)
                else:
                    await self._connect_tls(connection, tls)
        except TimeoutError:
            self._count(connection, -1)
            self._fail(exchange, endpoint, f"no connection within {config.connect_timeout_s:g} s")
        except OSError as error:
            self._count(connection, -1)
            self._fail(exchange, endpoint, self._describe(connection, error))
        except asyncio.CancelledError:
            # It may be there already; the loop does not always tell that it is lost again.
            self._count(connection, -1)
            if not connection.is_closing:
                connection.abort()
            raise
        else:
            if connection.is_closing:
                self._count(connection, -1)
                self._fail(exchange, endpoint, "closed at once")
            else:
                connection.counted = True
                self._counters.add(endpoint.record + EndpointWord.CONNECTIONS_TOTAL)
                exchange.on_upstream_ready(connection)

    async def _connect_tls(self, connection: UpstreamConnection, tls: UpstreamContext) -> None:
        """Raises OSError: no connection, or no TLS on it."""
        endpoint = connection.endpoint
        await self._loop.create_connection(
            lambda: connection, endpoint.address, endpoint.port, ssl=tls.context, server_hostname=tls.server_name,
            ssl_handshake_timeout=connection.cluster.config.connect_timeout_s, ssl_shutdown_timeout=SHUTDOWN_S,
        )  # fmt: skip
        self._tls_reports.on_connection("upstream")

    def _describe(self, connection: UpstreamConnection, error: Exception) -> str:
        if connection.tls is not None and not (isinstance(error, OSError) and error.errno in _NO_CONNECTION):
            return self.on_tls_failure(connection, error)
        return getattr(error, "strerror", None) or str(error)

    def _count(self, connection: UpstreamConnection, amount: int) -> None:
        self._counters.add(connection.endpoint.record + EndpointWord.CONNECTIONS_ACTIVE, amount)
        connection.cluster.count(ClusterWord.CONNECTIONS, amount)
        if amount < 0 and connection.cluster.is_limited:
            connection.cluster.on_capacity()

    def _fail(self, exchange: Exchange, endpoint: Endpoint, reason: str) -> None:
        self._counters.add(endpoint.record + EndpointWord.CONNECT_FAILURES)
        exchange.on_connect_failed(reason)
