"""Retries and limits of time against scripted replicas: what is sent again, to whom, and what the log says of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from time import monotonic, time
from typing import Any

import pytest
from actors.proxy import Proxy, until
from actors.replica import Replica, answer, half_a_body, half_a_head, never, reset
from actors.wire import Message, connect

INFER = "/v2/models/iris/infer"
POLICY = """
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: policy}}
spec: {{{policy}}}
---
"""
RULES = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: model}}
spec:
  endpoints: [{endpoints}]
  {predictor}
---
{policy}
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  hostnames: [model.test]
  rules:
  - backendRefs: [{{name: model}}]
    {rule}
"""
USE_POLICY = "filters: [{type: ExtensionRef, extensionRef: {group: turnout.dev, kind: RoutePolicy, name: policy}}]"


class Pool:
    """Two replicas behind a proxy. The first request goes to `first`, whichever that is."""

    def __init__(self, replicas: list[Replica], start: Callable[..., Proxy]) -> None:
        self.replicas = replicas
        self._start = start

    def serve(self, rule: str = "", predictor: str = "", policy: str = "") -> Proxy:
        endpoints = ", ".join(f"{{address: 127.0.0.1, port: {replica.port}}}" for replica in self.replicas)
        self.proxy = self._start(
            RULES.format(
                endpoints=endpoints,
                predictor=predictor,
                policy=POLICY.format(policy=policy) if policy else "",
                rule=f"{rule}\n    {USE_POLICY}" if policy else rule,
            )
        )
        return self.proxy

    async def ask(self, method: str = "GET", target: str = "/", *fields: str, body: bytes | None = None) -> Message:
        """One request, on a connection of its own."""
        wire = await connect(self.proxy.port)
        lines = [f"{method} {target} HTTP/1.1", "Host: model.test", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        await wire.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        try:
            return await wire.read_response(method)
        finally:
            wire.close()

    async def line(self) -> dict[str, Any]:
        """The access line of the only request."""
        (line,) = await self.proxy.access(1)
        return line

    @property
    def requests(self) -> list[Message]:
        return [request for replica in self.replicas for request in replica.requests]

    def all(self, handler: Any) -> None:
        """Every replica does this."""
        for replica in self.replicas:
            replica.handler = handler

    def once(self, handler: Any) -> None:
        """Whoever is asked first does this; then they answer well."""
        pending = [handler]
        for replica in self.replicas:
            well = replica.handler

            async def handle(wire: Any, request: Message, well: Any = well) -> None:
                await (pending.pop() if pending else well)(wire, request)

            replica.handler = handle


@pytest.fixture
async def pool(start_proxy: Callable[..., Proxy]) -> AsyncIterator[Pool]:
    async with contextlib.AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(Replica(f"r{at}")) for at in range(2)]
        yield Pool(replicas, start_proxy)


RETRY = "retry: {attempts: 2, codes: [503], backoff: 1ms}"


# Without `retry` on the rule


async def test_what_was_never_sent_is_sent_to_another_endpoint_without_being_asked(pool: Pool) -> None:
    pool.serve(predictor="loadBalancing: {policy: RoundRobin}")  # by chance, none of six might go there first
    pool.replicas[0].refuse()
    for _ in range(6):
        reply = await pool.ask("POST", body=b"x" * 1000)
        assert (reply.status, reply.body) == (200, b"r1")
    assert all(len(request.body) == 1000 for request in pool.requests)
    lines = await pool.proxy.access(6)
    twice = [line for line in lines if line["attempts"] == 2]
    assert twice
    assert all(line["flag"] == "-" and line["reason"].startswith("UF ") for line in twice)


@pytest.mark.parametrize("how", [reset, half_a_head])
async def test_what_was_sent_is_not_sent_again_without_being_asked(pool: Pool, how: Any) -> None:
    pool.serve()
    pool.all(how)
    reply = await pool.ask("GET")
    assert reply.status == 503
    line = await pool.line()
    assert (line["flag"], line["attempts"], len(pool.requests)) == ("UC", 1, 1)


async def test_a_post_on_a_kept_connection_that_was_just_closed_is_sent_again(pool: Pool) -> None:
    """The kernel knows that nothing of it arrived, so this is safe for any method."""
    pool.serve(predictor="connection: {idleTimeout: 60s}")
    pool.replicas[1].refuse()
    replica, proxy = pool.replicas[0], pool.proxy
    assert (await pool.ask()).status == 200
    for _ in range(10):
        (worker,) = await proxy.workers()
        # The worker must not see the close before the next request: it is stopped while both come.
        import os
        import signal

        os.kill(worker, signal.SIGSTOP)
        try:
            for wire in replica.wires:
                wire.close()
            replica.wires.clear()
            asking = asyncio.create_task(pool.ask("POST", "/not/known", body=b"pay-out"))
            await asyncio.sleep(0.05)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert (await asking).status == 200
    assert [request.body for request in replica.requests] == [b""] + [b"pay-out"] * 10


# With `retry`


@pytest.mark.parametrize("how", [reset, half_a_head, answer(503)])
@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("PUT", "/x"), ("POST", INFER), ("POST", "/v1/chat/completions")]
)
async def test_what_may_be_repeated_is_sent_to_the_other_replica(
    pool: Pool, how: Any, method: str, target: str
) -> None:
    pool.serve(RETRY)
    pool.once(how)
    reply = await pool.ask(method, target, body=b"1234")
    assert reply.status == 200
    first, second = sorted(pool.requests, key=lambda request: request.get("x-envoy-attempt-count") or "")
    assert (first.body, second.body, second.target) == (b"1234", b"1234", target)
    assert [first.get("x-envoy-attempt-count"), second.get("x-envoy-attempt-count")] == ["1", "2"]
    assert {len(replica.requests) for replica in pool.replicas} == {1}
    line = await pool.line()
    assert (line["status"], line["attempts"], line["flag"]) == (200, 2, "-")
    assert line["reason"]


@pytest.mark.parametrize("how", [reset, answer(503)])
async def test_what_may_not_be_repeated_is_not(pool: Pool, how: Any) -> None:
    pool.serve(RETRY)
    pool.all(how)
    assert (await pool.ask("POST", "/pay", body=b"1")).status == 503
    assert len(pool.requests) == 1


async def test_what_a_policy_says_may_be_repeated_is(pool: Pool) -> None:
    pool.serve(RETRY, policy="idempotent: true")
    pool.once(reset)
    assert (await pool.ask("POST", "/pay", body=b"1")).status == 200
    assert len(pool.requests) == 2


async def test_attempts_have_an_end_and_the_last_answer_is_passed_on(pool: Pool) -> None:
    pool.serve(RETRY)
    pool.all(answer(503, body=b"busy"))
    reply = await pool.ask()
    assert (reply.status, reply.body) == (503, b"busy")
    line = await pool.line()
    assert (line["flag"], line["attempts"], len(pool.requests)) == ("URX", 3, 3)


async def test_another_status_is_an_answer(pool: Pool) -> None:
    pool.serve(RETRY)
    pool.all(answer(500))
    assert (await pool.ask()).status == 500
    assert len(pool.requests) == 1


async def test_nothing_is_retried_once_an_answer_went_down(pool: Pool) -> None:
    pool.serve(RETRY)
    pool.all(half_a_body)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await pool.ask()
    line = await pool.line()
    assert (line["flag"], line["attempts"], len(pool.requests)) == ("UC", 1, 1)


async def test_a_body_that_is_too_large_is_streamed_and_not_sent_again(pool: Pool) -> None:
    pool.serve(RETRY, policy="replayBodyLimit: 1Ki")
    pool.once(answer(503))
    assert (await pool.ask("PUT", "/", body=bytes(200_000))).status == 503
    assert len(pool.requests) == 1
    stats = (await pool.proxy.admin("/metrics"))[1]
    assert [line for line in stats.splitlines() if "not_replayable" in line and line.endswith(" 1.0")]


async def test_a_body_in_pieces_is_sent_again_whole(pool: Pool) -> None:
    pool.serve(RETRY)
    pool.once(answer(503))
    body = bytes(range(256)) * 2_000
    assert (await pool.ask("PUT", "/", body=body)).status == 200
    assert [request.body == body for request in pool.requests] == [True, True]


async def test_retry_after_is_waited_for_if_there_is_time(pool: Pool) -> None:
    pool.serve(RETRY)
    pool.once(answer(503, "Retry-After: 1"))
    began = monotonic()
    assert (await pool.ask()).status == 200
    assert monotonic() - began >= 1.0


async def test_no_retry_is_made_that_could_not_begin_in_time(pool: Pool) -> None:
    pool.serve(RETRY + "\n    timeouts: {request: 20s}")
    pool.all(answer(503, "Retry-After: 30"))
    began = monotonic()
    assert (await pool.ask()).status == 503
    assert monotonic() - began < 20.0
    assert len(pool.requests) == 1


# Limits of time


async def test_each_attempt_has_its_limit_and_all_together_theirs(pool: Pool) -> None:
    pool.serve("retry: {attempts: 9, backoff: 1ms}\n    timeouts: {request: 1s, backendRequest: 400ms}")
    pool.all(never)
    began = monotonic()
    assert (await pool.ask()).status == 504
    assert monotonic() - began > 0.95
    line = await pool.line()
    # Three of 400 ms have a place in 1 s, and two on a machine that is busy; one limit alone would give one, or ten.
    assert line["flag"] == "UT"
    assert line["attempts"] in (2, 3)


async def test_a_slow_first_byte_is_another_limit_than_a_slow_answer(pool: Pool) -> None:
    async def slow_body(wire: Any, request: Message) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await asyncio.sleep(0.8)
        await wire.send(b"ok")

    pool.serve(RETRY, policy="timeouts: {firstByte: 600ms}")
    pool.once(never)
    began = monotonic()
    assert (await pool.ask()).status == 200
    assert monotonic() - began >= 0.6
    pool.all(slow_body)
    assert (await pool.ask()).body == b"ok"


async def test_a_stream_that_stalls_is_cut_by_its_own_limit(pool: Pool) -> None:
    async def stall(wire: Any, request: Message) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await wire.reader.read()

    pool.serve(policy="timeouts: {idle: 1s}")
    pool.all(stall)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await pool.ask()
    assert (await pool.line())["flag"] == "SI"


async def test_what_is_left_of_the_deadline_is_told_upstream(pool: Pool) -> None:
    pool.serve("retry: {attempts: 1, codes: [503], backoff: 1ms}\n    timeouts: {request: 30s}")

    async def slowly(wire: Any, request: Message) -> None:
        await asyncio.sleep(0.2)
        await answer(503)(wire, request)

    pool.once(slowly)
    assert (await pool.ask()).status == 200
    left = sorted(int(request.get("x-request-timeout-ms") or 0) for request in pool.requests)
    assert 10_000 < left[0] <= left[1] - 200 <= 29_800
    assert all(r.get("x-envoy-expected-rq-timeout-ms") == r.get("x-request-timeout-ms") for r in pool.requests)


async def test_a_trusted_client_can_shorten_the_deadline_and_not_lengthen_it(pool: Pool) -> None:
    pool.serve("timeouts: {request: 1500ms}")
    pool.all(never)
    for told, at_most in (("100", 1.5), ("60000", 10.0)):
        began = monotonic()
        assert (await pool.ask("GET", "/", f"X-Request-Timeout-Ms: {told}")).status == 504
        assert monotonic() - began < at_most


# Guards


async def test_beyond_the_rate_it_is_429_with_the_time_to_come_back(pool: Pool) -> None:
    pool.serve(policy="rateLimit: {requests: 2, interval: 60s, header: x-user}")
    replies = [await pool.ask("GET", "/", "X-User: a") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 429]
    assert 1 <= int(replies[2].get("retry-after") or 0) <= 30
    assert (await pool.ask("GET", "/", "X-User: b")).status == 200
    assert [line["flag"] for line in await pool.proxy.access(4)] == ["-", "-", "RL", "-"]


async def test_faults_on_purpose_wait_and_abort(pool: Pool) -> None:
    fault = "fault: {delay: {fixedDelay: 200ms, percentage: 100}, abort: {httpStatus: 418, percentage: 100}}"
    pool.serve(policy=fault)
    began = time()
    assert (await pool.ask("POST", "/", body=b"x" * 100_000)).status == 418
    assert time() - began >= 0.2
    assert pool.requests == []
    assert (await pool.line())["flag"] == "FI"
    await pool.proxy.reload(pool.proxy.rules.read_text().replace(", abort: {httpStatus: 418, percentage: 100}", ""))
    assert (await pool.ask("POST", "/", body=b"x" * 100_000)).status == 200
    assert len(pool.requests[0].body) == 100_000
    assert (await pool.proxy.access(2))[1]["flag"] == "DI"


# Circuit breakers


async def in_flight(pool: Pool, count: int) -> list[asyncio.Task[Message]]:
    """So many requests that have come to the replicas, and wait there."""
    asking = [asyncio.create_task(pool.ask()) for _ in range(count)]
    await until(lambda: len(pool.requests) >= count)
    return asking


def held() -> tuple[asyncio.Event, Any]:
    """Answers that wait for an event."""
    go = asyncio.Event()

    async def handle(wire: Any, request: Message) -> None:
        await go.wait()
        await answer()(wire, request)

    return go, handle


async def test_beyond_the_breaker_s_limit_requests_fail_at_once(pool: Pool) -> None:
    pool.serve(predictor="circuitBreaker: {maxRequests: 3}")
    go, handle = held()
    pool.all(handle)
    asking = await in_flight(pool, 3)
    refused = await pool.ask()
    assert (refused.status, refused.get("x-envoy-overloaded")) == (503, "true")
    go.set()
    assert [reply.status for reply in await asyncio.gather(*asking)] == [200] * 3
    assert (await pool.ask()).status == 200
    assert sorted(line["flag"] for line in await pool.proxy.access(5)) == ["-", "-", "-", "-", "UO"]


async def test_requests_wait_in_a_queue_in_their_order_and_not_too_many(pool: Pool) -> None:
    pool.serve(predictor="circuitBreaker: {maxRequests: 1, maxPendingRequests: 2, overflow: Queue}")
    go, handle = held()
    pool.all(handle)
    (first,) = await in_flight(pool, 1)
    waiting = []
    for at in range(2):
        waiting.append(asyncio.create_task(pool.ask("POST", f"/{at}", body=b"x" * 100_000)))
        await until(lambda at=at: _pending(pool, at + 1))
    assert (await pool.ask()).status == 503
    go.set()
    assert [reply.status for reply in await asyncio.gather(first, *waiting)] == [200] * 3
    order = [line["path"] for line in await pool.proxy.access(4)]
    assert order == ["/", "/", "/0", "/1"]
    await until(lambda: _pending(pool, 0))


async def test_nobody_waits_in_the_queue_beyond_the_deadline(pool: Pool) -> None:
    pool.serve(predictor="circuitBreaker: {maxRequests: 1, overflow: Queue}", policy="timeouts: {queue: 200ms}")
    go, handle = held()
    pool.all(handle)
    (first,) = await in_flight(pool, 1)
    began = monotonic()
    refused = await pool.ask()
    assert (refused.status, refused.get("x-envoy-overloaded")) == (503, "true")
    assert monotonic() - began > 0.19
    go.set()
    assert (await first).status == 200


async def _pending(pool: Pool, count: int) -> bool:
    body = (await pool.proxy.admin("/metrics"))[1]
    found = [line for line in body.splitlines() if line.startswith("turnout_predictor_pending_requests{")]
    return any(line.endswith(f" {float(count)}") for line in found)


# Who is to blame, and what others are told


async def state_of(pool: Pool, replica: Replica) -> str:
    """The state of one endpoint, as the admin tells it."""
    clusters = json.loads((await pool.proxy.admin("/clusters"))[1])["clusters"]
    (state,) = [e["state"] for e in clusters[0]["endpoints"] if e["port"] == replica.port]
    return str(state)


BREAKER = "circuitBreaker: {consecutiveFailures: {maxFailures: 1, minPenalty: 30s}}"


async def test_a_client_that_does_not_read_is_nobody_s_failure_but_its_own(pool: Pool) -> None:
    async def endless(wire: Any, request: Message) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await wire.send(bytes(65_536))

    pool.serve(predictor=BREAKER, policy="timeouts: {idle: 1s}")
    pool.all(endless)
    client = await connect(pool.proxy.port)
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await client.send(b"GET / HTTP/1.1\r\nHost: model.test\r\n\r\n")
    line = await pool.line()
    assert (line["flag"], line["status"]) == ("SI", 200)
    assert {await state_of(pool, replica) for replica in pool.replicas} == {"AVAILABLE"}
    client.reset()


async def test_a_replica_that_does_not_take_a_body_is_to_blame(pool: Pool) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    pool.replicas[:] = [Replica(port=server.sockets[0].getsockname()[1])]
    pool.serve(predictor=BREAKER, policy="timeouts: {idle: 1s}")
    client = await connect(pool.proxy.port)
    client.writer.write(b"PUT / HTTP/1.1\r\nHost: model.test\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000))
    reply = await client.read_response()
    assert reply.status == 504
    await until(lambda: _is(pool, "OPEN"))
    client.close()
    server.close()


async def _is(pool: Pool, state: str) -> bool:
    return await state_of(pool, pool.replicas[0]) == state


async def test_what_is_left_after_the_queue_is_told_upstream(pool: Pool) -> None:
    pool.serve("timeouts: {request: 30s}", predictor="circuitBreaker: {maxRequests: 1, overflow: Queue}")
    go, handle = held()
    pool.all(handle)
    (first,) = await in_flight(pool, 1)
    second = asyncio.create_task(pool.ask())
    await until(lambda: _pending(pool, 1))
    began = monotonic()
    await until(lambda: monotonic() - began > 0.3)
    go.set()
    await asyncio.gather(first, second)
    left = sorted(int(request.get("x-request-timeout-ms") or 0) for request in pool.requests)
    assert 10_000 < left[0] <= left[1] - 300 <= 29_700
