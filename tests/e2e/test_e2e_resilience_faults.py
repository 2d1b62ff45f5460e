"""Model servers in processes of their own, killed, stopped and breaking off, under load: whatever they do, each request
ends in the right answer or one clear error within its deadline, and afterwards every gauge is back at zero."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from actors.judging_load import JudgingLoad
from actors.model_process import ModelProcess, model_processes
from actors.proxy import Proxy, until
from actors.resilience_rules import GENEROUS, rules
from actors.vitals import at_rest, endpoint, is_in, states

StartProxy = Callable[..., Proxy]
CLIENTS = 24
DEADLINE_S = 3.0
GRACE_S = 4.0
"""What a busy machine may add to a deadline before a test calls it missed."""

LIMITED = """
connection: {idleTimeout: 150ms, connectTimeout: 500ms}
loadBalancing: {policy: RoundRobin}
circuitBreaker: {maxRequests: 16, maxConnections: 20, maxRetries: 50, overflow: Queue, maxPendingRequests: 100}
"""
GUARDED = """
api: oip-v2
connection: {idleTimeout: 150ms, connectTimeout: 500ms}
loadBalancing: {policy: RoundRobin}
circuitBreaker:
  maxRequests: 16
  maxConnections: 20
  maxRetries: 50
  overflow: Queue
  maxPendingRequests: 100
  consecutiveFailures: {maxFailures: 5, minPenalty: 100ms, maxPenalty: 1s}
outlierDetection: {interval: 300ms, baseEjectionTime: 300ms, consecutive5xx: 3, minAvailable: 50%}
healthCheck: {interval: 100ms, timeout: 300ms, unhealthyThreshold: 2, healthyThreshold: 1}
"""
RETRIED = f"""
retry: {{attempts: 3, codes: [503], backoff: 5ms}}
timeouts: {{request: {DEADLINE_S:g}s, backendRequest: 400ms}}
"""
TIMED = f"timeouts: {{request: {DEADLINE_S:g}s, backendRequest: 400ms}}"


@pytest.fixture
async def models() -> AsyncIterator[list[ModelProcess]]:
    async with model_processes("a", "b", "c") as started:
        yield started


def load_on(proxy: Proxy, **more: Any) -> JudgingLoad:
    return JudgingLoad(proxy.port, within_s=DEADLINE_S + GRACE_S, **more)


async def check_counts(proxy: Proxy, load: JudgingLoad) -> None:
    """The counters tell what the clients saw: each request once, each of our own errors by its flag."""
    assert await proxy.count() == load.asked
    ours = {flag: count for flag, count in load.errors.items() if flag.isupper()}
    for flag, count in ours.items():
        assert await proxy.count(flag=flag, code_class="5xx") >= count
    assert await proxy.count(flag="-", code_class="2xx") == load.right.total()


async def is_not_available(proxy: Proxy, model: ModelProcess) -> None:
    async def holds() -> bool:
        return (await states(proxy))[model.port] != "AVAILABLE"

    await until(holds)


# One kind of fault at a time, at one server of three. With retries no client sees any of it.


async def killed(proxy: Proxy, victim: ModelProcess, load: JudgingLoad) -> None:
    victim.kill()
    await fails(proxy, victim)
    await victim.start()


async def stopped(proxy: Proxy, victim: ModelProcess, load: JudgingLoad) -> None:
    victim.stop()
    await fails(proxy, victim)
    victim.go_on()


def broken(**settings: Any) -> Callable[[Proxy, ModelProcess, JudgingLoad], Any]:
    async def break_it(proxy: Proxy, victim: ModelProcess, load: JudgingLoad) -> None:
        await victim.tell(**settings)
        await fails(proxy, victim)
        await victim.tell(**dict.fromkeys(settings, 0.0))

    break_it.__name__ = "_".join(settings)
    return break_it


async def leaving(proxy: Proxy, victim: ModelProcess, load: JudgingLoad) -> None:
    """It closes idle connections, now and then while a request is on its way there."""
    before = (await endpoint(proxy, victim))["connections_total"]
    await victim.tell(leave=0.7, leave_s=0.02)

    async def has_left() -> bool:
        return (await endpoint(proxy, victim))["connections_total"] > before + 100

    await until(has_left)


async def fails(proxy: Proxy, victim: ModelProcess, count: int = 5) -> None:
    """Wait until so many attempts failed there."""
    before = (await endpoint(proxy, victim))["failures"]

    async def has_failed() -> bool:
        return (await endpoint(proxy, victim))["failures"] >= before + count

    await until(has_failed)


FAULTS = [
    killed,
    stopped,
    broken(reset=1.0),
    broken(half_head=1.0),
    broken(refuse=1.0),
    broken(stall=0.5, stall_s=10.0),
    leaving,
]


async def test_a_fault_of_one_server_is_seen_by_no_client_that_may_be_retried(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    proxy = start_proxy(rules(models, LIMITED, RETRIED, GENEROUS), workers=2)
    load = load_on(proxy)
    async with load.running(CLIENTS):
        await load.more_right(100)
        for fault in FAULTS:
            await fault(proxy, models[1], load)
            await load.more_right(50, "b")
            assert not load.errors, (fault.__name__, load)
    assert not load.errors, load
    assert not load.lost, load
    assert load.slowest_s < DEADLINE_S + 1, load
    await at_rest(proxy)
    await check_counts(proxy, load)


async def test_without_retries_a_fault_is_one_clear_error_and_told_once_in_the_access_log(
    start_proxy: StartProxy, models: list[ModelProcess]
) -> None:
    proxy = start_proxy(rules(models, LIMITED, TIMED), workers=2)
    load = load_on(proxy)
    async with load.running(CLIENTS):
        for settings in ({"reset": 0.2}, {"half_head": 0.2}, {"half_body": 0.2}, {"refuse": 0.2}, {"leave": 0.5}):
            await models[1].tell(**settings)
            await load.more(150)
            await models[1].tell(**dict.fromkeys(settings, 0.0))
        models[1].stop()
        await until(lambda: load.errors["UT"])
        models[1].go_on()
        await load.more(150)
        models[1].kill()
        await load.more_right(150)
    assert set(load.errors) >= {"UC", "UT", "cut", "status 503"}, load  # what was never sent is sent again: no UF
    assert set(load.errors) <= {"UC", "UT", "cut", "status 503"}, load
    await at_rest(proxy)
    await check_counts(proxy, load)
    flags = Counter(line["flag"] for line in await proxy.access(load.asked))
    assert flags["UC"] == load.errors["UC"] + load.errors["cut"]
    assert flags["UT"] == load.errors["UT"]


# All kinds at all servers


NOISE = {
    "delay_s": 0.005, "reset": 0.02, "half_head": 0.02, "half_body": 0.01, "refuse": 0.03, "stall": 0.01,
    "stall_s": 2.0, "leave": 0.2, "leave_s": 0.02,
}  # fmt: skip
SILENCE = dict.fromkeys(NOISE, 0.0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [1, pytest.param(25, marks=pytest.mark.soak)], ids="{} rounds".format)
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.soak), 2])
async def test_whatever_servers_and_workers_do_each_request_ends_in_time_and_nothing_is_left_over(
    start_proxy: StartProxy, models: list[ModelProcess], workers: int, rounds: int
) -> None:
    a, b, c = models
    for model in models:
        await model.tell(**NOISE)
    proxy = start_proxy(rules(models, GUARDED, RETRIED, GENEROUS), workers=workers)
    load, deaths = load_on(proxy), 0
    async with load.running(CLIENTS), load.with_leavers(6):
        for number in range(rounds):
            await load.more(150)
            # Limits go and come back with requests in flight, and so do those who decide about endpoints.
            await proxy.reload(rules(models, "loadBalancing: {policy: LeastRequest}", RETRIED, GENEROUS))
            await load.more(100)
            await proxy.reload(rules(models, GUARDED, RETRIED, GENEROUS))
            b.kill()
            await is_not_available(proxy, b)
            await load.more_right(50)
            c.stop()
            await is_not_available(proxy, c)
            await load.more_right(50)
            os.kill((await proxy.workers())[number % workers], signal.SIGKILL)
            deaths += 1
            await load.more_right(50)
            await b.start(**NOISE)
            c.go_on()
            await load.more_right(20, "b")
            await load.more_right(20, "c")
            for model in models:
                model.stop()
            await until(lambda before=load.errors["UH"]: load.errors["UH"] > before)  # nobody is left
            for model in models:
                model.go_on()
            await load.more_right(50)
            a.kill()
            os.kill((await proxy.workers())[-1 - number % workers], signal.SIGKILL)
            deaths += 1
            await load.more_right(50)
            await a.start(**NOISE)
            await load.more_right(20, "a")
        for model in models:
            await model.tell(**SILENCE)
        for model in models:
            await is_in(proxy, model, "AVAILABLE")
        await load.more(CLIENTS)  # those that were under way
        errors = load.errors.total()
        for model in models:
            await load.more_right(50, model.name)
        assert load.errors.total() == errors, load
    assert load.lost <= CLIENTS * deaths, load
    assert load.slowest_s < DEADLINE_S + 1, load
    await at_rest(proxy)
    assert (await proxy.stats())["supervisor"]["worker_restarts"] == deaths
    of_leavers = await proxy.count() - (load.asked - load.lost)
    assert -CLIENTS * deaths <= of_leavers <= load.left + CLIENTS * deaths
    for model in models:
        assert (await model.seen())["active"] == 0
