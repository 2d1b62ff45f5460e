"""A whole proxy on a virtual clock, before replicas: one route, one cluster, any number of workers.

Real: the supervisor's `States` (outlier detection, breakers, slow start) and `Layout`, counter blocks, messages; of
each worker `Table`, `Guards` (retry budgets), `Cluster` with its picker, limits and `Queue`, `Timers`, and each
request's `Exchange`. Not real: processes and sockets (`fake_sides`), and the clock. A message takes `MESSAGE_S`.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from fake_sides import FakeDownstream, FakeUpstreams
from replica import Replica
from virtual_loop import VirtualLoop
from world import World, percentile

from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.endpoint import Endpoint
from turnout.proxy.errors import Flag
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.exchange.sides import Replays, Scope, Services
from turnout.proxy.filters.guards import Guards
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.head import RequestHead
from turnout.proxy.net.queue import Queue
from turnout.proxy.net.timers import Timers
from turnout.proxy.route.table import Table
from turnout.proxy.supervisor.endpoints import resolve
from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.states.events import Event, Events
from turnout.proxy.supervisor.states.states import States
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import (
    HEADER_WORDS,
    NO_ROUTE_KEY,
    RECORD_WORDS,
    ClusterWord,
    EndpointWord,
    Layout,
    route_keys,
)
from turnout.proxy.worker.messages import Failing, FromWorker, Probed, Probing, Resolved
from turnout.proxy.worker.reports import Reports
from turnout.rules import snapshot
from turnout.rules.snapshot import Backend, Forward, Listener, Match, Route, Snapshot, VirtualHost

MESSAGE_S = 0.0005
RECORDS = 40
NAME = "default/model"
BODY = memoryview(bytes(1 << 20))
CLUSTER_GAUGES = ClusterWord.ACTIVE, ClusterWord.PENDING, ClusterWord.RETRIES_ACTIVE


class Done(NamedTuple):
    """A line of the access log: seconds, and the replica (by its number) that was asked last, -1 for none."""

    began: float
    took_s: float
    status: int
    flag: str
    attempts: int
    replica: int

    @property
    def failed(self) -> bool:
        """It was answered 5xx, or its answer was cut off."""
        return self.status >= 500 or self.flag == "UC"


class Seen:
    """A worker's block as the other workers see it: as it is, or, while it is `frozen`, as it was."""

    __slots__ = ("_block", "_words")

    def __init__(self, block: memoryview) -> None:
        self._block = self._words = block

    def __getitem__(self, word: int) -> int:
        return self._words[word]

    def freeze(self) -> None:
        self._words = memoryview(bytes(self._block)).cast("Q")

    def thaw(self) -> None:
        self._words = self._block


class Worker:
    """One worker, put together as `turnout.proxy.worker.worker` does it."""

    def __init__(self, proxy: "SimProxy", slot: int, blocks: Sequence[memoryview], rules: Snapshot) -> None:
        clock, loop = proxy.clock, proxy.loop
        others: Any = [seen for at, seen in enumerate(proxy.seen) if at != slot]
        counters = Counters(blocks[slot], others)
        timers: Any = Timers(loop, clock)  # type: ignore[arg-type]
        self.timers = timers
        self.upstreams = FakeUpstreams(loop, counters, proxy.by_key)
        self.upstreams.on_attempt = proxy.on_attempt
        self.cluster = Cluster(rules.clusters[0], slot, random.random, counters, Reports(partial(proxy.tell, slot)))
        self.queue = Queue(self.cluster, loop, clock, timers, random.random, alone=len(blocks) == 1)
        self.cluster.queue = self.queue
        self.services = Services(self.upstreams, counters, clock, clock, proxy.on_log, Replays(64 << 20), 300.0)
        records = dict(zip(route_keys(rules), proxy.layout.allot(route_keys(rules)), strict=True))
        table = Table(rules.listeners[0], (), records)
        # There is no rate limit here, and so no table of buckets.
        Guards(Buckets(blocks[slot], [], 0), counters, b"", len(blocks)).bind([table])
        (entry,) = table.hosts[0].entries
        self.budgets = entry.budgets
        self.scope = Scope(table, {NAME: self.cluster}, 80, records[NO_ROUTE_KEY], "1")

    def apply_endpoints(self, message: Resolved) -> None:
        now = self.services.clock()
        for endpoint in self.cluster.apply_endpoints(message.endpoints, message.record, now):
            for connection in self.upstreams.idle.pop(endpoint, []):
                connection.abort()

    def request(self, head: RequestHead, size: int) -> FakeDownstream:
        downstream = FakeDownstream(self.timers)
        exchange = Exchange(self.scope, self.services, downstream, head, self.services.clock())  # type: ignore[arg-type]
        downstream.exchange = exchange
        exchange.start(BODY[:size], True)
        return downstream


class SimProxy:
    """`forward` are the route's settings, all others the cluster's (fields of the Snapshot's structs).

    `log` are the requests that ended, `attempts` who was asked when, `events` what the supervisor decided.
    """

    def __init__(
        self, world: World, replicas: Sequence[Replica], *, workers: int = 1, forward: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:  # fmt: skip
        random.seed(world.random.random())  # what exchanges draw from
        self.world, self.loop, self.layout = world, VirtualLoop(world), Layout()
        self.replicas = list(replicas)
        endpoints = tuple(snapshot.Endpoint(f"10.0.0.{at}", 80) for at in range(len(replicas)))
        self.keys = [f"{endpoint.address}:{endpoint.port}" for endpoint in endpoints]
        self.by_key = dict(zip(self.keys, replicas, strict=True))
        self.config = snapshot.Cluster(NAME, endpoints, **settings)
        self.log: list[Done] = []
        self.attempts: list[tuple[float, int]] = []
        self.requests = 0
        self._blocks = [
            memoryview(bytearray(8 * (HEADER_WORDS + RECORDS * RECORD_WORDS))).cast("Q") for _ in range(workers)
        ]
        self.seen = [Seen(block) for block in self._blocks]
        route = Route("route", Match(), Forward((Backend(NAME),), **(forward or {})))
        rules = Snapshot((Listener("http", (VirtualHost("all", ("*",), (route,)),)),), (self.config,))
        self._events = Events(self.clock)
        asyncio._set_running_loop(self.loop)  # type: ignore[arg-type]
        try:
            self.states = States(
                self._events, self._read_record, lambda: range(workers), self._on_change, clock=self.clock
            )
        finally:
            asyncio._set_running_loop(None)
        self.workers = [Worker(self, slot, self._blocks, rules) for slot in range(workers)]
        self.use([True] * len(replicas), at_once=True)

    def clock(self) -> float:
        return self.world.now

    # What happens

    def request(self, size: int = 1_000, user: bytes = b"") -> FakeDownstream:
        """An inference request comes to one of the workers."""
        head = RequestHead([(b"x-user", user)] if user else ())
        head.method, head.path, head.authority, head.host = b"POST", b"/v2/models/m/infer", b"m", "m"
        head.length = size
        self.requests += 1
        return self.workers[self.requests % len(self.workers)].request(head, size)

    def race(self, size: int = 1_000) -> None:
        """A request comes to each of the workers at the same moment: none sees yet what the others do."""
        for seen in self.seen:
            seen.freeze()
        for _ in self.workers:
            self.request(size)
        for seen in self.seen:
            seen.thaw()

    def load(self, per_second: float, until: float, size: Callable[[], int] = lambda: 1_000) -> None:
        """Requests at random times, until then; then the world is run up to there."""
        self.world.arrivals(per_second, lambda: self.request(size()), until)
        self.world.run(until)

    def kill(self, at: int) -> None:
        """Replica `at` dies: connections break, new ones are refused."""
        self.replicas[at].down = "refused"
        for worker in self.workers:
            worker.upstreams.kill(self.keys[at])

    def use(self, healthy: Sequence[bool | None], *, at_once: bool = False) -> None:
        """The control plane says of each replica whether it is healthy; of None, that there is none."""
        endpoints = tuple(
            snapshot.Endpoint(f"10.0.0.{at}", 80, healthy=well) for at, well in enumerate(healthy) if well is not None
        )
        self.config = msgspec.structs.replace(self.config, endpoints=endpoints)
        told = {Address(endpoint.address, endpoint.port): endpoint for endpoint in endpoints}
        self.states.configure(self.config)
        self.states.keep(NAME, told)
        self._send(0.0 if at_once else MESSAGE_S)

    # What was seen

    @property
    def events(self) -> list[Event]:
        return list(self._events.last)

    def ended(self, begin: float, end: float) -> list[Done]:
        """Requests that came in this time."""
        return [done for done in self.log if begin <= done.began < end]

    def failed(self, begin: float, end: float) -> float:
        """The share of these that failed."""
        ended = self.ended(begin, end)
        return sum(done.failed for done in ended) / len(ended)

    def share(self, at: int, begin: float, end: float) -> float:
        """Of replica `at`, of all attempts."""
        seen = [which for when, which in self.attempts if begin <= when < end]
        return seen.count(at) / len(seen)

    def p99_s(self, begin: float, end: float, *, without: int = -1) -> float:
        """Of the requests that were answered at the first attempt, but for those at one replica."""
        return percentile(
            [done.took_s for done in self.ended(begin, end) if done.replica != without and done.attempts == 1], 99
        )

    def told(self, *what: str) -> Iterator[tuple[float, int, str, str]]:
        """Events of these kinds: when, which replica, what, why."""
        for event in self._events.last:
            if not what or event.what in what:
                yield round(event.time, 3), self.keys.index(event.endpoint), event.what, event.why

    def cluster_total(self, word: ClusterWord) -> int:
        """Over all workers."""
        (record,) = self.layout.allot([("cluster", NAME, "")])
        return sum(block[record + word] for block in self._blocks)

    def assert_all_is_given_back(self) -> None:
        """No request is left: gauges, leases and budgets are at zero."""
        assert len(self.log) == self.requests
        assert [self.cluster_total(word) for word in CLUSTER_GAUGES] == [0, 0, 0]
        for worker in self.workers:
            assert [endpoint.active for endpoint in worker.cluster.endpoints] == [0] * len(worker.cluster.endpoints)
            assert len(worker.queue) == 0
            assert all((budget.active, budget.retries_active) == (0, 0) for budget in worker.budgets)
        for key in self.keys:
            assert self._read_record(NAME, key)[EndpointWord.ACTIVE] == 0

    # What the parts call

    def on_attempt(self, endpoint: Endpoint) -> None:
        self.attempts.append((self.world.now, self.keys.index(endpoint.key)))

    def on_log(self, exchange: Exchange, peer: Peer, now: float) -> None:
        failure = exchange.failure
        flag = Flag(failure.flag if failure is not None else exchange.flag)
        replica = self.keys.index(exchange.lease.endpoint.key) if exchange.lease is not None else -1
        took_s = now - exchange.started_at
        self.log.append(Done(exchange.started_at, took_s, exchange.status, str(flag), exchange.attempts, replica))

    def tell(self, slot: int, message: FromWorker) -> None:
        """A worker's message to the supervisor."""
        self.world.after(MESSAGE_S, self._on_message, slot, message)

    def _on_message(self, slot: int, message: FromWorker) -> None:
        match message:
            case Failing():
                self.states.on_failing(message)
            case Probing():
                self.states.on_probing(slot, message)
            case Probed():
                self.states.on_probed(slot, message)

    def _on_change(self, cluster: str) -> None:
        self._send(MESSAGE_S)

    def _send(self, delay_s: float) -> None:
        addresses = {Address(endpoint.address, endpoint.port): endpoint for endpoint in self.config.endpoints}
        message = resolve(self.config, addresses, self.layout, self.states.standing)
        for worker in self.workers:
            if delay_s:
                self.world.after(delay_s, worker.apply_endpoints, message)
            else:
                worker.apply_endpoints(message)

    def _read_record(self, cluster: str, key: str) -> list[int]:
        (record,) = self.layout.allot([("endpoint", cluster, key)])
        views = [block[record : record + RECORD_WORDS] for block in self._blocks]
        return [sum(words) for words in zip(*views, strict=True)]
