"""Limits, queues and sticky splits over several workers and proxies, under load and through the death of workers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from actors.judging_load import JudgingLoad
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import rules
from actors.vitals import at_rest, cluster, is_in
from actors.wire import connect

StartProxy = Callable[..., Proxy]
QUEUE = """
connection: {idleTimeout: 150ms}
loadBalancing: {policy: LeastRequest}
circuitBreaker: {maxRequests: 4, perEndpoint: {maxRequests: 3}, overflow: Queue, maxPendingRequests: 100}
"""


@pytest.fixture
async def models() -> AsyncIterator[list[ModelProcess]]:
    async with model_processes("a", "b") as started:
        yield started


def load_on(proxy: Proxy, **more: object) -> JudgingLoad:
    return JudgingLoad(proxy.port, within_s=10, sizes=(0, 100, 50_000), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
async def test_all_wait_their_turn_in_the_queue_and_servers_get_no_more_than_the_limit(
    start_proxy: StartProxy, models: list[ModelProcess], workers: int
) -> None:
    proxy = start_proxy(rules(models, QUEUE), workers=workers)
    for model in models:
        await model.tell(delay_s=0.01)
    load = load_on(proxy)
    async with load.running(30):
        await load.more_right(300)
        assert (await cluster(proxy))["limits"]["pending_requests"]["used"] > 0
    assert not load.errors, load
    most = [(await model.seen())["most_active"] for model in models]
    assert max(most) <= 3 + workers - 1
    assert sum(most) >= 4
    await at_rest(proxy)


async def test_who_waits_too_long_is_told_so_in_time_and_the_others_are_served(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    proxy = start_proxy(rules(models, QUEUE, policy="timeouts: {queue: 200ms}"), workers=2)
    for model in models:
        await model.tell(delay_s=0.06)
    load = load_on(proxy)
    async with load.running(40):  # ten times what can be served at once
        await load.more_right(40)
    assert set(load.errors) == {"UO"}, load
    assert load.slowest_s < 0.2 + 0.06 + 1.0, load
    await at_rest(proxy)
    counts = (await cluster(proxy))["counts"]
    assert counts["overflows"] == load.errors["UO"] == await proxy.count(flag="UO")


async def test_beyond_the_queue_it_is_refused_at_once(start_proxy: StartProxy, models: list[ModelProcess]) -> None:
    proxy = start_proxy(rules(models, QUEUE.replace("100", "5")), workers=2)
    for model in models:
        await model.tell(delay_s=0.06)
    load = load_on(proxy, think_s=0.02)
    async with load.running(40):
        await load.more_right(20)
        assert (await cluster(proxy))["limits"]["pending_requests"]["used"] <= 6
    assert set(load.errors) == {"UO"}, load
    await at_rest(proxy)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("deaths", [2, pytest.param(40, marks=pytest.mark.soak)], ids="{} deaths".format)
async def test_those_who_wait_at_a_worker_go_on_when_another_dies_with_all_that_was_in_flight(
    start_proxy: StartProxy, models: list[ModelProcess], deaths: int
) -> None:
    """What a dead worker held of the limits is given back."""
    proxy = start_proxy(rules(models, QUEUE), workers=2)
    load = load_on(proxy)
    async with load.running(24):
        for number in range(deaths):
            for model in models:
                await model.tell(delay_s=0.05)
            await load.more_right(20)
            os.kill((await proxy.workers())[number % 2], signal.SIGKILL)
            await load.more_right(20)
            for model in models:
                await model.tell(delay_s=0.0)
            await load.more_right(100)
    assert not load.errors, load
    assert load.lost <= deaths * 24, load
    await at_rest(proxy)


async def test_those_who_wait_are_served_as_soon_as_an_endpoint_is_back(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    """With one worker: nobody else comes to look. It is back when what was in flight there has ended long ago."""
    model = models[0]
    proxy = await asyncio.to_thread(start_proxy, rules([model], CHECKED, policy="timeouts: {queue: 8s}"))
    load = load_on(proxy)
    async with load.running(3):
        await load.more_right(10)
        await until(lambda: is_stopped_with_waiters(proxy, model, 2))
        await is_in(proxy, model, "FAILED_CHECK")
        model.go_on()
        await is_in(proxy, model, "AVAILABLE")
        await load.more_right(20, within_s=3)  # before an idle connection ends, which lets them look, too
    assert set(load.errors) <= {"UH"}, load


async def test_those_who_wait_are_served_as_soon_as_a_reload_raises_the_limit(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    model = models[0]
    few = "connection: {idleTimeout: 150ms}\ncircuitBreaker: {maxRequests: 1, overflow: Queue}"
    policy = "timeouts: {queue: 8s}"
    proxy = await asyncio.to_thread(start_proxy, rules([model], few, policy=policy))
    load = load_on(proxy)
    async with load.running(3):
        await load.more_right(10)
        await until(lambda: is_stopped_with_waiters(proxy, model, 2))
        await proxy.reload(rules([model], few.replace("1", "10"), policy=policy))
        await until(lambda: is_waiting(proxy, 0), within_s=4)
        model.go_on()
    assert not load.errors, load
    await at_rest(proxy)


CHECKED = """
api: oip-v2
circuitBreaker: {perEndpoint: {maxRequests: 1}, overflow: Queue}
healthCheck: {interval: 50ms, timeout: 200ms, unhealthyThreshold: 2, healthyThreshold: 5}
"""


async def is_stopped_with_waiters(proxy: Proxy, model: ModelProcess, count: int) -> bool:
    """Stop it with a request in its hands and others that wait, or let it go on."""
    model.stop()
    if await is_waiting(proxy, count):
        return True
    model.go_on()
    return False


async def is_waiting(proxy: Proxy, count: int) -> bool:
    return (await cluster(proxy))["limits"]["pending_requests"]["used"] == count


# Sticky splits


SPLIT = """
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: v1}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {a}}}]}}
---
apiVersion: turnout.dev/v1alpha1
kind: Predictor
metadata: {{name: v2}}
spec: {{endpoints: [{{address: 127.0.0.1, port: {b}}}]}}
---
apiVersion: turnout.dev/v1alpha1
kind: RoutePolicy
metadata: {{name: by-user}}
spec: {{splitBy: {{header: x-user}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  rules:
  - filters: [{{type: ExtensionRef, extensionRef: {{group: turnout.dev, kind: RoutePolicy, name: by-user}}}}]
    backendRefs: [{{name: v1, weight: {old}}}, {{name: v2, weight: {new}}}]
"""
USERS = [f"user-{number}" for number in range(150)]


async def test_two_proxies_and_all_their_workers_send_each_user_to_the_same_side(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, b = models

    def text(old: int, new: int) -> str:
        return SPLIT.format(a=a.port, b=b.port, old=old, new=new)

    one, other = start_proxy(text(80, 20), workers=2), start_proxy(text(80, 20), workers=1)
    before = await sides(one)
    assert 0 < list(before.values()).count("b") < len(USERS) / 2
    assert await sides(other) == before
    for worker in await one.workers():
        os.kill(worker, signal.SIGKILL)
    assert await sides(one) == before  # by other workers
    await asyncio.gather(one.reload(text(50, 50)), other.reload(text(50, 50)))
    after = await sides(one)
    assert await sides(other) == after
    moved = {(before[user], after[user]) for user in USERS if before[user] != after[user]}
    assert moved == {("a", "b")}


async def sides(proxy: Proxy) -> dict[str, str]:
    """Who answers each user, each on a connection of its own, so that all workers are asked."""

    async def ask(user: str) -> str:
        wire = await connect(proxy.port)
        await wire.send(f"GET / HTTP/1.1\r\nHost: a\r\nX-User: {user}\r\nX-Id: 1\r\n\r\n".encode())
        answer = await wire.read_response()
        wire.close()
        assert answer.status == 200, answer
        return answer.body.decode().split(" ")[0]

    return dict(zip(USERS, await asyncio.gather(*(ask(user) for user in USERS)), strict=True))
