"""Exchanges with gRPC calls: deadlines, statuses of our own, retries until the first message went down, and blame.

The sides are fakes that remember what they were told; the table, the clusters and the exchange are real.
"""

from typing import Any
from urllib.parse import unquote

import pytest

from turnout.proxy import errors
from turnout.proxy.cluster.cluster import Cluster
from turnout.proxy.cluster.target import Target
from turnout.proxy.errors import Failure
from turnout.proxy.exchange.answers import grpc_status
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
from turnout.proxy.telemetry.layout import (
    HEADER_WORDS,
    NO_ROUTE_KEY,
    RECORD_WORDS,
    ClusterWord,
    EndpointWord,
    Layout,
    RouteWord,
    route_keys,
)
from turnout.rules import snapshot
from turnout.rules.resilience import Fault, RateLimit, Retry, RetryBudget
from turnout.rules.snapshot import Backend, Forward, Listener, Match, Route, Snapshot, VirtualHost

INFER = b"/inference.GRPCInferenceService/ModelInfer"
MESSAGE = b"\0\0\0\0\1m"
RETRY = Retry(on=("unavailable", "resource-exhausted"), attempts=1, back_off_s=0.0, budget=None)
S = GrpcStatus
OK, LATER = [(b"grpc-status", b"0")], [(b"grpc-status", b"14"), (b"grpc-message", b"later")]


class Client:
    """A client's stream."""

    peer = Peer(b"192.0.2.1", trusted=False)

    def __init__(self) -> None:
        self.wake = NEVER
        self.heads: list[ResponseHead] = []
        self.body = b""
        self.ended = self.done = False
        self.aborted: Fields | None = None

    def wake_at(self, deadline: float) -> None:
        self.wake = min(self.wake, deadline)

    def send_response(self, head: ResponseHead, data: Any, end: bool, close: bool) -> None:
        self.heads.append(head)
        self.send_body(data, end)

    def send_body(self, data: Any, end: bool) -> None:
        assert not self.ended
        self.body, self.ended = self.body + bytes(data), end

    def abort(self, trailers: Fields = NO_FIELDS) -> None:
        self.aborted = trailers

    def on_exchange_done(self, request_ended: bool, now: float) -> None:
        self.done = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    @property
    def status(self) -> GrpcStatus:
        """How the call ended."""
        (head,) = self.heads
        fields = dict(self.aborted or head.trailers or head.fields)
        return GrpcStatus(int(fields[b"grpc-status"]))

    @property
    def message(self) -> str:
        (head,) = self.heads
        return unquote(dict(self.aborted or head.trailers or head.fields)[b"grpc-message"].decode())


class Connection:
    """One attempt."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.body = b""
        self.ended = self.aborted = self.returned = False
        self.head = RequestHead()
        self.answer = ResponseHead()

    def send_request(self, exchange: Exchange, head: RequestHead, data: Any, end: bool) -> None:
        self._exchange = exchange
        self.head, self.body, self.ended = head.copy(), bytes(data), end

    def send_body(self, data: Any, end: bool) -> None:
        self.body, self.ended = self.body + bytes(data), end

    def unsent_bytes(self) -> int:
        return 0

    def give_back(self, now: float) -> None:
        self.returned = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    # What the server does

    def begin(self, data: bytes = b"", status: int = 200) -> None:
        """The head of an answer, perhaps with a first message."""
        self.answer = ResponseHead((), status)
        self.answer.trailers = []
        self._exchange.on_response(self.answer, data, False)

    def answer_whole(self, data: bytes, trailers: Fields) -> None:
        """Head, message and end as one read of the connection brings them."""
        self.answer = ResponseHead((), 200)
        self.answer.trailers = list(trailers)
        self._exchange.on_response(self.answer, data, True)

    def say(self, data: bytes) -> None:
        self._exchange.on_response_body(data, False)

    def finish(self, trailers: Fields) -> None:
        self.answer.trailers.extend(trailers)
        self._exchange.on_response_body(b"", True)

    def refuse(self, fields: Fields, status: int = 200) -> None:
        """Trailers only."""
        self._exchange.on_response(ResponseHead(fields, status), b"", True)

    def die(self) -> None:
        self._exchange.on_upstream_gone("it is gone", True)


class World:
    """A worker with one route to two endpoints, which are asked in turn."""

    def __init__(self, retry: Retry | None = None, endpoints: int = 2, **forward: Any) -> None:
        self.now = 100.0
        layout = Layout()
        words = memoryview(bytearray(8 * (HEADER_WORDS + 40 * RECORD_WORDS))).cast("Q")
        self.counters = counters = Counters(words)
        self.words = words
        self.sent: list[Connection] = []
        self.logged: list[Exchange] = []
        self.failing: list[Any] = []
        self.refuses = False
        action = Forward((Backend("c"),), retry=retry, **forward)
        route = Route("r", Match(path=snapshot.PathMatch("path_prefix", "/inference.GRPCInferenceService")), action)
        config = snapshot.Cluster("c", load_balancing=snapshot.LoadBalancing("round_robin"))
        rules = Snapshot((Listener("http", (VirtualHost("all", ("*",), (route,)),)),), (config,))
        keys = route_keys(rules)
        records = dict(zip(keys, layout.allot(keys), strict=True))
        table = Table(rules.listeners[0], (), records, clusters=rules.clusters)
        Guards(Buckets(words, [], 0), counters, b"", 1).bind([table])
        fake: Any = self
        self.cluster = Cluster(config, 0, lambda: 0.5, counters, fake)
        names = [("endpoint", "c", f"10.0.0.{number}:80") for number in range(1, 3)]
        own, *self.endpoints = layout.allot([("cluster", "c", ""), *names])
        targets = [Target(f"10.0.0.{at + 1}", 80, self.endpoints[at], probe_slot=0) for at in range(endpoints)]
        self.cluster.apply_endpoints(targets, own, self.now)
        self.own, self.route = own, next(offset for key, offset in records.items() if "c" in key)
        self.scope = Scope(table, {"c": self.cluster}, 80, records[NO_ROUTE_KEY], "1")
        self.services = Services(
            fake, counters, lambda: self.now, lambda: self.now,
            lambda exchange, peer, now: self.logged.append(exchange), Replays(1_000_000), 60.0,
        )  # fmt: skip

    def borrow(self, lease: Any, now: float) -> Connection | None:
        if self.refuses:
            return None
        self.sent.append(Connection(lease.endpoint.key))
        return self.sent[-1]

    def connect(self, exchange: Exchange, cluster: Cluster, lease: Any) -> Any:
        self.waiting = exchange
        return self

    def may_connect(self, cluster: Cluster, lease: Any) -> bool:
        return True

    def cancel(self) -> None: ...

    def call(self, body: bytes = MESSAGE, *, end: bool = True, path: bytes = INFER, timeout: bytes = b"") -> Exchange:
        head = RequestHead()
        head.method, head.path, head.authority, head.length, head.grpc = b"POST", path, b"m", CHUNKED, True
        if timeout:
            head.grpc_timeout, head.marks = timeout, int(Mark.GRPC_TIMEOUT)
        self.client = Client()
        client: Any = self.client
        exchange = Exchange(self.scope, self.services, client, head, self.now)
        exchange.start(body, end)
        return exchange

    def count(self, status: GrpcStatus) -> int:
        return sum(self.words[record + RouteWord.GRPC + status] for record in (self.route, self.scope.no_route_record))

    def failures(self, word: EndpointWord = EndpointWord.FAILURES) -> list[int]:
        return [self.words[record + word] for record in self.endpoints]


# Deadlines


@pytest.mark.parametrize(
    ("timeout", "forward", "told"),
    [
        (b"", {}, b""),
        (b"3S", {}, b"3000m"),
        (b"1500m", {"request_timeout_s": 2.0}, b"1500m"),
        (b"3S", {"request_timeout_s": 2.0}, b"2000m"),
        (b"", {"request_timeout_s": 2.0}, b"2000m"),
        (b"3S", {"backend_timeout_s": 1.0}, b"1000m"),
        (b"900m", {"backend_timeout_s": 1.0}, b"900m"),
        (b"5H", {"request_timeout_s": None}, b"18000000m"),
        (b"99999999H", {}, b"99999999S"),
    ],
)
def test_the_least_of_all_limits_is_passed_on(timeout: bytes, forward: dict[str, Any], told: bytes) -> None:
    world = World(**forward)
    world.call(timeout=timeout)
    assert world.sent[0].head.grpc_timeout == told


def test_what_went_by_before_a_retry_is_no_longer_there() -> None:
    world = World(RETRY)
    world.call(timeout=b"2S")
    world.now += 0.5
    world.sent[0].refuse(LATER)
    assert [one.head.grpc_timeout for one in world.sent] == [b"2000m", b"1500m"]


@pytest.mark.parametrize("timeout", [b"1S", b"1000m", b"0m"])
def test_a_clients_deadline_ends_the_call(timeout: bytes) -> None:
    world = World()
    exchange = world.call(timeout=timeout)
    world.now += 1.0
    assert world.client.wake <= world.now
    exchange.on_timer(world.now)
    assert (exchange.failure, world.client.status) == (errors.CLIENT_DEADLINE, S.DEADLINE_EXCEEDED)
    assert world.sent[0].aborted
    assert world.failures() == [0, 0]


def test_a_timeout_that_breaks_the_grammar_says_nothing() -> None:
    world = World()
    world.call(timeout=b"soon")
    assert world.client.wake == world.now + 60.0


def test_a_deadline_that_would_come_before_the_next_attempt_leaves_the_last_answer() -> None:
    world = World(Retry(on=("unavailable",), attempts=1, back_off_s=0.0, budget=None))
    world.call(timeout=b"1S")
    world.now += 1.0
    world.sent[0].refuse(LATER)
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)


# Statuses of our own

FAILURES = [value for value in vars(errors).values() if isinstance(value, Failure)]
EXPECTED = {
    "NO_ROUTE": S.UNIMPLEMENTED, "NO_CLUSTER": S.UNAVAILABLE, "COLD_CLUSTER": S.UNAVAILABLE,
    "NO_BACKEND": S.UNAVAILABLE, "OVERFLOW": S.UNAVAILABLE, "QUEUE_TIMEOUT": S.UNAVAILABLE,
    "RATE_LIMITED": S.RESOURCE_EXHAUSTED, "FAULT_INJECTED": S.UNAVAILABLE, "OVERLOADED": S.UNAVAILABLE,
    "NO_ENDPOINT": S.UNAVAILABLE, "CONNECT_FAILED": S.UNAVAILABLE, "UPSTREAM_CLOSED": S.UNAVAILABLE,
    "UPSTREAM_MALFORMED": S.UNAVAILABLE, "UPSTREAM_TIMEOUT": S.DEADLINE_EXCEEDED,
    "FIRST_BYTE_TIMEOUT": S.DEADLINE_EXCEEDED, "REQUEST_TIMEOUT": S.DEADLINE_EXCEEDED,
    "CLIENT_DEADLINE": S.DEADLINE_EXCEEDED, "REQUEST_UNFINISHED": S.DEADLINE_EXCEEDED,
    "IDLE_TIMEOUT": S.DEADLINE_EXCEEDED, "CLIENT_STALLED": S.CANCELLED, "DOWNSTREAM_GONE": S.CANCELLED,
    "DOWNSTREAM_IDLE": S.CANCELLED, "MODEL_CONTRADICTED": S.INVALID_ARGUMENT, "HEAD_TIMEOUT": S.UNKNOWN,
    "MALFORMED": S.INTERNAL, "HEAD_TOO_LARGE": S.RESOURCE_EXHAUSTED, "VERSION_UNSUPPORTED": S.UNKNOWN,
    "METHOD_UNSUPPORTED": S.UNKNOWN, "IDENTITY_REFUSED": S.PERMISSION_DENIED,
}  # fmt: skip
"""Decided failure by failure; what has no gRPC call around it (a head that never came) has Envoy's for its status."""


def test_every_failure_has_the_status_that_was_decided_for_it() -> None:
    names = {name: value for name, value in vars(errors).items() if isinstance(value, Failure)}
    assert {name: grpc_status(failure) for name, failure in names.items()} == EXPECTED


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.message)
def test_every_failure_is_a_trailers_only_answer_before_the_head_and_trailers_behind_it(failure: Failure) -> None:
    world = World()
    exchange = world.call()
    exchange.refuse(failure, "because: 100 %")
    (head,) = world.client.heads
    assert (head.status, world.client.ended, world.client.body) == (200, True, b"")
    assert head.get(b"content-type") == b"application/grpc"
    assert world.client.status is grpc_status(failure)
    assert world.client.message.startswith(f"{failure.message}: because: 100 % ({failure.flag}, request ")
    assert exchange.grpc_status == grpc_status(failure)
    assert world.count(grpc_status(failure)) == 1
    behind = world.call()
    world.sent[-1].begin(MESSAGE)
    behind.refuse(failure)
    assert world.client.status is grpc_status(failure)
    assert (len(world.client.heads), world.client.ended, world.client.body) == (1, False, MESSAGE)
    assert world.sent[-1].aborted


def test_a_failure_of_the_server_behind_the_first_message_ends_with_trailers() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].begin(MESSAGE)
    world.sent[0].die()
    assert (world.client.status, len(world.sent)) == (S.UNAVAILABLE, 1)
    assert world.client.message.startswith("the endpoint closed the connection: it is gone (UC")
    assert sum(world.failures(EndpointWord.LOCAL_FAILURES)) == 1


def test_a_client_that_takes_nothing_is_cut_for_trailers_would_never_come_to_it() -> None:
    world = World()
    exchange = world.call()
    world.sent[0].begin(MESSAGE)
    exchange.on_downstream_blocked(True)
    world.now += 60.0
    exchange.on_timer(world.now)
    assert (exchange.failure, world.client.aborted) == (errors.CLIENT_STALLED, NO_FIELDS)


def test_without_a_route_a_call_is_unimplemented() -> None:
    world = World()
    exchange = world.call(path=b"/other/Method")
    assert (world.client.status, exchange.failure) == (S.UNIMPLEMENTED, errors.NO_ROUTE)
    assert world.count(S.UNIMPLEMENTED) == 1


def test_a_rate_limit_and_a_fault_have_a_status_too() -> None:
    world = World(rate_limit=RateLimit(1.0, 1))
    world.call()
    world.call()
    assert world.client.status is S.RESOURCE_EXHAUSTED
    assert world.client.heads[0].get(b"retry-after") is not None
    world = World(fault=Fault(abort_status=404, abort_per_million=1_000_000))
    world.call()
    assert world.client.status is S.UNIMPLEMENTED


# Retries


@pytest.mark.parametrize("where", ["head", "trailers", "trailers alone"])
@pytest.mark.parametrize(("code", "attempts"), [(14, 2), (8, 2), (13, 1), (4, 1), (1, 1), (0, 1), (5, 1), (99, 1)])
def test_a_status_is_tried_again_wherever_it_stands(where: str, code: int, attempts: int) -> None:
    world = World(RETRY)
    exchange = world.call()
    fields = [(b"grpc-status", b"%d" % code)]
    if where == "head":
        world.sent[0].refuse(fields)
    else:
        world.sent[0].begin()
        assert not world.client.heads, "the head waits"
        world.sent[0].finish(fields)
    assert len(world.sent) == attempts
    if attempts == 2:
        assert not world.client.heads
        assert (world.sent[0].endpoint, world.sent[0].returned) != (world.sent[1].endpoint, False)
        assert world.sent[1].body == MESSAGE
        world.sent[1].begin(MESSAGE)
        world.sent[1].finish(OK)
        assert (world.client.status, world.client.body, exchange.attempts) == (S.OK, MESSAGE, 2)
        assert exchange.reason == f"answered {S(code).name}"
        assert world.words[world.own + ClusterWord.RETRIES] == 1
        assert world.words[world.own + ClusterWord.RETRIES_ACTIVE] == 0
    assert len(world.client.heads) == 1
    assert world.client.ended


def test_the_first_message_lets_the_head_go_and_is_the_end_of_retries() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].begin()
    assert not world.client.heads
    world.sent[0].say(MESSAGE)
    assert (len(world.client.heads), world.client.body) == (1, MESSAGE)
    world.sent[0].finish(LATER)
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)


def test_a_status_behind_a_message_is_final_also_when_all_comes_in_one_piece() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].answer_whole(MESSAGE, LATER)
    assert (len(world.sent), world.client.status, world.client.body) == (1, S.UNAVAILABLE, MESSAGE)


def test_the_head_is_not_held_without_need() -> None:
    for world, end in ((World(), True), (World(Retry(on=("reset",), budget=None)), True), (World(RETRY), False)):
        world.call(end=end)
        world.sent[0].begin()
        assert len(world.client.heads) == 1


def test_a_client_that_still_sends_may_wait_for_the_head() -> None:
    """Held, it would wait for the server's first message, and the server for the client's."""
    world = World(RETRY)
    exchange = world.call(MESSAGE, end=False)
    world.sent[0].begin()
    assert len(world.client.heads) == 1
    exchange.on_request_body(MESSAGE, True)
    world.sent[0].say(MESSAGE)
    world.sent[0].finish(OK)
    assert (world.client.status, world.sent[0].body) == (S.OK, 2 * MESSAGE)


def test_a_call_that_still_comes_is_tried_again_with_what_came() -> None:
    world = World(RETRY)
    exchange = world.call(MESSAGE, end=False)
    world.sent[0].refuse(LATER)
    assert (world.sent[0].aborted, world.sent[1].body, world.sent[1].ended) == (True, MESSAGE, False)
    exchange.on_request_body(MESSAGE, True)
    assert (world.sent[1].body, world.sent[1].ended) == (2 * MESSAGE, True)


def test_what_no_grpc_server_said_counts_by_its_http_status() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].begin(b"<html>", status=503)
    assert (world.sent[0].aborted, len(world.sent)) == (True, 2)
    world.sent[1].refuse([], status=404)
    assert world.client.heads[0].status == 404
    assert world.count(S.UNIMPLEMENTED) == 1


@pytest.mark.parametrize(
    ("path", "retry"),
    [
        (b"/inference.GRPCInferenceService/Other", RETRY),
        (INFER, Retry(on=("unavailable",), attempts=0, budget=None)),
    ],
)
def test_what_may_not_be_repeated_is_not(path: bytes, retry: Retry) -> None:
    world = World(retry)
    world.call(path=path)
    world.sent[0].begin()
    world.sent[0].finish(LATER)
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)


def test_an_answer_of_a_rate_limit_service_is_not_tried_again() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].refuse([*LATER, (b"x-envoy-ratelimited", b"true")])
    assert len(world.sent) == 1


def test_a_body_beyond_the_bound_is_not_kept_for_a_retry() -> None:
    world = World(Retry(on=("unavailable",), attempts=1, back_off_s=0.0, budget=None, replay_bytes=100))
    world.call(bytes(101))
    world.sent[0].refuse(LATER)
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)
    assert world.words[world.own + ClusterWord.NOT_REPLAYABLE] == 1


def test_a_budget_bounds_retries_by_status() -> None:
    budget = RetryBudget(percent=0.0, min_concurrency=0, interval_s=0.0)
    world = World(Retry(on=("unavailable",), attempts=1, back_off_s=0.0, budget=budget))
    exchange = world.call()
    world.sent[0].begin()
    world.sent[0].finish(LATER)
    assert (len(world.sent), exchange.flag, world.client.status) == (1, errors.Flag.UO, S.UNAVAILABLE)
    assert world.words[world.own + ClusterWord.RETRIES_REFUSED] == 1


def pushed_back(value: bytes) -> Fields:
    return [*LATER, (b"grpc-retry-pushback-ms", value)]


@pytest.mark.parametrize("where", ["head", "trailers"])
@pytest.mark.parametrize(("value", "wait_s"), [(b"0", 0.0), (b"50", 0.05), (b"2000", 2.0), (b"300000", 300.0)])
def test_a_server_that_says_when_to_try_again_is_left_in_peace_until_then(
    where: str, value: bytes, wait_s: float
) -> None:
    world = World(RETRY)
    exchange = world.call()
    if where == "head":
        world.sent[0].refuse(pushed_back(value))
    else:
        world.sent[0].begin()
        world.sent[0].finish(pushed_back(value))
    if wait_s:
        world.now += wait_s - 0.001
        exchange.on_timer(world.now)
        assert len(world.sent) == 1
        world.now += 0.002
        exchange.on_timer(world.now)
    world.sent[1].begin(MESSAGE)
    world.sent[1].finish(OK)
    assert (len(world.sent), world.client.status, exchange.reason) == (2, S.OK, "answered UNAVAILABLE")


@pytest.mark.parametrize("value", [b"-1", b"", b"soon", b"1.5", b"010", b"+5", b"-0", b"2147483648", b"300001"])
def test_a_server_that_wants_no_retry_gets_none(value: bytes) -> None:
    """Nor one that wants to wait longer than anybody should be waited for."""
    world = World(RETRY)
    exchange = world.call()
    world.sent[0].refuse(pushed_back(value))
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)
    assert world.client.heads[0].get(b"grpc-retry-pushback-ms") == value
    assert exchange.flag == (errors.Flag.URX if value == b"300001" else errors.Flag.NONE)


def test_a_wait_beyond_the_deadline_is_no_retry() -> None:
    world = World(RETRY)
    world.call(timeout=b"1S")
    world.sent[0].refuse(pushed_back(b"1000"))
    assert (len(world.sent), world.client.status) == (1, S.UNAVAILABLE)


def test_behind_a_servers_word_the_back_off_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC A6: not where it would have been without it. A back-off is 1 s, 2 s, 4 s here."""
    monkeypatch.setattr("turnout.proxy.exchange.retrying.random", lambda: 0.999)
    world = World(Retry(on=("unavailable",), attempts=4, back_off_s=1.0, max_back_off_s=60.0, budget=None))
    exchange = world.call()
    for fields, wait_s in ((LATER, 1.0), (LATER, 2.0), (pushed_back(b"7"), 0.007), (LATER, 1.0)):
        sent = len(world.sent)
        world.sent[-1].refuse(fields)
        world.now += 0.9 * wait_s
        exchange.on_timer(world.now)
        assert len(world.sent) == sent
        world.now += 0.2 * wait_s
        exchange.on_timer(world.now)
        assert len(world.sent) == sent + 1


def test_a_word_on_retries_with_a_status_that_is_not_retried_says_nothing() -> None:
    world = World(RETRY)
    world.call()
    world.sent[0].refuse([(b"grpc-status", b"3"), (b"grpc-retry-pushback-ms", b"0")])
    assert (len(world.sent), world.client.status) == (1, S.INVALID_ARGUMENT)


def test_a_client_that_leaves_while_the_head_waits_is_cancelled() -> None:
    world = World(RETRY)
    exchange = world.call()
    world.sent[0].begin()
    exchange.on_downstream_gone()
    assert (exchange.grpc_status, world.sent[0].aborted, world.client.heads) == (S.CANCELLED, True, [])
    assert world.failures() == [0, 0]


def test_a_server_that_dies_while_its_head_waits_is_tried_elsewhere() -> None:
    world = World(Retry(on=("unavailable", "reset"), attempts=1, back_off_s=0.0, budget=None))
    world.call()
    world.sent[0].begin()
    world.sent[0].die()
    assert len(world.sent) == 2
    world.sent[1].refuse(OK)
    assert world.client.status is S.OK


def test_a_refused_connection_is_unavailable() -> None:
    world = World()
    world.refuses = True
    exchange = world.call()
    exchange.on_connect_failed("refused")
    world.waiting.on_connect_failed("refused")
    assert (world.client.status, exchange.failure) == (S.UNAVAILABLE, errors.CONNECT_FAILED)


# Who is blamed, and what is counted


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ()), (1, ()), (3, ()), (4, (EndpointWord.ANSWERS_5XX, EndpointWord.GATEWAY_FAILURES)), (5, ()),
        (8, ()), (12, (EndpointWord.ANSWERS_5XX,)), (13, (EndpointWord.ANSWERS_5XX,)),
        (14, (EndpointWord.ANSWERS_5XX, EndpointWord.GATEWAY_FAILURES)), (16, ()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["head", "trailers", "behind a message"])
def test_an_endpoint_is_judged_by_the_status_of_the_call(
    code: int, words: tuple[EndpointWord, ...], where: str
) -> None:
    world = World(endpoints=1)
    exchange = world.call()
    fields = [(b"grpc-status", b"%d" % code)]
    if where == "head":
        world.sent[0].refuse(fields)
    else:
        world.sent[0].begin(MESSAGE if where == "behind a message" else b"")
        world.sent[0].finish(fields)
    seen = {word for word in (EndpointWord.ANSWERS_5XX, EndpointWord.GATEWAY_FAILURES) if world.failures(word)[0]}
    assert seen == set(words)
    assert (exchange.grpc_status, world.count(S(code)), exchange.status) == (S(code), 1, 200)


@pytest.mark.parametrize("where", ["head", "trailers"])
def test_failures_in_a_row_add_up_also_behind_heads(where: str) -> None:
    """The head of an answer says nothing of how the call ends."""
    world = World(endpoints=1)
    (endpoint,) = world.cluster.endpoints
    rows = []
    for _ in range(3):
        world.call()
        if where == "head":
            world.sent[-1].refuse(LATER)
        else:
            world.sent[-1].begin()
            world.sent[-1].finish(LATER)
        rows.append(endpoint.failures)
    assert all(row is not None for row in rows)
    assert rows[2] is rows[0], "nothing began anew"
    world.call()
    world.sent[-1].begin(MESSAGE)
    assert endpoint.failures is None
