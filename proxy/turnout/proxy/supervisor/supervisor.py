"""The supervisor: the composition root of a proxy. It is never on a request's path.

Its life, in one line each:

* starting: workers are started first, the admin is imported and opened while they load, then the source's first
  update is applied; until then no port is open and /ready is 503. If that one can't serve, there is nothing to go
  back to: the proxy fails, or (`wait_for_better`) waits for the next one.
* serving: each further update is applied whole or not at all (`configuration`), dead workers are replaced
  (`pool`). SIGHUP asks the source to look again.
* handing over (SIGUSR2): a successor inherits the sockets; once it serves, this one drains.
* draining (SIGTERM, SIGINT, /drain, handed over): workers end their requests and exit, then this one does. A
  second SIGTERM or SIGINT ends at once.
"""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from turnout.proxy.net.options import Options
from turnout.proxy.supervisor.configuration import Configuration
from turnout.proxy.supervisor.counters import Blocks
from turnout.proxy.supervisor.dns import Lookup, look_up
from turnout.proxy.supervisor.handover import Inheritance, Successor
from turnout.proxy.supervisor.options import ProxyOptions
from turnout.proxy.supervisor.pool import Pool, Report
from turnout.proxy.supervisor.process import WORKER_COMMAND
from turnout.proxy.supervisor.secrets.contexts import CheckContexts
from turnout.proxy.supervisor.secrets.files import FileSecrets
from turnout.proxy.supervisor.secrets.store import SecretStore
from turnout.proxy.supervisor.sockets import Sockets, open_socket
from turnout.proxy.supervisor.state import Facts, SpanFacts, State
from turnout.proxy.supervisor.states.events import Events
from turnout.proxy.supervisor.states.facts import state_facts
from turnout.proxy.supervisor.states.states import States
from turnout.proxy.supervisor.tracing.arrivals import Arrivals
from turnout.proxy.supervisor.tracing.environment import Tracing
from turnout.proxy.supervisor.tracing.exporter import Exporter, Out
from turnout.proxy.telemetry.layout import Layout, Word
from turnout.proxy.worker.memory import find_memory_limit
from turnout.proxy.worker.messages import Failing, Overloaded, Probed, Probing, Spans, TlsFailed
from turnout.proxy.worker.overload import share_memory
from turnout.rules.source import SecretSource, Source

if TYPE_CHECKING:
    from turnout.proxy.supervisor.admin import Admin

logger = logging.getLogger(__name__)

KILL_AFTER_S = 2.0
"""How long past the drain timeout a worker may live."""


class Supervisor:
    """One proxy. `run()` serves until it has drained or failed, and gives the process's exit code.

    `worker_command`, `successor_command` and `lookup` are what starts a worker, what starts a successor (by
    default the command line that started this process), and what resolves a name. Raises BindError if the admin
    address is taken.
    """

    def __init__(
        self,
        options: ProxyOptions,
        source: Source,
        *,
        worker_command: Sequence[str] = WORKER_COMMAND,
        successor_command: Sequence[str] | None = None,
        lookup: Lookup = look_up,
        inheritance: Inheritance | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.options = options
        self.admin_socket = inheritance.admin if inheritance else open_socket(options.admin)
        self.state = State()
        self.layout = Layout()
        self.blocks = Blocks(options.workers)
        self.sockets = Sockets(options.listen, options.workers, inheritance.listeners if inheritance else ())
        self.pool = Pool(
            options.workers, worker_command, _worker_options(options, tracing), self.blocks.fd,
            self._on_report, self._on_death, self._fail,
        )  # fmt: skip
        self.states = States(Events(), self._endpoint_record, self.pool.serving, self._on_states)
        self.secrets = SecretStore(self.pool.tell_secrets)
        self._secret_files = FileSecrets()
        self.states.find_tls = CheckContexts(self.secrets).find
        self.configuration = Configuration(
            self.state, self.layout, self.sockets, self.pool, self.states, lookup, self.secrets, self._secret_files,
            options.dns_refresh_s, options.listen_wins, has_predecessor=inheritance is not None,
        )  # fmt: skip
        self.spans = None if tracing is None else Exporter(partial(_connect, tracing), tracing.batching)
        self._arrivals = Arrivals()
        self._source = source
        self._successor_command = successor_command
        self._inheritance = inheritance
        self._successor: Successor | None = None
        self._admin: Admin | None = None
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[int] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Serve. The result is 0 after a drain, 1 if the proxy could not start or go on."""
        try:
            self._install_signals()
            self.pool.start()
            await self._start_admin()
            if self.spans is not None:
                self.spans.start()
            self._spawn(self._follow_source(), "follow the source")
            self._spawn(self._follow_secrets(self._secret_files), "follow certificate files")
            return await self._finished
        finally:
            await self._close()

    def drain(self, why: str) -> None:
        """Stop accepting, let requests end, then finish `run()`. Only the first call counts."""
        if self.state.draining:
            return
        self.state.draining = True
        logger.info("draining for up to %g s: %s", self.options.worker.drain_timeout_s, why)
        if self._successor is not None:
            self._successor.terminate()
        self.pool.drain(self.options.worker.drain_timeout_s)
        # After the workers were told: what is queued is theirs to accept.
        self.sockets.close()
        self._spawn(self._finish_drain(), "drain")

    # What the admin asks

    def why_not_ready(self) -> str:
        """The reason that this proxy should get no requests now; empty if it should."""
        return self.state.why_not_ready(self.pool.not_serving())

    def source_dump(self) -> object | None:
        """What the source of configurations tells of itself."""
        return self._source.dump()

    def facts(self) -> Facts:
        """The numbers that no worker counts."""
        state = self.state
        return Facts(
            version=state.served.version if state.served else "",
            reload_successes=state.reload_successes,
            reload_failures=state.reload_failures,
            last_reload_successful=state.served is not None and state.last_error is None,
            loaded_at=state.served.since if state.served else 0.0,
            workers_serving=self.options.workers - len(self.pool.not_serving()),
            worker_restarts=self.pool.restarts,
            dns_failures=self.configuration.resolver.failures,
            started_at=state.started_at,
            discovery=self._source.discovery(),
            states=state_facts(self.states),
            certificates=self.secrets.facts(),
            spans=SpanFacts() if self.spans is None else SpanFacts(self.spans.exported, dict(self.spans.dropped)),
        )

    # Start and end

    async def _start_admin(self) -> None:
        self._admin = _import_admin()(self)
        # A successor's admin speaks when it is ready: until then its predecessor, which is, answers.
        if self._inheritance is None:
            await self._admin.start(self.admin_socket)
        # What was imported stays: the collector need not look at it again. It was off until now (`run_proxy`).
        gc.freeze()
        gc.enable()

    async def _finish_drain(self) -> None:
        try:
            async with asyncio.timeout(self.options.worker.drain_timeout_s + KILL_AFTER_S):
                await self.pool.gone()
        except TimeoutError:
            logger.warning("workers did not end in time: killed")
        self._finish(0)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.configuration.close()
        await self.states.close()
        self.pool.kill()
        await self.pool.gone()
        if self.spans is not None:
            await self._loop.run_in_executor(None, self.spans.close)
        if self._admin is not None:
            await self._admin.stop()
        self.admin_socket.close()
        self.sockets.close()
        self.blocks.close()

    def _fail(self, message: str) -> None:
        logger.error("%s", message)
        self._finish(1)

    def _finish(self, code: int) -> None:
        if not self._finished.done():
            self._finished.set_result(code)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed", task.get_name(), exc_info=error)
            self._finish(1)

    # Signals

    def _install_signals(self) -> None:
        actions: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: lambda: self._on_stop("SIGTERM"),
            signal.SIGINT: lambda: self._on_stop("SIGINT"),
            signal.SIGHUP: self._source.reload,
            signal.SIGUSR2: self._on_hand_over,
        }
        for number, action in actions.items():
            self._loop.add_signal_handler(number, action)

    def _on_stop(self, name: str) -> None:
        if self.state.draining:
            logger.info("%s again: ending at once", name)
            self._finish(0)
        self.drain(name)

    def _on_hand_over(self) -> None:
        if self.state.draining or self._successor is not None or self.state.served is None:
            logger.warning("SIGUSR2 ignored: already handing over, draining, or not serving yet")
            return
        self._spawn(self._hand_over(), "hand over")

    async def _hand_over(self) -> None:
        try:
            self._successor = Successor(self.sockets.bound(), self.admin_socket, self._successor_command)
        except OSError as error:
            logger.error("could not start a successor: %s", error)
            return
        logger.info("handing over to pid %d", self._successor.pid)
        ready = await self._successor.is_ready()
        pid, self._successor = self._successor.pid, None
        if not ready:
            logger.error("the successor (pid %d) ended before it served; serving on", pid)
            return
        if self._admin is not None:
            await self._admin.stop()
        self.drain(f"handed over to pid {pid}")

    # Configuration

    async def _follow_source(self) -> None:
        async for update in self._source.updates():
            first = self.state.served is None
            await self.configuration.apply(update)
            served = self.state.served
            if served is not None and served.loaded is update:
                self._source.on_served(served.loaded)
            if served is None:
                if self.options.wait_for_better:
                    continue
                self._fail("could not start: there is no configuration to serve")
                return
            if first and self._inheritance is not None and self._admin is not None:
                await self._admin.start(self.admin_socket)
                self._inheritance.say_ready()

    async def _follow_secrets(self, source: SecretSource) -> None:
        async for update in source.updates():
            self.secrets.offer(update)

    # What workers report

    def _on_report(self, slot: int, message: Report) -> None:
        match message:
            case Failing():
                self.states.on_failing(message)
            case Probing():
                self.states.on_probing(slot, message)
            case Probed():
                self.states.on_probed(slot, message)
            case Spans():
                assert self.spans is not None, "workers tell of spans only where they are exported"
                self._arrivals.on_spans(slot, message.spans)
                self.spans.offer(message.spans, message.records)
            case TlsFailed():
                logger.warning("%s", _describe_tls(message))
            case Overloaded():
                what = "overloaded" if message.refusing else "overload_ended"
                self.states.events.record(
                    "", f"worker {slot}", what, "", {"pressure": message.pressure}, message.refusing
                )

    def _on_states(self, cluster: str) -> None:
        self.configuration.on_states(cluster)

    def _endpoint_record(self, cluster: str, key: str) -> list[int]:
        (offset,) = self.layout.allot([("endpoint", cluster, key)])
        return self.blocks.record(offset)

    def _on_death(self, slot: int) -> None:
        self.blocks.clear_gauges(slot, {offset: key for key, offset in self.layout.records()})
        self.states.on_slot_gone(slot)
        if self.spans is not None:
            lost = self._arrivals.on_death(slot, self.blocks.word(slot, Word.SPANS_RECORDED))
            if lost:
                logger.warning("worker %d died before it told of %d spans", slot, lost)
                self.spans.drop("worker_died", lost)


def _worker_options(options: ProxyOptions, tracing: Tracing | None) -> Options:
    """The workers' options, with the share of the memory that each may have, and what they are to record."""
    share = share_memory(find_memory_limit(options.max_memory_bytes), options.workers)
    recorded = None if tracing is None else tracing.options
    return msgspec.structs.replace(options.worker, max_memory_bytes=share, tracing=recorded)


def _connect(tracing: Tracing) -> Out:
    """The way to the collector; OpenTelemetry is imported by who needs it, in the exporter's thread."""
    from turnout.proxy.supervisor.tracing.sender import Sender

    return Sender(tracing.endpoint, tracing.batching.timeout_s)


def _describe_tls(failed: TlsFailed) -> str:
    """The line of a failed handshake."""
    who = f" with {failed.peer}" if failed.peer else ""
    more = f" ({failed.others} more of these since the last line)" if failed.others else ""
    where = "listener" if failed.side == "downstream" else "predictor"
    return f"TLS handshake failed: {where} {failed.place}{who}: {failed.text}{more}"


def _import_admin() -> "type[Admin]":
    """Import the admin, while the workers load: it is most of what a supervisor imports.

    aiohttp's client half reads the system's CA certificates when it is imported, 40 ms and 1.6 MB for something
    that a supervisor never uses. So it finds none; who makes a TLS request here brings an SSLContext.
    """
    stores = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    kept = {name: os.environ.get(name) for name in stores}
    os.environ.update(dict.fromkeys(stores, os.devnull))
    try:
        from turnout.proxy.supervisor.admin import Admin
    finally:
        for name, value in kept.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
    return Admin
