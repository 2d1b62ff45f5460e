"""How much of the shadows' answers a worker reads in a time, so that one that floods takes none from live requests.

In each slice of SLICE_S at most SLICE_BYTES are read, and what the last read had in it beyond that. Who was told to
stop goes on in a later slice, first come first served: so many are let go as it can take if each fills its buffer.
"""

from collections import deque
from typing import Protocol

SLICE_S = 0.005
SLICE_BYTES = 512 << 10
"""100 MiB a second; a copy of what is read costs a worker some 3 % of a core then."""
_READ_BYTES = 256 << 10
"""What the loop reads of one connection at a time, at most."""
_AT_ONCE = SLICE_BYTES // _READ_BYTES


class Paced(Protocol):
    """Somebody whose reading can be stopped."""

    def resume_reading(self) -> None: ...


class Pacer:
    """One per worker. `wake` is that of a sleeper: `on_timer` is to be called at `wake_at` while somebody waits."""

    __slots__ = ("_left", "_slice_end", "_waiting", "wake")

    def __init__(self, never: float) -> None:
        self._left = SLICE_BYTES
        self._slice_end = 0.0
        self._waiting: deque[Paced] = deque()
        self.wake = never

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, size: int, now: float) -> bool:
        """So much was read; whether more of it may be."""
        if now >= self._slice_end:
            self._begin_slice(now)
        self._left -= size
        return self._left >= 0

    def wait(self, paced: Paced) -> float:
        """It has stopped reading, and goes on in its turn; when the next slice begins."""
        self._waiting.append(paced)
        return self._slice_end

    def on_timer(self, now: float) -> float:
        """Let some go on; when the next slice begins, `inf` if nobody waits for it."""
        if now < self._slice_end:
            return self._slice_end
        self._begin_slice(now)
        waiting = self._waiting
        for _ in range(min(_AT_ONCE, len(waiting))):
            waiting.popleft().resume_reading()
        return self._slice_end if waiting else float("inf")

    def _begin_slice(self, now: float) -> None:
        self._left = SLICE_BYTES
        self._slice_end = now + SLICE_S
