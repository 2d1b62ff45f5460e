"""What a route does to a request beside choosing a backend by weight, told without doing it.

Limits, faults, the key that a split goes by, and retries. What depends on the request is told for this request: the
backend that its key gets, and whether it may be sent again. In JSON this is a contract: fields are added, not renamed.
"""

import msgspec

from turnout.proxy.http.head import RequestHead
from turnout.proxy.route.entry import Entry
from turnout.proxy.route.retry import IDEMPOTENT_METHODS, RetryPolicy
from turnout.proxy.route.split import Split
from turnout.rules.resilience import Fault, HashKey, RateLimit, Retry
from turnout.rules.snapshot import Forward

_PER_PERCENT = 10_000
"""Of a million."""


class KeyedSplit(msgspec.Struct, frozen=True):
    """The backend goes by a key: `by` says of what. `key` is that of this request, None if it has none, and then
    `backend` is None too: it is chance."""

    by: str
    key: str | None
    backend: str | None


class Budget(msgspec.Struct, frozen=True):
    """`rules.resilience.RetryBudget`, all of it."""

    percent: float
    min_concurrency: int
    interval_s: float
    min_per_second: float


class Retried(msgspec.Struct, frozen=True):
    """Attempts after the first, and after what. `on` are Envoy's conditions, `codes` statuses.

    `retry_after`: that field of an answer is the least back-off; `other_endpoint`: one that was not tried is preferred.
    `may_repeat`: this request may be sent again when the endpoint may have seen it, and `because` says why, or why not.
    """

    attempts: int
    on: tuple[str, ...]
    codes: tuple[int, ...]
    back_off_s: float
    max_back_off_s: float
    retry_after: bool
    other_endpoint: bool
    may_repeat: bool
    because: str
    replay_bytes: int
    budget: Budget | None


class Limited(msgspec.Struct, frozen=True):
    """A rate limit: one bucket for the route, or (`header`) one for each value. `key` is this request's value."""

    per_second: float
    burst: int
    header: str
    key: str | None


class Faulted(msgspec.Struct, frozen=True):
    """Faults on purpose, each with its share of the requests in per cent."""

    delay_s: float
    delay_percent: float
    abort_status: int
    abort_percent: float


class Handling(msgspec.Struct, frozen=True):
    """All of it; None is what the route does not have."""

    rate_limit: Limited | None
    fault: Faulted | None
    split: KeyedSplit | None
    retry: Retried | None


def describe_handling(entry: Entry, head: RequestHead, address: bytes) -> Handling:
    """What happens to `head`, from a client at `address`, on its way to a backend of `entry`."""
    action = entry.route.action
    if not isinstance(action, Forward):
        return Handling(None, None, None, None)
    return Handling(
        rate_limit=_limited(action.rate_limit, head) if action.rate_limit else None,
        fault=_faulted(action.fault) if action.fault else None,
        split=_keyed(action.split_by, entry.split, head, address) if action.split_by and entry.split else None,
        retry=_retried(action.retry, entry.retry, head) if action.retry and entry.retry else None,
    )


def _limited(config: RateLimit, head: RequestHead) -> Limited:
    value = head.get(config.header.encode()) if config.header else None
    return Limited(config.per_second, config.burst, config.header, _text(value))


def _faulted(config: Fault) -> Faulted:
    delay, abort = config.delay_per_million / _PER_PERCENT, config.abort_per_million / _PER_PERCENT
    return Faulted(config.delay_s, delay, config.abort_status, abort)


def _keyed(by: HashKey, split: Split, head: RequestHead, address: bytes) -> KeyedSplit | None:
    if split.key is None:
        return None  # there is but one backend
    key = split.key(head, address)
    words = f"{by.kind} {by.name}" if by.name else by.kind.replace("_", " ")
    return KeyedSplit(words, _text(key), None if key is None else split.choose_for(key).cluster)


def _retried(config: Retry, policy: RetryPolicy, head: RequestHead) -> Retried:
    budget = config.budget
    return Retried(
        attempts=config.attempts,
        on=config.on,
        codes=config.codes,
        back_off_s=config.back_off_s,
        max_back_off_s=10 * config.back_off_s if config.max_back_off_s is None else config.max_back_off_s,
        retry_after=config.retry_after,
        other_endpoint=config.other_endpoint,
        may_repeat=policy.may_repeat(head),
        because=_why_repeat(policy, head),
        replay_bytes=config.replay_bytes,
        budget=None if budget is None else Budget(*msgspec.structs.astuple(budget)),
    )


def _why_repeat(policy: RetryPolicy, head: RequestHead) -> str:
    method = head.method.decode("latin-1")
    if not policy.only_idempotent:
        return "the rule's policy says that every request may be"
    if head.method in IDEMPOTENT_METHODS:
        return f"{method} may be repeated by itself"
    if policy.may_repeat(head):
        return "it is a known inference call"
    return f"{method} may not be repeated, and this is no known inference call"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
