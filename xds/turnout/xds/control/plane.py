"""The control plane, put together: store, ledger, files, API and discovery.

Its life, in one line each:

* starting: the ports are bound, and the API answers; `/ready` says what is waited for.
* Discovery is served once there is something to tell. An empty store tells nobody anything: a proxy that has a
  configuration would take an empty one for the truth.
* serving: files are watched; each accepted state is published.
* stopping: changes that have begun are ended, streams are closed, and the proxies go on with what they have.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from aiohttp import web
from grpc import aio

from turnout.rules.files import FileSource
from turnout.xds.control.api.app import Api
from turnout.xds.control.api.messages import ProxyInfo
from turnout.xds.control.api.proxies import proxy_info
from turnout.xds.control.catalog import Catalog, FindOrigins, Translate
from turnout.xds.control.compiler import LastCompiled
from turnout.xds.control.debounce import Debounce
from turnout.xds.control.ledger import Ledger
from turnout.xds.control.metrics import Facts, render_metrics
from turnout.xds.control.options import Address, ControlOptions
from turnout.xds.control.publisher import Publisher, Sessions
from turnout.xds.control.registry import Registry
from turnout.xds.control.secrets import POLL_S
from turnout.xds.control.transport import may_tell_keys, open_server
from turnout.xds.server.counters import Counters
from turnout.xds.server.status import ProxyStatus
from turnout.xds.store.memory import RejectionMemory
from turnout.xds.store.store import Store, StoreError

logger = logging.getLogger(__name__)

FLUSH_S = 1.0
"""How long a rejection may wait to be written."""
YOUNG_OBJECTS = 20_000
"""How many new objects the garbage collector lets come together."""
RETRY_S = 1.0
"""How long after the store could not take what the files say it is asked again."""


class Discovery(Sessions, Protocol):
    """The ADS server, as far as it is dealt with here."""

    @property
    def counters(self) -> Counters:
        """What it has done."""
        ...

    def add_to(self, server: aio.Server) -> None:
        """Be served by it."""
        ...

    def end(self) -> None:
        """End all streams; the server is about to be stopped."""
        ...

    def statuses(self) -> Sequence[ProxyStatus]:
        """All clients that are connected."""
        ...


class Parts(NamedTuple):
    """What the control plane is composed with."""

    translate: Translate
    find_origins: FindOrigins
    make_discovery: Callable[[Catalog, RejectionMemory], Discovery]


class ControlPlane:
    """One control plane. Raises StoreError, TransportError or OSError (the API's port) if it can't be opened."""

    def __init__(self, options: ControlOptions, parts: Parts) -> None:
        self._options = options
        self._store = Store(options.state)
        try:
            self._server, self.xds_port = open_server(options.xds, options.tls)
            compiler = LastCompiled(serves_secrets=may_tell_keys(options.xds, options.tls))
            ledger = Ledger(self._store, time.time, compiler.compile)
        except BaseException:
            self._store.close()
            raise
        self._memory = RejectionMemory(self._store)
        self._catalog = catalog = Catalog(parts.translate, parts.find_origins, compiler.compile)
        self._discovery = parts.make_discovery(catalog, self._memory)
        self._discovery.add_to(self._server)
        debounce = Debounce(options.quiet_s, options.max_wait_s)
        self._publisher = Publisher(catalog, self._discovery, lambda: ledger.accepted, debounce)
        self.registry = Registry(ledger, self._publisher.on_accept)
        self._source = FileSource(options.rules) if options.rules else None
        self._api = web.AppRunner(
            Api(self, self.registry, self._store, options.token).app, access_log=None, shutdown_timeout=options.drain_s
        )
        self.api_port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._started: asyncio.Future[None] | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # Life

    async def start(self) -> None:
        """Open the API and begin; discovery follows once there is a state."""
        await self._api.setup()
        site = web.TCPSite(self._api, self._options.api.host, self._options.api.port)
        await site.start()
        self.api_port = self._api.addresses[0][1]
        logger.info("the API is at http://%s", Address(self._options.api.host, self.api_port))
        if self._source is None:
            await self.registry.adopt_files()
        else:
            self._spawn(self._watch(self._source), "watch the files")
        self._spawn(self._publisher.run(), "publish")
        self._spawn(self._serve(), "serve discovery")
        self._spawn(self._flush(), "write rejections")
        self._spawn(self._follow_secrets(), "follow certificate files")

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; the exit code: 0, or 1 if it could not go on."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            await self.start()
            self._spawn(self._spare_collector(), "spare the collector")
            ended = asyncio.ensure_future(told.wait())
            await asyncio.wait((ended, self._failed), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            return 1 if self._failed.done() else 0
        finally:
            await self.stop()

    async def stop(self) -> None:
        """End everything that runs, and let go of the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._started is not None:  # gRPC's server can't be stopped while it starts
            await self._started
        self._discovery.end()
        await self._server.stop(self._options.drain_s)
        await self._api.cleanup()
        await self.registry.close()
        with contextlib.suppress(StoreError):  # they would be refused once more, no worse
            self._store.write_rejections(*self._memory.take_news())
        self._store.close()

    # What the API asks

    def why_not_ready(self) -> str:
        """What is waited for; empty: it is ready."""
        ledger = self.registry.ledger
        if ledger.accepted is None:
            return "there is no state yet" + (", and the files have errors" if ledger.file_faults else "")
        if self._source is not None and not ledger.files_read:
            return "the files are being read"
        if not self._publisher.first.is_set():
            return self._publisher.fault or "nothing is published yet"
        return self._publisher.fault

    def published(self) -> str:
        """The hash of the state that proxies are told."""
        return self._publisher.published

    def proxies(self) -> list[ProxyInfo]:
        """All that are connected."""
        return [proxy_info(status) for status in self._discovery.statuses()]

    def metrics(self) -> bytes:
        """In Prometheus' text format."""
        ledger = self.registry.ledger
        facts = Facts(
            proxies=self.proxies(),
            state_number=ledger.accepted.state.number if ledger.accepted else 0,
            pinned=ledger.pinned is not None,
            held=ledger.held is not None,
            ready=not self.why_not_ready(),
            file_errors=len(ledger.file_faults),
            publish_failures=self._publisher.failures,
        )
        return render_metrics(self._discovery.counters, facts)

    # What runs

    async def _watch(self, source: FileSource) -> None:
        async for files in source.contents():
            while True:
                try:
                    await self.registry.take_files(files)
                    break
                except StoreError as error:
                    logger.error("what the files say can't be stored: %s; again in %g s", error, RETRY_S)
                    await asyncio.sleep(RETRY_S)

    async def _serve(self) -> None:
        await self._publisher.first.wait()
        self._started = asyncio.ensure_future(self._server.start())
        await asyncio.shield(self._started)
        logger.info("discovery is at %s", Address(self._options.xds.host, self.xds_port))

    async def _follow_secrets(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if self._catalog.renew_secrets(await asyncio.to_thread(self._catalog.look_at_secrets)):
                self._discovery.on_change()

    async def _spare_collector(self) -> None:
        """To look through what lives as long as the process, modules and documents, holds up a push for up to 0.1 s. So
        the garbage collector leaves what is there at the start alone, and is called less often. No stream is open yet:
        what belongs to one must be found once it is closed."""
        await self._publisher.first.wait()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            if self._memory.has_news():
                try:
                    await asyncio.to_thread(self._store.write_rejections, *self._memory.take_news())
                except StoreError as error:
                    logger.error("what proxies have refused can't be stored, they may be sent it again: %s", error)

    def _reload(self) -> None:
        if self._source is not None:
            self._source.reload()

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("%s failed", task.get_name(), exc_info=error)
            if not self._failed.done():
                self._failed.set_result(None)
