"""Who gets load among model servers in processes of their own, by active checks, slow start, panic, priorities and
localities: read from who answers, and from /clusters and /events."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from actors.judging_load import load_on
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import GENEROUS, IN_TURN, RETRIED, rules
from actors.vitals import cluster, endpoint, events, happened, is_in

StartProxy = Callable[..., Proxy]


@pytest.fixture
async def models() -> AsyncIterator[list[ModelProcess]]:
    async with model_processes("a", "b") as started:
        yield started


# Active checks


CHECKED = """
api: oip-v2
healthCheck:
  interval: 50ms
  timeout: 2s
  unhealthyThreshold: 2
  healthyThreshold: 2
"""


async def test_a_check_takes_a_sick_server_out_before_any_request_meets_it_and_back(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, b = models
    proxy = await asyncio.to_thread(start_proxy, rules(models, IN_TURN + CHECKED), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        await load.more_right(50, "a")
        await a.tell(ready=503)
        failed = await happened(proxy, a, "check_failed")
        assert failed["numbers"]["detail"] == "/v2/health/ready: status 503"
        assert (await endpoint(proxy, a))["state"] == "FAILED_CHECK"
        await until(a.is_idle)
        seen = (await a.seen())["requests"]
        await load.more_right(100, "b")
        assert (await a.seen())["requests"] == seen
        await a.tell(ready=200)
        await is_in(proxy, a, "AVAILABLE")
        await load.more_right(50, "a")
    assert not load.errors, load
    assert await events(proxy, endpoint=b.address, what="check_failed") == []


async def test_a_server_is_warmed_before_its_first_traffic_and_again_when_it_was_killed(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, _ = models
    warm = CHECKED + "  warm: {path: /warm/it, body: '{}'}\nslowStart: {window: 1s, minWeightPercent: 5}\n"
    proxy = await asyncio.to_thread(start_proxy, rules(models, IN_TURN + warm, RETRIED, GENEROUS), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        await load.more_right(50, "a")
        await load.more_right(50, "b")
        for model in models:
            paths = (await model.seen())["paths"]
            assert paths[:2] == ["/v2/health/ready", "/warm/it"]
            assert paths.count("/warm/it") == 1
        a.kill()
        await happened(proxy, a, "check_failed")
        await a.start(delay_s=0.3)  # a model that is slow to load; checks are answered at once
        await is_in(proxy, a, "WARMING")
        right = load.right["a"]
        await happened(proxy, a, "warmed", count=2)
        assert load.right["a"] == right
        assert 0 < (await endpoint(proxy, a))["slow_start_for_s"] <= 1
        await load.more_right(10, "a")
        paths = [path for path in (await a.seen())["paths"] if not path.endswith("/ready")]
        assert paths[:2] == ["/warm/it", "/v2/models/iris/infer"]
    assert not load.errors, load


async def test_slow_start_gives_who_comes_back_a_share_that_grows(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, _ = models
    slow = CHECKED + "slowStart: {window: 1500ms, minWeightPercent: 10}\n"
    proxy = await asyncio.to_thread(start_proxy, rules(models, IN_TURN + slow), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        await load.more_right(50, "a")
        await a.tell(ready=503)
        await is_in(proxy, a, "FAILED_CHECK")
        await until(a.is_idle)
        await a.tell(ready=200)
        await is_in(proxy, a, "AVAILABLE")
        began, first = time.monotonic(), load.right.copy()
        await load.more_right(200)
        early = load.right - first
        if time.monotonic() - began < 0.7:  # else it has grown already
            assert early["a"] < 0.35 * early.total(), early
        await until(lambda: is_full(proxy, a))
        first = load.right.copy()
        await load.more_right(300)
        late = load.right - first
        assert 0.42 < late["a"] / late.total() < 0.58, late
    assert not load.errors, load


async def is_full(proxy: Proxy, model: ModelProcess) -> bool:
    return (await endpoint(proxy, model)).get("slow_start_for_s") == 0


async def test_in_panic_all_are_used_and_without_it_nobody(start_proxy: StartProxy, models: list[ModelProcess]) -> None:
    a, b = models
    panic = "connection: {idleTimeout: 150ms}\nloadBalancing: {policy: RoundRobin, panicThreshold: 60}\n" + CHECKED
    proxy = await asyncio.to_thread(start_proxy, rules(models, panic), workers=2)
    load = load_on(proxy.port)
    async with load.running(8):
        await load.more_right(50)
        await a.tell(ready=503)
        await is_in(proxy, a, "FAILED_CHECK")
        await load.more_right(50, "a")  # one of two is less than 60 %
        await b.tell(ready=503)
        await is_in(proxy, b, "FAILED_CHECK")
        await load.more_right(50, "b")
        assert not load.errors, load
        await proxy.reload(rules(models, panic.replace("60", "0")))
        await until(lambda: load.errors["UH"])
        right = load.right.total()
        await load.more(100)
        assert load.right.total() - right <= 8  # those that were under way
        await a.tell(ready=200)
        await load.more_right(50, "a")
    assert set(load.errors) == {"UH"}


# Priorities and localities


async def test_load_overflows_to_the_next_priority_as_far_as_health_is_missing(
    start_proxy: StartProxy,
) -> None:
    async with model_processes("near-1", "near-2", "far") as models:
        places = {"far": "priority: 1, locality: {region: r, zone: far}"}
        predictor = rules(models, IN_TURN + CHECKED, endpoints=places)
        proxy = await asyncio.to_thread(start_proxy, predictor, workers=2)
        near, far = models[0], models[2]
        load = load_on(proxy.port)
        async with load.running(16):
            await load.more_right(300)
            assert load.right["far"] == 0
            await near.tell(ready=503)
            await is_in(proxy, near, "FAILED_CHECK")
            await load.more(16)
            first = load.right.copy()
            await load.more_right(600)
            share = (load.right - first)["far"] / (load.right - first).total()
            assert 0.2 < share < 0.4  # one of two, over-provisioned by 1.4, has 70 % of the health
            await models[1].tell(ready=503)
            await is_in(proxy, models[1], "FAILED_CHECK")
            await load.more(16)
            first = load.right.copy()
            await load.more_right(100)
            assert set(load.right - first) == {"far"}
            assert (await endpoint(proxy, far))["locality"]
        assert not load.errors, load
        assert (await cluster(proxy))["counts"]["active"] == 0


async def test_a_locality_whose_servers_are_sick_gets_as_much_less_as_it_lacks(start_proxy: StartProxy) -> None:
    async with model_processes("near-1", "near-2", "far") as models:
        near, far = "locality: {zone: near}", "locality: {zone: far}"
        places = {"near-1": near, "near-2": near, "far": far}
        weights = "localityWeights: [{locality: {zone: near}, weight: 3}, {locality: {zone: far}, weight: 1}]"
        weighted = IN_TURN.replace("RoundRobin", f"RoundRobin, {weights}") + CHECKED
        proxy = await asyncio.to_thread(start_proxy, rules(models, weighted, endpoints=places), workers=2)
        load = load_on(proxy.port)
        async with load.running(16):
            first = load.right.copy()
            await load.more_right(600)
            share = (load.right - first)["far"] / (load.right - first).total()
            assert 0.18 < share < 0.32  # 1 of 4
            await models[0].tell(ready=503)
            await is_in(proxy, models[0], "FAILED_CHECK")
            await load.more(32)
            first = load.right.copy()
            await load.more_right(600)
            share = (load.right - first)["far"] / (load.right - first).total()
            assert 0.24 < share < 0.41  # 1 of 1 + 3 · 1.4 / 2, which is 32 %
        assert not load.errors, load
