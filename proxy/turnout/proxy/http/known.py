"""Heads that came before: what a head says depends on what it was read from alone, and clients and models repeat
themselves. So those that came twice are remembered, and read no more.
"""

from collections.abc import Hashable
from typing import Final, Generic, Protocol, Self, TypeVar

MAX_KNOWN: Final = 512
MAX_KNOWN_BYTES: Final = 2_048
MAX_SEEN: Final = 4_096


class Copyable(Protocol):
    """A head, of which each message wants its own."""

    def copy(self) -> Self: ...

    def share_answers(self) -> None: ...


K = TypeVar("K", bound=Hashable)
H = TypeVar("H", bound=Copyable)


class KnownHeads(Generic[K, H]):
    """Heads by what they were read from, for all connections of a worker; bounded, and emptied when full.

    A head is kept when it comes for the second time, so those that come once cost little and push nothing out.
    """

    __slots__ = ("_seen", "heads")

    def __init__(self) -> None:
        self.heads: dict[K, H] = {}
        """To be looked up, and copied."""
        self._seen: set[int] = set()

    def comes_again(self, raw: K, size: int) -> bool:
        """Whether a head that is not known came before, of late, and is worth to be kept; `size` is in bytes."""
        key = hash(raw)
        if key in self._seen:
            return size <= MAX_KNOWN_BYTES
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(key)
        return False

    def keep(self, raw: K, head: H) -> None:
        """`raw` was read as `head`, which nobody has changed yet."""
        if len(self.heads) >= MAX_KNOWN:
            self.heads.clear()
        self.heads[raw] = kept = head.copy()
        kept.share_answers()
