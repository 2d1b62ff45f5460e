"""The end of the loop's turn, at which small messages go out.

A write wakes who waits for it, which is an interrupt to another core. Who is woken for one message sleeps again before
the next; messages that go out one right behind the other wake it once. So what is small and complete waits until all
that came in this turn has been read, and for no timer: where nothing else has come it goes out just then.

What is a part of a stream goes out at once, behind what waits on its connection.
"""

from collections.abc import Callable
from typing import Final, Protocol

MAX_WAITING_BYTES: Final = 65_536
"""Of one connection; with more its messages go out at once, so that back-pressure begins."""


class Waiting(Protocol):
    """A connection on which something waits for the end of the turn."""

    def flush(self) -> None:
        """Write it, if it is still to be written."""


class Turn:
    """One per worker. `call_soon` is the loop's: it calls when all that came has been read."""

    __slots__ = ("_call_soon", "_waiting")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._waiting: list[Waiting] = []

    def add(self, connection: Waiting) -> None:
        """Flush a connection at the end of this turn."""
        if not self._waiting:
            self._call_soon(self._end)
        self._waiting.append(connection)

    def _end(self) -> None:
        left, self._waiting = iter(self._waiting), []
        try:
            for connection in left:
                connection.flush()
        finally:
            # Also if one of them fails: the others must be heard.
            for connection in left:
                self.add(connection)
