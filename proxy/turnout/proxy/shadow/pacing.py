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
CRUMB_BYTES = 256
MAX_CRUMBS = 1_024
MAX_EARNED_CRUMBS = 4_096
CRUMBS_PER_S = 2_000
"""What is smaller costs a call all the same, and in HTTP/2 a stream that is paused may still bring as many frames as
its window has bytes. So there are that many at once, that many a second, and two for each piece of a live answer."""
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

    __slots__ = ("_at", "_crumbs", "_earned", "_earned_crumbs", "_left", "_waiting", "wake")

    def __init__(self) -> None:
        self._left = float(BURST_BYTES)
        self._crumbs = float(MAX_CRUMBS)
        self._earned = self._earned_crumbs = 0
        self._at = 0.0
        self._waiting: deque[Paced] = deque()
        self.wake = inf

    def __len__(self) -> int:
        return len(self._waiting)

    def earn(self, size: int) -> None:
        """So much of a live answer has come, to a request that was copied."""
        self._earned = min(self._earned + EARNED * size, MAX_EARNED_BYTES)
        self._earned_crumbs = min(self._earned_crumbs + EARNED, MAX_EARNED_CRUMBS)

    def take(self, size: int, now: float, framing: int = 0) -> bool:
        """So much was read, and `framing` bytes of a coding around it; whether more of it may be."""
        self._fill(now)
        paid = min(size, self._earned)
        self._earned -= paid
        self._left -= size - paid + framing * FRAMING
        return self._left >= 0.0

    def take_crumb(self, now: float) -> bool:
        """A piece of less than CRUMB_BYTES came; whether its shadow may go on."""
        if self._earned_crumbs:
            self._earned_crumbs -= 1
            return True
        self._fill(now)
        self._crumbs -= 1.0
        return self._crumbs >= 0.0

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
            passed_s = now - self._at
            self._left = min(self._left + passed_s * RATE, float(BURST_BYTES))
            self._crumbs = min(max(self._crumbs, 0.0) + passed_s * CRUMBS_PER_S, float(MAX_CRUMBS))
            self._at = now
