"""Changes are pushed a moment after the last of them, and soon after the first at the latest."""

import pytest

from turnout.xds.control.debounce import Debounce


def test_nothing_waits_at_first() -> None:
    debounce = Debounce(0.1, 1.0)
    assert debounce.due() is None
    assert not debounce.take(5.0)


def test_one_change_is_due_when_it_was_quiet_and_taken_once() -> None:
    debounce = Debounce(0.1, 1.0)
    debounce.on_change(5.0)
    assert debounce.due() == pytest.approx(5.1)
    assert not debounce.take(5.05)
    assert debounce.take(5.1)
    assert not debounce.take(9.0)
    assert debounce.due() is None


def test_each_change_puts_it_off_and_no_change_beyond_the_limit() -> None:
    debounce = Debounce(0.1, 1.0)
    pushes = []
    for tick in range(240):
        now = 5.0 + tick / 100
        debounce.on_change(now)
        if debounce.take(now):
            pushes.append(now)
    assert pushes == [pytest.approx(6.0), pytest.approx(7.01)]
