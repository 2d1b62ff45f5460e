"""What the connections of a worker share, and what those of a listener do."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol

from turnout.proxy.exchange.sides import Scope, Services
from turnout.proxy.http1.request_head import RequestHeads
from turnout.proxy.http2.request_head import RequestHeads as Http2RequestHeads
from turnout.proxy.net.options import Options
from turnout.proxy.net.timers import Timers
from turnout.proxy.net.tls.reports import TlsReports
from turnout.proxy.net.trust import Trust
from turnout.proxy.net.turn import Turn


class Closable(Protocol):
    """A connection that can be cut."""

    def close_now(self) -> None: ...

    def held_bytes(self) -> int: ...

    def cut(self) -> None: ...

    def drain(self) -> None: ...


class WorkerContext:
    """One per worker. `connections` are the open downstream ones; `on_idle` is called when the last is gone."""

    __slots__ = (
        "clock", "connections", "draining", "http2_request_heads", "loop", "on_idle", "options", "request_heads",
        "services", "timers", "tls_reports", "trust", "turn",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], timers: Timers, services: Services,
        options: Options, tls_reports: TlsReports, turn: Turn,
    ) -> None:  # fmt: skip
        self.loop = loop
        self.clock = clock
        self.timers = timers
        self.services = services
        self.options = options
        self.tls_reports = tls_reports
        self.turn = turn
        self.trust = Trust(options.trusted)
        self.request_heads = RequestHeads()
        self.http2_request_heads = Http2RequestHeads(options.max_head_bytes)
        self.connections: set[Closable] = set()
        self.draining = False
        self.on_idle: Callable[[], None] = lambda: None


class ListenerContext:
    """One per listener. New exchanges take `scope` as it is at that moment; a reload replaces it. So new connections
    do with `tls`, which is None where none is spoken; a changed certificate replaces that, too."""

    __slots__ = ("closing", "name", "scope", "tls", "worker")

    def __init__(self, name: str, scope: Scope, worker: WorkerContext) -> None:
        self.name = name
        self.scope = scope
        self.worker = worker
        self.tls: ssl.SSLContext | None = None
        self.closing = False
        """No new requests are wanted: a connection ends with its next answer."""
