"""The simulated proxy itself: its parts are real ones, nothing leaks, and a run can be repeated to the last digit."""

import os
import subprocess
import sys
from pathlib import Path

from replica import RESET, Replica
from sim_proxy import Done, SimProxy
from world import World

from turnout.rules.resilience import CircuitBreaker, FailureAccrual, Limits, OutlierDetection, Retry


def make_proxy(*, count: int = 2, **settings) -> SimProxy:
    world = World(1)
    return SimProxy(world, [Replica(world, sigma=0.0) for _ in range(count)], **settings)


def test_a_request_goes_through_an_exchange_and_is_counted() -> None:
    proxy = make_proxy(count=1)
    proxy.request()
    proxy.world.run()
    assert proxy.log == [Done(0.0, 0.0202, 200, "-", 1, 0)]
    proxy.assert_all_is_given_back()


def test_a_broken_connection_is_not_used_again_and_its_request_goes_to_the_other() -> None:
    proxy = make_proxy(forward={"retry": Retry()})
    proxy.replicas[0].fails, proxy.replicas[0].fail_status = 1.0, RESET
    for _ in range(4):
        proxy.request()
        proxy.world.run(proxy.world.now + 1.0)
    assert {done.status for done in proxy.log} == {200}
    assert {done.replica for done in proxy.log} == {1}
    assert not any(connection.endpoint.key == proxy.keys[0] for connection in proxy.workers[0].upstreams.open)


def test_a_client_that_leaves_gives_everything_back() -> None:
    proxy = make_proxy(circuit_breaker=CircuitBreaker(limits=Limits(max_requests=1), queue=True))
    served, waiting, late = (proxy.request() for _ in range(3))
    proxy.world.run(0.01)
    waiting.leave()
    served.leave()
    proxy.world.run(1.0)
    assert late.status == 200
    proxy.assert_all_is_given_back()


def busy_run() -> list[Done]:
    world = World(3)
    proxy = SimProxy(
        world,
        [Replica(world, stream_s=0.1) for _ in range(3)],
        workers=2,
        forward={"retry": Retry(codes=(500,)), "first_byte_timeout_s": 0.5},
        outlier_detection=OutlierDetection(),
        circuit_breaker=CircuitBreaker(failures=FailureAccrual(), limits=Limits(max_requests=12), queue=True),
    )
    proxy.replicas[1].fails = 0.3
    proxy.load(100.0, 10.0)
    proxy.kill(2)
    proxy.load(100.0, 20.0)
    return proxy.log


def print_digest() -> None:
    print(
        hash(tuple(number for done in busy_run() for number in (done.began, done.took_s, done.replica, done.attempts)))
    )


def test_a_run_is_the_same_again_also_in_another_process() -> None:
    first = busy_run()
    assert busy_run() == first
    digests = {
        subprocess.run(
            [sys.executable, "-c", f"import {Path(__file__).stem} as t; t.print_digest()"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
