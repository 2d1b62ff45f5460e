"""What is decided about model servers in processes of their own, under load: who is taken out, by which numbers, and
how it comes back. Decisions are read where an operator reads them: /events, /clusters."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest
from actors.judging_load import load_on
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import GENEROUS, IN_TURN, RETRIED, rules
from actors.vitals import at_rest, endpoint, events, happened, states
from actors.wire import connect

StartProxy = Callable[..., Proxy]


@pytest.fixture
async def models() -> AsyncIterator[list[ModelProcess]]:
    async with model_processes("a", "b") as started:
        yield started


# Outlier detection


async def test_who_fails_in_a_row_is_ejected_and_comes_back_and_is_ejected_for_longer(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, b = models
    outliers = "outlierDetection: {interval: 300ms, baseEjectionTime: 400ms, consecutive5xx: 4, minAvailable: 50%}"
    proxy = start_proxy(rules(models, IN_TURN + outliers, RETRIED, GENEROUS), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        await load.more_right(50)
        await a.tell(refuse=1.0, status=500)
        first = await happened(proxy, a, "ejected", "consecutive_5xx")
        assert (first["numbers"]["consecutive"], first["numbers"]["threshold"]) == (4, 4)
        assert (first["numbers"]["ejected"], first["numbers"]["endpoints"]) == (0, 2)
        assert 0.4 <= first["numbers"]["ejection_s"] < 0.5
        await happened(proxy, a, "unejected", "consecutive_5xx")
        second = await happened(proxy, a, "ejected", "consecutive_5xx", count=2)
        assert 0.8 <= second["numbers"]["ejection_s"] < 0.9
        await a.tell(refuse=0.0)
        await load.more_right(20, "a")
    assert not load.errors, load
    assert (await states(proxy))[b.port] == "AVAILABLE"
    await at_rest(proxy)


async def test_what_failed_before_an_ejection_is_forgotten_after_it(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    """Else one failure of who is back would do: three more were under way when the fourth ended it."""
    a, _ = models
    outliers = "outlierDetection: {interval: 100ms, baseEjectionTime: 300ms, consecutive5xx: 4}"
    proxy = start_proxy(rules(models, IN_TURN + outliers))
    await a.tell(refuse=1.0, status=500, delay_s=0.5)
    got = await asyncio.gather(*(ask(proxy) for _ in range(14)))
    assert got.count((500, "a")) == 7
    await happened(proxy, a, "unejected", "consecutive_5xx")
    await a.tell(delay_s=0.0)
    while (await ask(proxy)) != (500, "a"):
        pass
    await a.tell(refuse=0.0)
    got = [await ask(proxy) for _ in range(20)]
    assert got.count((200, "a")) == 10
    assert len(await events(proxy, what="ejected")) == 1


async def ask(proxy: Proxy) -> tuple[int, str]:
    """One request: the status, and who answered."""
    wire = await connect(proxy.port)
    await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Id: 1\r\n\r\n")
    answer = await wire.read_response()
    wire.close()
    return answer.status, answer.body.decode().split(" ")[0]


async def test_the_last_one_is_never_ejected_and_the_refusal_has_its_numbers(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, b = models
    outliers = "outlierDetection: {interval: 200ms, baseEjectionTime: 60s, consecutive5xx: 4, minAvailable: 50%}"
    proxy = start_proxy(rules(models, IN_TURN + outliers), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        await a.tell(refuse=1.0, status=500)
        await happened(proxy, a, "ejected", "consecutive_5xx")
        await b.tell(refuse=1.0, status=500)
        kept = await happened(proxy, b, "ejection_forbidden", "consecutive_5xx")
        assert kept["numbers"]["reason"] == "min_available"
        assert kept["numbers"]["consecutive"] >= 4
        await load.more(100)
        assert await states(proxy) == {a.port: "EJECTED", b.port: "AVAILABLE"}
        await b.tell(refuse=0.0)
        await load.more_right(50, "b")
    assert set(load.errors) == {"status 500"}, load  # its own answers, and no 503 of ours


async def test_a_slow_replica_is_ejected_for_its_latency_and_comes_back(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, _ = models
    outliers = """
outlierDetection:
  interval: 300ms
  baseEjectionTime: 500ms
  latency: {factor: 3, requestVolume: 20}
"""
    proxy = start_proxy(rules(models, IN_TURN + outliers), workers=2)
    load = load_on(proxy.port)
    async with load.running(16):
        for model in models:
            await model.tell(delay_s=0.005)
        await load.more_right(100)
        await a.tell(delay_s=0.1)
        numbers = (await happened(proxy, a, "ejected", "latency"))["numbers"]
        assert numbers["times_slower"] > numbers["at_least"] > 3
        assert numbers["first_byte_ms"] > 3 * numbers["others_first_byte_ms"]
        assert min(numbers["requests"], numbers["others_requests"]) >= 20
        await a.tell(delay_s=0.005)
        await happened(proxy, a, "unejected", "latency")
        await load.more_right(50, "a")
    assert not load.errors, load
    await at_rest(proxy)


async def test_all_slow_at_once_ejects_nobody(start_proxy: StartProxy, models: list[ModelProcess]) -> None:
    outliers = "outlierDetection: {interval: 200ms, latency: {factor: 3, requestVolume: 60}}"
    proxy = start_proxy(rules(models, IN_TURN + outliers), workers=2)
    load = load_on(proxy.port)
    async with load.running(24):
        await load.more_right(300)
        await asyncio.gather(*(model.tell(delay_s=0.04) for model in models))
        await load.more_right(400)  # several intervals
    assert await events(proxy) == []


# Breakers


@pytest.mark.timeout(300)
@pytest.mark.parametrize("probes", [2, pytest.param(100, marks=pytest.mark.soak)], ids="{} probes".format)
async def test_a_half_open_breaker_lets_exactly_one_request_through_under_load(
    start_proxy: StartProxy, models: list[ModelProcess], probes: int
) -> None:
    a, b = models
    breaker = "circuitBreaker: {consecutiveFailures: {maxFailures: 5, minPenalty: 200ms, maxPenalty: 300ms}}"
    proxy = start_proxy(rules(models, IN_TURN + breaker, RETRIED, GENEROUS), workers=2)
    load = load_on(proxy.port)
    async with load.running(24):
        await load.more_right(100)
        await a.tell(refuse=1.0, status=500)
        opened = await happened(proxy, a, "breaker_open")
        assert opened["numbers"]["failures"] == 5
        await happened(proxy, a, "breaker_open", count=2)  # by now every worker knows
        # Its probes take long, so that who should wait for their end is seen.
        await a.tell(delay_s=0.2)
        asked, opens = await until(lambda: asked_and_opened(proxy, a))
        await happened(proxy, a, "breaker_open", count=opens + probes)
        asked_then, opens_then = await until(lambda: asked_and_opened(proxy, a))
        assert asked_then - asked == opens_then - opens >= probes
        await a.tell(refuse=0.0, delay_s=0.0)
        await happened(proxy, a, "breaker_closed")
        await load.more_right(50, "a")
    assert not load.errors, load
    assert [e["what"] for e in await events(proxy, endpoint=b.address)] == []
    await at_rest(proxy)


async def asked_and_opened(proxy: Proxy, model: ModelProcess) -> tuple[int, int] | None:
    """How often it was asked, and its breaker opened, at a moment between two probes."""
    opens = len(await events(proxy, endpoint=model.address, what="breaker_open"))
    seen = await model.seen()
    is_open = (await endpoint(proxy, model))["breaker"]["state"] == "OPEN"
    is_quiet = len(await events(proxy, endpoint=model.address, what="breaker_open")) == opens
    return (seen["requests"], opens) if is_open and is_quiet and not seen["active"] else None


async def test_a_probe_whose_worker_dies_is_made_by_another(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    a, _ = models
    breaker = "circuitBreaker: {consecutiveFailures: {maxFailures: 5, minPenalty: 200ms, maxPenalty: 300ms}}"
    proxy = start_proxy(rules(models, IN_TURN + breaker, RETRIED.replace("2s", "8s"), GENEROUS), workers=2)
    load = load_on(proxy.port)
    async with load.running(24):
        await load.more_right(100)
        await a.tell(reset=1.0)
        await happened(proxy, a, "breaker_open", count=2)
        await until(a.is_idle)
        await a.tell(reset=0.0, delay_s=60)  # the probe is not answered
        await until(lambda: is_probing(proxy, a))
        await until(lambda: is_asked(a))
        await a.tell(delay_s=0.0)
        for worker in await proxy.workers():  # whichever it was
            os.kill(worker, signal.SIGKILL)
            await until(lambda worker=worker: is_replaced(proxy, worker))
        await happened(proxy, a, "breaker_closed")
        await load.more_right(20, "a")
    assert load.lost <= 2 * 24, load
    assert not load.errors, load
    await at_rest(proxy)


async def is_probing(proxy: Proxy, model: ModelProcess) -> bool:
    return (await endpoint(proxy, model))["breaker"]["probing"]


async def is_asked(model: ModelProcess) -> bool:
    return (await model.seen())["active"] == 1


async def is_replaced(proxy: Proxy, worker: int) -> bool:
    workers = await proxy.workers()
    return len(workers) == 2 and worker not in workers and (await proxy.admin("/ready"))[0] == 200
