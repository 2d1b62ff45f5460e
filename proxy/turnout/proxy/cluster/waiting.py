"""The queue of a cluster whose limits are reached: first come first served, and nobody waits beyond the deadline.

Pure: a waiter is whatever the caller puts in (hashable, each at most once). The caller owns the timer: it comes back
at `wake_at`, fails those that `expire` gives, and starts those that `take` gives while the limits allow it. How many
may wait is `Limiter.may_wait`'s.

Other workers give places back too, and tell nobody: so while somebody waits, `wake_at` is never further than POLL_S
away if there are others.
"""

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

POLL_S = 0.005
"""How often a worker with waiters looks whether other workers gave a place back: a fraction of a short inference."""
NEVER = float("inf")
_COMPACT_ABOVE = 64

Waiter = TypeVar("Waiter", bound=Hashable)


class Waiting(Generic[Waiter]):
    """Waiters in the order they came. `alone`: no other worker shares the limits."""

    __slots__ = ("_alone", "_deadlines", "_order", "_sequence")

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._order: OrderedDict[Waiter, int] = OrderedDict()
        """Each with its number: a cancelled waiter that comes back has another one."""
        self._deadlines: list[tuple[float, int, Waiter]] = []
        """A heap; whoever is no longer in `_order` by that number is left out when met."""
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._order)

    def __repr__(self) -> str:
        return f"<Waiting {len(self._order)}>"

    def append(self, waiter: Waiter, deadline: float) -> None:
        """Stand at the end of the line, until `deadline`. Raises ValueError if it stands there already."""
        if waiter in self._order:
            raise ValueError(f"{waiter!r} waits already")
        self._sequence += 1
        self._order[waiter] = self._sequence
        heapq.heappush(self._deadlines, (deadline, self._sequence, waiter))

    def cancel(self, waiter: Waiter) -> bool:
        """Leave the line; whether it stood there."""
        if self._order.pop(waiter, None) is None:
            return False
        self._on_left()
        return True

    def take(self) -> Waiter | None:
        """The one that came first, no longer in the line."""
        if not self._order:
            return None
        waiter, _ = self._order.popitem(last=False)
        self._on_left()
        return waiter

    def expire(self, now: float) -> list[Waiter]:
        """Those whose deadline is reached, the earliest first, no longer in the line."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, number, waiter = heapq.heappop(self._deadlines)
            if self._order.get(waiter) == number:
                del self._order[waiter]
                expired.append(waiter)
        return expired

    def wake_at(self, now: float) -> float:
        """When to look again, if nothing happens here before; NEVER if nobody waits."""
        if not self._order:
            return NEVER
        deadlines = self._deadlines
        while self._order.get(deadlines[0][2]) != deadlines[0][1]:
            heapq.heappop(deadlines)
        deadline = deadlines[0][0]
        return deadline if self._alone else min(deadline, now + POLL_S)

    def _on_left(self) -> None:
        """Keep the heap from growing with those who left before their deadline."""
        if len(self._deadlines) > 2 * len(self._order) + _COMPACT_ABOVE:
            order = self._order
            self._deadlines = [entry for entry in self._deadlines if order.get(entry[2]) == entry[1]]
            heapq.heapify(self._deadlines)
