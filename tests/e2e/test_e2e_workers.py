"""Workers: the split over several, their deaths, the drain and the hot restart; no request notices."""

import asyncio
import math
import os
import resource
import signal
from collections.abc import Callable

import pytest
from actors.documents import split
from actors.echo import Echo
from actors.load import REQUEST, Load
from actors.proxy import Proxy, until
from actors.wire import connect

StartProxy = Callable[..., Proxy]


def off_by_sigmas(count: int, total: int, share: float) -> float:
    return abs(count - total * share) / math.sqrt(total * share * (1 - share))


@pytest.mark.parametrize("workers", [1, 3])
async def test_the_split_is_right_within_sampling_error(start_proxy: StartProxy, workers: int) -> None:
    async with Echo("v1") as v1, Echo("v2") as v2, Echo("v3") as v3:
        proxy = start_proxy(split(v1=(v1, 90), v2=(v2, 10), v3=(v3, 0)), workers=workers)
        load = Load(proxy.port)
        for _ in range(3):  # connections anew, so that every worker gets some
            await load.ask(1_000, clients=12)
        assert not load.failures
        assert load.total == 3_000
        assert off_by_sigmas(load.answers["v2"], 3_000, 0.1) < 4
        assert load.answers["v3"] == 0
        assert await proxy.count(predictor="default/v2") == load.answers["v2"]
        assert await proxy.count() == 3_000


@pytest.mark.timeout(600)
@pytest.mark.parametrize("deaths", [3, pytest.param(50, marks=pytest.mark.soak)])
async def test_a_dead_worker_is_replaced_and_no_new_connection_fails(start_proxy: StartProxy, deaths: int) -> None:
    """A connection in the queue of a dead worker's socket waits for the next worker. What was in its hands is lost."""
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)), workers=2)
        for number in range(deaths):
            victim = (await proxy.workers())[number % 2]
            os.kill(victim, signal.SIGSTOP)  # it accepts nothing any more, so that nothing is in its hands
            load = Load(proxy.port, fresh=True)
            asking = asyncio.create_task(load.ask(40, clients=20))
            await until(lambda load=load: load.total)
            os.kill(victim, signal.SIGKILL)
            await asking
            assert not load.failures
            assert load.answers == {"v1": 40}
            await until(lambda victim=victim: serving_without(proxy, victim))
        assert (await proxy.stats())["supervisor"]["worker_restarts"] == deaths
        assert await proxy.count() == 40 * deaths


async def serving_without(proxy: Proxy, victim: int) -> bool:
    workers = await proxy.workers()
    return len(workers) == 2 and victim not in workers and (await proxy.admin("/ready"))[0] == 200


async def test_counters_outlive_their_worker(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)))
        idle = await connect(proxy.port)
        await Load(proxy.port).ask(50)
        await until(lambda: active_connections(proxy, 1))
        os.kill((await proxy.workers())[0], signal.SIGKILL)
        assert await idle.is_closed()
        await Load(proxy.port).ask(50)
        assert await proxy.count() == 100
        await until(lambda: active_connections(proxy, 0))


async def active_connections(proxy: Proxy, count: int) -> bool:
    return (await proxy.stats())["process"]["connections_active"] == count


async def test_sigterm_lets_requests_end_and_closes_kept_connections(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)), workers=2)
        v1.delay_s = 0.5
        busy, kept = await connect(proxy.port), await connect(proxy.port)
        await kept.send(REQUEST)
        await kept.read_response()
        await busy.send(REQUEST)
        await until(lambda: len(v1.seen) == 2)
        proxy.signal(signal.SIGTERM)
        await until(lambda: "draining" in proxy.events())

        async def refuses() -> bool:
            try:
                (await connect(proxy.port)).close()
            except ConnectionRefusedError:
                return True
            return False

        answer = await busy.read_response()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert await busy.is_closed()
        busy.close()
        await kept.send(REQUEST)
        answer = await kept.read_response()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert await kept.is_closed()
        kept.close()
        assert await proxy.wait() == 0
        assert await refuses()


async def test_the_drain_timeout_cuts_what_is_left(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        v1.delay_s = 60
        proxy = start_proxy(split(v1=(v1, 1)), "--drain-timeout", "300ms")
        busy, idle = await connect(proxy.port), await connect(proxy.port)
        await busy.send(REQUEST)
        await until(lambda: v1.seen)
        proxy.signal(signal.SIGTERM)
        assert await busy.is_closed()
        assert await idle.is_closed()
        assert await proxy.wait() == 0


async def test_a_second_sigterm_ends_at_once(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        v1.delay_s = 60
        proxy = start_proxy(split(v1=(v1, 1)))
        busy = await connect(proxy.port)
        await busy.send(REQUEST)
        await until(lambda: v1.seen)
        proxy.signal(signal.SIGTERM)
        await until(lambda: "draining" in proxy.events())
        proxy.signal(signal.SIGTERM)
        await proxy.wait()
        assert await busy.is_closed()


async def test_a_hot_restart_under_load_refuses_and_fails_nothing(start_proxy: StartProxy) -> None:
    async with Echo("v1") as v1:
        proxy = start_proxy(split(v1=(v1, 1)), workers=2)
        async with Load(proxy.port).running(4) as kept, Load(proxy.port, fresh=True).running(4) as fresh:
            await until(lambda: kept.total > 100 and fresh.total > 100)
            proxy.signal(signal.SIGUSR2)
            assert await proxy.wait() == 0
            before = fresh.total + kept.total
            await until(lambda: fresh.total + kept.total > before + 200)
        assert not kept.failures
        assert not fresh.failures
        assert set(kept.answers) == set(fresh.answers) == {"v1"}
        assert (await proxy.admin("/ready"))[0] == 200


async def test_a_proxy_and_its_workers_may_have_as_many_connections_as_the_system_lets_them(
    start_proxy: StartProxy,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1_024, soft), hard))
    try:
        async with Echo("v1") as v1:
            proxy = start_proxy(split(v1=(v1, 1)))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    pids = [proxy.process.pid, *await proxy.workers()]
    assert [resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in pids] == [hard] * 2
