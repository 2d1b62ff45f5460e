"""Shadows that misbehave: the client's answers stay the same to the byte, memory is bounded, the counts are exact."""

import asyncio
import itertools
from collections import Counter
from contextlib import AsyncExitStack
from time import monotonic

import pytest
from actors.echo import Echo
from actors.load import Load
from actors.mirroring import Shadow, Start, counts, ended, glance, hosts, mirrored
from actors.model_process import ModelProcess
from actors.proxy import resident_kib, until
from actors.wire import Wire, connect
from free_ports import free_port

WAYS = {
    "answer": {"answered"}, "fail": {"answered"}, "early": {"answered", "reset", "abandoned"}, "hang": {"timeout"},
    "reset": {"reset"}, "slam": {"reset"}, "cut": {"reset"}, "garbage": {"malformed"}, "flood": {"answered", "timeout"},
    "crumbs": {"timeout", "slow"}, "deaf": {"timeout", "slow"}, "nobody": {"connect_failed"},
}  # fmt: skip
"""How a shadow behaves, and how its copies may end."""
SIZES = [0, 1, 10_000, 200_000]
MIB = 1 << 20


def request(size: int, host: str = "a") -> bytes:
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: %b\r\ncontent-length: %d\r\n\r\n" % (host.encode(), size)
    return head + bytes(range(256)) * (size // 256) + bytes(size % 256)


async def raw_answer(wire: Wire, sent: bytes) -> bytes:
    """What comes for it, to the last byte; nothing more may come with it."""
    await wire.send(sent)
    head = await asyncio.wait_for(wire.reader.readuntil(b"\r\n\r\n"), 20)
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await asyncio.wait_for(wire.reader.readexactly(size), 20)


async def ask_all(port: int, host: str, sizes: list[int], clients: int = 4) -> Counter[bytes]:
    """Each client asks a host once for each size, one after the other; the answers."""

    async def ask() -> list[bytes]:
        wire = await connect(port)
        found = [await raw_answer(wire, request(size, f"{host}.test")) for size in sizes]
        wire.close()
        return found

    return Counter(itertools.chain(*await asyncio.gather(*(ask() for _ in range(clients)))))


async def test_whatever_shadows_do_the_answers_are_the_same(start_proxy: Start) -> None:
    """One shadow for each way, and one that nobody is, all at once; what is due at the client is known to the byte."""
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(Echo("live"))
        ports = {way: (await stack.enter_async_context(Shadow(way))).port for way in WAYS if way != "nobody"}
        proxy = start_proxy(hosts(live.port, {**ports, "nobody": free_port()}, "mirror: {timeout: 1500ms}"))
        count = 4 * 3 * len(SIZES)
        answers = await asyncio.gather(*(ask_all(proxy.port, way, SIZES * 3) for way in WAYS))
        assert answers == [{b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlive": count}] * len(WAYS)
        for way, outcomes in WAYS.items():
            told = await ended(proxy, count, way)
            assert set(told.skipped) <= {"breaker"}, way
            assert set(told.results) <= outcomes | {"timeout"}, way
            assert set(told.results) & outcomes, way
            assert told.mirrored >= 20, "so many fail before it is left alone"
        metrics = (await proxy.admin("/metrics"))[1]
        own = f'{{endpoint="127.0.0.1:{live.port}",predictor="default/live"}}'
        assert f"turnout_upstream_failures_total{own} 0.0" in metrics, "a shadow's failures are its own"
        assert f"turnout_upstream_requests_total{own} {count * len(WAYS)}.0" in metrics


@pytest.mark.parametrize("count", [600, pytest.param(20_000, marks=pytest.mark.soak)], ids=["short", "long"])
async def test_the_counts_are_exact_with_three_fault_scripts_at_once(start_proxy: Start, count: int) -> None:
    """Each of three shadows takes all ways in turn, beginning with another; two workers, sixteen clients."""
    ways = [way for way in WAYS if way != "nobody"] * 2
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(Echo("live"))
        shadows = {
            name: await stack.enter_async_context(Shadow(*ways[at : at + len(ways) // 2]))
            for name, at in (("one", 0), ("two", 3), ("three", 6))
        }
        for shadow in shadows.values():
            shadow.flood_bytes = MIB
        policy = "mirror: {timeout: 400ms, maxRequests: 60}"
        ports = {name: shadow.port for name, shadow in shadows.items()}
        proxy = start_proxy(mirrored(live.port, ports, policy), workers=2)
        load = Load(proxy.port)
        await load.ask(count, clients=16)
        assert load.answers == {"live": count}
        assert load.failures == {}
        for name, shadow in shadows.items():
            found = await ended(proxy, count, name, within_s=60)
            assert set(found.skipped) <= {"limit", "breaker"}
            assert len(found.results) >= 4, "the ways were taken"
            # A connection that is made and slammed before the request went is a copy that nobody saw.
            assert found.mirrored >= len(shadow.seen) >= found.results["answered"]
        assert await proxy.count(code_class="2xx", flag="-") == count == await proxy.count()


async def test_what_floods_is_read_at_a_pace_and_kept_by_nobody(start_proxy: Start) -> None:
    async with Echo("live") as live, Shadow("flood") as shadow:
        shadow.flood_bytes = 200 * MIB
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}, "mirror: {timeout: 1s}"))
        (worker,) = await proxy.workers()
        load = Load(proxy.port)
        await load.ask(5)
        before = resident_kib(worker)
        async with load.running(clients=4):
            await until(lambda: load.total > 300)
        assert set(load.answers) == {"live"}
        assert load.failures == {}
        assert resident_kib(worker) - before < 32 * 1024
        await ended(proxy, load.total)


async def test_what_answers_in_crumbs_is_read_a_little_at_a_time(start_proxy: Start) -> None:
    """A chunk of one byte is six to read, and costs as much as some KiB of body."""
    async with Echo("live") as live, Shadow("crumbs") as shadow:
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}, "mirror: {timeout: 1s}"))
        load, begun = Load(proxy.port), monotonic()
        await load.ask(100)
        assert load.answers == {"live": 100}
        found = await ended(proxy, 100)
        assert set(found.results) <= {"timeout", "slow"}
        # What there is to begin with, what time brings (RATE / 5 KiB a byte), and a slice for each copy.
        assert found.received_bytes <= 1_000 + 4_000 * (monotonic() - begun) + 400 * found.mirrored


async def test_a_shadow_that_does_not_read_is_cut_and_the_request_goes_on(start_proxy: Start) -> None:
    size = 16 * MIB
    async with Shadow() as live, Shadow("deaf") as shadow:
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}))
        wire = await connect(proxy.port)
        assert (await raw_answer(wire, request(size))).endswith(b"shadow")
        assert (await ended(proxy, 1)).results == {"slow": 1}
        assert [len(body) for body in live.bodies] == [size]


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)], ids=["short", "long"])
async def test_all_shadows_of_a_worker_together_hold_no_more_than_their_share(start_proxy: Start, count: int) -> None:
    """Each is behind by less than what a single one may be: it is their sum that is cut."""
    size = 5 * MIB  # of which the kernel takes some
    async with Shadow() as live, Shadow("deaf") as shadow:
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}, "mirror: {timeout: 30s}"))
        (worker,) = await proxy.workers()
        before, peak = resident_kib(worker), 0
        for _ in range(count):
            wire = await connect(proxy.port)
            assert (await raw_answer(wire, request(size))).endswith(b"shadow")
            peak = max(peak, resident_kib(worker))
            wire.close()
        live.bodies.clear()
        found = await counts(proxy)
        assert found.eligible == count
        assert set(found.skipped) <= {"body", "breaker"}
        assert found.active > 0
        assert found.results["slow"] > 0
        assert peak - before < 110 * 1024, "64 MiB of shadows, and what Python makes of it"


async def test_a_shadow_is_stopped_goes_on_is_killed_and_comes_back(start_proxy: Start) -> None:
    async with Echo("live") as live, ModelProcess("shadow") as shadow:
        proxy = start_proxy(mirrored(live.port, {"shadow": shadow.port}, "mirror: {timeout: 300ms}"))
        load = Load(proxy.port)

        async def grows(outcome: str) -> None:
            before = (await glance(proxy)).results[outcome]

            async def has_grown() -> bool:
                return (await glance(proxy)).results[outcome] > before

            await until(has_grown, 30)

        async with load.running(clients=4):
            await grows("answered")
            shadow.stop()
            await grows("timeout")
            shadow.go_on()
            await grows("answered")
            shadow.kill()
            await grows("connect_failed")
            await shadow.start()
            await grows("answered")
        assert set(load.answers) == {"live"}
        assert load.failures == {}
        await ended(proxy, load.total, within_s=30)
        assert await proxy.count(code_class="2xx", flag="-") == load.total
