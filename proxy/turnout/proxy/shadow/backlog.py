"""How far the shadows of a worker are behind their requests, and which of them are cut for it.

What a shadow is behind is what came of its request and its endpoint has not taken: held while a connection is made, or
in that connection's buffer. One may be MAX_BEHIND, all of a worker together MAX_TOTAL: so a body of any size passes as
long as it is read, and what is not read costs no more than that.

A connection does not tell when its buffer empties. So sizes are those of the last look, and only when their sum is too
large is each looked at again. Then the largest go, until there is some room: else the next byte would ask for it anew.
"""

from collections.abc import Sequence
from typing import Protocol

MAX_BEHIND = 4 << 20
MAX_TOTAL = 64 << 20
_ROOM = MAX_TOTAL // 8


class Lagging(Protocol):
    """A shadow, as far as it is looked at here."""

    def behind_bytes(self) -> int: ...

    def cut(self) -> None: ...


class Backlog:
    """One per worker. `total` is the sum of what was seen last, and of what is kept for an observer."""

    __slots__ = ("_kept", "_sizes", "total")

    def __init__(self) -> None:
        self._sizes: dict[Lagging, int] = {}
        self._kept = self.total = 0

    @property
    def room(self) -> int:
        """For how many bytes more there is room, as far as was seen."""
        return MAX_TOTAL - self.total

    def keep(self, size: int) -> None:
        """So much is kept for an observer; a negative size: no longer."""
        self._kept += size
        self.total += size

    def note(self, shadow: Lagging, size: int) -> Sequence[Lagging]:
        """It is so far behind now; those that are to be cut for it."""
        self.total += size - self._sizes.get(shadow, 0)
        self._sizes[shadow] = size
        if size > MAX_BEHIND:
            return (shadow,)
        return self._choose_cuts() if self.total > MAX_TOTAL else ()

    def forget(self, shadow: Lagging) -> None:
        """It is over."""
        self.total -= self._sizes.pop(shadow, 0)

    def _choose_cuts(self) -> list[Lagging]:
        sizes = self._sizes
        for shadow in sizes:
            sizes[shadow] = shadow.behind_bytes()
        total = self.total = sum(sizes.values()) + self._kept
        cuts: list[Lagging] = []
        if total > MAX_TOTAL:
            for shadow in sorted(sizes, key=sizes.__getitem__, reverse=True):
                if total <= MAX_TOTAL - _ROOM:
                    break
                total -= sizes[shadow]
                cuts.append(shadow)
        return cuts
