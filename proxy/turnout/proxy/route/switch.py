"""Routes of one path that differ by the exact value of one header (a canary for each tenant), as one look-up.

Of such a run at most those with the request's value can hold, so the others need not be asked. Only routes that
follow each other are put together, so the order stays as it was.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry

MIN_RUN = 8
"""Shorter runs are as fast one by one."""


class Switch:
    """A run of entries whose first exact header condition is on the same name."""

    __slots__ = ("_by_value", "_name")

    def __init__(self, name: bytes, run: Iterable[Entry]) -> None:
        self._name = name
        self._by_value: dict[bytes, list[Entry]] = {}
        for entry in run:
            self._by_value.setdefault(entry.exact_headers[0][1], []).append(entry)

    def take(self, head: RequestHead) -> Entry | None:
        """The first of the run that holds but for the path; None if none does."""
        value = head.get(self._name)
        if value is not None:
            for entry in self._by_value.get(value, ()):
                if entry.take(head):
                    return entry
        return None


Step = Entry | Switch
"""What is asked one after the other: `take(head)` gives an entry or None."""


def make_steps(entries: Sequence[Entry]) -> list[Step]:
    """The entries in their order, long runs as one step."""
    steps: list[Step] = []
    for name, group in groupby(entries, _switch_name):
        run = list(group)
        if name is None or len(run) < MIN_RUN:
            steps += run
        else:
            steps.append(Switch(name, run))
    return steps


def _switch_name(entry: Entry) -> bytes | None:
    return entry.exact_headers[0][0] if entry.exact_headers else None
