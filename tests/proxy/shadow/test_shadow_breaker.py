"""A mirror that fails every time is asked now and then only."""

from turnout.proxy.shadow.breaker import MAX_FAILURES, RETRY_S, Breaker


def open_breaker() -> Breaker:
    breaker = Breaker()
    for _ in range(MAX_FAILURES):
        assert breaker.lets(10.0)
        breaker.on_failure(10.0)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert not open_breaker().lets(10.0)


def test_an_answer_between_them_begins_the_row_anew() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(MAX_FAILURES - 1):
            breaker.on_failure(10.0)
        breaker.on_answer()
        assert breaker.lets(10.0)


def test_one_copy_goes_each_time_while_it_is_open() -> None:
    breaker = open_breaker()
    for turn in range(1, 5):
        at = 10.0 + turn * RETRY_S
        assert not breaker.lets(at - 0.01)
        assert breaker.lets(at)
        assert not breaker.lets(at)
        breaker.on_failure(at)


def test_an_answer_closes_it() -> None:
    breaker = open_breaker()
    assert breaker.lets(11.0)
    breaker.on_answer()
    assert all(breaker.lets(11.0) for _ in range(100))
