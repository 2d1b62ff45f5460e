"""Answers of shadows are read at a pace, and who has to wait goes on in turn."""

from math import inf

from turnout.proxy.shadow.pacing import SLICE_BYTES, SLICE_S, Pacer


class Reader:
    def __init__(self, name: int, resumed: list[int]) -> None:
        self.name = name
        self.resumed = resumed

    def resume_reading(self) -> None:
        self.resumed.append(self.name)


def test_a_slice_is_read_and_no_more() -> None:
    pacer = Pacer(inf)
    assert pacer.take(SLICE_BYTES, 1.0)
    assert not pacer.take(1, 1.0)
    assert not pacer.take(1, 1.0 + SLICE_S * 0.9)
    assert pacer.take(SLICE_BYTES, 1.0 + SLICE_S)


def test_who_waits_goes_on_in_turn_a_few_each_slice() -> None:
    pacer, resumed, now = Pacer(inf), list[int](), 1.0
    pacer.take(SLICE_BYTES + 1, now)
    for name in range(5):
        wake = pacer.wait(Reader(name, resumed))
        assert wake == now + SLICE_S
    counts = []
    while wake != inf:
        assert pacer.on_timer(wake - SLICE_S / 2) == wake, "not before its time"
        now, wake = wake, pacer.on_timer(wake)
        counts.append(len(resumed))
    assert resumed == [0, 1, 2, 3, 4]
    assert counts == [2, 4, 5]
    assert len(pacer) == 0
