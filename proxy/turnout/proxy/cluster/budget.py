"""The retry budget: how much retries may add to what is asked anyway.

Two bounds, and both must leave room (`rules.resilience.RetryBudget`):

* **Concurrency**, Envoy's (`RetryBudgetImpl` of its resource manager): the retries that are active (being sent, or
  waiting for their back-off) stay below `max(percent of the active requests, min_concurrency)`, the share rounded down.
  The request that would be retried is one of the active.
* **Rate**, GEP-3388's and Linkerd's: of the requests of the last `interval_s` at most `percent`, or `min_per_second`
  times the interval if that is more, are retried.

The interval slides in `BUCKETS` steps. Retries are looked back on for at least the whole of it, requests for at most
the whole of it, so the bound holds exactly whenever a retry is let go, and is up to a tenth stricter than it says.

Each worker has a budget of its own, for its share of the requests; floors are divided by the number of workers, rounded
up, so that the proxy is at most one below each worker over them.
"""

from collections import deque
from math import ceil, inf

from turnout.rules.resilience import RetryBudget

BUCKETS = 10


class Budget:
    """What one worker may retry for one route, or for one cluster.

    A request is announced by `on_request` and taken back by `on_request_end`, once each; so is a retry that
    `may_retry` allowed, from the decision to its end, by `on_retry` and `on_retry_end`.
    """

    __slots__ = (
        "_bucket_end", "_bucket_requests", "_bucket_retries", "_bucket_s", "_floor", "_min_concurrency", "_number",
        "_old_requests", "_old_retries", "_past", "_share", "active", "retries_active",
    )  # fmt: skip

    def __init__(self, config: RetryBudget, workers: int = 1) -> None:
        self._share = config.percent / 100.0
        self._min_concurrency = ceil(config.min_concurrency / workers)
        self._floor = ceil(config.min_per_second * config.interval_s / workers)
        self._bucket_s = config.interval_s / BUCKETS
        self._number = -1
        self._bucket_end = 0.0 if config.interval_s else inf
        # Requests and retries of the present bucket, of each past one, and of the past ones together.
        self._bucket_requests = self._bucket_retries = 0
        self._past: deque[tuple[int, int]] = deque([(0, 0)] * BUCKETS, BUCKETS)
        self._old_requests = self._old_retries = 0
        self.active = self.retries_active = 0

    def __repr__(self) -> str:
        return f"<Budget {self.retries_active} retries of {self.active} requests>"

    def on_request(self, now: float) -> None:
        """A request begins; not to be called for its retries."""
        self.active += 1
        if now >= self._bucket_end:
            self._slide(now)
        self._bucket_requests += 1

    def on_request_end(self) -> None:
        self.active -= 1

    def may_retry(self, now: float) -> bool:
        """Whether one more retry may begin now."""
        if self.retries_active >= max(int(self._share * self.active), self._min_concurrency):
            return False
        if self._bucket_end == inf:
            return True
        if now >= self._bucket_end:
            self._slide(now)
        requests = self._old_requests + self._bucket_requests
        return self._old_retries + self._bucket_retries < max(int(self._share * requests), self._floor)

    def on_retry(self, now: float) -> None:
        """A retry is decided; its back-off, if it has one, begins."""
        self.retries_active += 1
        if now >= self._bucket_end:
            self._slide(now)
        self._bucket_retries += 1

    def on_retry_end(self) -> None:
        self.retries_active -= 1

    def _slide(self, now: float) -> None:
        """Close the buckets that are over. The one that falls out of the requests still counts for the retries."""
        # Numbered from the clock's zero, so that rounding can't add up; by rounding alone the number may be the same.
        number = max(int(now / self._bucket_s), self._number + 1)
        ended = min(number - self._number, BUCKETS + 1)
        self._number = number
        self._bucket_end = (number + 1) * self._bucket_s
        past = self._past
        past.append((self._bucket_requests, self._bucket_retries))
        past.extend([(0, 0)] * (ended - 1))
        self._bucket_requests = self._bucket_retries = 0
        self._old_requests = sum(requests for requests, _ in past) - past[0][0]
        self._old_retries = sum(retries for _, retries in past)
