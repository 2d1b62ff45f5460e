"""The numbers of one worker: integer additions into its block of shared memory (see `layout`)."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from turnout.proxy.telemetry.layout import BOUNDS_S, FLAGS, HISTOGRAM_WORDS, RouteWord

_RECEIVED: Final = int(RouteWord.BYTES_RECEIVED)
_SENT: Final = int(RouteWord.BYTES_SENT)
_REQUESTS: Final = int(RouteWord.REQUESTS)
_DOWNSTREAM: Final = int(RouteWord.DOWNSTREAM)
_UPSTREAM: Final = int(RouteWord.UPSTREAM)
_PROXY: Final = int(RouteWord.PROXY)
_SUM: Final = HISTOGRAM_WORDS - 1


class Counters:
    """Writes to `words`, an unsigned 64-bit view of the block; its only writer.

    `others` are the blocks of the proxy's other workers, to be looked at.
    """

    __slots__ = ("others", "words")

    def __init__(self, words: memoryview, others: Sequence[memoryview] = ()) -> None:
        self.words = words
        self.others = tuple(others)

    def total(self, word: int) -> int:
        """The sum of a word over all workers. A gauge is never below 0, though its parts change while it is read."""
        total: int = self.words[word]
        for words in self.others:
            total += words[word]
        return total

    def add(self, word: int, amount: int = 1) -> None:
        self.words[word] += amount

    def count_request(
        self, record: int, status: int, flag: int, received: int, sent: int, total_s: float, upstream_s: float
    ) -> None:
        """Count a request that is over: one of the record at `record`, with its latencies in seconds.

        `upstream_s` is 0 if no upstream was asked; then there is no upstream latency, and all time was ours.
        """
        words = self.words
        words[record + _REQUESTS + (status // 100) * FLAGS + flag] += 1
        if received:
            words[record + _RECEIVED] += received
        if sent:
            words[record + _SENT] += sent
        base = record + _DOWNSTREAM
        words[base + bisect_left(BOUNDS_S, total_s)] += 1
        words[base + _SUM] += int(total_s * 1e9)
        if upstream_s:
            base = record + _UPSTREAM
            words[base + bisect_left(BOUNDS_S, upstream_s)] += 1
            words[base + _SUM] += int(upstream_s * 1e9)
            total_s -= upstream_s
        base = record + _PROXY
        words[base + bisect_left(BOUNDS_S, total_s)] += 1
        words[base + _SUM] += int(total_s * 1e9)
