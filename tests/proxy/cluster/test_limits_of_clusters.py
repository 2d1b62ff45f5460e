"""The limits of a cluster hold over all workers, and what is not configured is not asked for."""

import random

from turnout.proxy.cluster.limits import MAX_PENDING, Limiter
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import ClusterWord, EndpointWord
from turnout.rules.resilience import CircuitBreaker, Limits

CLUSTER, ENDPOINT = 8, 64
WORDS = 256


def block() -> memoryview:
    return memoryview(bytearray(8 * WORDS)).cast("Q")


def limiters(config: CircuitBreaker, workers: int) -> list[tuple[Limiter, Counters]]:
    blocks = [block() for _ in range(workers)]
    made = []
    for own in blocks:
        counters = Counters(own, [other for other in blocks if other is not own])
        made.append((Limiter(config, counters, CLUSTER), counters))
    return made


def test_a_breaker_without_limits_is_off() -> None:
    (limiter, _), *_ = limiters(CircuitBreaker(), 1)
    assert limiter.is_off
    assert not limiter.queues
    assert limiter.may_start()
    assert limiter.may_start_at(ENDPOINT)
    assert limiter.may_connect(ENDPOINT)
    assert limiter.may_wait()
    assert limiter.may_retry()


def test_any_limit_switches_it_on() -> None:
    for limits in (Limits(max_requests=1), Limits(max_connections=1), Limits(max_retries=0)):
        assert not limiters(CircuitBreaker(limits=limits), 1)[0][0].is_off
        assert not limiters(CircuitBreaker(endpoint=limits), 1)[0][0].is_off


def test_requests_of_all_workers_count() -> None:
    (one, ones), (two, twos) = limiters(CircuitBreaker(limits=Limits(max_requests=3)), 2)
    ones.words[CLUSTER + ClusterWord.ACTIVE] = 2
    assert one.may_start()
    assert two.may_start()
    twos.words[CLUSTER + ClusterWord.ACTIVE] = 1
    assert not one.may_start()
    assert not two.may_start()


def test_an_endpoint_has_limits_of_its_own() -> None:
    (limiter, counters), *_ = limiters(CircuitBreaker(endpoint=Limits(max_requests=1)), 1)
    counters.words[ENDPOINT + EndpointWord.ACTIVE] = 1
    assert not limiter.may_start_at(ENDPOINT)
    assert limiter.may_start_at(ENDPOINT + 32)
    assert limiter.may_start()


def test_there_is_room_for_one_that_waits_if_there_is_at_an_endpoint() -> None:
    config = CircuitBreaker(
        limits=Limits(max_requests=3, max_connections=2), endpoint=Limits(max_requests=1), queue=True
    )
    (limiter, counters), *_ = limiters(config, 1)
    endpoints = (ENDPOINT, ENDPOINT + 32)
    counters.words[ENDPOINT + EndpointWord.ACTIVE] = 1
    counters.words[CLUSTER + ClusterWord.ACTIVE] = 1
    assert limiter.has_room(endpoints)
    counters.words[ENDPOINT + 32 + EndpointWord.ACTIVE] = 1
    assert not limiter.has_room(endpoints)
    assert limiter.has_room((*endpoints, ENDPOINT + 64))
    counters.words[CLUSTER + ClusterWord.ACTIVE] = 2
    assert not limiter.has_room((*endpoints, ENDPOINT + 64)), "each request holds a connection"


def test_retries_and_waiters_are_limited() -> None:
    (limiter, counters), *_ = limiters(CircuitBreaker(limits=Limits(max_retries=2, max_pending_requests=1)), 1)
    counters.words[CLUSTER + ClusterWord.RETRIES_ACTIVE] = 1
    assert limiter.may_retry()
    counters.words[CLUSTER + ClusterWord.RETRIES_ACTIVE] = 2
    assert not limiter.may_retry()
    assert limiter.may_wait()
    counters.words[CLUSTER + ClusterWord.PENDING] = 1
    assert not limiter.may_wait()


def test_a_queue_is_never_without_a_bound() -> None:
    (limiter, counters), *_ = limiters(CircuitBreaker(limits=Limits(max_requests=1), queue=True), 1)
    counters.words[CLUSTER + ClusterWord.PENDING] = MAX_PENDING - 1
    assert limiter.may_wait()
    counters.words[CLUSTER + ClusterWord.PENDING] = MAX_PENDING
    assert not limiter.may_wait()


def test_connections_are_limited_in_sum_and_by_endpoint() -> None:
    config = CircuitBreaker(limits=Limits(max_connections=4), endpoint=Limits(max_connections=2))
    (limiter, counters), *_ = limiters(config, 1)
    counters.words[ENDPOINT + EndpointWord.CONNECTIONS_ACTIVE] = 1
    counters.words[CLUSTER + ClusterWord.CONNECTIONS] = 3
    assert limiter.may_connect(ENDPOINT)
    counters.words[CLUSTER + ClusterWord.CONNECTIONS] = 4
    assert not limiter.may_connect(ENDPOINT)
    counters.words[CLUSTER + ClusterWord.CONNECTIONS] = 3
    counters.words[ENDPOINT + EndpointWord.CONNECTIONS_ACTIVE] = 2
    assert not limiter.may_connect(ENDPOINT)


def test_a_worker_without_a_connection_to_an_endpoint_may_always_make_one() -> None:
    (one, ones), (two, _) = limiters(CircuitBreaker(limits=Limits(max_connections=1)), 2)
    ones.words[ENDPOINT + EndpointWord.CONNECTIONS_ACTIVE] = 1
    ones.words[CLUSTER + ClusterWord.CONNECTIONS] = 1
    assert not one.may_connect(ENDPOINT)
    assert one.may_connect(ENDPOINT + 32)
    assert two.may_connect(ENDPOINT)


def test_who_comes_lines_up_behind_those_who_wait_at_other_workers() -> None:
    config = CircuitBreaker(limits=Limits(max_requests=1), queue=True)
    (one, ones), (two, _) = limiters(config, 2)
    assert two.may_begin(in_turn=False)
    ones.words[CLUSTER + ClusterWord.PENDING] = 1
    assert not one.may_begin(in_turn=False)
    assert not two.may_begin(in_turn=False)
    assert two.may_begin(in_turn=True)


def test_places_are_left_to_other_workers_by_how_many_wait_there() -> None:
    config = CircuitBreaker(limits=Limits(max_requests=1), queue=True)
    (one, ones), (two, twos) = limiters(config, 2)
    ones.words[CLUSTER + ClusterWord.PENDING] = 3
    assert not one.gives_way(lambda: 0.0)
    assert two.gives_way(lambda: 0.999)
    twos.words[CLUSTER + ClusterWord.PENDING] = 1
    dice = random.Random(7).random
    left = sum(one.gives_way(dice) for _ in range(4_000))
    assert 0.22 < left / 4_000 < 0.28
