"""The workers of a proxy: one per slot, each told all that it has to know, and replaced when it dies.

Rules:

* The pool keeps the present state (listeners, endpoints, Snapshot) and tells each change to every started
  worker; a worker that starts later is told the whole of it. So no worker depends on when it came.
* A dead worker is replaced at once in the same slot, with the same sockets and counters. One that lived less
  than `BRIEF_LIFE_S`, after another that did, is replaced after a delay that doubles.
* If nothing was ever served, a slot whose workers end `START_ATTEMPTS` times in a row before they say Started
  will not get better: `on_hopeless` is called.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

from turnout.proxy.compiled import BUILDS
from turnout.proxy.net.options import Options
from turnout.proxy.supervisor.process import Said, Worker, describe_exit
from turnout.proxy.supervisor.sockets import Bound
from turnout.proxy.worker.messages import (
    Configure,
    Configured,
    Drain,
    Failing,
    Hello,
    Listen,
    Message,
    Overloaded,
    Probed,
    Probing,
    Resolved,
    Secrets,
    Spans,
    SpansTaken,
    Started,
    TlsFailed,
    Unlisten,
)
from turnout.rules.source import Secret

logger = logging.getLogger(__name__)

BRIEF_LIFE_S = 1.0
BACK_OFF_S = 0.1
MAX_BACK_OFF_S = 5.0
START_ATTEMPTS = 5

Report = Failing | Probing | Probed | Overloaded | TlsFailed | Spans


class Pool:
    """All workers. `block_fd(slot)` gives the descriptor of a slot's counter block; `on_report(slot, message)` is
    told what a worker says of endpoints and of itself, `on_death(slot)` that a worker died."""

    def __init__(
        self,
        slots: int,
        command: Sequence[str],
        options: Options,
        block_fd: Callable[[int], int],
        on_report: Callable[[int, Report], None],
        on_death: Callable[[int], None],
        on_hopeless: Callable[[str], None],
    ) -> None:
        self._slots = slots
        self._command = command
        self._options = options
        self._block_fd = block_fd
        self._on_report = on_report
        self._on_death = on_death
        self._on_hopeless = on_hopeless
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, Worker] = {}
        self._brief_lives = [0] * slots
        self._failed_starts = [0] * slots
        self._replacing: dict[int, asyncio.TimerHandle] = {}
        self._listeners: dict[str, Bound] = {}
        self._resolved: dict[str, Resolved] = {}
        self._secrets: dict[str, Secret] = {}
        self._configure: Configure | None = None
        self._salt = secrets.token_bytes(32)
        self._draining = False
        self._has_served = False
        self._changed = asyncio.Event()
        self.restarts = 0

    def start(self) -> None:
        """Start a worker in every slot."""
        for slot in range(self._slots):
            self._start_worker(slot)

    def workers(self) -> list[Worker]:
        """The workers that live, by slot."""
        return [self._workers[slot] for slot in sorted(self._workers)]

    def not_serving(self) -> list[int]:
        """The slots that serve no Snapshot now."""
        serving = self.serving()
        return [slot for slot in range(self._slots) if slot not in serving]

    def serving(self) -> list[int]:
        """The slots whose workers serve and go on."""
        return [worker.slot for worker in self.workers() if worker.state == "serving"]

    # What workers know

    def listen(self, bound: Bound) -> None:
        """A new listener."""
        self._listeners[bound.name] = bound
        for worker in self._started():
            self._send_listener(worker, bound)

    def unlisten(self, name: str) -> None:
        """A listener goes."""
        del self._listeners[name]
        self._broadcast(Unlisten(name))

    def resolve(self, resolved: Resolved) -> None:
        """The endpoints of a cluster; nothing is sent if workers know them."""
        if self._resolved.get(resolved.cluster) != resolved:
            self._resolved[resolved.cluster] = resolved
            self._broadcast(resolved)

    def keep_only(self, clusters: set[str]) -> None:
        """Forget all other clusters: they are in no Snapshot any more, and are said again if they come back."""
        for cluster in self._resolved.keys() - clusters:
            del self._resolved[cluster]

    def tell_secrets(self, secrets: list[Secret], gone: list[str]) -> None:
        """Secrets that are new or changed, and names of those that are gone."""
        self._secrets.update((secret.name, secret) for secret in secrets)
        for name in gone:
            self._secrets.pop(name, None)
        self._broadcast(Secrets(secrets, gone))

    def configure(self, configure: Configure) -> None:
        """A new Snapshot."""
        self._configure = configure
        self._broadcast(configure)

    async def configured(self, number: int) -> str:
        """Wait until every slot has judged Snapshot `number`; the first error, or empty if all serve it."""
        while not self._draining:
            workers = self._workers.values()
            for worker in workers:
                if worker.answered >= number and worker.error:
                    return worker.error
            if len(workers) == self._slots and all(worker.number >= number for worker in workers):
                return ""
            self._changed.clear()
            await self._changed.wait()
        return "the proxy is draining"

    # The end

    def drain(self, timeout_s: float) -> None:
        """Let every worker end its requests and exit; none is replaced from now on."""
        self._draining = True
        for timer in self._replacing.values():
            timer.cancel()
        self._replacing.clear()
        for worker in list(self._workers.values()):
            worker.draining = True
            if worker.started:
                worker.send(Drain(timeout_s))
            else:
                worker.kill()
        self._changed.set()

    async def gone(self) -> None:
        """Wait until no worker lives."""
        while self._workers:
            self._changed.clear()
            await self._changed.wait()

    def kill(self) -> None:
        """End every worker now; none is replaced."""
        self.drain(0.0)
        for worker in self._workers.values():
            worker.kill()

    # One worker's life

    def _start_worker(self, slot: int) -> None:
        self._replacing.pop(slot, None)
        now = self._loop.time()
        self._workers[slot] = Worker(slot, self._command, self._on_message, self._on_exit, now)

    def _on_message(self, worker: Worker, message: Said) -> None:
        match message:
            case Started():
                self._failed_starts[worker.slot] = 0
                level = logging.WARNING if message.build not in BUILDS else logging.INFO
                logger.log(level, "worker %d (pid %d) runs %s", worker.slot, worker.pid, message.build)
                self._introduce(worker)
            case Configured():
                self._has_served |= not message.error
            case Spans():
                worker.send(SpansTaken())
                self._on_report(worker.slot, message)
                return
            case _:
                self._on_report(worker.slot, message)
                return
        self._changed.set()

    def _on_exit(self, worker: Worker, code: int) -> None:
        slot = worker.slot
        del self._workers[slot]
        self._changed.set()
        self._on_death(slot)
        if self._draining:
            return
        logger.warning("worker %d (pid %d) died: %s", slot, worker.pid, describe_exit(code))
        if not worker.started:
            self._failed_starts[slot] += 1
            if self._failed_starts[slot] >= START_ATTEMPTS and not self._has_served:
                self._on_hopeless(f"worker {slot} ended {START_ATTEMPTS} times while starting ({describe_exit(code)})")
                return
        self.restarts += 1
        self._replacing[slot] = self._loop.call_later(self._delay_s(worker), self._start_worker, slot)

    def _delay_s(self, worker: Worker) -> float:
        slot = worker.slot
        if self._loop.time() - worker.started_at >= BRIEF_LIFE_S:
            self._brief_lives[slot] = 0
            return 0.0
        self._brief_lives[slot] += 1
        again = self._brief_lives[slot] - 2
        return float(min(MAX_BACK_OFF_S, BACK_OFF_S * 2**again)) if again >= 0 else 0.0

    # Telling

    def _introduce(self, worker: Worker) -> None:
        worker.send(
            Hello(worker.slot, self._options, self._salt), [self._block_fd(slot) for slot in range(self._slots)]
        )
        for bound in self._listeners.values():
            self._send_listener(worker, bound)
        for resolved in self._resolved.values():
            worker.send(resolved)
        if self._secrets:
            worker.send(Secrets(list(self._secrets.values())))
        if self._configure is not None:
            worker.send(self._configure)

    def _send_listener(self, worker: Worker, bound: Bound) -> None:
        sock = bound.sockets[worker.slot]
        worker.send(Listen(bound.name, str(bound.address)), [sock.fileno()])

    def _broadcast(self, message: Message) -> None:
        for worker in self._started():
            worker.send(message)

    def _started(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.started and not worker.draining]
