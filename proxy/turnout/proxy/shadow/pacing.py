"""How much of the shadows' answers is read in a time, so that one that floods takes nothing from live requests.

A token bucket of bytes for each mirror. RATE fills it, and each live answer that a shadow goes with adds twice its
size: a shadow that answers as the live one does is never held up. Who has read more than there was stops reading, and
so does who begins while others wait; they go on in turn, a few every TICK_S. What is not read stays in the kernel.
"""

from collections import deque
from math import inf
from typing import Protocol

RATE = 16 << 20
"""Bytes a second."""
BURST_BYTES = 1 << 20
MAX_EARNED_BYTES = 64 << 20
EARNED = 2
FRAMING = 1024
"""What a byte of framing counts for: the five of a chunk take as much time to read as some KiB of body. No live answer
earns that; chunks that are read as they are written, one by one, cost nothing (`net.upstream.SLICE_BYTES`)."""
TICK_S = 0.01
_AT_ONCE = 4
"""Of those who wait, in one tick: the loop may read 256 KiB of each before it asks again."""


class Paced(Protocol):
    """Somebody whose reading can be stopped."""

    def resume_reading(self) -> bool:
        """Whether it has waited for that, and is not over."""
        ...


class Pacer:
    """Of one mirror at one worker. `wake` is that of a sleeper: `on_timer` is to be called at the time that `wait` and
    it say."""

    __slots__ = ("_at", "_earned", "_left", "_waiting", "wake")

    def __init__(self) -> None:
        self._left = float(BURST_BYTES)
        self._earned = 0
        self._at = 0.0
        self._waiting: deque[Paced] = deque()
        self.wake = inf

    def __len__(self) -> int:
        return len(self._waiting)

    def earn(self, size: int) -> None:
        """So much of a live answer has come, to a request that was copied."""
        self._earned = min(self._earned + EARNED * size, MAX_EARNED_BYTES)

    def take(self, size: int, now: float, framing: int = 0) -> bool:
        """So much was read, and `framing` bytes of a coding around it; whether more of it may be."""
        self._fill(now)
        paid = min(size, self._earned)
        self._earned -= paid
        self._left -= size - paid + framing * FRAMING
        return self._left >= 0.0

    def wait(self, paced: Paced, now: float) -> float:
        """It has stopped reading, and goes on in its turn; when to look whose turn it is."""
        self._waiting.append(paced)
        return now + TICK_S

    def on_timer(self, now: float) -> float:
        """Let some go on; when to look again, `inf` if nobody waits."""
        self._fill(now)
        waiting = self._waiting
        if self._left >= 0.0:
            left = _AT_ONCE
            while left and waiting:
                left -= waiting.popleft().resume_reading()
        return now + TICK_S if waiting else inf

    def _fill(self, now: float) -> None:
        if now > self._at:
            self._left = min(self._left + (now - self._at) * RATE, float(BURST_BYTES))
            self._at = now
