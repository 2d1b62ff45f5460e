"""What shadows are behind is bounded, one by one and all together."""

from hypothesis import given
from hypothesis import strategies as st

from turnout.proxy.shadow.backlog import MAX_BEHIND, MAX_TOTAL, Backlog


class Lagging:
    """So far behind, whatever was said of it before."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_cut = False

    def behind_bytes(self) -> int:
        return self.size

    def cut(self) -> None:
        self.is_cut = True


def test_one_that_is_too_far_behind_is_cut_alone() -> None:
    backlog, good, late = Backlog(), Lagging(10), Lagging(MAX_BEHIND)
    assert list(backlog.note(good, 10)) == []
    assert list(backlog.note(late, MAX_BEHIND)) == []
    assert list(backlog.note(late, MAX_BEHIND + 1)) == [late]


def test_of_all_that_are_together_too_far_behind_the_largest_are_cut() -> None:
    backlog = Backlog()
    small = [Lagging(1 << 20) for _ in range(40)]
    large = [Lagging(4 << 20) for _ in range(7)]
    cuts = [late for shadow in small + large for late in backlog.note(shadow, shadow.size)]
    assert cuts == large[:3], "until an eighth of the room is free"


def test_what_has_been_taken_meanwhile_is_seen_before_anybody_is_cut() -> None:
    backlog = Backlog()
    quick = [Lagging(4 << 20) for _ in range(16)]
    for shadow in quick:
        assert list(backlog.note(shadow, shadow.size)) == []
        shadow.size = 0
    assert list(backlog.note(Lagging(100), 100)) == []
    assert backlog.room == MAX_TOTAL - 100


def test_what_an_observer_keeps_is_part_of_it() -> None:
    backlog = Backlog()
    backlog.keep(MAX_TOTAL - 50)
    late = Lagging(100)
    assert list(backlog.note(late, 100)) == [late]
    backlog.forget(late)
    backlog.keep(50 - MAX_TOTAL)
    assert backlog.room == MAX_TOTAL


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, MAX_BEHIND)), max_size=200))
def test_the_total_is_never_above_the_bound_once_the_cuts_are_made(steps: list[tuple[int, int]]) -> None:
    backlog = Backlog()
    shadows = [Lagging(0) for _ in range(31)]
    for at, size in steps:
        shadow = shadows[at]
        shadow.size = size
        for late in backlog.note(shadow, size):
            late.cut()
            backlog.forget(late)
            late.size = 0
        assert backlog.total == sum(s.size for s in shadows) <= MAX_TOTAL
    for shadow in shadows:
        backlog.forget(shadow)
    assert backlog.total == 0
