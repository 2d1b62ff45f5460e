"""Clients that send or read slowly: it is not the endpoint's time, and neither blamed on it nor thought its pace."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import rules
from actors.vitals import endpoint, events, is_in, states
from actors.wire import Wire, connect

StartProxy = Callable[..., Proxy]
TOUCHY = """
circuitBreaker: {consecutiveFailures: {maxFailures: 1, minPenalty: 30s}}
outlierDetection: {consecutive5xx: 1, interval: 100ms, failurePercentageRequestVolume: 1}
"""
LENGTH = 10
FILLER = 20_000_000
"""More than the buffers on the way to a client that does not read."""


@pytest.fixture
async def models() -> AsyncIterator[list[ModelProcess]]:
    async with model_processes("a", "b") as started:
        yield started


async def begin_upload(proxy: Proxy) -> Wire:
    """A client that may be retried, and has sent one byte of its body."""
    wire = await connect(proxy.port)
    await wire.send(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nx" % LENGTH)
    return wire


async def end_upload(wire: Wire) -> str:
    """The name of who answered."""
    await wire.send(b"x" * (LENGTH - 1))
    reply = await wire.read_response("POST")
    wire.close()
    assert reply.status == 200
    return reply.body.decode().split(" ")[0]


async def ask(proxy: Proxy) -> str:
    return await end_upload(await begin_upload(proxy))


async def ask_status(proxy: Proxy) -> int:
    wire = await connect(proxy.port)
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    reply = await wire.read_response()
    wire.close()
    return reply.status


@pytest.mark.parametrize("limit", ["firstByte", "backendRequest", "request"])
async def test_who_sends_too_slowly_is_told_so_and_no_endpoint_suffers_for_it(
    start_proxy: StartProxy, models: list[ModelProcess], limit: str
) -> None:
    written = f"timeouts: {{{limit}: 200ms}}"
    rule, policy = ("", written) if limit == "firstByte" else (written, "")
    proxy = start_proxy(rules(models, TOUCHY, "retry: {attempts: 2, backoff: 1ms}\n" + rule, policy))
    uploads = [await begin_upload(proxy) for _ in range(4)]
    replies = [await wire.read_response("POST") for wire in uploads]
    assert [reply.status for reply in replies] == [408] * 4
    lines = await proxy.access(4)
    assert {(line["flag"], line["status"], line["attempts"]) for line in lines} == {("UT", 408, 1)}
    assert set((await states(proxy)).values()) == {"AVAILABLE"}
    assert await events(proxy) == []


async def test_an_endpoint_that_does_not_answer_a_whole_request_is_still_to_blame(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    for model in models:
        await model.tell(stall=1.0, stall_s=30.0)
    proxy = start_proxy(rules(models, TOUCHY, "", "timeouts: {firstByte: 200ms}"))
    wire = await begin_upload(proxy)
    await wire.send(b"x" * (LENGTH - 1))
    assert (await wire.read_response("POST")).status == 504

    async def is_out() -> bool:
        return set((await states(proxy)).values()) != {"AVAILABLE"}

    await until(is_out)


@pytest.mark.parametrize("limit", ["backendRequest", "request"])
async def test_who_reads_too_slowly_is_cut_and_no_endpoint_suffers_for_it(
    start_proxy: StartProxy, models: list[ModelProcess], limit: str
) -> None:
    for model in models:
        await model.tell(filler=FILLER)
    proxy = start_proxy(rules(models, TOUCHY, f"timeouts: {{{limit}: 1s}}"))
    clients = [await connect(proxy.port) for _ in range(4)]
    for client in clients:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    lines = await proxy.access(4)
    assert {(line["flag"], line["status"]) for line in lines} == {("UT", 200)}
    assert set((await states(proxy)).values()) == {"AVAILABLE"}
    assert await events(proxy) == []
    for client in clients:
        client.reset()


async def test_a_probe_whose_client_dawdles_leaves_the_decision_to_the_next_request(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    model = models[0]
    await model.tell(refuse=1.0)
    breaker = "circuitBreaker: {consecutiveFailures: {maxFailures: 1, minPenalty: 100ms, maxPenalty: 100ms}}"
    proxy = start_proxy(rules([model], breaker))
    assert await ask_status(proxy) == 503
    await is_in(proxy, model, "HALF_OPEN")
    await model.tell(refuse=0.0)
    probe = await begin_upload(proxy)

    async def is_probing() -> bool:
        return bool((await endpoint(proxy, model))["breaker"]["probing"])

    async def is_served() -> bool:
        return await ask_status(proxy) == 200

    await until(is_probing)
    assert await ask_status(proxy) == 503
    await until(is_served)
    await is_in(proxy, model, "AVAILABLE")
    assert await end_upload(probe) == "a"


@pytest.mark.parametrize("leaves", [False, True], ids=["goes on", "leaves"])
async def test_a_slow_upload_does_not_make_an_endpoint_look_slow(
    start_proxy: StartProxy, models: list[ModelProcess], leaves: bool
) -> None:
    for model in models:
        await model.tell(delay_s=0.02)
    proxy = start_proxy(rules(models))
    for _ in range(10):
        await ask(proxy)
    slow, began = await begin_upload(proxy), monotonic()
    await until(lambda: monotonic() - began > 0.7)
    if leaves:
        slow.close()
        await proxy.access(1, flag="DC")
    else:
        await end_upload(slow)
    # Of eight at once two equal endpoints both get some, and one that were 35 times slower than the other none.
    assert set(await asyncio.gather(*(ask(proxy) for _ in range(8)))) == {"a", "b"}
