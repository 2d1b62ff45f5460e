"""Spans that a worker recorded and never told of, because it died: the difference of two counts.

A worker counts what it is to tell of in its block, which outlives it; the supervisor counts what came. What is in the
channel is read before the worker's end is told, so the difference at that moment is lost.
"""

from collections import Counter


class Arrivals:
    """Counts for each slot, over all the workers that it has had."""

    def __init__(self) -> None:
        self._told: Counter[int] = Counter()

    def on_spans(self, slot: int, spans: int) -> None:
        """The slot's worker has told of so many spans."""
        self._told[slot] += spans

    def on_death(self, slot: int, recorded: int) -> int:
        """It has died, and its block says so many in all: how many of them are lost."""
        lost = max(0, recorded - self._told[slot])
        self._told[slot] = recorded
        return lost
