"""Exchanges before sides that do anything at any time: whatever happens, all is given back, and said once.

Clients, connections and the loop are fakes, all else is real. A seed is one run of random events and reloads.
"""

import heapq
import random
from collections.abc import Callable
from functools import partialmethod
from typing import Any

import pytest

from turnout.predictors.calls import is_inference
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.target import State, Target
from turnout.proxy.errors import FIRST_BYTE_TIMEOUT
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.exchange.sides import Replays, Scope, Services
from turnout.proxy.filters.guards import Guards
from turnout.proxy.filters.peer import Peer
from turnout.proxy.filters.tracing import Tracer
from turnout.proxy.http.head import CHUNKED, NO_FIELDS, Fields, RequestHead, ResponseHead
from turnout.proxy.http.names import Mark
from turnout.proxy.net.queue import Queue
from turnout.proxy.net.spans import SERVER_ERRORS, SpanLog
from turnout.proxy.net.timers import NEVER, Timers
from turnout.proxy.route.retry import IDEMPOTENT_METHODS
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import HEADER_WORDS, NO_ROUTE_KEY, RECORD_WORDS, Layout, Word, route_keys
from turnout.proxy.telemetry.layout import ClusterWord as C
from turnout.proxy.telemetry.layout import EndpointWord as E
from turnout.proxy.telemetry.trace.record import Record, count_spans, decode_records
from turnout.proxy.telemetry.trace.sampler import make_sampler
from turnout.rules import snapshot
from turnout.rules.resilience import CircuitBreaker, FailureAccrual, Fault, Limits, Retry, RetryBudget
from turnout.rules.snapshot import Backend, Forward, Listener, Match, Route, Snapshot, ValueMatch, VirtualHost

REPLAYS, LIMITS, NAMES = 300, (None, None, 1.0), ("a", "b")
PIECES = bytes(60), b"\0\0\0\0\x32\x0a\1m\x3a" + bytes(50), b"\0\0\0\0\x09\x0a\1m\x3a\1.\x0a\1n"
"""Of bodies: an empty gRPC message, one for the model `m`, and one that names another one later."""
SAMPLERS = [make_sampler("always_off", 1.0), make_sampler("traceidratio", 0.5), make_sampler("always_on", 1.0)]
SLOW_S = 0.25
GAUGES = C.ACTIVE, C.PENDING, C.RETRIES_ACTIVE
FIELDS = b"x-forwarded-for", b"x-request-id", b"x-envoy-attempt-count", b"x-request-timeout-ms"


class Loop:
    """What Timers and Queue need of an event loop."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Any, Callable[[], None]]] = []
        self._number = 0

    def call_later(self, delay_s: float, call: Callable[[], None]) -> "Handle":
        self._number += 1
        handle = Handle()
        heapq.heappush(self._calls, (self.now + delay_s, self._number, handle, call))
        return handle

    call_soon = partialmethod(call_later, 0.0)

    def run(self, for_s: float) -> None:
        until, calls = self.now + for_s, 0
        while self._calls and self._calls[0][0] <= until:
            self.now, _, handle, call = heapq.heappop(self._calls)
            calls += 1
            assert calls < 20_000, "it keeps itself busy"
            if not handle.cancelled:
                call()
        self.now = until


class Handle:
    """Of a call that is to come."""

    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Client:
    """A client's connection, for one request: `body` is what it sends in pieces."""

    peer = Peer(b"192.0.2.1", trusted=True)

    def __init__(self, world: "World", head: RequestHead, body: list[bytes]) -> None:
        self.world, self.head, self.body = world, head, body
        self.wake, self.paused, self.ended, self.aborted = NEVER, False, False, False
        self.blocked = False
        self.sent, self.statuses = b"", list[int]()
        self.exchange: Exchange | None = None
        self.upstreams: list[Connection] = []

    def start(self, scope: Scope) -> None:
        self.exchange = Exchange(scope, self.world.services, self, self.head, self.world.loop.now)
        self.sent = self.body.pop(0)
        self.exchange.start(self.sent, not self.body)

    def send(self) -> None:
        assert self.exchange is not None
        piece = self.body.pop(0)
        self.sent += piece
        self.exchange.on_request_body(piece, not self.body)

    def on_timer(self, now: float) -> float:
        if self.exchange is not None:
            self.exchange.on_timer(now)
        return self.exchange.next_deadline() if self.exchange is not None else NEVER

    def wake_at(self, deadline: float) -> None:
        self.world.timers.wake_at(self, deadline)

    def send_interim(self, head: ResponseHead) -> None: ...

    def send_body(self, data: Any, end: bool) -> None: ...

    def send_response(self, head: ResponseHead, data: Any, end: bool, close: bool) -> None:
        assert not self.statuses, "one request has one answer"
        self.statuses.append(head.status)

    def begin_tunnel(self, head: ResponseHead) -> None:
        assert not self.statuses
        self.statuses.append(101)

    def send_tunnel_data(self, data: Any) -> None: ...

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        assert self.statuses
        self.aborted = True

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        assert (self.ended, request_ended) == (False, not self.body)
        self.ended, self.exchange = True, None
        self.world.timers.forget(self)
        self.world.clients.remove(self)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """To an endpoint: being made, idle, or lent. `state` of the answer: "" none yet, "body", "tunnel"."""

    def __init__(self, world: "World", client: Client, cluster: Cluster, endpoint: Any) -> None:
        self.world, self.cluster, self.endpoint = world, cluster, endpoint
        self.client: Client | None = client
        self.exchange: Exchange | None = None
        self.connecting: Exchange | None = client.exchange
        self.state, self.asked, self.received, self.ended = "", False, b"", False
        self.paused = self.full = False
        world.count(self, 1)
        world.connections.append(self)

    def close(self) -> None:
        self.connecting = self.exchange = None
        self.world.connections.remove(self)
        if self in self.world.idle:
            self.world.idle.remove(self)
        self.world.count(self, -1)

    cancel = abort = end_tunnel = close

    def send_request(self, exchange: Exchange, head: RequestHead, data: Any, end: bool) -> None:
        assert self.exchange is None
        client: Any = exchange._downstream
        self.client, self.exchange, self.state, self.ended = client, exchange, "", end
        self.received = bytes(data)
        assert client.sent == self.received, "all of the body that came"
        assert not client.statuses, "nothing is sent again once an answer has begun"
        for name in FIELDS:
            assert head.block.lower().count(b"\r\n%b:" % name) <= 1, head.block
        count = head.get(b"x-envoy-attempt-count")
        assert count is None or int(count) == exchange.attempts
        client.upstreams.append(self)

    def send_body(self, data: Any, end: bool) -> None:
        assert not self.ended
        self.received, self.ended = self.received + data, end
        assert self.client is not None
        assert self.client.sent == self.received

    def send_tunnel_data(self, data: Any) -> None: ...

    def give_back(self, now: float) -> None:
        assert self.ended
        self.exchange, self.paused, self.full = None, False, False
        if self.endpoint.removed:
            self.close()
        else:
            self.world.idle.append(self)

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Line(Queue):
    def join(self, waiter: Any, deadline: float, now: float) -> bool:
        assert deadline > now, "nobody lines up to be sent away"
        return super().join(waiter, deadline, now)


class World:
    """One worker."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        random.seed(seed)
        make: Any = Loop
        self.loop = make()
        self.layout = Layout()
        self.clock = lambda: self.loop.now
        self.words = memoryview(bytearray(8 * (HEADER_WORDS + 40 * RECORD_WORDS))).cast("Q")
        counters = self.counters = Counters(self.words)
        self.timers = Timers(self.loop, self.clock)
        self.logged: list[Exchange] = []
        self.ended_at: dict[bytes, float] = {}
        self.records: list[Record] = []
        self.replays = Replays(REPLAYS)
        fake: Any = self
        tracer = Tracer(SAMPLERS[seed % 3], ("tracecontext",), SLOW_S)
        self.recorded = 0
        self.spans = SpanLog(
            tracer, self.take, lambda spans: self.fail(f"{spans} spans were dropped"), self.count_recorded
        )
        self.services = Services(fake, counters, self.clock, self.clock, self.log, self.replays, 3.0)
        self.services.tracer, self.services.recorder = tracer, self.spans
        self.guards = Guards(Buckets(self.words, [], 0), counters, b"", 1)
        self.clients, self.connections, self.idle = list[Client](), list[Connection](), list[Connection]()
        self.clusters, self.ever, self.budgets = dict[str, Cluster](), list[Cluster](), list[Any]()
        self.started, self.loop.now = 0, 1.0
        self.reload()

    # The access log, and records of what is traced

    def log(self, exchange: Any, peer: Any, now: float) -> None:
        self.logged.append(exchange)
        self.ended_at[exchange.head.request_id] = now

    def count_recorded(self, spans: int) -> None:
        self.recorded += spans

    def take(self, spans: int, records: bytes) -> None:
        taken = decode_records(records)
        assert spans == sum(map(count_spans, taken))
        self.records += taken
        self.loop.call_later(0.01, self.spans.on_taken)

    def fail(self, why: str) -> None:
        raise AssertionError(why)

    # Upstreams, and who supervises

    def borrow(self, lease: Any, now: float) -> Connection | None:
        for connection in self.idle:
            if connection.endpoint is lease.endpoint:
                self.idle.remove(connection)
                return connection
        return None

    def find_idle(self, cluster: Cluster) -> Any:
        return next((c.endpoint for c in self.idle if c.endpoint in cluster.available), None)

    def may_connect(self, cluster: Cluster, lease: Any) -> bool:
        return cluster.limiter.may_connect(lease.endpoint.record)

    def connect(self, exchange: Exchange, cluster: Cluster, lease: Any) -> Connection:
        client: Any = exchange._downstream
        return Connection(self, client, cluster, lease.endpoint)

    def count(self, connection: Connection, amount: int) -> None:
        self.counters.add(connection.endpoint.record + E.CONNECTIONS_ACTIVE, amount)
        connection.cluster.count(C.CONNECTIONS, amount)
        if amount < 0 and connection.cluster.is_limited:
            connection.cluster.on_capacity()

    def on_failing(self, *told: Any) -> None: ...

    on_probing = on_probed = on_failing

    # What happens

    def reload(self) -> None:
        chance, pick = self.random.random, self.random.choice
        limits = Limits(*(pick([None, None, 1, 3]) for _ in range(4)))
        breaker = CircuitBreaker(
            limits, pick([Limits(), Limits(max_connections=2, max_requests=2)]), pick([True, False]),
            pick([None, FailureAccrual(2)]), pick([None, RetryBudget(50, 2, 1, 1)]),
        )  # fmt: skip
        retry = Retry(
            3, ("connect-failure", "reset", "gateway-error"), (409,), pick([0.0, 0.1]), replay_bytes=pick([100, 40]),
            other_endpoint=pick([True, False]), budget=pick([None, RetryBudget(50, 3, 1, 2)]),
        )  # fmt: skip
        forward = Forward(
            (Backend("a"),), None, pick(LIMITS), pick(LIMITS), pick(LIMITS), pick(LIMITS), 0.5,
            pick([None, retry, retry]), fault=pick([None, None, Fault(0.2, 500_000, 503, 100_000)]),
        )  # fmt: skip
        names = NAMES if chance() < 0.8 else NAMES[1:]
        route = Route("route", Match(), forward if "a" in names else Forward((Backend("b"),)))
        model = Route("model", Match(headers=(ValueMatch("x-gateway-model-name", "m"),)), Forward((Backend("b"),)))
        clusters = tuple(snapshot.Cluster(name, circuit_breaker=breaker) for name in names)
        rules = Snapshot((Listener("http", (VirtualHost("all", ("*",), (model, route)),)),), clusters)
        before, self.clusters = dict(self.clusters), {}
        for config in clusters:
            cluster = before.pop(config.name, None)
            if cluster is None:
                cluster = Cluster(config, 0, random.random, self.counters, self)
                cluster.queue = Line(cluster, self.loop, self.clock, self.timers, random.random, alone=True)
                self.ever.append(cluster)
            else:
                cluster.configure(config, self.loop.now)
            self.clusters[config.name] = cluster
            self.resolve(cluster)
        for gone in before.values():
            self.drop(gone.apply_endpoints((), gone.record, self.loop.now))
        records = dict(zip(route_keys(rules), self.layout.allot(route_keys(rules)), strict=True))
        table = Table(rules.listeners[0], (), records)
        self.guards.bind([table])
        _, entry = table.hosts[0].entries
        self.budgets += [*entry.budgets, *(c.budget for c in self.clusters.values() if c.budget is not None)]
        self.scope = Scope(table, self.clusters, 80, records[NO_ROUTE_KEY], "1")

    def resolve(self, cluster: Cluster) -> None:
        name, targets = cluster.config.name, []
        for at in range(3):
            state = self.random.choice([State.AVAILABLE, State.AVAILABLE, State.EJECTED, State.HALF_OPEN])
            (record,) = self.layout.allot([("endpoint", name, f"10.0.0.{at}:80")])
            if self.random.random() < 0.8:
                targets.append(Target(f"10.0.0.{at}", 80, record, state=state, probe_slot=0))
        (record,) = self.layout.allot([("cluster", name, "")])
        self.drop(cluster.apply_endpoints(targets, record, self.loop.now))

    def drop(self, endpoints: list[Any]) -> None:
        for connection in [c for c in self.idle if c.endpoint in endpoints]:
            connection.close()

    def request(self) -> None:
        pick = self.random.choice
        head = RequestHead()
        head.method, head.path, head.authority = pick([b"GET", b"POST", b"HEAD"]), b"/x", pick([b"", b"m"])
        head.upgrade = pick([b"", b"", b"websocket"])
        head.length = CHUNKED
        head.grpc = pick([True, False, False, False])
        if head.grpc:
            head.path = b"/inference.GRPCInferenceService/ModelInfer"
        if pick([True, False, False]):
            head.add(b"x-request-timeout-ms", b"700")
            head.marks |= Mark.STEERING
        body = [pick(PIECES)[: self.random.randrange(60)] for _ in range(self.random.randrange(1, 4))]
        client = Client(self, head, body)
        self.clients.append(client)
        self.started += 1
        client.start(self.scope)

    def act_on(self, connection: Connection) -> None:
        """Something comes from an endpoint."""
        chance, exchange = self.random.random(), connection.exchange
        if connection.connecting is not None:
            waiting, connection.connecting = connection.connecting, None
            if chance < 0.7:
                waiting.on_upstream_ready(connection)  # type: ignore[arg-type]
            else:
                connection.close()
                waiting.on_connect_failed("refused")
        elif exchange is None:
            if chance < 0.1:
                connection.close()
        elif chance < 0.15:
            sent = self.random.random() < 0.7
            if not sent and not connection.state:
                client: Any = connection.client
                client.upstreams.remove(connection)
            connection.close()
            exchange.on_upstream_gone("reset", sent)
        elif chance < 0.25:
            connection.full = self.random.random() < 0.5
            exchange.on_upstream_blocked(connection.full)
        elif chance < 0.3:
            exchange.on_upstream_malformed("odd")
        elif connection.state == "tunnel":
            exchange.on_upstream_tunnel_data(b"t")
        elif connection.state == "body":
            exchange.on_response_body(b"b", self.random.random() < 0.5)
        elif chance < 0.4:
            upgrade = self.random.random() < 0.3
            head = ResponseHead((), 101 if upgrade else 100)
            head.upgrade = b"websocket" if upgrade else b""
            if upgrade:
                connection.state = "tunnel"
            exchange.on_interim(head)
        else:
            connection.state = "body"
            status = self.random.choice([200, 204, 409, 500, 503])
            exchange.on_response(ResponseHead((), status), b"", self.random.random() < 0.5)

    def step(self) -> None:
        chance, pick = self.random.random(), self.random.choice
        if chance < 0.2:
            self.request()
        elif chance < 0.6 and self.connections:
            self.act_on(pick(self.connections))
        elif chance < 0.8 and self.clients:
            self.act_as(pick(self.clients))
        elif chance < 0.83:
            self.reload()
        elif chance < 0.87 and self.clusters:
            self.resolve(pick(list(self.clusters.values())))
        else:
            self.loop.run(pick([0.0, 0.01, 0.1, 0.3]))

    def act_as(self, client: Client) -> None:
        chance, exchange = self.random.random(), client.exchange
        assert exchange is not None
        if client.body and not client.paused:
            client.send()
        elif chance < 0.2:
            exchange.on_downstream_gone()
        elif chance < 0.5:
            client.blocked = chance < 0.3
            exchange.on_downstream_blocked(client.blocked)

    def assert_who_is_not_read_from_is_not_read_for(self) -> None:
        for connection in self.connections:
            if connection.exchange is not None and connection.client is not None:
                assert connection.paused == connection.client.blocked
                assert connection.exchange._blocked_by_upstream == connection.full

    def assert_all_is_given_back(self) -> None:
        assert len(self.logged) == self.started
        assert all(exchange.done for exchange in self.logged)
        for exchange in self.logged:
            assert exchange.failure is not FIRST_BYTE_TIMEOUT or not exchange.first_byte_at
        for cluster in self.ever:
            assert [self.words[cluster.record + word] for word in GAUGES] == [0, 0, 0], cluster.config.name
            assert (cluster.active, len(cluster.queue or ())) == (0, 0)
        for key, record in self.layout.records():
            if key[0] == "endpoint":
                assert self.words[record + E.ACTIVE] == 0
        assert all((budget.active, budget.retries_active) == (0, 0) for budget in self.budgets)
        assert self.words[Word.TUNNELS_ACTIVE] == 0
        assert self.replays.left == REPLAYS

    def assert_records_tell_what_was_logged(self) -> None:
        self.spans.close()
        records = {record.request_id: record for record in self.records}
        assert len(records) == len(self.records), "each exchange once"
        assert self.recorded == sum(map(count_spans, self.records))
        for exchange in self.logged:
            record = records.pop(exchange.head.request_id, None)
            assert (record is not None) == self.is_recorded(exchange), exchange
            if record is not None:
                self.assert_told(exchange, record)
        assert not records

    def is_recorded(self, exchange: Exchange) -> bool:
        failure, ended_at = exchange.failure, self.ended_at[exchange.head.request_id]
        return (
            exchange.trace is not None
            or exchange.status >= 500
            or (failure is not None and failure.status >= 500)
            or exchange.grpc_status in SERVER_ERRORS
            or (exchange.first_byte_at or ended_at) - exchange.started_at >= SLOW_S
        )

    def assert_told(self, exchange: Exchange, record: Record) -> None:
        attempts = record.attempts
        assert len(attempts) <= exchange.attempts
        assert record.late == (exchange.trace is None or exchange.trace.late)
        assert (record.status, record.bytes_sent) == (exchange.status, exchange.bytes_sent)
        assert record.end == self.ended_at[record.request_id]
        times = [record.start, *(at for attempt in attempts for at in (attempt.start, attempt.end)), record.end]
        assert times == sorted(times), "one after the other, and all within the exchange"
        assert all(attempt.reason for attempt in attempts[:-1]), "but for the last, each says why it was not the answer"
        assert len({record.span_id, *(attempt.span_id for attempt in attempts)}) == 1 + len(attempts)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_all_is_given_back(seed: int) -> None:
    world = World(seed)
    seen: dict[int, Client] = {}
    for _ in range(250):
        world.step()
        world.assert_who_is_not_read_from_is_not_read_for()
        seen |= {id(client): client for client in world.clients}
    world.loop.run(10.0)  # tunnels too: nobody speaks any more
    assert not world.clients
    world.assert_all_is_given_back()
    world.assert_records_tell_what_was_logged()
    for client in seen.values():
        if client.head.method not in IDEMPOTENT_METHODS and not is_inference(client.head.method, client.head.path):
            assert len(client.upstreams) <= 1, "what may have come to an endpoint is not sent to another"
