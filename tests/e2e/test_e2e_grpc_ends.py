"""How gRPC calls end that do not end well: deadlines, cancellation at every point, retries, servers that go away.

Whatever it is, all gauges come back to zero.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from time import monotonic
from typing import Any

import grpc
import grpc.aio
import pytest
from actors.grpc_calls import CALLS, Calls, GrpcModel, models, policy, predictor, proxied, route, to, use
from actors.proxy import until
from actors.vitals import busy

DEADLINE, CANCELLED = grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
HASTY = "connection: {idleTimeout: 500ms}"


def rules(a: int, b: int, hole: int) -> str:
    queue = "circuitBreaker: {maxRequests: 1, overflow: Queue}"
    retry = "idempotent: true, grpcRetry: {codes: [UNAVAILABLE, RESOURCE_EXHAUSTED], attempts: 1, backoff: 1ms}"
    return "".join(
        [
            predictor("a", a), predictor("pair", a, b), predictor("queue", a, spec=queue),
            predictor("hole", hole, spec="connection: {connectTimeout: 1m}"),
            policy("again", retry), to("a"), to("hole"), to("queue"), to("pair", "once"), to("pair", more=use("again")),
            policy("careful", retry.replace("idempotent: true, ", "")), to("pair", "careful", use("careful")),
            route("timeout", "[{timeouts: {request: 400ms}, backendRefs: [{name: a}]}]", "HTTPRoute"),
            route("attempt", "[{timeouts: {backendRequest: 400ms}, backendRefs: [{name: a}]}]", "HTTPRoute"),
            policy("first", "timeouts: {firstByte: 300ms}"), to("a", "first", use("first")),
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def hole() -> Iterator[int]:
    """A port where connecting neither works nor fails: the queue of who wants to is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(server.getsockname())
            yield server.getsockname()[1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, hole: int) -> Iterator[Calls]:
    with models("a", "b") as servers:
        text = rules(servers["a"].port, servers["b"].port, hole)
        with proxied(tmp_path_factory.mktemp("ends"), text, servers) as made:
            yield made


@pytest.fixture
async def calls(shared: Calls) -> AsyncIterator[Calls]:
    """The proxy, in which nothing is under way after the test."""
    yield shared

    await nothing_is_under_way(shared)


async def nothing_is_under_way(calls: Calls) -> None:
    """Wait until all gauges are zero but those of connections, which may idle (the hole's is still being made)."""

    async def is_at_rest() -> bool:
        return not [name for name in await busy(calls.proxy) if "connections" not in name]

    await until(is_at_rest, 10)


async def nothing_is_left(calls: Calls) -> None:
    """Also no connection to a server; grpcio keeps those of its closed channels for a while."""

    async def is_at_rest() -> bool:
        return not [name for name in await busy(calls.proxy) if "downstream" not in name and "stats" not in name]

    await until(is_at_rest, 15)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def is_free(model: GrpcModel) -> None:
    """Wait until nothing runs there any more."""

    async def holds() -> bool:
        return not (await model.seen())["running"]

    await until(holds)


# Deadlines


async def test_the_server_is_told_what_is_left_of_the_deadline(calls: Calls) -> None:
    async with calls.channel("a") as channel:
        left = json.loads(await channel.unary_unary(f"{CALLS}Left")(b"", timeout=30))
        assert 25 < left <= 30
        assert json.loads(await channel.unary_unary(f"{CALLS}Left")(b"")) is None


@pytest.mark.parametrize("host", ["timeout", "attempt"])
async def test_a_routes_timeout_shortens_the_deadline_that_the_server_sees(calls: Calls, host: str) -> None:
    async with calls.channel(host) as channel:
        for timeout_s in (30, None):
            assert 0.1 < json.loads(await channel.unary_unary(f"{CALLS}Left")(b"", timeout=timeout_s)) < 0.45
        assert json.loads(await channel.unary_unary(f"{CALLS}Left")(b"", timeout=0.2)) < 0.25


async def test_a_deadline_that_is_over_ends_the_call_at_both_sides(calls: Calls) -> None:
    before = (await calls.models["a"].seen())["cancelled"]
    async with calls.channel("a") as channel:
        error = await failure(channel.stream_unary(f"{CALLS}Hang")([b"x"], timeout=0.3))
        assert error.code() is DEADLINE
    await is_free(calls.models["a"])
    assert (await calls.models["a"].seen())["cancelled"] == before + 1


@pytest.mark.parametrize("host", ["timeout", "attempt", "first"])
async def test_a_routes_timeout_is_deadline_exceeded(calls: Calls, host: str) -> None:
    """By the server, who was told it, or by the proxy, who told it: whoever is first."""
    async with calls.channel(host) as channel:
        started = monotonic()
        error = await failure(channel.stream_unary(f"{CALLS}Hang")([]))
        assert error.code() is DEADLINE
        assert host != "first" or "no answer had begun in time (UT, request " in str(error.details())
        assert monotonic() - started < 5
    await is_free(calls.models["a"])


async def test_a_timeout_behind_the_first_message_comes_in_the_trailers(calls: Calls) -> None:
    async with calls.channel("timeout") as channel:
        call = channel.stream_stream(f"{CALLS}Hang")()
        await call.write(b"x")
        await call.done_writing()
        assert await call.read() == b"x"
        assert (await failure(call.read())).code() is DEADLINE
    await is_free(calls.models["a"])


async def test_a_deadline_without_a_server_to_ask_is_kept_too(calls: Calls) -> None:
    async with calls.channel("hole") as channel:
        started = monotonic()
        assert (await failure(channel.unary_unary(f"{CALLS}Echo")(b"", timeout=0.2))).code() is DEADLINE
        assert monotonic() - started < 5


# Cancellation


async def test_a_call_is_cancelled_before_there_is_a_connection(calls: Calls) -> None:
    async with calls.channel("hole") as channel:
        call = channel.unary_unary(f"{CALLS}Never")(b"")

        async def connects() -> bool:
            return any("hole" in name and "upstream_active_requests" in name for name in await busy(calls.proxy))

        await until(connects)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (line,) = await calls.proxy.access(1, path=f"{CALLS}Never", flag="DC")
    assert line["grpc_status"] == "CANCELLED"


async def test_a_call_is_cancelled_while_it_is_queued(calls: Calls) -> None:
    model = calls.models["a"]
    async with calls.channel("queue") as channel:
        first = channel.stream_stream(f"{CALLS}Hang")()
        await first.write(b"x")
        assert await first.read() == b"x"
        before = (await model.seen())["called"].get("Echo", 0)
        second = channel.unary_unary(f"{CALLS}Echo")(b"")

        async def is_queued() -> bool:
            metrics = (await calls.proxy.admin("/metrics"))[1]
            return 'turnout_predictor_pending_requests{predictor="default/queue"} 1' in metrics

        await until(is_queued)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        first.cancel()
        await is_free(model)
        assert await channel.unary_unary(f"{CALLS}Echo")(b"next") == b"next"
        assert (await model.seen())["called"]["Echo"] == before + 1


@pytest.mark.parametrize("messages", [0, 1, 5])
async def test_a_client_cancels_in_mid_stream(calls: Calls, messages: int) -> None:
    model = calls.models["a"]
    before = await model.seen()
    async with calls.channel("a") as channel:
        call = channel.stream_stream(f"{CALLS}Hang")()
        for _ in range(messages):
            await call.write(b"x")
            assert await call.read() == b"x"

        async def has_begun() -> bool:
            return (await model.seen())["called"].get("Hang", 0) > before["called"].get("Hang", 0)

        if messages:
            await until(has_begun)
        call.cancel()
        assert await call.code() is CANCELLED
    await is_free(model)
    if messages:
        assert (await model.seen())["cancelled"] == before["cancelled"] + 1


async def test_a_client_that_vanishes_in_mid_stream_cancels_at_the_server(calls: Calls) -> None:
    model = calls.models["a"]
    before = await model.seen()
    channel = calls.channel("a")
    streams = [channel.stream_stream(f"{CALLS}Hang")() for _ in range(10)]
    for stream in streams:
        await stream.write(b"x")
        await stream.read()
    await channel.close()
    await is_free(model)
    assert (await model.seen())["cancelled"] == before["cancelled"] + 10


async def test_a_server_ends_a_call_in_mid_stream_and_its_status_comes_through(calls: Calls) -> None:
    async with calls.channel("a") as channel:
        call = channel.unary_stream(f"{CALLS}FailBehind")(b"", metadata=[("code", "DATA_LOSS"), ("details", "half")])
        assert await call.read() == b"a"
        error = await failure(call.read())
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "half")


# Retries


@pytest.mark.parametrize("head_first", [False, True])
async def test_unavailable_is_tried_again_at_the_other_replica(calls: Calls, head_first: bool) -> None:
    """Also where it comes in the trailers, as no other proxy does."""
    metadata = [("code", "UNAVAILABLE"), *([("head-first", "1")] if head_first else [])]
    before = {name: (await model.seen())["called"].get("FailAt", 0) for name, model in calls.models.items()}
    async with calls.channel("pair") as channel:
        ask = channel.unary_unary(f"{CALLS}FailAt")
        for bad, good in (("a", b"b"), ("b", b"a")):
            for _ in range(10):
                assert await ask(b"", metadata=[*metadata, ("at", bad)]) == good
    after = {name: (await model.seen())["called"].get("FailAt", 0) for name, model in calls.models.items()}
    # Each of the 20 calls was answered well once; what was refused before is on top.
    assert sum(after.values()) - sum(before.values()) > 20


@pytest.mark.parametrize("head_first", [False, True])
async def test_when_all_replicas_refuse_the_last_answer_is_the_answer(calls: Calls, head_first: bool) -> None:
    before = sum([(await model.seen())["called"].get("Fail", 0) for model in calls.models.values()])
    metadata = [("code", "UNAVAILABLE"), ("details", "busy"), *([("head-first", "1")] if head_first else [])]
    async with calls.channel("pair") as channel:
        error = await failure(channel.unary_unary(f"{CALLS}Fail")(b"", metadata=metadata))
    assert (error.code(), error.details()) == (UNAVAILABLE, "busy")
    assert ("x-why", "asked") in list(error.trailing_metadata() or ())
    assert sum([(await model.seen())["called"].get("Fail", 0) for model in calls.models.values()]) == before + 2


async def test_another_status_behind_a_message_or_a_call_that_may_not_be_repeated_is_final(calls: Calls) -> None:
    async def attempts(host: str, method: str, code: str) -> int:
        before = sum([(await model.seen())["called"].get(method, 0) for model in calls.models.values()])
        async with calls.channel(host) as channel:
            make = channel.unary_stream if method == "FailBehind" else channel.unary_unary
            call = make(f"{CALLS}{method}")(b"", metadata=[("code", code)])
            if method == "FailBehind":
                assert await call.read()
                error = await failure(call.read())
            else:
                error = await failure(call)
            assert error.code().name == code
        return sum([(await model.seen())["called"].get(method, 0) for model in calls.models.values()]) - before

    assert await attempts("pair", "Fail", "RESOURCE_EXHAUSTED") == 2
    assert await attempts("pair", "Fail", "INTERNAL") == 1
    assert await attempts("pair", "FailBehind", "UNAVAILABLE") == 1
    assert await attempts("once", "Fail", "UNAVAILABLE") == 1
    assert await attempts("careful", "Fail", "UNAVAILABLE") == 1


# Servers that go


async def test_a_server_that_says_goaway_ends_its_streams_and_gets_no_new_ones(tmp_path: Any) -> None:
    with (
        models("a", "b") as servers,
        proxied(
            tmp_path, predictor("pair", *(m.port for m in servers.values()), spec=HASTY) + to("pair"), servers
        ) as calls,
    ):
        async with calls.channel("pair") as channel:
            talks: dict[str, Any] = {}
            while len(talks) < 2:
                stream = channel.stream_stream(f"{CALLS}Talk")()
                await stream.write(b"x")
                await stream.read()
                name = dict(await stream.initial_metadata()).get("server") or str(len(talks))
                talks[name] = stream
            servers["a"].go_away()
            name = channel.unary_unary(f"{CALLS}Name")

            async def is_gone() -> bool:
                return (await calls.proxy.admin("/metrics"))[0] == 200 and await name(b"", timeout=5) == b"b"

            for _ in range(5):
                await until(is_gone)
            for stream in talks.values():
                await stream.write(b"still here")
                assert await stream.read() == b"still here"
                await stream.done_writing()
                assert await stream.read() is grpc.aio.EOF
        await nothing_is_left(calls)


async def test_a_server_that_is_killed_in_mid_stream_is_unavailable_and_then_back(tmp_path: Any) -> None:
    with (
        models("a") as servers,
        proxied(tmp_path, predictor("a", servers["a"].port, spec=HASTY) + to("a"), servers) as calls,
    ):
        async with calls.channel("a") as channel:
            streams = [channel.stream_stream(f"{CALLS}Hang")() for _ in range(20)]
            for stream in streams:
                await stream.write(b"x")
                await stream.read()
            servers["a"].kill()
            for stream in streams:
                error = await failure(stream.read())
                assert (error.code(), "(UC, request " in str(error.details())) == (UNAVAILABLE, True), error
            error = await failure(channel.unary_unary(f"{CALLS}Echo")(b""))
            assert (error.code(), "(UF, request " in str(error.details())) == (UNAVAILABLE, True)
            servers["a"].start()
            assert await channel.unary_unary(f"{CALLS}Echo")(b"back") == b"back"
        await nothing_is_left(calls)
