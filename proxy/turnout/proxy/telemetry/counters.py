"""The numbers of one worker: integer additions into its block of shared memory (see `layout`)."""

from bisect import bisect_left

from turnout.proxy.errors import Flag
from turnout.proxy.telemetry.layout import BOUNDS_S, FLAGS, HISTOGRAM_WORDS, RouteWord, Word

_ACTIVE, _RECEIVED, _SENT = int(RouteWord.ACTIVE), int(RouteWord.BYTES_RECEIVED), int(RouteWord.BYTES_SENT)
_DOWNSTREAM, _UPSTREAM, _PROXY = int(RouteWord.DOWNSTREAM), int(RouteWord.UPSTREAM), int(RouteWord.PROXY)
_REQUESTS = int(RouteWord.REQUESTS)
_SUM = HISTOGRAM_WORDS - 1
_REQUESTS_ACTIVE = int(Word.REQUESTS_ACTIVE)
_TOTAL_RECEIVED, _TOTAL_SENT = int(Word.DOWNSTREAM_BYTES_RECEIVED), int(Word.DOWNSTREAM_BYTES_SENT)


class Counters:
    """Writes to `words`, an unsigned 64-bit view of the block; its only writer."""

    __slots__ = ("words",)

    def __init__(self, words: memoryview) -> None:
        self.words = words

    def add(self, word: int, amount: int = 1) -> None:
        self.words[word] += amount

    def begin_request(self) -> None:
        self.words[_REQUESTS_ACTIVE] += 1

    def end_request(
        self, record: int, status: int, flag: Flag, received: int, sent: int, total_s: float, proxy_s: float
    ) -> None:
        """Count a request that is over: one of `record`, with its latencies."""
        words = self.words
        words[_REQUESTS_ACTIVE] -= 1
        words[record + _REQUESTS + (status // 100) * FLAGS + flag] += 1
        if received:
            words[record + _RECEIVED] += received
        if sent:
            words[record + _SENT] += sent
        base = record + _DOWNSTREAM
        words[base + bisect_left(BOUNDS_S, total_s)] += 1
        words[base + _SUM] += int(total_s * 1e9)
        base = record + _PROXY
        words[base + bisect_left(BOUNDS_S, proxy_s)] += 1
        words[base + _SUM] += int(proxy_s * 1e9)

    def observe_upstream(self, record: int, seconds: float) -> None:
        """The time that a request waited for its upstream: connecting, and until the end of the answer."""
        words, base = self.words, record + _UPSTREAM
        words[base + bisect_left(BOUNDS_S, seconds)] += 1
        words[base + _SUM] += int(seconds * 1e9)
