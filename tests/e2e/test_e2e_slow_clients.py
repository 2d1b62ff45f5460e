"""Clients that send or read slowly: it is not the endpoint's time, and neither blamed on it nor thought its pace."""

import asyncio
from collections.abc import AsyncIterator, Callable
from time import monotonic

import pytest
from actors.lane import Lane
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import rules
from actors.vitals import endpoint, events, is_in, states
from actors.wire import Message, Wire, connect

StartProxy = Callable[..., Proxy]
TOUCHY = """
circuitBreaker: {consecutiveFailures: {maxFailures: 1, minPenalty: 30s}}
outlierDetection: {consecutive5xx: 1, interval: 100ms, failurePercentageRequestVolume: 1}
"""
LENGTH = 10
FILLER = 20_000_000
"""More than the buffers on the way to a client that does not read."""
SMALL = 12_000
"""Of an answer that waits for the end of the turn in which it came."""
STILL_S = 0.3
"""How long nothing moves where all have stopped; a machine that is slower stops too early, which does no harm."""


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


class Sizes:
    """An upstream that answers with as many bytes as the path says, by `taken` of which the proxy has got on."""

    def __init__(self, lane: Lane) -> None:
        self.taken = 0
        self.seen = lane.serve(self._answer)

    async def _answer(self, wire: Wire, request: Message) -> None:
        size = int(request.target[1:])
        wire.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while size:
            piece = min(size, 1 << 20)
            wire.writer.write(bytes(piece))
            await wire.writer.drain()
            size -= piece
            self.taken += piece

    async def is_still(self) -> None:
        """Wait until nothing is asked or taken any more."""
        before, since = (0, -1), monotonic()
        while monotonic() - since < STILL_S:
            if before != (now := (len(self.seen), self.taken)):
                before, since = now, monotonic()
            await asyncio.sleep(0.001)


async def ask_without_reading(lane: Lane, upstream: Sizes, count: int, size: int) -> tuple[Wire, list[int]]:
    """A client that asks one thing after the other, up to `count`, and the last for `size` bytes, as long as the
    upstream hears of it; how much it has asked for each time."""
    client = await lane.connect()
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    before, asked = len(upstream.seen), list[int]()
    while len(asked) < count and len(upstream.seen) - before == len(asked):
        asked.append(SMALL if len(asked) + 1 < count else size)
        await client.send(lane.request(f"/{asked[-1]}"))
        since = monotonic()
        while len(upstream.seen) - before < len(asked) and monotonic() - since < STILL_S:
            await asyncio.sleep(0)
    return client, asked


async def test_a_client_that_does_not_read_what_it_has_gets_no_more_of_the_next_answer(lane: Lane) -> None:
    """Small answers go out when the next request may have begun already, and fill what is on the way to the client."""
    upstream = Sizes(lane)
    client, asked = await ask_without_reading(lane, upstream, 10_000, SMALL)
    client.reset()
    for count in range(max(1, len(asked) - 3), len(asked)):
        before = upstream.taken
        client, sizes = await ask_without_reading(lane, upstream, count, 3 * FILLER)
        await upstream.is_still()
        assert upstream.taken - before < 2 * FILLER
        client.reader._transport.resume_reading()  # type: ignore[attr-defined]
        assert [len((await client.read_response()).body) for _ in sizes] == sizes
        client.close()
