"""Answers of shadows are read at a pace, and who has to wait goes on in turn."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.shadow.pacing import (
    BURST_BYTES,
    CRUMBS_PER_S,
    EARNED,
    FRAMING,
    MAX_CRUMBS,
    RATE,
    TICK_S,
    Pacer,
)


class Reader:
    """`alive`: it has not ended while it waited."""

    def __init__(self, name: int, resumed: list[int], *, alive: bool = True) -> None:
        self.name = name
        self.resumed = resumed
        self.alive = alive

    def resume_reading(self) -> bool:
        self.resumed.append(self.name)
        return self.alive


def test_a_burst_is_read_and_then_as_much_as_time_brings() -> None:
    pacer = Pacer()
    assert pacer.take(BURST_BYTES, 1.0)
    assert not pacer.take(RATE // 10, 1.0)
    assert not pacer.take(1, 1.09)
    assert pacer.take(0, 1.2)


def test_a_shadow_that_answers_as_the_live_one_does_is_never_held_up() -> None:
    pacer = Pacer()
    for _ in range(100):
        pacer.earn(10 << 20)
        assert pacer.take(EARNED * (10 << 20), 1.0)
    assert pacer.take(BURST_BYTES, 1.0), "nor does it use up what others may"
    assert not pacer.take(1, 1.0)


def test_framing_counts_for_much_and_nothing_that_was_earned_pays_for_it() -> None:
    pacer = Pacer()
    pacer.earn(32 << 20)
    assert pacer.take(1, 1.0, BURST_BYTES // FRAMING)
    assert not pacer.take(1, 1.0, 1)


def test_crumbs_are_taken_as_they_come_in_time_or_as_the_live_answer_has_them_and_no_faster() -> None:
    pacer = Pacer()
    assert all(pacer.take_crumb(1.0) for _ in range(MAX_CRUMBS))
    assert not pacer.take_crumb(1.0)
    assert all(pacer.take_crumb(2.0) for _ in range(MAX_CRUMBS))
    assert all(pacer.take_crumb(2.0 + 1.01 * at / CRUMBS_PER_S) for at in range(1, 10_000))
    for _ in range(10_000):
        pacer.earn(1)
        assert pacer.take_crumb(9.0)


def test_who_waits_goes_on_in_turn_a_few_each_time_and_who_has_ended_takes_no_turn() -> None:
    pacer, resumed, now = Pacer(), list[int](), 1.0
    pacer.take(BURST_BYTES + 1, now)
    readers = [Reader(name, resumed, alive=name != 2) for name in range(10)]
    wakes = [pacer.wait(reader, now) for reader in readers]
    assert wakes == [now + TICK_S] * 10
    assert len(pacer) == 10
    counts = []
    while now != inf:
        now = pacer.on_timer(now + TICK_S)
        counts.append(len(resumed))
    assert resumed == [*range(10)]
    assert counts == [5, 9, 10]


def test_nobody_goes_on_before_the_debt_is_paid() -> None:
    pacer, resumed = Pacer(), list[int]()
    pacer.take(BURST_BYTES + RATE, 1.0)
    pacer.wait(Reader(0, resumed), 1.0)
    assert pacer.on_timer(1.9) == 1.9 + TICK_S
    assert resumed == []
    assert pacer.on_timer(2.1) == inf
    assert resumed == [0]


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 1 << 18)), min_size=1, max_size=100))
def test_what_is_read_by_who_stops_when_told_is_bounded_by_the_time(steps: list[tuple[float, int]]) -> None:
    pacer, now, read, may_read = Pacer(), 0.0, 0, True
    for pause_s, size in steps:
        now += pause_s
        may_read = may_read or pacer.take(0, now)
        if may_read:
            may_read = pacer.take(size, now)
            read += size
        assert read <= BURST_BYTES + RATE * now + (1 << 18)
