"""A worker: the rooms of the data plane put together, and the supervisor's messages carried out."""

import asyncio
import gc
import mmap
import os
import random
import resource
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.exchange.sides import Replays, Scope, Services
from turnout.proxy.exchange.state import ExchangeState
from turnout.proxy.filters.guards import Guards
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.net.access_log import AccessLog
from turnout.proxy.net.context import ListenerContext, WorkerContext
from turnout.proxy.net.downstream import DownstreamConnection
from turnout.proxy.net.listener import Listener
from turnout.proxy.net.log_file import LogFile
from turnout.proxy.net.options import Options, TraceOptions
from turnout.proxy.net.pool import Pool
from turnout.proxy.net.protocol import as_factory
from turnout.proxy.net.queue import Queue
from turnout.proxy.net.refusal import Refusals
from turnout.proxy.net.spans import SpanLog
from turnout.proxy.net.timers import Timers
from turnout.proxy.net.tls.handshake import Handshake
from turnout.proxy.net.tls.reports import TlsReports
from turnout.proxy.net.turn import Turn
from turnout.proxy.route.table import Table
from turnout.proxy.shadow.shadows import Shadows
from turnout.proxy.shadow.taps import Mirroring
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import BUCKETS_TABLE, NO_ROUTE_KEY, SHARED_BYTES, Word, route_keys
from turnout.proxy.worker.door import Door
from turnout.proxy.worker.memory import Memory
from turnout.proxy.worker.messages import (
    Configure,
    Configured,
    Drained,
    FromWorker,
    Hello,
    Overloaded,
    Resolved,
    Secrets,
    Spans,
    TlsFailed,
)
from turnout.proxy.worker.overload import OverloadManager, bound_connections, bound_shadows
from turnout.proxy.worker.reports import Reports
from turnout.proxy.worker.secrets import NO_CONTEXTS, ContextError, Contexts, build_contexts
from turnout.proxy.worker.watch import Watch
from turnout.rules import snapshot
from turnout.rules.snapshot import Snapshot, decode_snapshot
from turnout.rules.source import Secret

FLUSH_S = 1.0
REPLAY_BYTES = 64 << 20
"""Of all request bodies together that a worker keeps to send again; at most a quarter of its memory."""


class Worker:
    """Serves by the newest Snapshot it was given. `send` speaks to the supervisor, `leave` ends the process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        hello: Hello,
        counter_fds: Sequence[int],
        send: Callable[[FromWorker], None],
        leave: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._send = send
        self._leave = leave
        options, slot = hello.options, hello.slot
        self._slot = slot
        self._blocks = [_map_block(fd, writable=at == slot) for at, fd in enumerate(counter_fds)]
        words = [memoryview(block).cast("Q") for block in self._blocks]
        others = [view for at, view in enumerate(words) if at != slot]
        counters = self._counters = Counters(words[slot], others)
        clock = time.monotonic
        timers = self._timers = Timers(loop, clock)
        buckets = Buckets(words[slot], others, BUCKETS_TABLE)
        self._guards = Guards(buckets, counters, hello.salt, len(words))
        self._reports = Reports(send)
        tls_reports = TlsReports(counters, clock, self._reports.on_tls_failure)
        turn = Turn(loop.call_soon)
        self._pool = Pool(loop, clock, timers, counters, options.max_head_bytes, tls_reports, turn)
        self._log = _open_log(options, counters)
        log = self._log.log if self._log else _log_nothing
        self._tracer, self._spans = self._trace(options.tracing)
        replay_bytes = min(REPLAY_BYTES, options.max_memory_bytes // 4 or REPLAY_BYTES)
        services = Services(self._pool, counters, clock, time.time, log, Replays(replay_bytes), options.idle_timeout_s)
        services.tracer, services.recorder = self._tracer, self._spans
        self._context = WorkerContext(loop, clock, timers, services, options, tls_reports, turn)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._shadows = Shadows(self._pool, counters, clock, timers, bound_shadows(descriptors), self._tell_fault)
        self._shadows.tracer = self._tracer
        self._mirroring = Mirroring(self._shadows, buckets)
        manager = OverloadManager(
            options.max_memory_bytes, options.max_connections, bound_connections(options.max_connections, descriptors)
        )
        self._refusals = Refusals(loop, partial(counters.add, int(Word.CONNECTIONS_REFUSED)))
        self._door = Door(manager, counters, self._refusals)
        self._watch = Watch(loop, manager, Memory(), lambda: self._context.connections, self._on_look)
        self._watch.start()
        self._listeners: dict[str, Listener] = {}
        self._contexts: dict[str, ListenerContext] = {}
        self._clusters: dict[str, Cluster] = {}
        self._resolved: dict[str, Resolved] = {}
        self._secrets: dict[str, Secret] = {}
        self._tls = NO_CONTEXTS
        self._snapshot = Snapshot()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_logs()

    # The supervisor's messages

    async def listen(self, name: str, fd: int) -> None:
        """Keep a listening socket; it accepts when a Snapshot names its listener."""
        self._listeners[name] = Listener(self._loop, socket.socket(fileno=fd))
        if name in self._contexts:
            await self._start(name)

    def unlisten(self, name: str) -> None:
        context, listener = self._contexts.pop(name, None), self._listeners.pop(name, None)
        if context is not None:
            context.closing = True
        if listener is not None:
            self._spawn(self._stop_listener(listener, context))

    def apply_endpoints(self, message: Resolved) -> None:
        self._resolved[message.cluster] = message
        cluster = self._clusters.get(message.cluster)
        if cluster is not None:
            self._tell_endpoints(cluster)

    async def configure(self, message: Configure) -> None:
        """Swap to a new Snapshot as a whole, or say why not and keep the old one.

        Large tables take a second to build: that is done beside the loop, which goes on serving.
        """
        gc.disable()  # what is built stays, so there is nothing to be collected, only much to be looked through
        try:
            built = await self._loop.run_in_executor(None, _build, message, dict(self._secrets), self._tls)
        except Exception as error:  # whatever it is: the old Snapshot goes on, and the supervisor tells why
            self._send(Configured(message.number, f"{type(error).__name__}: {error}"))
            return
        finally:
            gc.freeze()
            gc.enable()
        self._snapshot = built.snapshot
        self._apply_clusters(built.snapshot)
        self._guards.bind(built.tables.values())
        self._mirroring.bind(built.tables.values())
        for name, table in built.tables.items():
            self._apply_scope(name, table, built.no_route_record, message.version)
        self._apply_tls(built.tls)
        for name in list(self._contexts):
            await self._start(name)
        self._send(Configured(message.number))

    async def apply_secrets(self, message: Secrets) -> None:
        """Take secrets, and make anew what was made of those that have changed; connections that stand are kept.

        The supervisor has checked them. Should they do no good here all the same, the old contexts serve on.
        """
        self._secrets.update((secret.name, secret) for secret in message.secrets)
        for name in message.gone:
            self._secrets.pop(name, None)
        secrets = dict(self._secrets)
        try:
            made = await self._loop.run_in_executor(None, build_contexts, self._snapshot, secrets, self._tls)
        except ContextError as error:
            self._send(TlsFailed("downstream", "certificates", "", "other", str(error), 0))
        else:
            self._apply_tls(made)

    def on_spans_taken(self) -> None:
        if self._spans is not None:
            self._spans.on_taken()

    def drain(self, timeout_s: float) -> None:
        """Accept no more; leave when the last connection is gone, at the latest after `timeout_s`."""
        self._context.draining = self._shadows.is_ending = True
        for context in self._contexts.values():
            context.closing = True
        self._context.on_idle = self._finish
        for connection in tuple(self._context.connections):
            connection.drain()
        self._spawn(self._drain(timeout_s))

    # Snapshots

    def _apply_clusters(self, snapshot: Snapshot) -> None:
        before, self._clusters = dict(self._clusters), {}
        for config in snapshot.clusters:
            cluster = before.pop(config.name, None)
            if cluster is not None and cluster.config.protocol != config.protocol:
                # No connection is of use any more, and nothing that was learnt is true.
                self._drop(cluster.apply_endpoints((), cluster.record, self._context.clock()))
                cluster = None
            if cluster is None:
                cluster = self._make_cluster(config)
                self._tell_endpoints(cluster)
            elif cluster.config != config:
                cluster.configure(config, self._context.clock())
            self._clusters[config.name] = cluster
        for name, gone in before.items():
            self._resolved.pop(name, None)
            self._drop(gone.apply_endpoints((), gone.record, self._context.clock()))

    def _make_cluster(self, config: snapshot.Cluster) -> Cluster:
        cluster = Cluster(config, self._slot, random.random, self._counters, self._reports)
        cluster.queue = Queue(
            cluster, self._loop, self._context.clock, self._timers, random.random, alone=not self._counters.others
        )
        return cluster

    def _tell_endpoints(self, cluster: Cluster) -> None:
        told = self._resolved[cluster.config.name]
        self._drop(cluster.apply_endpoints(told.endpoints, told.record, self._context.clock()))

    def _apply_scope(self, name: str, table: Table, no_route_record: int, version: str) -> None:
        listener, context = self._listeners.get(name), self._contexts.get(name)
        scope = Scope(table, self._clusters, listener.port if listener else 0, no_route_record, version)
        if context is None:
            self._contexts[name] = ListenerContext(name, scope, self._context)
        else:
            context.scope = scope

    def _apply_tls(self, made: Contexts) -> None:
        self._tls = made
        for name, context in self._contexts.items():
            context.tls = made.listeners.get(name)
        self._pool.apply_tls(made.clusters)

    def _accept(self, context: ListenerContext | None) -> asyncio.Protocol:
        """The protocol of a plain connection; where no Snapshot ever named the listener nothing is served."""
        if context is None:
            return asyncio.Protocol()
        return self._door.admit(as_factory(partial(DownstreamConnection, context)))

    def _take(self, context: ListenerContext, sock: socket.socket, peer: str) -> None:
        """A connection that has to begin with a handshake."""
        make = as_factory(partial(DownstreamConnection, context))
        self._door.admit_tls(sock, partial(Handshake, context, sock, peer, make))

    def _stop_listener(self, listener: Listener, context: ListenerContext | None) -> Coroutine[None, None, None]:
        take = partial(self._take, context) if context is not None and listener.hands_on else None
        return listener.stop(partial(self._accept, context), take)

    async def _start(self, name: str) -> None:
        listener, context = self._listeners.get(name), self._contexts[name]
        if listener is None or self._context.draining:
            return
        if listener.started and listener.hands_on != (context.tls is not None):
            listener.pause()
        if not listener.started:
            context.scope.port = listener.port
            if context.tls is None:
                await listener.start(partial(self._accept, context))
            else:
                listener.start_with(partial(self._take, context))

    def _drop(self, endpoints: Iterable[Endpoint]) -> None:
        for endpoint in endpoints:
            self._pool.drop(endpoint)

    # The end

    async def _drain(self, timeout_s: float) -> None:
        for name, listener in list(self._listeners.items()):
            context = self._contexts.get(name)
            await self._stop_listener(listener, context)
        if not self._context.connections:
            self._finish()
        else:
            self._loop.call_later(timeout_s, self._cut)

    def _cut(self) -> None:
        for connection in list(self._context.connections):
            connection.close_now()

    def _finish(self) -> None:
        self._context.on_idle = lambda: None
        self._watch.stop()
        self._refusals.close()
        self._shadows.close()
        self._pool.close()
        if self._log is not None:
            self._log.flush()
        if self._spans is not None:
            self._spans.close()
        self._send(Drained())
        self._leave()

    def _tell_fault(self, error: Exception) -> None:
        """A shadow, or who looks at them, did what nobody expected; requests go on."""
        self._loop.call_exception_handler({"message": "a fault with a shadow; requests go on", "exception": error})

    def _on_look(self, manager: OverloadManager, cuts: int) -> None:
        """How memory is, at each look."""
        services, words = self._context.services, self._counters.words
        if services.overloaded != manager.is_refusing:
            services.overloaded = manager.is_refusing
            self._send(Overloaded(manager.is_refusing, manager.pressure))
        self._shadows.is_short = manager.is_short
        words[Word.OVERLOADED] = int(manager.is_refusing)
        words[Word.RESIDENT_BYTES] = manager.resident_bytes
        if cuts:
            self._counters.add(Word.EXCHANGES_CUT, cuts)

    def _flush_logs(self) -> None:
        if self._log is not None:
            self._log.flush()
        if self._spans is not None:
            self._spans.flush()
        if self._log is not None or self._spans is not None:
            self._loop.call_later(FLUSH_S, self._flush_logs)

    def _trace(self, options: TraceOptions | None) -> tuple[Tracer | None, SpanLog | None]:
        """What decides which requests are recorded, and what tells of these."""
        if options is None:
            return None, None
        tracer = Tracer(options.sampler, options.formats, options.slow_s)
        drop = partial(self._counters.add, int(Word.SPANS_DROPPED))
        count = partial(self._counters.add, int(Word.SPANS_RECORDED))
        return tracer, SpanLog(tracer, lambda spans, records: self._send(Spans(spans, records)), drop, count)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine and keep it from being collected."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Built(NamedTuple):
    """A Snapshot, compiled."""

    snapshot: Snapshot
    tables: dict[str, Table]
    no_route_record: int
    tls: Contexts


def _build(message: Configure, secrets: dict[str, Secret], tls: Contexts) -> _Built:
    snapshot = decode_snapshot(message.snapshot)
    records = dict(zip(route_keys(snapshot), message.records, strict=True))
    missing, cold, clusters = snapshot.missing, snapshot.cold, snapshot.clusters
    tables = {
        listener.name: Table(listener, missing, records, cold=cold, clusters=clusters)
        for listener in snapshot.listeners
    }
    return _Built(snapshot, tables, records[NO_ROUTE_KEY], build_contexts(snapshot, secrets, tls))


def _map_block(fd: int, *, writable: bool) -> mmap.mmap:
    """The block of a slot: only its own may be written."""
    block = mmap.mmap(fd, SHARED_BYTES, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))
    os.close(fd)
    return block


def _open_log(options: Options, counters: Counters) -> AccessLog | None:
    if options.access_log == "off":
        return None
    file = LogFile(options.access_log, lambda lines: counters.add(Word.ACCESS_LOG_DROPPED, lines))
    return AccessLog(file, json=options.access_log_format == "json")


def _log_nothing(exchange: ExchangeState, peer: Peer, now: float) -> None:
    """The access log is off."""
