"""Endpoint states with real workers: what they report of real upstreams, and what they do with what they are told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from turnout.proxy.net.options import Options
from turnout.rules.resilience import (
    CircuitBreaker,
    FailureAccrual,
    HealthCheck,
    LoadBalancing,
    OutlierDetection,
    Probe,
)
from turnout.rules.snapshot import Cluster, Endpoint

NAME = "default/iris"
QUIET = {"worker": Options(access_log="off")}


class Model:
    """An upstream whose answers a test sets; requests count, checks do not."""

    def __init__(self) -> None:
        self.status = 200
        self.requests = 0
        self.most_at_once = self.at_once = 0
        self.checks_waiting = 0
        self.answers, self.answers_checks = asyncio.Event(), asyncio.Event()
        self.answers.set()
        self.answers_checks.set()

    async def serve(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/ready":
            self.checks_waiting += 1
            await self.answers_checks.wait()
            self.checks_waiting -= 1
            return web.Response()
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.answers.wait()
        self.at_once -= 1
        return web.Response(status=self.status)


@pytest.fixture
async def start_model() -> AsyncIterator[Callable[..., Any]]:
    runners = []

    async def start() -> tuple[Model, Endpoint]:
        model = Model()
        runner = web.ServerRunner(web.Server(model.serve), shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return model, Endpoint("127.0.0.1", runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


def with_cluster(snapshot, *endpoints: Endpoint, **config):
    balancing = config.pop("load_balancing", LoadBalancing(policy="round_robin"))
    return msgspec.structs.replace(snapshot, clusters=(Cluster(NAME, endpoints, load_balancing=balancing, **config),))


async def ask(proxy, times: int = 1) -> list[int]:
    statuses = []
    for _ in range(times):
        async with proxy.session.get(proxy.url) as answer:
            statuses.append(answer.status)
    return statuses


def happened(proxy) -> list[tuple[str, str]]:
    return [(event.what, event.why) for event in proxy.supervisor.states.events.last]


async def test_failures_in_a_row_eject_an_endpoint_and_a_check_brings_it_back(start_proxy, make_snapshot, start_model):
    _, first = await start_model()
    bad, second = await start_model()
    bad.status = 500
    snapshot = with_cluster(
        make_snapshot(), first, second,
        outlier_detection=OutlierDetection(consecutive_5xx=3),
        health_check=HealthCheck(http=(Probe("/ready"),), interval_s=0.1, timeout_s=60.0),
    )  # fmt: skip
    proxy = start_proxy(snapshot, fault="real", options=QUIET)
    await proxy.ready()
    bad.answers_checks.clear()
    await proxy.wait_for(lambda: bad.checks_waiting)  # so none comes back before it may
    assert sorted(await ask(proxy, 6)) == [200] * 3 + [500] * 3
    await proxy.wait_for(lambda: ("ejected", "consecutive_5xx") in happened(proxy))

    async def asked() -> int:
        before = bad.requests
        await ask(proxy, 4)
        return bad.requests - before

    async def is_left_out() -> bool:
        return await asked() == 0

    await proxy.wait_for(is_left_out)
    assert await asked() == 0
    assert ("unejected", "consecutive_5xx") not in happened(proxy)
    bad.status = 200
    bad.answers_checks.set()
    await proxy.wait_for(lambda: ("unejected", "consecutive_5xx") in happened(proxy))

    async def takes_its_turn() -> bool:
        return await asked() == 2

    await proxy.wait_for(takes_its_turn)


async def test_a_half_open_endpoint_gets_one_request_of_all_workers(start_proxy, make_snapshot, start_model):
    _, first = await start_model()
    bad, second = await start_model()
    bad.status = 500
    accrual = FailureAccrual(consecutive=3, min_s=0.5, jitter=0.0)
    snapshot = with_cluster(make_snapshot(), first, second, circuit_breaker=CircuitBreaker(failures=accrual))
    proxy = start_proxy(snapshot, workers=2, fault="real", options=QUIET)
    await proxy.ready()

    async def opened() -> bool:
        await ask(proxy, 4)
        return ("breaker_open", "") in happened(proxy)

    async def is_left_out() -> bool:
        before = bad.requests
        await ask(proxy, 8)
        return bad.requests == before

    await proxy.wait_for(opened)
    await proxy.wait_for(is_left_out)  # both workers know
    bad.answers.clear()
    bad.most_at_once = 0
    probes = bad.requests
    slow: set[asyncio.Task[list[int]]] = set()

    async def probed() -> bool:
        slow.add(asyncio.create_task(ask(proxy)))
        return bad.at_once > 0

    await proxy.wait_for(probed)
    more = [asyncio.create_task(ask(proxy)) for _ in range(20)]

    await proxy.wait_for(lambda: sum(task.done() for task in more) == 20)
    assert (bad.at_once, bad.most_at_once, bad.requests - probes) == (1, 1, 1)
    bad.status = 200
    bad.answers.set()
    await proxy.wait_for(lambda: ("breaker_closed", "") in happened(proxy))
    await asyncio.gather(*slow)
    before = bad.requests

    async def is_asked() -> bool:
        await ask(proxy, 8)
        return bad.requests > before

    await proxy.wait_for(is_asked)


async def test_a_dead_upstream_takes_no_requests_after_its_check_failed(start_proxy, make_snapshot, start_model):
    good, first = await start_model()
    snapshot = with_cluster(
        make_snapshot(), first, Endpoint("127.0.0.1", 1), health_check=HealthCheck(http=(Probe("/ready"),))
    )
    proxy = start_proxy(snapshot, fault="real", options=QUIET)
    await proxy.ready()
    assert await ask(proxy, 6) == [200] * 6
    assert good.requests == 6
