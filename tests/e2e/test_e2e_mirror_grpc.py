"""Mirrors of gRPC calls and of HTTP/2: all kinds of calls, and shadows that misbehave in all the ways of HTTP/2."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest
from actors.bad_calls import (
    CRUMBS,
    answer_early,
    break_off,
    call_rules,
    crumble,
    flood,
    garble,
    hang,
    leave,
    lie,
    refuse,
    reset,
    slam,
)
from actors.grpc_calls import CALLS, Calls, GrpcModel, check_streams, models, proxied
from actors.http2_server import Connection, Http2Server, Request
from actors.mirroring import ended, glance
from actors.proxy import until
from free_ports import free_port

from turnout.proxy.shadow.pacing import CRUMBS_PER_S, EARNED, MAX_CRUMBS


async def make_calls(calls: Calls, host: str = "shadow") -> None:
    """One of each kind, with what comes of it."""
    async with calls.channel(host) as channel:
        for message in (b"", b"one", bytes(300_000)):
            assert await channel.unary_unary(f"{CALLS}Echo")(message) == message
        assert await channel.unary_unary(f"{CALLS}Name")(b"") == b"live"
        assert await channel.stream_unary(f"{CALLS}Join")([b"a", b"", bytes(100_000)]) == b"a" + bytes(100_000)
        await check_streams(channel)


CALLED = {"Echo": 3, "Name": 1, "Expand": 1, "Join": 1, "Talk": 1}


async def test_all_kinds_of_calls_are_copied(tmp_path: Path) -> None:
    with models("live", "shadow") as servers:
        text = call_rules(servers["live"].port, {"shadow": servers["shadow"].port}, "10s")
        with proxied(tmp_path, text, servers) as calls:
            await make_calls(calls)
            found = await ended(calls.proxy, 7)
            assert (found.mirrored, found.results) == (7, {"answered": 7})
            for model in servers.values():
                assert {k: v for k, v in (await model.seen())["called"].items() if k != "Seen"} == CALLED
            metrics = (await calls.proxy.admin("/metrics"))[1]
            assert 'turnout_mirror_grpc_results_total{grpc_status="OK",predictor="default/shadow"' in metrics
            assert 'turnout_grpc_requests_total{grpc_status="OK",predictor="default/live"' in metrics


async def test_a_shadows_status_is_counted_and_is_nobodys_answer(tmp_path: Path) -> None:
    with (
        models("live", "shadow") as servers,
        proxied(tmp_path, call_rules(servers["live"].port, {"shadow": servers["shadow"].port}), servers) as calls,
    ):
        async with calls.channel("shadow") as channel:
            metadata = [("at", "shadow"), ("code", "RESOURCE_EXHAUSTED")]
            assert await channel.unary_unary(f"{CALLS}FailAt")(b"", metadata=metadata) == b"live"
        await ended(calls.proxy, 1)
        metrics = (await calls.proxy.admin("/metrics"))[1]
        assert 'turnout_mirror_grpc_results_total{grpc_status="RESOURCE_EXHAUSTED"' in metrics
        assert 'turnout_grpc_requests_total{grpc_status="RESOURCE_EXHAUSTED"' not in metrics


async def test_a_call_that_is_cancelled_leaves_no_shadow(tmp_path: Path) -> None:
    with (
        models("live", "shadow") as servers,
        proxied(tmp_path, call_rules(servers["live"].port, {"shadow": servers["shadow"].port}), servers) as calls,
    ):
        async with calls.channel("shadow") as channel:
            talk = channel.stream_stream(f"{CALLS}Talk")()
            await talk.write(b"ping")
            assert await talk.read() == b"ping"
            talk.cancel()
        assert (await ended(calls.proxy, 1)).results == {"abandoned": 1}
        await until(lambda: is_idle(servers["shadow"]))


async def is_idle(model: GrpcModel) -> bool:
    return not (await model.seen())["running"]


WAYS: dict[Callable[[Connection, int, Request], None], set[str]] = {
    hang: {"timeout"}, reset: {"reset"}, refuse: {"reset"}, slam: {"reset"}, leave: {"reset"}, lie: {"answered"},
    garble: {"reset", "malformed"}, break_off: {"reset"}, flood: {"timeout"}, crumble: {"slow"},
    answer_early: {"answered", "reset"},
}  # fmt: skip
"""How a shadow behaves, and how its copies may end, beside those that wait for a connection in vain or for too long."""


async def test_whatever_shadows_do_all_kinds_of_calls_go_well(tmp_path: Path) -> None:
    """One shadow for each way, and one that nobody is, all at once."""
    async with AsyncExitStack() as stack:
        shadows = {}
        for way in WAYS:
            name = way.__name__.replace("_", "-")
            shadows[name] = server = await stack.enter_async_context(Http2Server(name))
            server.on_request = way
        ports = {**{name: server.port for name, server in shadows.items()}, "nobody": free_port()}
        servers = stack.enter_context(models("live"))
        calls = stack.enter_context(proxied(tmp_path, call_rules(servers["live"].port, ports, "1500ms"), servers))
        for _ in range(3):
            await asyncio.gather(*(make_calls(calls, name) for name in ports))
        for name, outcomes in [*zip(shadows, WAYS.values(), strict=True), ("nobody", {"connect_failed"})]:
            found = await ended(calls.proxy, 21, name)
            assert set(found.skipped) <= {"breaker"}, name
            assert set(found.results) <= outcomes | {"abandoned", "connect_failed", "timeout"}, name
            assert set(found.results) & (outcomes | {"timeout"}), name
        assert (await servers["live"].seen())["called"]["Echo"] == 3 * 3 * len(ports)


async def test_what_answers_in_tiny_frames_is_cut_after_so_many(tmp_path: Path) -> None:
    """It may bring as many of them as its window has bytes, paused or not, and each costs as much as a large one."""
    count, begun = 15, monotonic()  # of more in a row that fail some would not be copied
    async with Http2Server("shadow") as shadow:
        shadow.on_request = crumble
        with (
            models("live") as servers,
            proxied(tmp_path, call_rules(servers["live"].port, {"shadow": shadow.port}, "10s"), servers) as calls,
        ):
            async with calls.channel("shadow") as channel:
                name = channel.unary_unary(f"{CALLS}Name")
                for _ in range(count):
                    assert await name(b"x") == b"live"
            found = await ended(calls.proxy, count)
            assert (found.mirrored, found.results) == (count, {"slow": count})
            # What there is to begin with, what live answers and time bring, and for each the one that was too much.
            least = count * (EARNED + 1)
            assert found.received_bytes <= MAX_CRUMBS + CRUMBS_PER_S * (monotonic() - begun) + least
            assert found.received_bytes < CRUMBS


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.soak)], ids=["short", "long"])
async def test_the_counts_are_exact_while_a_shadow_takes_all_ways_in_turn(tmp_path: Path, count: int) -> None:
    ways = [hang, reset, lie, refuse, break_off, answer_early]

    def take_turns(connection: Connection, stream: int, request: Request) -> None:
        ways[len(shadow.requests) % len(ways)](connection, stream, request)

    async with Http2Server("shadow") as shadow:
        shadow.on_request = take_turns
        with (
            models("live") as servers,
            proxied(tmp_path, call_rules(servers["live"].port, {"shadow": shadow.port}), servers, workers=2) as calls,
        ):
            left = iter(range(count))

            async def ask() -> None:
                async with calls.channel("shadow") as channel:
                    name = channel.unary_unary(f"{CALLS}Name")
                    while next(left, None) is not None:
                        assert await name(b"x" * 100) == b"live"

            await asyncio.gather(*(ask() for _ in range(8)))
            found = await ended(calls.proxy, count, within_s=60)
            assert set(found.skipped) <= {"limit", "breaker"}
            assert {"answered", "reset"} <= set(found.results)
            assert (await servers["live"].seen())["called"]["Name"] == count


async def test_a_shadow_is_killed_and_comes_back_under_calls(tmp_path: Path) -> None:
    with (
        models("live", "shadow") as servers,
        proxied(tmp_path, call_rules(servers["live"].port, {"shadow": servers["shadow"].port}), servers) as calls,
    ):
        stopping = False
        made = 0

        async def ask() -> None:
            nonlocal made
            async with calls.channel("shadow") as channel:
                name = channel.unary_unary(f"{CALLS}Name")
                while not stopping:
                    assert await name(b"") == b"live"
                    made += 1

        async def grows(outcome: str) -> None:
            before = (await glance(calls.proxy)).results[outcome]

            async def has_grown() -> bool:
                return (await glance(calls.proxy)).results[outcome] > before

            await until(has_grown, 30)

        asking = asyncio.gather(*(ask() for _ in range(4)))
        await grows("answered")
        servers["shadow"].kill()
        await grows("connect_failed")
        await asyncio.to_thread(servers["shadow"].start)
        await grows("answered")
        stopping = True
        await asking
        await ended(calls.proxy, made)
