"""What a route does to a request before it goes anywhere, and what must outlive reloads of it: rate limits, faults,
retry budgets.

State belongs to a route's name and its configuration: a reload that does not change that keeps the bucket as full as it
was. What the newest Snapshot does not name is forgotten.
"""

from collections.abc import Iterable
from typing import NamedTuple

from turnout.proxy.cluster.budget import Budget
from turnout.proxy.filters.fault import FaultInjector
from turnout.proxy.filters.rate_limit import RateLimiter
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.table import Table
from turnout.proxy.telemetry.buckets import Buckets
from turnout.proxy.telemetry.counters import Counters
from turnout.proxy.telemetry.layout import RouteWord
from turnout.rules.resilience import RateLimit, RetryBudget


class Guard(NamedTuple):
    """Of one route: None where it has none."""

    limiter: RateLimiter | None
    fault: FaultInjector | None


class Guards:
    """Gives the entries of tables their state. `salt` is a secret that the workers of a proxy share."""

    def __init__(self, buckets: Buckets, counters: Counters, salt: bytes, workers: int) -> None:
        self._buckets = buckets
        self._counters = counters
        self._salt = salt
        self._workers = workers
        self._limiters: dict[tuple[str, RateLimit], RateLimiter] = {}
        self._budgets: dict[tuple[str, RetryBudget], Budget] = {}

    def bind(self, tables: Iterable[Table]) -> None:
        """The tables of a Snapshot are about to serve."""
        limiters, budgets = self._limiters, self._budgets
        self._limiters, self._budgets = {}, {}
        for table in tables:
            for host in table.hosts:
                for entry in host.entries:
                    if entry.retry is not None and entry.retry.budget is not None:
                        entry.budgets = (self._find_budget(entry.name, entry.retry.budget, budgets),)
                    if entry.rate_limit is not None or entry.fault is not None:
                        limiter = self._find_limiter(entry, limiters)
                        entry.guard = Guard(limiter, FaultInjector(entry.fault) if entry.fault else None)

    def _find_budget(self, name: str, config: RetryBudget, before: dict[tuple[str, RetryBudget], Budget]) -> Budget:
        key = name, config
        budget = self._budgets.get(key) or before.get(key) or Budget(config, self._workers)
        self._budgets[key] = budget
        return budget

    def _find_limiter(self, entry: Entry, before: dict[tuple[str, RateLimit], RateLimiter]) -> RateLimiter | None:
        if entry.rate_limit is None:
            return None
        key = entry.name, entry.rate_limit
        limiter = self._limiters.get(key) or before.get(key) or self._limiter(entry.rate_limit, entry.record)
        self._limiters[key] = limiter
        return limiter

    def _limiter(self, config: RateLimit, record: int) -> RateLimiter:
        words = record + RouteWord.BUCKET, record + RouteWord.SHARED_BUCKET, record + RouteWord.SHARED_USES
        return RateLimiter(config, self._buckets, self._counters, words, self._salt)
