"""An exchange that has to know the model first: what waits, for how long, what is sent where, and what is refused.

The sides are fakes that remember what they were told; the table, the cluster and the exchange are real.
"""

import struct
from typing import Any

import pytest

from turnout.predictors.model_in_grpc import MAX_READ_BYTES
from turnout.proxy import errors
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.target import Target
from turnout.proxy.exchange.exchange import Exchange
from turnout.proxy.exchange.sides import Replays, Scope, Services
from turnout.proxy.filters.guards import Guards
from turnout.proxy.filters.peer import Peer
from turnout.proxy.http.grpc import GrpcStatus
from turnout.proxy.http.head import CHUNKED, NO_FIELDS, Fields, RequestHead, ResponseHead
from turnout.proxy.http.names import Mark
from turnout.proxy.net.timers import NEVER
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import HEADER_WORDS, NO_ROUTE_KEY, RECORD_WORDS, Layout, route_keys
from turnout.rules import snapshot
from turnout.rules.resilience import Fault, RateLimit
from turnout.rules.snapshot import Backend, Forward, Listener, Match, Route, Snapshot, ValueMatch, VirtualHost

INFER, STREAM = b"/inference.GRPCInferenceService/ModelInfer", b"/inference.GRPCInferenceService/ModelStreamInfer"
IDLE_S = 5.0
NAME, VERSION = "x-gateway-model-name", "x-gateway-model-version"


def text(number: int, value: bytes) -> bytes:
    assert len(value) < 128
    return bytes((number << 3 | 2, len(value))) + value


def message(*fields: bytes, flag: int = 0) -> bytes:
    body = b"".join(fields)
    return struct.pack(">BI", flag, len(body)) + body


BERT = message(text(1, b"bert"), text(2, b"2"), text(7, b"tensor"))
TENSOR = b"\x3a\x80\x80\x20" + bytes(0x80000)
"""Field 7 with half a megabyte."""


class Client:
    """A client's connection."""

    peer = Peer(b"192.0.2.1", trusted=True)

    def __init__(self) -> None:
        self.wake = NEVER
        self.statuses: list[int] = []
        self.aborted = self.paused = self.ended = False

    def wake_at(self, deadline: float) -> None:
        self.wake = min(self.wake, deadline)

    def send_response(self, head: ResponseHead, data: Any, end: bool, close: bool) -> None:
        self.statuses.append(head.status)

    def send_body(self, data: Any, end: bool) -> None: ...

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        self.aborted = True

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        self.ended = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Connection:
    """What one upstream got of one request."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.body = b""
        self.ended = self.aborted = False
        self.head = RequestHead()

    def send_request(self, exchange: Exchange, head: RequestHead, data: Any, end: bool) -> None:
        self.head, self.body, self.ended = head.copy(), bytes(data), end

    def send_body(self, data: Any, end: bool) -> None:
        self.body, self.ended = self.body + bytes(data), end

    def unsent_bytes(self) -> int:
        return 0

    def give_back(self, now: float) -> None: ...

    def abort(self) -> None:
        self.aborted = True

    @property
    def model(self) -> tuple[bytes | None, bytes | None]:
        return self.head.get(NAME.encode()), self.head.get(VERSION.encode())


def by_model(cluster: str, **wanted: str) -> Route:
    headers = tuple(ValueMatch({"name": NAME, "version": VERSION}[key], value) for key, value in wanted.items())
    return Route(cluster, Match(headers=headers), Forward((Backend(cluster),)))


class World:
    """One worker with these routes, and a last one to `rest`."""

    def __init__(self, *routes: Route) -> None:
        self.now = 100.0
        layout = Layout()
        words = memoryview(bytearray(8 * (HEADER_WORDS + 40 * RECORD_WORDS))).cast("Q")
        counters = Counters(words)
        self.sent: list[Connection] = []
        self.logged: list[Exchange] = []
        routes = (*routes, Route("rest", Match(), Forward((Backend("rest"),))))
        names = sorted({b.cluster for r in routes if isinstance(r.action, Forward) for b in r.action.backends})
        rules = Snapshot(
            (Listener("http", (VirtualHost("all", ("*",), routes),)),), tuple(map(snapshot.Cluster, names))
        )
        keys = route_keys(rules)
        records = dict(zip(keys, layout.allot(keys), strict=True))
        table = Table(rules.listeners[0], (), records, clusters=rules.clusters)
        Guards(Buckets(words, [], 0), counters, b"", 1).bind([table])
        clusters = {name: self._make_cluster(name, layout, counters) for name in names}
        self.scope = Scope(table, clusters, 80, records[NO_ROUTE_KEY], "1")
        fake: Any = self
        self.services = Services(
            fake, counters, lambda: self.now, lambda: self.now,
            lambda exchange, peer, now: self.logged.append(exchange), Replays(1_000_000), IDLE_S,
        )  # fmt: skip

    def _make_cluster(self, name: str, layout: Layout, counters: Counters) -> Cluster:
        fake: Any = self
        cluster = Cluster(snapshot.Cluster(name), 0, lambda: 0.5, counters, fake)
        own, endpoint = layout.allot([("cluster", name, ""), ("endpoint", name, "10.0.0.1:80")])
        cluster.apply_endpoints([Target("10.0.0.1", 80, endpoint, probe_slot=0)], own, self.now)
        return cluster

    def borrow(self, lease: Any, now: float) -> Connection:
        (name,) = [name for name, cluster in self.scope.clusters.items() if lease.endpoint in cluster.endpoints]
        self.sent.append(Connection(name))
        return self.sent[-1]

    def begin(self, path: bytes, data: bytes = b"", *, end: bool = False, grpc: bool = True) -> Exchange:
        head = RequestHead([(b"te", b"trailers")])
        head.method, head.path, head.authority, head.length, head.grpc = b"POST", path, b"m", CHUNKED, grpc
        self.client = Client()
        client: Any = self.client
        exchange = Exchange(self.scope, self.services, client, head, self.now)
        exchange.start(data, end)
        return exchange

    @property
    def only(self) -> Connection:
        (connection,) = self.sent
        return connection


def test_the_model_of_a_path_is_matched_and_told_upstream() -> None:
    world = World(by_model("old", name="bert", version="1"), by_model("new", name="bert"))
    world.begin(b"/v2/models/bert/versions/1/infer", b"{}", end=True, grpc=False)
    world.begin(b"/v2/models/bert/infer", b"{}", end=True, grpc=False)
    world.begin(b"/v2/models/other/infer", b"{}", end=True, grpc=False)
    world.begin(b"/v1/chat/completions", b"{}", end=True, grpc=False)
    assert [(c.cluster, *c.model) for c in world.sent] == [
        ("old", b"bert", b"1"), ("new", b"bert", None), ("rest", b"other", None), ("rest", None, None),
    ]  # fmt: skip


def test_what_a_client_says_of_the_model_is_nothing() -> None:
    world = World(by_model("new", name="bert"))
    head = RequestHead([(b"x-gateway-model-name", b"bert")])
    head.marks = int(Mark.STEERING)
    head.method, head.path, head.authority = b"POST", b"/v2/models/other/infer", b"m"
    client: Any = Client()
    Exchange(world.scope, world.services, client, head, world.now).start(b"", True)
    assert (world.only.cluster, world.only.model) == ("rest", (b"other", None))


def test_a_message_that_is_there_is_routed_at_once() -> None:
    world = World(by_model("old", name="bert", version="1"), by_model("new", name="bert", version="2"))
    world.begin(INFER, BERT, end=True)
    assert (world.only.cluster, world.only.model) == ("new", (b"bert", b"2"))
    assert (world.only.body, world.only.ended) == (BERT, True)
    assert world.client.wake == world.now + IDLE_S


def test_a_message_byte_by_byte_is_routed_when_its_model_is_known_and_none_is_lost() -> None:
    world = World(by_model("new", name="bert", version="2"))
    exchange = world.begin(INFER)
    for at in range(len(BERT)):
        exchange.on_request_body(BERT[at : at + 1], at == len(BERT) - 1)
        assert bool(world.sent) == (at >= BERT.index(b"\x3a\x06tensor"))
        assert not world.client.paused
        if not world.sent:
            assert exchange.held_bytes() == at + 1
    assert (world.only.cluster, world.only.body, world.only.ended) == ("new", BERT, True)
    assert exchange.bytes_received == len(BERT)


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (message(text(1, b"bert"), flag=1), False),
        (BERT[:9], True),
        (b"", True),
        (message(text(2, b"2")), False),
        (message(text(1, b"a\r\nx: y")), False),
        (b"\x00\x00\x00\x00\x05\x0b\x0c\x0b\x0c\x0b", False),
    ],
)
def test_what_names_no_model_for_sure_goes_where_rules_without_one_say(data: bytes, end: bool) -> None:
    world = World(by_model("new", name="bert"))
    world.begin(INFER, data, end=end)
    assert (world.only.cluster, world.only.model) == ("rest", (None, None))
    assert (world.only.body, world.only.ended) == (data, end)


def test_the_end_of_the_body_ends_the_wait() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER, BERT[:7])
    assert not world.sent
    exchange.on_request_body(b"", True)
    assert (world.only.cluster, world.only.body, world.only.ended) == ("rest", BERT[:7], True)


def test_no_more_than_64_kib_and_a_piece_are_held() -> None:
    world = World(by_model("new", name="bert"))
    data = message(TENSOR, text(1, b"bert"))
    exchange = world.begin(INFER, data[:1_000])
    for at in range(1_000, len(data), 1_000):
        if not world.sent:
            assert exchange.held_bytes() < MAX_READ_BYTES
        exchange.on_request_body(data[at : at + 1_000], at + 1_000 >= len(data))
        assert bool(world.sent) == (at + 1_000 >= MAX_READ_BYTES)
    assert (world.only.cluster, world.only.body) == ("rest", data)


def test_a_client_that_never_sends_its_message_is_idle_and_one_that_sends_is_not() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER)
    assert world.client.wake == exchange.next_deadline() == 100.0 + IDLE_S
    world.now = 104.0
    exchange.on_request_body(BERT[:3], False)
    exchange.on_timer(105.0)
    assert not exchange.done
    assert exchange.next_deadline() == 104.0 + IDLE_S
    world.now = 104.0 + IDLE_S
    exchange.on_timer(world.now)
    assert exchange.failure is errors.DOWNSTREAM_IDLE
    assert (world.client.statuses, world.client.ended, world.logged) == ([200], True, [exchange])
    assert (exchange.failure, exchange.grpc_status) == (errors.DOWNSTREAM_IDLE, GrpcStatus.CANCELLED)


def test_a_client_that_leaves_while_it_waits_is_forgotten() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER, BERT[:3])
    exchange.on_downstream_gone()
    assert (exchange.failure, world.logged, world.sent) == (errors.DOWNSTREAM_GONE, [exchange], [])
    assert world.client.ended


def test_who_waits_can_be_refused_for_want_of_memory() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER, BERT[:3])
    exchange.refuse(errors.OVERLOADED)
    assert (exchange.grpc_status, world.sent, exchange.done) == (GrpcStatus.UNAVAILABLE, [], True)


def test_a_message_that_names_another_model_at_its_end_never_gets_to_a_server_whole() -> None:
    world = World(by_model("new", name="bert"), by_model("secret", name="secret"))
    late = text(1, b"secret")
    data = message(text(1, b"bert"), TENSOR, late)
    exchange = world.begin(INFER, data[:70_000])
    exchange.on_request_body(data[70_000:200_000], False)
    assert (world.only.cluster, world.only.body) == ("new", data[:200_000])
    exchange.on_request_body(data[200_000:], True)
    assert (exchange.failure, exchange.grpc_status) == (errors.MODEL_CONTRADICTED, GrpcStatus.INVALID_ARGUMENT)
    assert (world.only.aborted, world.only.body) == (True, data[:200_000])
    assert world.logged == [exchange]


def test_a_message_that_contradicts_itself_at_once_is_sent_nowhere() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER, message(text(1, b"bert"), text(7, b"x"), text(2, b"1")), end=True)
    assert (exchange.failure, exchange.grpc_status) == (errors.MODEL_CONTRADICTED, GrpcStatus.INVALID_ARGUMENT)
    assert world.sent == []


def test_a_contradiction_behind_the_begin_of_the_answer_cuts_it() -> None:
    world = World(by_model("new", name="bert"))
    data = message(text(1, b"bert"), TENSOR, text(1, b"secret"))
    exchange = world.begin(INFER, data[:1_000])
    exchange.on_response(ResponseHead((), 200), b"", False)
    exchange.on_request_body(data[1_000:], True)
    assert (world.client.statuses, world.client.aborted, world.only.aborted) == ([200], True, True)


def test_of_a_stream_the_first_message_says_which_model() -> None:
    world = World(by_model("new", name="bert"))
    other = message(text(1, b"other"), text(7, b"x"))
    exchange = world.begin(STREAM, BERT)
    exchange.on_request_body(other, True)
    assert (world.only.cluster, world.only.body) == ("new", BERT + other)


def test_calls_that_name_no_model_are_not_held() -> None:
    world = World(by_model("new", name="bert"))
    world.begin(b"/inference.GRPCInferenceService/ServerLive")
    world.begin(b"/other.Service/ModelInfer", BERT)
    world.begin(INFER, BERT, grpc=False)
    assert [(c.cluster, *c.model) for c in world.sent] == [("rest", None, None)] * 3


def test_where_nothing_asks_for_the_model_nothing_is_held_or_told() -> None:
    world = World()
    world.begin(INFER, b"")
    world.begin(b"/v2/models/bert/infer", b"{}", end=True, grpc=False)
    assert [c.model for c in world.sent] == [(None, None)] * 2


def test_a_wait_is_no_part_of_a_routes_delay_and_rate() -> None:
    """Both count from when the route is known: the bucket may have been emptied meanwhile by others."""
    slow = Forward((Backend("rest"),), fault=Fault(2.0, 1_000_000, 0, 0))
    limited = Forward((Backend("rest"),), rate_limit=RateLimit(1.0, 1))
    world = World(
        Route("slow", Match(headers=(ValueMatch(NAME, "slow"),)), slow),
        Route("limited", Match(headers=(ValueMatch(NAME, "limited"),)), limited),
    )
    delayed, early = world.begin(INFER), world.begin(INFER)
    world.now += 3.0
    delayed.on_request_body(message(text(1, b"slow")), True)
    assert delayed.next_deadline() == world.now + 2.0
    world.begin(INFER, message(text(1, b"limited")), end=True)
    world.now += 1.5
    early.on_request_body(message(text(1, b"limited")), True)
    assert [connection.body for connection in world.sent] == [message(text(1, b"limited"))] * 2


def test_what_waited_is_sent_again_whole() -> None:
    world = World(by_model("new", name="bert"))
    exchange = world.begin(INFER, BERT[:10])
    exchange.on_request_body(BERT[10:12], False)
    exchange.on_request_body(BERT[12:], True)
    exchange.on_upstream_gone("reset", False)
    assert [(c.cluster, c.body, c.ended) for c in world.sent] == [("new", BERT, True)] * 2
