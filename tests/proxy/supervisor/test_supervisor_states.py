"""Endpoint states end to end in the supervisor: what checks and workers say, what workers and the admin are told."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from turnout.proxy.cluster.target import State
from turnout.proxy.supervisor.options import Address
from turnout.proxy.supervisor.states.events import Events
from turnout.proxy.supervisor.states.states import States
from turnout.proxy.telemetry.layout import RECORD_WORDS
from turnout.rules.resilience import (
    CircuitBreaker,
    FailureAccrual,
    HealthCheck,
    Limits,
    OutlierDetection,
    Probe,
    SlowStart,
)
from turnout.rules.snapshot import Cluster, Endpoint

NAME = "default/iris"
READY = HealthCheck(
    http=(Probe("/ready"),), interval_s=0.05, timeout_s=5.0, healthy_threshold=1, warm=Probe("/infer", "POST")
)


class Model:
    """An upstream whose readiness and warmth a test sets; `asked` are the paths that it was asked for."""

    def __init__(self) -> None:
        self.ready = self.warm = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[str] = []

    async def serve(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        await self.answers.wait()
        return web.Response(status=200 if (self.warm if request.path == "/infer" else self.ready) else 503)


@pytest.fixture
async def start_model() -> AsyncIterator[Callable[..., Any]]:
    runners = []

    async def start() -> tuple[Model, Endpoint]:
        model = Model()
        runner = web.ServerRunner(web.Server(model.serve))
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return model, Endpoint("127.0.0.1", runner.addresses[0][1])

    yield start
    for runner in runners:
        await runner.cleanup()


def with_cluster(snapshot, *endpoints: Endpoint, **config):
    return msgspec.structs.replace(snapshot, clusters=(Cluster(NAME, endpoints, **config),))


async def states(proxy) -> list[str]:
    return [state for state, _ in (await proxy.ask())["states"][NAME]]


async def test_a_new_configuration_waits_for_the_first_checks(start_proxy, make_snapshot, start_model):
    model, endpoint = await start_model()
    model.answers.clear()
    proxy = start_proxy(with_cluster(make_snapshot(), endpoint, health_check=READY))
    await proxy.wait_for(lambda: model.asked)
    assert proxy.supervisor.state.served is None
    model.answers.set()
    await proxy.ready()
    assert model.asked[:2] == ["/ready", "/infer"]
    assert await states(proxy) == ["AVAILABLE"]


async def test_workers_are_told_what_checks_find(start_proxy, make_snapshot, start_model):
    model, endpoint = await start_model()
    other, second = await start_model()
    other.warm = False
    proxy = start_proxy(with_cluster(make_snapshot(), endpoint, second, health_check=READY))
    await proxy.ready()
    assert await states(proxy) == ["AVAILABLE", "WARMING"]
    model.ready, other.warm = False, True

    async def both_are_other() -> bool:
        return await states(proxy) == ["FAILED_CHECK", "AVAILABLE"]

    await proxy.wait_for(both_are_other)
    (cluster,) = (await proxy.admin_json("/clusters"))["clusters"]
    first = cluster["endpoints"][0]
    assert (first["state"], first["health_check"]["last"]["detail"]) == ("FAILED_CHECK", "/ready: status 503")
    events = (await proxy.admin_json("/events"))["events"]
    assert {event["what"] for event in events} >= {"check_passed", "warmed", "warm_check_failed", "check_failed"}


async def test_checks_end_with_their_cluster(start_proxy, make_snapshot, start_model):
    _, endpoint = await start_model()
    proxy = start_proxy(with_cluster(make_snapshot(), endpoint, health_check=READY))
    await proxy.ready()
    await proxy.reload(make_snapshot("other"))
    names = [task.get_name() for task in asyncio.all_tasks() if not task.cancelling()]
    assert not [name for name in names if name.startswith("health checks")]


async def test_a_refused_configuration_leaves_the_states_of_what_serves(start_proxy, make_snapshot, start_model):
    _, endpoint = await start_model()
    served = with_cluster(make_snapshot(), endpoint, health_check=READY)
    proxy = start_proxy(served)
    await proxy.ready()
    _, second = await start_model()
    await proxy.reload(msgspec.structs.replace(with_cluster(served, second, health_check=READY), missing=("refused",)))
    assert proxy.supervisor.state.reload_failures == 1

    def known() -> list[str]:
        (cluster,) = proxy.supervisor.states.clusters()
        return list(cluster.endpoints)

    # It is counted when the workers have refused it, and over when they have the old one again.
    await proxy.wait_for(lambda: known() == [f"127.0.0.1:{endpoint.port}"])
    assert await states(proxy) == ["AVAILABLE"]


async def test_one_worker_says_that_an_endpoint_fails_and_all_are_told(start_proxy, make_snapshot):
    ejecting = OutlierDetection(base_ejection_s=0.05, interval_s=0.05)
    snapshot = with_cluster(
        make_snapshot(), Endpoint("127.0.0.1", 9), Endpoint("127.0.0.1", 10), outlier_detection=ejecting,
        slow_start=SlowStart(),
    )  # fmt: skip
    proxy = start_proxy(snapshot, workers=2)
    await proxy.ready()
    events = proxy.supervisor.states.events
    await proxy.ask("/say/failing/consecutive_5xx")
    await proxy.wait_for(lambda: len(events.last) == 2)
    assert [(event.what, event.why, event.endpoint) for event in events.last] == [
        ("ejected", "consecutive_5xx", "127.0.0.1:9"),
        ("unejected", "consecutive_5xx", "127.0.0.1:9"),
    ]
    shown = await metrics(proxy)
    assert shown["turnout_ejections_total", "consecutive_5xx"] == 1
    assert shown["turnout_endpoint_state", "available"] == 2


async def test_what_was_counted_before_is_not_judged_and_what_fails_since_is(start_proxy, make_snapshot):
    judging = OutlierDetection(interval_s=0.2, failure_percentage_minimum_hosts=1, min_available_percent=None)
    plain = with_cluster(make_snapshot(), Endpoint("127.0.0.1", 9), Endpoint("127.0.0.1", 10))
    proxy = start_proxy(plain)
    await proxy.ready()
    await proxy.ask("/5xx/100")
    await proxy.reload(with_cluster(plain, *plain.clusters[0].endpoints, outlier_detection=judging))
    (known,) = proxy.supervisor.states.clusters()
    due = known.wake_at
    await proxy.wait_for(lambda: known.wake_at > due)
    assert not proxy.supervisor.states.events.last
    await proxy.ask("/5xx/100")
    await proxy.wait_for(lambda: proxy.supervisor.states.events.last)
    event = proxy.supervisor.states.events.last[0]
    assert (event.what, event.why, event.endpoint) == ("ejected", "failure_percentage", "127.0.0.1:9")


async def test_a_breaker_gives_its_probe_to_one_worker_and_closes_by_its_word(start_proxy, make_snapshot):
    breaking = CircuitBreaker(failures=FailureAccrual(min_s=0.05), limits=Limits(max_requests=4))
    proxy = start_proxy(with_cluster(make_snapshot(), Endpoint("127.0.0.1", 9), circuit_breaker=breaking))
    await proxy.ready()
    await proxy.ask("/say/failing/accrual")

    async def half_open() -> bool:
        return (await proxy.ask())["states"][NAME] == [["HALF_OPEN", 0]]

    await proxy.wait_for(half_open)
    (cluster,) = (await proxy.admin_json("/clusters"))["clusters"]
    assert cluster["endpoints"][0]["breaker"]["state"] == "HALF_OPEN"
    assert cluster["limits"]["requests"] == {"limit": 4, "used": 0}
    await proxy.ask("/say/probing/now")
    await proxy.wait_for(lambda: next(proxy.supervisor.states.clusters()).endpoints["127.0.0.1:9"].breaker.probing)
    await proxy.ask("/say/probed/well")

    async def available() -> bool:
        return await states(proxy) == ["AVAILABLE"]

    await proxy.wait_for(available)
    assert (await metrics(proxy))["turnout_breaker_opens_total", NAME] == 1


async def test_a_replaced_worker_is_told_the_states_and_the_probe_of_the_dead_is_given_again(
    start_proxy, make_snapshot
):
    breaking = CircuitBreaker(failures=FailureAccrual(min_s=0.05))
    proxy = start_proxy(with_cluster(make_snapshot(), Endpoint("127.0.0.1", 9), circuit_breaker=breaking))
    await proxy.ready()
    pid = (await proxy.ask("/say/failing/accrual"))["pid"]
    breaker = next(proxy.supervisor.states.clusters()).endpoints["127.0.0.1:9"].breaker
    await proxy.wait_for(lambda: breaker.probe_slot == 0)
    await proxy.ask("/say/probing/now")
    await proxy.wait_for(lambda: breaker.probing)
    os.kill(pid, signal.SIGKILL)
    await proxy.wait_for(lambda: breaker.probe_slot == 0 and not breaker.probing)

    async def told() -> bool:
        return (await proxy.ask())["states"][NAME] == [["HALF_OPEN", 0]]

    await proxy.wait_for(told)


async def test_an_endpoint_that_dns_no_longer_names_is_forgotten(start_proxy, make_snapshot, start_model):
    _, endpoint = await start_model()
    answer = ("127.0.0.1", "127.0.0.2")

    async def look_up(host: str) -> tuple[str, ...]:
        return answer

    snapshot = with_cluster(make_snapshot(), Endpoint("model", endpoint.port), health_check=READY)
    proxy = start_proxy(snapshot, lookup=look_up, options={"dns_refresh_s": 0.05})
    await proxy.ready()
    (known,) = proxy.supervisor.states.clusters()
    assert len(known.endpoints) == 2
    answer = ("127.0.0.1",)
    await proxy.wait_for(lambda: len(known.endpoints) == 1)
    checks = [t for t in asyncio.all_tasks() if t.get_name().startswith("health checks") and not t.cancelling()]
    assert len(checks) == 1


async def test_a_worker_that_is_overloaded_is_an_event(start_proxy, make_snapshot):
    proxy = start_proxy(make_snapshot())
    await proxy.ready()
    events = proxy.supervisor.states.events
    await proxy.ask("/say/overloaded/yes")
    await proxy.ask("/say/overloaded/no")
    await proxy.wait_for(lambda: len(events.last) == 2)
    assert [str(event) for event in events.last] == [
        "worker 0: overloaded: pressure=0.91",
        "worker 0: overload_ended: pressure=0.91",
    ]


async def test_waiting_for_first_checks_has_an_end(start_model):
    model, endpoint = await start_model()
    model.answers.clear()
    states_ = States(Events(), lambda cluster, key: [0] * RECORD_WORDS, lambda: [0], lambda cluster: None)
    states_.configure(Cluster(NAME, (endpoint,), health_check=READY))
    address = Address(endpoint.address, endpoint.port)
    states_.add(NAME, {address: endpoint})
    await states_.first_checks([NAME], 0.05)
    assert states_.standing(NAME, address).state is State.FAILED_CHECK
    model.answers.set()
    await states_.first_checks([NAME], 10.0)
    assert states_.standing(NAME, address).state is State.AVAILABLE
    await states_.close()


async def metrics(proxy) -> dict[tuple[str, str], float]:
    """The sum of the samples of a name that have a label of that value."""
    _, text = await proxy.admin("/metrics")
    sums: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for value in sample.labels.values():
                sums[sample.name, value] = sums.get((sample.name, value), 0) + sample.value
    return sums
